"""Learning: the loss, the running average of the weights, and what a checkpoint holds."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from iadr1.config import SegmenterConfig
from iadr1.errors import DataError, OutputError
from iadr1.stages.segmenter.batches import Batch
from iadr1.stages.segmenter.network import ask

_AROUND = 0.2
"""Beyond the box grown by this fraction, where masks are cut off anyway, pixels count little."""
_FAR = 0.1
_SCORE = 0.1
"""Weight of the error of the network's own guess of its IoU."""
_BETAS = (0.9, 0.98)


class Figures(NamedTuple):
    """What a step reports: the loss, and the mean IoU of drawn and true masks on the batch, 0..1."""

    loss: float
    iou: float


def loss_of(network: Any, batch: Batch) -> tuple[Tensor, Figures]:
    """Binary cross-entropy, soft Jaccard distance, and the error of the IoU guess; each box counts the same.

    The soft Jaccard distance is one minus intersection over union, with probabilities for pixels: what is measured
    in the end, so that a thin scratch weighs as much as a large stain.
    """
    pixels, boxes, targets = (torch.from_numpy(part) for part in batch)
    logits, guesses = ask(network, pixels, boxes)
    logits = functional.interpolate(logits, size=targets.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    weights = near(boxes, side=pixels.shape[-1], grid=targets.shape[-1])
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    entropy = (weights * entropy).sum((1, 2)) / weights.sum((1, 2))
    drawn, wanted = weights * logits.sigmoid(), weights * targets
    shared = (drawn * targets).sum((1, 2))
    union = drawn.sum((1, 2)) + wanted.sum((1, 2)) - shared
    jaccard = 1 - (shared + 1) / (union + 1)
    with torch.no_grad():
        hard, true = (logits > 0) & (weights == 1), targets > 0.5
        reached = (hard & true).sum((1, 2)) / (hard | true).sum((1, 2)).clamp(min=1)
    loss = (entropy + jaccard + _SCORE * (guesses - reached).abs()).mean()
    return loss, Figures(float(loss.detach()), float(reached.mean()))


def near(boxes: Tensor, *, side: int, grid: int) -> Tensor:
    """Weights (N, grid, grid) of the pixels: 1 in the grown box, little beyond it."""
    cells = (torch.arange(grid) + 0.5)[None] * (side / grid)
    width, height = boxes[:, 2:3] - boxes[:, :1], boxes[:, 3:] - boxes[:, 1:2]
    across = (cells >= boxes[:, :1] - _AROUND * width) & (cells <= boxes[:, 2:3] + _AROUND * width)
    down = (cells >= boxes[:, 1:2] - _AROUND * height) & (cells <= boxes[:, 3:] + _AROUND * height)
    return torch.where(down[:, :, None] & across[:, None], 1.0, _FAR)


class Learner:
    """A network while it learns: its weights, their running average, the optimiser's state, and the steps done.

    Args:
        network: The weights to start from.
        config: The run's settings.
    """

    def __init__(self, network: Any, config: SegmenterConfig) -> None:
        self.config, self.network, self.done = config, network.train(), 0
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay
        )

    def step(self, batch: Batch) -> Figures:
        """Learn from one batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate(
                self.done, steps=self.config.steps, warmup=self.config.warmup_steps
            )
        loss, figures = loss_of(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.done += 1
        # A short average at first: it must not hold on to random weights.
        keep = min(self.config.average, self.done / (self.done + 20))
        with torch.no_grad():
            for mean, own in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(own, 1 - keep)
        return figures

    def save(self, path: Path, *, config_hash: str, seconds: float) -> None:
        """Write everything a run needs to go on, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        temporary = path.with_name(f".{path.name}.tmp")
        content = {
            "config_hash": config_hash,
            "done": self.done,
            "seconds": seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        try:
            torch.save(content, temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch says RuntimeError where the disk is full
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise OutputError(
                f"cannot save: {reason}", where=str(path), hint="make room; the same command goes on from the last save"
            ) from error

    def restore(self, path: Path, *, config_hash: str) -> float:
        """Go on from what `save` wrote; returns the seconds the run had taken.

        Raises:
            DataError: The file cannot be read, or is not a checkpoint of this run.
        """
        try:
            content = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise DataError(
                "the checkpoint cannot be read",
                where=str(path),
                hint="choose another --out, or delete it to start anew",
            ) from error
        if content["config_hash"] != config_hash:
            raise DataError(
                f"the checkpoint is of run {content['config_hash']}, this is run {config_hash}",
                where=str(path),
                hint="choose another --out",
            )
        self.network.load_state_dict(content["network"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.done = int(content["done"])
        return float(content["seconds"])


def rate(done: int, *, steps: int, warmup: int) -> float:
    """The step size after `done` of `steps` steps, in 0..1: a linear rise, then half a cosine."""
    if done < warmup:
        return (done + 1) / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / max(1, steps - warmup)))
