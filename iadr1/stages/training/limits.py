"""Settings of a run: which can work, and how many steps they make. Nothing here loads torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from iadr1.config import SftConfig, TrainConfig, TrainingConfig
from iadr1.errors import UsageError
from iadr1.models.parts import PARTS
from iadr1.prompts import Format
from iadr1.stages.training import processes
from iadr1.stages.training.settings import LOG_TO, deepspeed_file

LOSSES = ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo")
"""Loss variants of TRL that need no further setting."""
SCALINGS = ("group", "batch", "none")
"""What advantages are divided by: the spread within a group, within the batch, or nothing."""
IMPORTANCE = ("token", "sequence")
"""What likelihood ratios are taken of."""
VLLM = ("off", "colocate", "server")
"""Who writes the answers: the model itself, vLLM on the same cards, or a vLLM server."""
RESUME = ("auto", "never")
"""Whether a run goes on in a folder that holds its beginning."""
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt")
"""Courses of the learning rate that need no further setting."""
ATTENTION = ("auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3")
"""Attention implementations of transformers; `auto` takes the fastest that works."""
SEEDS = 2**32
"""numpy takes seeds below this; each process adds its rank."""

ANSWER_FORMATS: tuple[Format, ...] = ("structured", "boxes", "direct")
"""How SFT can answer yes/no samples."""


def total_steps(config: TrainingConfig, *, samples: int, a_step: int) -> int:
    """Optimizer steps of the whole run: `steps`, or what `epochs` rounds over the samples take.

    Args:
        config: The run's settings.
        samples: Number of samples.
        a_step: Samples asked about in one step, on all devices together.
    """
    return config.steps if config.epochs is None else max(1, math.ceil(config.epochs * samples / a_step))


def check_sft(config: SftConfig) -> tuple[Format, ...]:
    """Make sure that an SFT run's settings can work, before anything is read; returns the answers' formats.

    Raises:
        UsageError: One cannot.
    """
    check_numbers(config, {})
    return answer_formats(config)


def answer_formats(config: SftConfig) -> tuple[Format, ...]:
    """The formats of `answer_format`, which are separated by commas.

    Raises:
        UsageError: One is unknown or stands twice.
    """
    named = [name.strip() for name in config.answer_format.split(",")]
    found = tuple(fmt for name in named for fmt in ANSWER_FORMATS if fmt == name)
    if len(found) < len(named):
        unknown = next(name for name in named if name not in ANSWER_FORMATS)
        raise UsageError(f"no answer_format {unknown!r}", hint=f"known: {', '.join(ANSWER_FORMATS)}")
    if len(set(found)) < len(found):
        raise UsageError(f"answer_format {config.answer_format!r} names a format twice", hint="name each once")
    return found


def check_numbers(config: TrainingConfig, least: Mapping[str, float]) -> None:
    """Make sure of what every run's settings must fulfil, whatever the trainer.

    Args:
        config: The run's settings.
        least: Further fields with their smallest value.

    Raises:
        UsageError: A number is too small, too large or not finite, a part or a word is unknown, nothing would be
            trained, or a setting would be read by nobody.
    """
    at_least = {
        "steps": 1,
        "batch_size": 1,
        "gradient_accumulation": 1,
        "save_steps": 1,
        "nproc": 1,
        "shots": 0,
        "seed": 0,
        "learning_rate": 0,
        "warmup_steps": 0,
        "weight_decay": 0,
        "max_grad_norm": 0,
        "lora_rank": 0,
        "lora_alpha": 1,
        "lora_dropout": 0,
        **least,
    }
    for key, smallest in at_least.items():
        # Written so that NaN is refused as well.
        if not smallest <= (value := getattr(config, key)) < math.inf:
            raise UsageError(f"{key} is {value}, it must be at least {smallest} and finite")
    if config.seed > (most := SEEDS - max(config.nproc, processes.count())):
        raise UsageError(f"seed is {config.seed}, it must be at most {most}")
    _check_words(config, resume=RESUME, log_to=LOG_TO, lr_schedule=SCHEDULES, attention=ATTENTION)
    if config.deepspeed is not None:
        deepspeed_file(config.deepspeed)
    _check_parts(config)
    if config.limit is not None and config.limit < 1:
        raise UsageError(f"limit is {config.limit}, it must be at least 1")
    if config.epochs is not None and not 0 < config.epochs < math.inf:
        raise UsageError(f"epochs is {config.epochs}, it must be above 0 and finite")
    if config.lora_dropout >= 1:
        raise UsageError(f"lora_dropout is {config.lora_dropout}, it must be below 1")
    _check_combinations(config)


def _check_combinations(config: TrainingConfig) -> None:
    """Settings that another setting leaves without effect."""
    if config.epochs is not None:
        _check_idle(config, ("steps",), where="epochs is set", hint="epochs=null counts steps")
    if config.lr_schedule == "constant":
        _check_idle(config, ("warmup_steps",), where="lr_schedule is constant", hint="lr_schedule=constant_with_warmup")
    if not config.lora_rank:
        keys = ("lora_alpha", "lora_dropout", "lora_parts")
        _check_idle(config, keys, where="LoRA is off", hint="lora_rank=16 switches it on")


def _check_idle(config: TrainingConfig, keys: Sequence[str], *, where: str, hint: str) -> None:
    """Refuse settings that would be read by nobody; one that equals its default cannot be told from one not given."""
    default = type(config)()
    for key in keys:
        if (value := getattr(config, key)) != getattr(default, key):
            raise UsageError(f"{key} is {value}, but says nothing where {where}", hint=hint)


def _check_words(config: TrainingConfig, **tables: Sequence[str]) -> None:
    for key, known in tables.items():
        if (value := getattr(config, key)) not in known:
            raise UsageError(f"no {key} {value!r}", hint=f"known: {', '.join(known)}")


def _check_parts(config: TrainingConfig) -> None:
    """Unknown parts, or none that would be trained."""
    named = {key: part_names(getattr(config, key)) for key in ("freeze", "lora_parts")}
    for key, names in named.items():
        unknown = [name for name in names if name not in PARTS]
        if unknown:
            raise UsageError(f"{key}: no part {unknown[0]!r}", hint=f"parts: {', '.join(PARTS)}")
    if set(named["freeze"]) >= set(PARTS):
        raise UsageError(f"freeze names all of {', '.join(PARTS)}: nothing is left to train")
    if config.lora_rank and not named["lora_parts"]:
        raise UsageError("lora_parts names no part, nothing is left to train", hint=f"parts: {', '.join(PARTS)}")
    if config.lora_rank and named["freeze"]:
        raise UsageError("freeze says nothing where LoRA is on", hint="lora_parts names the parts that are adapted")


def part_names(text: str) -> list[str]:
    """`vision, projector` as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_grpo(config: TrainConfig) -> None:
    """Make sure that a GRPO run's settings can work, before anything is read.

    Raises:
        UsageError: One cannot.
    """
    check_numbers(
        config,
        {"generations": 2, "iterations": 1, "max_new_tokens": 1, "beta": 0, "epsilon": 0, "difficulty": 0, "top_k": 0},
    )
    if not 0 < config.temperature < math.inf:
        raise UsageError(
            f"temperature is {config.temperature}, it must be above 0 and finite", hint="GRPO needs varied answers"
        )
    if config.difficulty == 1:
        raise UsageError("difficulty is 1, one answer has nothing to be compared with", hint="0 keeps all; 8 is usual")
    if config.batch_size % config.generations:
        lower = max(config.generations, config.batch_size // config.generations * config.generations)
        raise UsageError(
            f"batch_size {config.batch_size} is not a multiple of generations {config.generations}",
            hint=f"batch_size counts completions; {lower} would fit",
        )
    if config.save_steps % config.iterations:
        raise UsageError(
            f"save_steps {config.save_steps} is not a multiple of iterations {config.iterations}",
            hint="a run that goes on in the middle of a set of answers would have to draw others",
        )
    if not 0 < config.top_p <= 1:
        raise UsageError(f"top_p is {config.top_p}, it must be above 0 and at most 1")
    if config.epsilon_high is not None and not config.epsilon <= config.epsilon_high < math.inf:
        raise UsageError(
            f"epsilon_high is {config.epsilon_high}, it must be at least epsilon ({config.epsilon}) and finite"
        )
    _check_words(config, loss=LOSSES, scale_rewards=SCALINGS, importance=IMPORTANCE, vllm=VLLM)
    if config.vllm != "server":
        _check_idle(config, ("vllm_url",), where=f"vllm is {config.vllm}", hint="vllm=server asks a server")
    elif config.vllm_url is None:
        raise UsageError("vllm=server without vllm_url", hint="vllm_url=http://HOST:PORT says where it answers")
