"""Steps, schedule and checkpoints of a pretraining; a killed run goes on at its last whole checkpoint."""

from __future__ import annotations

import math
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from iadr1.config import PretrainConfig
from iadr1.errors import ModelError
from iadr1.records import RecordWriter
from iadr1.stages.pretrain.learning import Learner, Losses
from iadr1.stages.training.folder import Checkpoint, Step, mark_checkpoint, whole_checkpoints

_STATE = "state.pt"
_LOWEST = 0.03
"""Share of the learning rate that is left at the end."""


class PretrainStep(Step):
    """One step: `phase` is `vision` or `joint`; losses in nats a token (`language`, `drills`) or summed (`dense`)."""

    phase: str
    loss: float
    language: float | None = None
    dense: float
    drills: float | None = None
    grad_norm: float
    learning_rate: float


def checkpoint_heads(folder: Path) -> dict[str, torch.Tensor] | None:
    """The dense heads that a checkpoint's folder holds beside its model; None for any other folder.

    Raises:
        ModelError: The file cannot be read, or is of something else.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        heads: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["heads"]
    except (OSError, EOFError, RuntimeError, LookupError, TypeError, pickle.UnpicklingError) as error:
        raise ModelError(
            "holds no dense heads of a pretraining",
            where=str(path),
            hint="copy the folder without this file: the heads then begin at random",
        ) from error
    return heads


def optimizers(model: Any, heads: nn.Module, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the towers, AdamW for embeddings, norms, biases and heads."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    taken = {id(p) for p in inner}
    rest = [p for p in [*(p for _, p in named), *heads.parameters()] if id(p) not in taken]
    return [
        torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.97), weight_decay=0.0),
        torch.optim.Muon(
            inner, lr=config.muon_rate, weight_decay=config.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
    ]


def rate(step: int, config: PretrainConfig) -> float:
    """The factor on both learning rates at a step, from 1: warm-up, then a cosine down to `_LOWEST`."""
    done = (step - 1) / config.steps
    return min(1.0, step / max(1, config.warmup_steps)) * (
        _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * done))
    )


@dataclass
class Loop:
    """A run.

    Attributes:
        learner: The model and what it learns.
        config: The settings.
        config_hash: Written into checkpoints.
        save: Writes the model into a folder.
        on_step: Called with each step's line.
        seconds: Wall time so far.
    """

    learner: Learner
    config: PretrainConfig
    config_hash: str
    save: Callable[[Path], None]
    on_step: Callable[[PretrainStep], None]
    seconds: Callable[[], float]

    def run(self, checkpoint: Checkpoint | None) -> None:
        """Do the steps that are left."""
        groups = optimizers(self.learner.model, self.learner.heads, self.config)
        base = [[group["lr"] for group in optimizer.param_groups] for optimizer in groups]
        first = 1
        if checkpoint is not None:
            self._restore(checkpoint.path / _STATE, groups)
            first = checkpoint.step + 1
        with RecordWriter(self.config.out / "log.jsonl") as log:
            for step in range(first, self.config.steps + 1):
                factor = rate(step, self.config)
                for optimizer, rates in zip(groups, base, strict=True):
                    # Asked for anew at each step: restoring an optimizer replaces its groups.
                    for group, lr in zip(optimizer.param_groups, rates, strict=True):
                        group["lr"] = lr * factor
                line = self._step(step, groups)
                log.write(line)
                self.on_step(line)
                if step % self.config.save_steps == 0 or step == self.config.steps:
                    log.flush()
                    self._keep(step, groups)

    def _step(self, step: int, groups: list[torch.optim.Optimizer]) -> PretrainStep:
        # Chance depends on the step alone: a run that goes on draws what a straight one draws.
        rng = random.Random(f"{self.config.seed}/{step}")
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        phase = "vision" if step <= self.config.vision_steps else "joint"
        learn = self.learner.vision_step if phase == "vision" else self.learner.joint_step
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            losses: Losses = learn(rng)
        for optimizer in groups:
            optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        parameters = [p for optimizer in groups for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        if not norm.isfinite():
            self._stop(step)
        for optimizer in groups:
            optimizer.step()
        return PretrainStep(
            step=step,
            phase=phase,
            loss=losses.total.item(),
            language=losses.language,
            dense=losses.dense,
            drills=losses.drills,
            grad_norm=norm.item(),
            learning_rate=groups[0].param_groups[0]["lr"],
        )

    def _stop(self, step: int) -> NoReturn:
        last = max((checkpoint.step for checkpoint in whole_checkpoints(self.config.out, self.config_hash)), default=0)
        kept = f"checkpoint-{last} is whole and holds a model; " if last else ""
        raise ModelError(
            f"step {step} has a loss or gradient that is no number, so the run stops before it",
            where=str(self.config.out),
            hint=f"{kept}take another --out and a lower learning_rate or muon_rate, more warmup_steps, or bf16=false",
        )

    def _keep(self, step: int, groups: list[torch.optim.Optimizer]) -> None:
        folder = self.config.out / f"checkpoint-{step}"
        content = {
            "model": self.learner.model.state_dict(),
            "heads": self.learner.heads.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in groups],
        }
        folder.mkdir(exist_ok=True)
        torch.save(content, folder / _STATE)
        self.save(folder)  # a whole model, which `eval` takes while the run goes on
        mark_checkpoint(folder, config_hash=self.config_hash, step=step, totals={"wall_seconds": self.seconds()})
        # Only now, so that a kill at any moment leaves a whole one.
        for earlier in whole_checkpoints(self.config.out, self.config_hash):
            if earlier.step < step:
                shutil.rmtree(earlier.path, ignore_errors=True)  # one that stays takes room, no more

    def _restore(self, path: Path, groups: list[torch.optim.Optimizer]) -> None:
        content = torch.load(path, weights_only=True)
        self.learner.model.load_state_dict(content["model"])
        self.learner.heads.load_state_dict(content["heads"])
        for optimizer, state in zip(groups, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
