"""The config of the command that trains a segmenter."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """`iadr1 train-segmenter DATA...`: a small SAM 2 that draws the mask of a defect from its box.

    Each file of `data` is drawn from equally often, or as `shares` say. `init` is the folder of a segmenter to go on
    from, at another `side` if need be; `width` and `hidden` (channels of the encoder's first stage, and of the mask
    decoder) are then its own. The crop shown of a box is `context` times the box; a long box is stretched, by `stretch`
    at most, and a side has `min_side` pixels at least. Each side of a box is moved by up to `jitter` of the box's size,
    as a model's boxes are never exact. The weights that are kept are a running average with decay `average`. A mask of
    the model is the pixels with a logit above `threshold`, which changes no training.
    """

    STAGE: ClassVar[str] = "train-segmenter"

    data: tuple[Path, ...] = (Path("data/train.jsonl"),)
    shares: tuple[float, ...] = ()
    out: Path = Path("runs/segmenter")
    init: Path | None = None
    side: int = 256
    width: int = 24
    hidden: int = 64
    context: float = 1.5
    stretch: float = 2.0
    min_side: int = 32
    jitter: float = 0.15
    threshold: float = -0.5
    steps: int = 3000
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    max_grad_norm: float = 1.0
    average: float = 0.998
    save_steps: int = 100
    log_steps: int = 10
    resume: str = "auto"
    seed: int = 0
