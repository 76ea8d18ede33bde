"""Defects from masks: one box for each region of touching or nearly touching pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iadr1.geometry import Box, mask_box

MIN_AREA_PX = 4
"""Regions of fewer pixels are taken for noise of the annotation."""
MERGE_GAP_PX = 3
"""Regions with fewer pixels than this between them are one."""


@dataclass(frozen=True)
class Region:
    """One connected region of a mask: its tight box in pixels (x2, y2 exclusive) and its area in pixels."""

    box: Box
    area_px: int


def regions(mask: NDArray[np.bool_]) -> list[Region]:
    """The regions of a mask of shape (H, W), from top to bottom, then left to right.

    Pixels that touch, corners included, belong together, and so do parts less than `MERGE_GAP_PX` apart; what is
    then below `MIN_AREA_PX` is dropped.
    """
    from scipy import ndimage

    around = mask_box(mask)
    if around is None:
        return []
    x0, y0 = int(around[0]), int(around[1])
    # Only the part with content is labelled: masks are large and defects small.
    part = np.pad(mask[y0 : int(around[3]), x0 : int(around[2])], MERGE_GAP_PX)
    touching = np.ones((3, 3), dtype=bool)
    reach = MERGE_GAP_PX // 2
    grown = ndimage.binary_dilation(part, structure=touching, iterations=reach)
    labels = ndimage.label(grown, structure=touching)[0] * part
    found: list[Region] = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is None:
            continue
        area = int((labels[place] == number).sum())
        if area >= MIN_AREA_PX:
            ys, xs = place
            dx, dy = x0 - MERGE_GAP_PX, y0 - MERGE_GAP_PX
            box = (float(xs.start + dx), float(ys.start + dy), float(xs.stop + dx), float(ys.stop + dy))
            found.append(Region(box, area))
    return sorted(found, key=lambda region: (region.box[1], region.box[0]))
