"""Masks for the defects of records: drawn, cleaned, and written down beside the box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import rle
from iadr1.masks.base import MaskResult, Segmenter, segment_many
from iadr1.masks.cleanup import clean
from iadr1.records import DetectedDefect


class Drawn(NamedTuple):
    """The defects of one photo with what is known of their masks, and the masks, boolean (H, W), in the same order."""

    defects: tuple[DetectedDefect, ...]
    masks: list[NDArray[np.bool_]]


def draw(
    segmenter: Segmenter, images: Sequence[Image.Image], defects_of_each: Sequence[Sequence[DetectedDefect]]
) -> list[Drawn]:
    """Draw and clean a mask for each defect's box; the images go to the segmenter together.

    Args:
        segmenter: Draws them.
        images: 8-bit RGB.
        defects_of_each: The defects of each image, boxes in its pixels.

    Raises:
        ModelError: The segmenter cannot draw.
        ValueError: There are not as many lists of defects as images.
    """
    boxes = [[defect.box for defect in defects] for defects in defects_of_each]
    return [
        _recorded(defects, [clean(result, defect.box) for defect, result in zip(defects, results, strict=True)])
        for defects, results in zip(defects_of_each, segment_many(segmenter, images, boxes), strict=True)
    ]


def _recorded(defects: Sequence[DetectedDefect], results: Sequence[MaskResult]) -> Drawn:
    known = (
        defect.model_copy(
            update={
                "mask_rle": dict(rle.encode(result.mask)),
                "mask_score": result.score,
                "mask_source": result.source,
                "area_px": int(result.mask.sum()),
                "agreement": result.agreement,
            }
        )
        for defect, result in zip(defects, results, strict=True)
    )
    return Drawn(tuple(known), [result.mask for result in results])
