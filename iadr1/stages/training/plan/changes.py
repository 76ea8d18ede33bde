"""What to turn when a run does not fit, in the order of least harm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from iadr1.config import TrainConfig, TrainingConfig
from iadr1.stages.training.plan.memory import CARDS, Memory

FEWER_PIXELS = 480_000
"""IAD-R1's `max_pixels` (its training scripts)."""
RANK = 64
SPREAD_OVER = 4
"""GPUs of the papers' machines."""
WORTH = 0.99
"""A change that leaves more than this share of the peak is not worth naming."""


@dataclass(frozen=True)
class Change:
    """A setting that lowers the peak.

    Attributes:
        setting: As it is written behind the recipe's name.
        cost: What it costs.
        memory: Per GPU, with this change and those before it.
    """

    setting: str
    cost: str
    memory: Memory


@dataclass(frozen=True)
class _Idea:
    setting: str
    cost: str
    config: TrainingConfig


def changes(config: TrainingConfig, now: Memory, compute: Callable[[TrainingConfig], Memory]) -> tuple[Change, ...]:
    """Changes one upon another until the run fits on the smallest card, or none is left.

    Args:
        config: The run's settings.
        now: Its memory.
        compute: Memory of other settings.
    """
    found: list[Change] = []
    for idea_of in _IDEAS:
        if now.card == CARDS[0]:
            break
        idea = idea_of(config)
        if idea is None:
            continue
        then = compute(idea.config)
        if then.peak <= WORTH * now.peak:
            config, now = idea.config, then
            found.append(Change(idea.setting, idea.cost, then))
    return tuple(found)


def _checkpointing(config: TrainingConfig) -> _Idea | None:
    if config.gradient_checkpointing:
        return None
    return _idea(config, "about a third slower, same result", gradient_checkpointing=True)


def _batch(config: TrainingConfig) -> _Idea | None:
    """The same number of completions a step, in smaller pieces."""
    least = config.generations if isinstance(config, TrainConfig) else 1
    factor = config.batch_size // least
    if factor < 2:
        return None
    more = config.gradient_accumulation * factor
    return _idea(config, "slower, same result", batch_size=least, gradient_accumulation=more)


def _pixels(config: TrainingConfig) -> _Idea | None:
    if config.max_pixels is not None and config.max_pixels <= FEWER_PIXELS:
        return None
    return _idea(config, "small defects may no longer be seen", max_pixels=FEWER_PIXELS)


def _lora(config: TrainingConfig) -> _Idea | None:
    if config.lora_rank:
        return None
    cost = "adapters are trained instead of all weights: raise learning_rate about tenfold"
    return _idea(config, cost, lora_rank=RANK, freeze="")


def _deepspeed(config: TrainingConfig) -> _Idea | None:
    """On the GPUs that there are: DeepSpeed holds the model in bfloat16, where autocast leaves it in float32."""
    if config.deepspeed is not None or not config.bf16:
        return None
    return _idea(config, "needs the extra deepspeed; weights are held in bfloat16", deepspeed="zero2")


def _more_gpus(config: TrainingConfig) -> _Idea | None:
    if config.nproc >= SPREAD_OVER:
        return None
    cost = f"{SPREAD_OVER} GPUs; divide gradient_accumulation to keep the step's size"
    return _idea(config, cost, deepspeed=config.deepspeed or "zero2", nproc=SPREAD_OVER)


def _zero3(config: TrainingConfig) -> _Idea | None:
    if config.deepspeed == "zero3" or config.nproc == 1:
        return None
    return _idea(config, "more traffic between the GPUs", deepspeed="zero3")


def _beta(config: TrainingConfig) -> _Idea | None:
    if not isinstance(config, TrainConfig) or not config.beta:
        return None
    return _idea(config, "nothing holds the model near its start", beta=0.0)


def _vllm(config: TrainingConfig) -> _Idea | None:
    if not isinstance(config, TrainConfig) or config.vllm != "off":
        return None
    cost = "answers are written on other GPUs, by a vLLM server"
    return _idea(config, cost, vllm="server", vllm_url="http://HOST:8000")


_IDEAS = (_checkpointing, _batch, _pixels, _lora, _deepspeed, _more_gpus, _zero3, _beta, _vllm)


def _idea(config: TrainingConfig, cost: str, **settings: object) -> _Idea:
    changed = {key: value for key, value in settings.items() if getattr(config, key) != value}
    text = " ".join(f"{key}={_written(value)}" for key, value in changed.items())
    return _Idea(text, cost, dataclasses.replace(config, **changed))  # type: ignore[arg-type]


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'
