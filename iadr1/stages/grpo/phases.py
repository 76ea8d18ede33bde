"""How long each phase of a GRPO run takes, so that a slow run can be told from a run with slow answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from iadr1.atomic import write_text_atomic
from iadr1.stages.training.folder import Checkpoint

_METHODS = {
    "get_batch_samples": "data",
    "_generate": "generate",
    "_calculate_rewards": "reward",
    "_get_per_token_logps_and_entropies": "logprob",
    "training_step": "backward",
    "_clip_grad_norm": "optimizer",
    "_get_grad_norm": "optimizer",
    "_save_checkpoint": "save",
}
"""The trainer's method -> the phase its time counts under, less that of the methods called inside it.

What `training_step` takes beyond the others is mostly the backward pass."""

PHASES = (*dict.fromkeys(_METHODS.values()), "other")
"""Opening images, writing answers, rewarding them, log-probabilities (of policy and reference), backward, optimizer,
writing checkpoints, and what is left (logs, callbacks)."""

_FILE = "phase_seconds.json"


class Phases(TrainerCallback):
    """Times a trainer's methods by wrapping them on the instance; the trainer's class stays as it is.

    The phases of a run add up to the wall time between its first and its last step. They are written into each
    checkpoint, so that those of a resumed run count every step once.

    Args:
        trainer: TRL's `GRPOTrainer`.
        checkpoint: Where the run goes on from; its figures are added to.

    Attributes:
        seconds: Phase of `PHASES` -> seconds so far, all steps together.
    """

    def __init__(self, trainer: Any, checkpoint: Checkpoint | None = None) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        earlier = None if checkpoint is None else checkpoint.path / _FILE
        if earlier is not None and earlier.is_file():
            self.seconds |= json.loads(earlier.read_text(encoding="utf-8"))
        self._inner = 0.0
        self._stepping: float | None = None
        self._begin()
        for name, phase in _METHODS.items():
            setattr(trainer, name, self._timed(getattr(trainer, name), phase))
        trainer.add_callback(self)

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

    def _begin(self) -> None:
        self._begun, self._counted = _now(), sum(self.seconds.values())

    def _add_rest(self) -> None:
        """Count under `other` what has passed and is in no phase."""
        self.seconds["other"] += (_now() - self._begun) - (sum(self.seconds.values()) - self._counted)
        self._begin()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock: what came before was loading."""
        self._begin()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The optimizer starts; its `step` is not the trainer's method."""
        self._stepping = _now()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The optimizer is done."""
        if self._stepping is not None:
            self.seconds["optimizer"] += _now() - self._stepping
        self._stepping = None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the figures in the checkpoint that has just been written."""
        self._add_rest()
        if state.is_world_process_zero:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
            write_text_atomic(path, json.dumps({phase: round(value, 3) for phase, value in self.seconds.items()}))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock."""
        self._add_rest()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
