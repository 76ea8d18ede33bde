"""Small image files for trees in the layouts of real sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Photo = Callable[..., None]
Mask = Callable[..., None]


@pytest.fixture
def photo() -> Photo:
    """Writes a picture of one grey, 60x60 unless said otherwise; the suffix decides the format."""

    def write(path: Path, *, size: tuple[int, int] = (60, 60), grey: int = 120) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (grey, grey, grey)).save(path)

    return write


@pytest.fixture
def mask() -> Mask:
    """Writes a 60x60 mask with the boxes (x1, y1, x2, y2) filled with a value; in colour where the value is one."""

    def write(
        path: Path,
        boxes: Sequence[tuple[int, int, int, int]] = (),
        *,
        value: int | tuple[int, int, int] = 255,
        size: tuple[int, int] = (60, 60),
    ) -> None:
        shape = (size[1], size[0]) if isinstance(value, int) else (size[1], size[0], 3)
        pixels = np.zeros(shape, dtype=np.uint8)
        for x1, y1, x2, y2 in boxes:
            pixels[y1:y2, x1:x2] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return write
