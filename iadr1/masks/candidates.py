"""Which of SAM 2's masks a box gets: the single one, or one of the three candidates for ambiguous prompts.

SAM 2 draws a single mask, meant for prompts as clear as a box, and three more (roughly whole, part and sub-part). A box
says where the object ends, so the mask whose own bounding box agrees with it is the better guess: a mask of the whole
product reaches far beyond, one of a spot within the defect stays far inside. The rule cannot be measured without
Meta's weights; it departs from their recommendation (the single mask) only where that one disagrees with the box.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AGREED = 0.7
"""The single mask is kept where the IoU of its bounding box and the prompt reaches this."""

FloatArray = NDArray[np.floating]


def agreements(masks: NDArray[np.bool_], boxes: FloatArray) -> FloatArray:
    """IoU of each mask's bounding box and its prompt; 0 for an empty mask.

    Args:
        masks: (N, C, H, W), C masks for each of N boxes.
        boxes: (N, 4), in cells of the masks.

    Returns:
        (N, C), 0..1.
    """
    left, right = _extent(np.any(masks, axis=-2))
    top, bottom = _extent(np.any(masks, axis=-1))
    x1, y1, x2, y2 = (boxes[:, None, side] for side in range(4))
    across = np.clip(np.minimum(right, x2) - np.maximum(left, x1), 0, None)
    down = np.clip(np.minimum(bottom, y2) - np.maximum(top, y1), 0, None)
    shared = across * down
    union = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - shared
    result: FloatArray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result


def choose(masks: NDArray[np.bool_], scores: FloatArray, boxes: FloatArray) -> NDArray[np.intp]:
    """For each box the mask with the highest product of agreement and score; the first one where several are equal.

    Args:
        masks: (N, C, H, W).
        scores: (N, C), the model's estimates of each mask's IoU, 0..1.
        boxes: (N, 4), in cells of the masks.

    Returns:
        (N), indexes of the chosen masks.
    """
    chosen: NDArray[np.intp] = np.argmax(agreements(masks, boxes) * scores, axis=1)
    return chosen


def _extent(touched: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """First and one past the last true cell along the last axis; 0 and 0 where none is."""
    length = touched.shape[-1]
    some = touched.any(axis=-1)
    first = np.where(some, touched.argmax(axis=-1), 0)
    last = np.where(some, length - touched[..., ::-1].argmax(axis=-1), 0)
    return first.astype(np.float64), last.astype(np.float64)
