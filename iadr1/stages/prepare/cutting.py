"""What is left of a defect in a part of its photo, or in a mirrored copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iadr1 import rle
from iadr1.errors import DataError
from iadr1.geometry import Box, Size, box_area, box_mask, clip_box, location_word, mask_box
from iadr1.images import open_mask
from iadr1.records import Defect

Mask = NDArray[np.bool_]
Window = tuple[int, int, int, int]
"""A part of a photo in its pixels: left, top, right, bottom."""

KEPT = 0.25
"""A defect counts in a tile that shows this share of it, or of which it fills this share."""
LEAST_SIDE = 4
"""Shortest side in pixels of the box of a defect that a tile cuts off; `data check` warns of smaller ones."""


class Remainder(Exception):  # noqa: N818  (no error: it tells the caller to leave the tile out)
    """A tile shows too little of a defect to call it defective, and is not normal either."""


def mask_of(defect: Defect, root: Path, size: Size) -> Mask | None:
    """The mask (H, W) of one defect: its own, or the part of its mask file inside its box.

    Args:
        defect: The defect.
        root: The folder its mask file is relative to.
        size: (width, height) of its photo.

    Returns:
        None where it has no mask, or an empty one.

    Raises:
        DataError: The mask is of another size than the photo.
        ImageError: It cannot be read.
    """
    if defect.mask_rle is not None:
        mask = rle.decode(rle.parse(defect.mask_rle))
    elif defect.mask is not None and defect.box is not None:
        mask = open_mask(root / defect.mask, threshold=defect.mask_threshold)
    else:
        return None
    if mask.shape != (size[1], size[0]):
        raise DataError(
            f"the mask of a defect is {mask.shape[1]}x{mask.shape[0]} px, its image {size[0]}x{size[1]} px",
            where=defect.mask or defect.type,
            hint="a mask must show its image pixel by pixel",
        )
    if defect.mask_rle is None and defect.box is not None:
        mask = mask & box_mask(defect.box, size)
    return mask if mask.any() else None


def placed(defect: Defect, box: Box, mask: Mask | None, size: Size) -> Defect:
    """The defect at a place in an image of this size, with its mask as run lengths."""
    return defect.model_copy(
        update={
            "box": box,
            "mask": None,
            "mask_threshold": 0,
            "mask_rle": None if mask is None else dict(rle.encode(mask)),
            "location": location_word(box, size),
        }
    )


def cut(defect: Defect, mask: Mask | None, window: Window) -> Defect | None:
    """What a tile shows of a defect, in the tile's pixels; None where it shows nothing of it.

    Areas are of the mask where there is one, else of the box. The part counts where it is `KEPT` of the whole or of
    the tile, and its box, where the tile cuts the defect off, at least `LEAST_SIDE` px a side.

    Args:
        defect: With a box in pixels of the photo.
        mask: Of this defect in the photo; None where none is known.
        window: The tile.

    Raises:
        Remainder: The part is smaller.
    """
    left, top, right, bottom = window
    size = (right - left, bottom - top)
    x1, y1, x2, y2 = defect.box or (0.0, 0.0, 0.0, 0.0)
    if x1 >= right or y1 >= bottom or x2 <= left or y2 <= top:
        return None
    part = None if mask is None else mask[top:bottom, left:right]
    box = clip_box((x1 - left, y1 - top, x2 - left, y2 - top), size) if part is None else mask_box(part)
    if box is None:
        return None
    shown = box_area(box) if part is None else float(part.sum())
    whole = box_area((x1, y1, x2, y2)) if mask is None else float(mask.sum())
    narrow = min(box[2] - box[0], box[3] - box[1]) < LEAST_SIDE
    if shown < KEPT * min(whole, size[0] * size[1]) or (narrow and shown < whole):
        raise Remainder
    return placed(defect, box, part, size)


def mirrored(defect: Defect, size: Size, *, lr: bool, tb: bool) -> Defect:
    """The defect in an image of this size whose left and right (`lr`), top and bottom (`tb`) are exchanged."""
    if defect.box is None:
        return defect.model_copy(update={"location": None})
    x1, y1, x2, y2 = defect.box
    x1, x2 = (size[0] - x2, size[0] - x1) if lr else (x1, x2)
    y1, y2 = (size[1] - y2, size[1] - y1) if tb else (y1, y2)
    mask = None
    if defect.mask_rle is not None:
        mask = rle.decode(rle.parse(defect.mask_rle))[:: -1 if tb else 1, :: -1 if lr else 1]
    return placed(defect, (x1, y1, x2, y2), mask, size)
