"""Masks of label ids for trees in the layouts of real sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]


def write_labels(path: Path, boxes: Mapping[int, Box], *, palette: bool = False) -> None:
    """Writes a 60x60 mask with each box (x1, y1, x2, y2) filled with its value."""
    pixels = np.zeros((60, 60), dtype=np.uint8)
    for value, (x1, y1, x2, y2) in boxes.items():
        pixels[y1:y2, x1:x2] = value
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([channel for value in range(256) for channel in (255 - value, value, 7)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
