"""The clean-up chain every mask goes through."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from iadr1.geometry import Box, box_mask, dilate_box
from iadr1.masks.base import MaskResult, filled_box

DILATION = 0.1
"""How far a mask may reach beyond its box, as a fraction of the box's width and height on each side."""
MIN_ISLAND = 0.05
"""Islands smaller than this fraction of the largest one are dropped."""


def clean(result: MaskResult, box: Box, *, dilation: float = DILATION, min_island: float = MIN_ISLAND) -> MaskResult:
    """Clip a mask to its dilated box, fill holes and drop small islands.

    Args:
        result: The segmenter's mask, (H, W).
        box: The box it was made for, in pixels of the mask.
        dilation: Fraction of the box's sides the mask may reach beyond it (at least 1 px).
        min_island: Islands (8-connected) below this fraction of the largest one's area are dropped.

    Returns:
        A mask that is never empty: where nothing is left, the filled box with score 0 and source `box`.
    """
    height, width = result.mask.shape
    image_wh = (width, height)
    window = _window(dilate_box(box, dilation, image_wh), image_wh)
    part = ndimage.binary_fill_holes(result.mask[window])
    labels, count = ndimage.label(part, structure=np.ones((3, 3), dtype=bool))
    if count == 0:
        return filled_box(box, image_wh)
    sizes = np.bincount(labels.ravel())[1:]
    keep = np.concatenate(([False], sizes >= min_island * sizes.max()))
    mask = np.zeros_like(result.mask, dtype=bool)
    mask[window] = keep[labels]
    return MaskResult(mask, result.score, result.source)


def _window(box: Box, image_wh: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the pixels a box touches."""
    touched = box_mask(box, image_wh)
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
