"""A small world of bright rectangles on noise, with masks, boxes and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iadr1 import rle
from iadr1.config import SegmenterConfig
from iadr1.records import Defect, Sample, write_records

SIZE = (60, 48)
"""Width and height of the photos."""


def sample(name: str, defects: tuple[Defect, ...], **more: Any) -> Sample:
    """A yes/no sample about `name`.png."""
    known = {
        "id": name, "dataset": "made", "category": "plate", "split": "train", "image": f"{name}.png",
        "task": "anomaly", "question": "?", "answer": "Yes", "question_type": "Anomaly Detection",
    }  # fmt: skip
    return Sample(**{**known, "defects": defects, **more})


def rectangle(box: tuple[int, int, int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A filled rectangle as a mask of a photo."""
    mask = np.zeros(SIZE[::-1], dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def draw(folder: Path, name: str, box: tuple[int, int, int, int], *, seed: int = 0) -> None:
    """A photo with a bright rectangle, and its mask as `name`_mask.png."""
    mask = rectangle(box)
    noise = np.random.default_rng(seed).normal(90, 12, (*SIZE[::-1], 3))
    pixels = np.clip(noise + 90 * mask[..., None], 0, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")


def floats(box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    """A box as samples hold it."""
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def make(folder: Path, *, photos: int = 6, name: str = "samples") -> Path:
    """Samples with a defect each: mask files, and run lengths for every second one; two types."""
    samples = []
    rng = np.random.default_rng(photos)
    for number in range(photos):
        left, top = (int(rng.integers(4, limit)) for limit in (30, 20))
        box = (left, top, left + int(rng.integers(8, 24)), top + int(rng.integers(8, 24)))
        draw(folder, f"{number}", box, seed=number)
        where: dict[str, Any] = {"mask": f"{number}_mask.png"}
        if number % 2:
            where = {"mask_rle": dict(rle.encode(rectangle(box)))}
        kind = "stain" if number < photos // 2 else "scratch"
        samples.append(sample(f"{number}", (Defect(type=kind, box=floats(box), **where),)))
    write_records(folder / f"{name}.jsonl", samples)
    return folder / f"{name}.jsonl"


def small(data: Path | tuple[Path, ...], out: Path, **more: Any) -> SegmenterConfig:
    """The settings of a run of a few seconds."""
    known: dict[str, Any] = {
        "side": 64, "width": 8, "hidden": 32, "steps": 6, "batch_size": 2, "save_steps": 2, "log_steps": 1,
        "warmup_steps": 2,
    }  # fmt: skip
    files = data if isinstance(data, tuple) else (data,)
    return SegmenterConfig(data=files, out=out, **{**known, **more})
