"""The clean-up chain every mask goes through."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from iadr1.geometry import Box, Size, clip_box, dilate_box, iou, mask_box
from iadr1.masks.base import MaskResult

DILATION = 0.1
"""How far a mask may reach beyond its box, as a fraction of the box's width and height on each side."""
MIN_ISLAND = 0.05
"""Islands smaller than this fraction of the largest one are dropped."""


def clean(result: MaskResult, box: Box, *, dilation: float = DILATION, min_island: float = MIN_ISLAND) -> MaskResult:
    """Clip a mask to its dilated box, fill holes, drop small islands, and say how far mask and box agree.

    Args:
        result: The segmenter's mask, (H, W).
        box: The box it was made for, in pixels of the mask.
        dilation: Fraction of the box's sides the mask may reach beyond it (at least 1 px).
        min_island: Islands (8-connected) below this fraction of the largest one's area are dropped.

    Returns:
        A mask with its `agreement`. Where nothing is left of it, the filled box with score 0 and source `box`; that
        one is empty, with agreement 0, for a box of which nothing lies in the image (no area, outside, NaN).
    """
    height, width = result.mask.shape
    image_wh = (width, height)
    inside = clip_box(box, image_wh)
    if inside is None:
        return MaskResult(np.zeros((height, width), dtype=bool), 0.0, "box", 0.0)
    # All work is done in this window: on a large photo with many boxes the rest of each mask is never touched.
    window = pixel_window(dilate_box(inside, dilation, image_wh), image_wh)
    kept = _without_islands(ndimage.binary_fill_holes(result.mask[window]), min_island)
    score, source = result.score, result.source
    if kept is None:
        score, source = 0.0, "box"
        window = pixel_window(inside, image_wh)
        kept = np.ones(result.mask[window].shape, dtype=bool)
    mask = np.zeros((height, width), dtype=bool)
    mask[window] = kept
    return MaskResult(mask, score, source, _agreement(kept, window, inside))


def pixel_window(box: Box, image_wh: Size) -> tuple[slice, slice]:
    """The rows and columns of the pixels a box touches; both empty where nothing of it lies in the image."""
    inside = clip_box(box, image_wh)
    if inside is None:
        return slice(0, 0), slice(0, 0)
    x1, y1, x2, y2 = inside
    return slice(int(y1), math.ceil(y2)), slice(int(x1), math.ceil(x2))


def _without_islands(mask: NDArray[np.bool_], min_island: float) -> NDArray[np.bool_] | None:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    keep = np.concatenate(([False], sizes >= min_island * sizes.max()))
    kept: NDArray[np.bool_] = keep[labels]
    return kept


def _agreement(part: NDArray[np.bool_], window: tuple[slice, slice], box: Box) -> float:
    """IoU of a box and the bounding box of a mask that is given by the part of it in a window."""
    own = mask_box(part)
    if own is None:
        return 0.0
    x, y = float(window[1].start), float(window[0].start)
    return iou(box, (own[0] + x, own[1] + y, own[2] + x, own[3] + y))
