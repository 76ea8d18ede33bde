"""What the configs of all runs that train a model have in common."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """From which model, on what, into which folder, how far."""

    STAGE: ClassVar[str] = ""

    model: str = "tiny"
    data: Path = Path("data/fewshot.jsonl")
    root: Path | None = None
    out: Path = Path("runs/train")
    steps: int = 40
    batch_size: int = 32
    learning_rate: float = 3e-5
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    bf16: bool = False
    save_steps: int = 5
    resume: str = "auto"
    push_to_hub: str | None = None
    seed: int = 42

    @property
    def shown(self) -> int:
        """Most references shown before an image; their files count as seen in training."""
        return 0
