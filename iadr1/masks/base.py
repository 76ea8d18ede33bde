"""What every segmenter offers to the stages: an image and boxes in, one mask per box out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1.geometry import Box, box_mask


@dataclass(frozen=True)
class MaskResult:
    """The mask of one box.

    Attributes:
        mask: Boolean (H, W) of the stored image.
        score: How far the mask can be trusted, 0..1; each segmenter documents its measure.
        source: Who made it: the segmenter's name, or `box` where it found nothing and the filled box stands in.
    """

    mask: NDArray[np.bool_]
    score: float
    source: str


class Segmenter(Protocol):
    """A way to turn boxes into masks."""

    name: str
    """The segmenter as the user named it."""

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """One mask per box, in order; `image` is 8-bit RGB, boxes are in its pixels."""
        ...


def filled_box(box: Box, image_wh: tuple[int, int]) -> MaskResult:
    """The box itself as a mask, score 0: the stand-in where no object could be told from its surroundings."""
    return MaskResult(box_mask(box, image_wh), 0.0, "box")
