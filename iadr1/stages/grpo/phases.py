"""How long each phase of a GRPO step takes: generating, rewarding, log-probabilities, the rest (mostly backward)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

_METHODS = {
    "generate": "_generate",
    "reward": "_calculate_rewards",
    "logprob": "_get_per_token_logps_and_entropies",
}
"""Phase -> the trainer's method it is spent in; what `training_step` takes beyond them is the backward pass."""


class Phases:
    """Times a trainer's methods by wrapping them on the instance; the trainer's class stays as it is.

    Args:
        trainer: TRL's `GRPOTrainer`.

    Attributes:
        seconds: Phase -> seconds so far, all steps together.
    """

    def __init__(self, trainer: Any) -> None:
        self.seconds = dict.fromkeys((*_METHODS, "backward"), 0.0)
        for phase, name in _METHODS.items():
            setattr(trainer, name, self._timed(getattr(trainer, name), phase))
        trainer.training_step = self._timed(trainer.training_step, "backward")
        self._inner = 0.0

    def _timed(self, method: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started, inner_before = _now(), self._inner
            self._inner = 0.0
            try:
                return method(*args, **kwargs)
            finally:
                whole = _now() - started
                # What timed methods inside this one took is theirs.
                self.seconds[phase] += whole - self._inner
                self._inner = inner_before + whole

        return timed


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
