"""What to turn when a run does not fit, in the order of least harm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from iadr1.config import SftConfig, TrainConfig, TrainingConfig
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


def changes(
    config: TrainingConfig, now: Memory, compute: Callable[[TrainingConfig], Memory]
) -> tuple[Change, ...]:
    """Changes one upon another until the run fits on the smallest card, or none is left.

    Args:
        config: The run's settings.
        now: Its memory.
        compute: Memory of other settings.
    """
    found: list[Change] = []
    for idea_of in _IDEAS:
        for idea in idea_of(config):
            if now.card == CARDS[0]:
                return tuple(found)
            then = compute(idea.config)
            if then.peak > WORTH * now.peak:
                continue
            config, now = idea.config, then
            found.append(Change(idea.setting, idea.cost, then))
    return tuple(found)


def _checkpointing(config: TrainingConfig) -> Iterator[_Idea]:
    if not config.gradient_checkpointing:
        yield _idea(config, "about a third slower, same result", gradient_checkpointing=True)


def _batch(config: TrainingConfig) -> Iterator[_Idea]:
    """The same number of completions a step, in smaller pieces."""
    least = config.generations if isinstance(config, TrainConfig) else 1
    factor = config.batch_size // least
    if factor > 1:
        more = config.gradient_accumulation * factor
        yield _idea(config, "slower, same result", batch_size=least, gradient_accumulation=more)


def _pixels(config: TrainingConfig) -> Iterator[_Idea]:
    if config.max_pixels is None or config.max_pixels > FEWER_PIXELS:
        yield _idea(config, "small defects may no longer be seen", max_pixels=FEWER_PIXELS)


def _lora(config: TrainingConfig) -> Iterator[_Idea]:
    if not config.lora_rank:
        cost = "adapters are trained instead of all weights: raise learning_rate about tenfold"
        yield _idea(config, cost, lora_rank=RANK, freeze="")


def _zero(config: TrainingConfig) -> Iterator[_Idea]:
    processes = max(config.nproc, SPREAD_OVER)
    for stage in ("zero2", "zero3"):
        if config.deepspeed not in (stage, "zero3"):
            cost = f"{processes} GPUs and traffic between them; divide gradient_accumulation to keep the step's size"
            yield _idea(config, cost, deepspeed=stage, nproc=processes)


def _beta(config: TrainingConfig) -> Iterator[_Idea]:
    if isinstance(config, TrainConfig) and config.beta > 0:
        yield _idea(config, "nothing holds the model near its start", beta=0.0)


def _vllm(config: TrainingConfig) -> Iterator[_Idea]:
    if not isinstance(config, SftConfig) and getattr(config, "vllm", "server") == "off":
        yield _idea(config, "answers are written on other GPUs, by a vLLM server", vllm="server")


_IDEAS = (_checkpointing, _batch, _pixels, _lora, _zero, _beta, _vllm)


def _idea(config: TrainingConfig, cost: str, **settings: object) -> _Idea:
    changed = {key: value for key, value in settings.items() if getattr(config, key) != value}
    text = " ".join(f"{key}={_written(value)}" for key, value in changed.items())
    return _Idea(text, cost, dataclasses.replace(config, **changed))  # type: ignore[arg-type]


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'
