"""The config of the pretraining of a small model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from iadr1.config.running import RunConfig


@dataclasses.dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """`iadr1 pretrain`: a small model from nothing, on a CPU.

    Of `steps`, the first `vision_steps` train the vision tower alone on dense labels; the others train everything.
    A step looks at `batch_size` images, teaches `lessons` on each (`formats` are the shares of the verdicts' formats),
    with `bare_boxes` also its boxes behind the image alone, and adds `drills`, texts to find among options without an
    image. `dense` weighs the dense labels beside the answers; `reference_share` of the joint steps show a photo of a
    good product first. `learning_rate` is AdamW's, for embeddings and norms, `muon_rate` Muon's, for matrices. `whiten`
    starts the patch embedding from the data.
    """

    STAGE: ClassVar[str] = "pretrain"

    model: str = "runs/tiny-new"
    data: Path = Path("data/train.jsonl")
    out: Path = Path("runs/pretrain")
    steps: int = 3200
    vision_steps: int = 700
    batch_size: int = 32
    lessons: int = 2
    bare_boxes: bool = True
    drills: int = 12
    formats: str = "boxes=6,structured=3,direct=2"
    dense: float = 0.5
    reference_share: float = 0.2
    learning_rate: float = 1e-3
    muon_rate: float = 2e-3
    warmup_steps: int = 80
    weight_decay: float = 0.02
    whiten: bool = True
    bf16: bool = True
    threads: int = 2
    save_steps: int = 100

    @property
    def shown(self) -> int:
        """Most references shown before an image."""
        return 1 if self.reference_share else 0


@dataclasses.dataclass(frozen=True)
class NewModelConfig:
    """`iadr1 model new`: a small Qwen2.5-VL with random weights and a tokenizer for the samples in `data`.

    `side` is that of the square input in pixels, a multiple of 28. `mrope_section` shares the rotary frequencies of
    `rope_theta` between time, rows and columns. `limit` is how many samples the tokenizer is trained on. With `numbers`
    each whole number up to `side` is one token, and near numbers begin alike. With `circuits` attention begins as
    looking back and finding the same token again. `vision` is the folder of a model whose vision tower is taken over.
    """

    STAGE: ClassVar[str] = "model new"

    data: Path = Path("data/train.jsonl")
    out: Path = Path("runs/tiny-new")
    side: int = 168
    vocabulary: int = 1200
    vision_depth: int = 5
    vision_width: int = 160
    vision_heads: int = 4
    vision_mlp: int = 448
    text_layers: int = 4
    text_width: int = 192
    text_heads: int = 4
    text_kv_heads: int = 2
    text_mlp: int = 576
    rope_theta: float = 10000.0
    mrope_section: str = "6,9,9"
    numbers: bool = True
    circuits: bool = True
    vision: Path | None = None
    limit: int = 60000
    seed: int = 0
