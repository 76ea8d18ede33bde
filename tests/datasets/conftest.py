"""Small image files for trees in the layouts of real sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Photo = Callable[[Path], None]
Mask = Callable[..., None]


@pytest.fixture
def photo() -> Photo:
    """Writes a grey 60x60 picture; the suffix decides the format."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 60), (120, 120, 120)).save(path)

    return write


@pytest.fixture
def mask() -> Mask:
    """Writes a 60x60 mask with the boxes (x1, y1, x2, y2) filled with a value."""

    def write(path: Path, boxes: Sequence[tuple[int, int, int, int]] = (), *, value: int = 255) -> None:
        pixels = np.zeros((60, 60), dtype=np.uint8)
        for x1, y1, x2, y2 in boxes:
            pixels[y1:y2, x1:x2] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    return write
