"""What every segmenter offers to the stages: an image and boxes in, one mask per box out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
        agreement: IoU of the box and the mask's own bounding box, 0..1; set by `clean`, None before. A low value says
            that box and mask disagree on where the defect is. The filled box agrees with itself: look at `source` too.
    """

    mask: NDArray[np.bool_]
    score: float
    source: str
    agreement: float | None = None


class Segmenter(Protocol):
    """A way to turn boxes into masks."""

    name: str
    """The segmenter as the user named it."""

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """One mask per box, in order; `image` is 8-bit RGB, boxes are in its pixels.

        Whatever the box: corners in the wrong order are put in order, what lies outside the image is cut off, and
        where nothing is left (no area, outside, NaN) the mask is empty, with score 0 and source `box`.
        """
        ...


@runtime_checkable
class BatchSegmenter(Protocol):
    """A segmenter that is faster when it gets several images at once."""

    def segment_many(
        self, images: Sequence[Image.Image], boxes_of_each: Sequence[Sequence[Box]]
    ) -> list[list[MaskResult]]:
        """For each image what `Segmenter.segment` gives for it and its boxes."""
        ...


def segment_many(
    segmenter: Segmenter, images: Sequence[Image.Image], boxes_of_each: Sequence[Sequence[Box]]
) -> list[list[MaskResult]]:
    """The masks of several images: in true batches where the segmenter can, else one image after the other.

    Raises:
        ValueError: There are not as many lists of boxes as images.
    """
    if len(images) != len(boxes_of_each):
        raise ValueError(f"{len(images)} images, but {len(boxes_of_each)} lists of boxes")
    if isinstance(segmenter, BatchSegmenter):
        return segmenter.segment_many(images, boxes_of_each)
    return [segmenter.segment(image, boxes) for image, boxes in zip(images, boxes_of_each, strict=True)]


def filled_box(box: Box, image_wh: tuple[int, int]) -> MaskResult:
    """The box itself as a mask, score 0: the stand-in where no object could be told from its surroundings.

    Empty for a box of which nothing lies in the image.
    """
    return MaskResult(box_mask(box, image_wh), 0.0, "box")
