"""Which part of a photo SAM 2 is shown for each box: the whole photo, or a crop around a small box.

SAM 2 resizes what it sees to one fixed square and draws on a grid of a quarter of it (256 x 256 cells for Meta's
models). On a photo of 4000 px a scratch of 100 px spans six cells, too few for a shape. Such a box is shown again in a
square crop, in which it spans a quarter of the side. Boxes that lie close together share a crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from iadr1.geometry import Box, Size

MIN_CELLS = 16.0
"""A box whose longer extent on the mask grid is below this many cells is small and gets a crop."""
CROP_CONTEXT = 4.0
"""Side of a crop, in multiples of the box's longer side."""
MIN_CROP = 64
"""Crops have at least this side, in pixels of the photo: below it there are only enlarged pixels to see."""
SHARED_UP_TO = 2.0
"""A box goes into another's crop where that is at most so many times as large as its own would be."""
MARGIN = 0.5
"""Surroundings a box keeps on each side in another's crop, as a fraction of its longer side."""

View = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the photo, right and bottom exclusive."""


@dataclass(frozen=True)
class Shown:
    """A view and the boxes drawn in it.

    Attributes:
        view: Part of the photo.
        boxes: Indexes of the boxes.
    """

    view: View
    boxes: list[int] = field(default_factory=list)


def plan_views(boxes: Mapping[int, Box], image_wh: Size, *, grid: int) -> list[Shown]:
    """Decide which view each box is shown in; every view is encoded once.

    Args:
        boxes: Index of each box -> the box, within the image, in its pixels.
        image_wh: Width and height of the photo.
        grid: Cells of the model's mask grid along one side.

    Returns:
        The views, the whole photo (where a box needs it) first.
    """
    whole = Shown((0, 0, *image_wh))
    crops: list[Shown] = []
    for index, box in sorted(boxes.items(), key=lambda item: (-_longer(item[1]), item[0])):
        view = crop_view(box, image_wh, grid=grid)
        if view == whole.view:
            whole.boxes.append(index)
            continue
        shared = next((crop for crop in crops if _fits(box, view, crop.view, image_wh)), None)
        if shared is None:
            shared = Shown(view)
            crops.append(shared)
        shared.boxes.append(index)
    return [whole, *crops] if whole.boxes else crops


def crop_view(box: Box, image_wh: Size, *, grid: int) -> View:
    """The crop a box would get for itself; the whole photo where the box is large enough or the crop is not smaller."""
    width, height = image_wh
    cells = grid * max((box[2] - box[0]) / width, (box[3] - box[1]) / height)
    if cells >= MIN_CELLS:
        return 0, 0, width, height
    side = max(MIN_CROP, round(CROP_CONTEXT * _longer(box)))
    left, right = _span((box[0] + box[2]) / 2, side, width)
    top, bottom = _span((box[1] + box[3]) / 2, side, height)
    return left, top, right, bottom


def _span(centre: float, side: int, length: int) -> tuple[int, int]:
    """A stretch of `side` pixels about a centre, moved into 0..length."""
    side = min(side, length)
    start = min(max(0, round(centre - side / 2)), length - side)
    return start, start + side


def _longer(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _fits(box: Box, own: View, other: View, image_wh: Size) -> bool:
    if max(other[2] - other[0], other[3] - other[1]) > SHARED_UP_TO * max(own[2] - own[0], own[3] - own[1]):
        return False
    margin = MARGIN * _longer(box)
    return (
        other[0] <= max(0.0, box[0] - margin)
        and other[1] <= max(0.0, box[1] - margin)
        and other[2] >= min(image_wh[0], box[2] + margin)
        and other[3] >= min(image_wh[1], box[3] + margin)
    )
