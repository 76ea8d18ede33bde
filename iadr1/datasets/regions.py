"""Defects from masks: one box for each region of touching or nearly touching pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iadr1.geometry import Box, location_word, mask_box
from iadr1.images import open_mask
from iadr1.records import Defect

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


def mask_defects(root: Path, mask: str, kind: str) -> tuple[Defect, ...]:
    """One defect of type `kind` for each region of a mask file; one without a box where the mask is empty.

    Every defect names the whole mask file, which also holds the image's other regions.

    Args:
        root: The folder `mask` is relative to.
        mask: POSIX path of the mask; pixels above 0 are defective.
        kind: The defect's type in words.
    """
    pixels = open_mask(root / mask)
    size = (pixels.shape[1], pixels.shape[0])
    found = tuple(
        Defect(type=kind, box=region.box, mask=mask, location=location_word(region.box, size))
        for region in regions(pixels)
    )
    return found or (Defect(type=kind, mask=mask),)
