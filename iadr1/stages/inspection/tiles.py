"""Large photos in tiles: where they are cut, and how the boxes found in overlapping tiles become one list."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from iadr1.errors import UsageError
from iadr1.geometry import Box, Size, box_area, iou
from iadr1.prompts import LabelledBox

OVERLAP = 0.2
"""How much of a tile's side its neighbour shows as well, so that a small defect is whole in one of them."""
MOST_SHRUNK = 2.0
"""With `auto` a side is cut until the model sees it shrunk to no less than 1 / this."""
MOST_SIDE = 8
"""Most tiles along a side."""
SAME_IOU = 0.5
INSIDE = 0.8
"""A box of which this share lies inside another one shows the same defect."""
_SAME_SHAPE = 0.02
_TILES = re.compile(r"([1-9])x([1-9])")

Window = tuple[int, int, int, int]
"""A part of a photo in its pixels: left, top, right, bottom."""


def read_tiles(text: str) -> tuple[int, int] | str:
    """`3x2` -> (3, 2), columns and rows; `off` and `auto` as they are.

    Raises:
        UsageError: It is none of these, or more than `MOST_SIDE` a side.
    """
    found = _TILES.fullmatch(text)
    if found is None and text not in ("off", "auto"):
        raise UsageError(f"tiles is {text!r}", hint="it is off, auto, or columns x rows such as 3x2")
    if found is None:
        return text
    columns, rows = int(found[1]), int(found[2])
    if max(columns, rows) > MOST_SIDE:
        raise UsageError(f"tiles is {text!r}, a side has at most {MOST_SIDE}", hint="give fewer tiles")
    return columns, rows


def windows(tiles: str, image_wh: Size, input_wh: Size) -> list[Window]:
    """The tiles of a photo, row by row; empty where it is looked at in one piece only.

    Args:
        tiles: `off`, `auto` or columns x rows.
        image_wh: Size of the photo.
        input_wh: Size at which the model sees the whole photo.
    """
    wanted = read_tiles(tiles)
    if wanted == "off":
        return []
    if isinstance(wanted, str):
        columns, rows = (
            min(MOST_SIDE, max(1, math.ceil(side / (MOST_SHRUNK * seen))))
            for side, seen in zip(image_wh, input_wh, strict=True)
        )
    else:
        columns, rows = (min(count, side) for count, side in zip(wanted, image_wh, strict=True))
    if columns == rows == 1:
        return []
    return [
        (left, top, right, bottom)
        for top, bottom in _cuts(image_wh[1], rows)
        for left, right in _cuts(image_wh[0], columns)
    ]


def _cuts(side: int, count: int) -> list[tuple[int, int]]:
    """`count` parts of one length that cover a side, each sharing `OVERLAP` of its length with the next."""
    length = side / (count - (count - 1) * OVERLAP)
    starts = [index * length * (1 - OVERLAP) for index in range(count)]
    return [(math.floor(start), min(side, math.ceil(start + length))) for start in starts]


def same_part(reference: Image.Image, window: Window, image_wh: Size) -> Image.Image:
    """The part of a reference that shows what a tile shows; the whole where its sides have another ratio."""
    if abs(math.log((reference.width / reference.height) / (image_wh[0] / image_wh[1]))) > _SAME_SHAPE:
        return reference
    x, y = reference.width / image_wh[0], reference.height / image_wh[1]
    left, top = int(window[0] * x), int(window[1] * y)
    right, bottom = max(left + 1, math.ceil(window[2] * x)), max(top + 1, math.ceil(window[3] * y))
    return reference.crop((left, top, min(right, reference.width), min(bottom, reference.height)))


@dataclass(frozen=True)
class Found:
    """A box in pixels of the photo, and the tile it was found in; None for the pass over the whole photo."""

    box: Box
    label: str
    score: float | None
    window: Box | None = None


def moved(item: LabelledBox, window: Window, score: float | None) -> Found:
    """A box of a tile in pixels of the photo."""
    left, top = window[:2]
    x1, y1, x2, y2 = item.box
    return Found((x1 + left, y1 + top, x2 + left, y2 + top), item.label, score, window)


def merge(found: Sequence[Found]) -> list[Found]:
    """The defects behind boxes of several passes, each once.

    Boxes of one name from two tiles that overlap and are cut off by their tiles are parts of one defect and are
    joined. Then larger boxes of tiles go before smaller ones, and tiles before the whole photo, which shows less
    detail: a box that another pass has covered (`SAME_IOU`, or `INSIDE` of one within the other) is dropped. Boxes
    of one pass never drop each other.
    """
    tiles = _joined([item for item in found if item.window is not None])
    kept: list[Found] = []
    for item in sorted(tiles, key=lambda item: -box_area(item.box)):
        if all(item.window == other.window or not _same(item.box, other.box) for other in kept):
            kept.append(item)
    whole = [item for item in found if item.window is None]
    return kept + [item for item in whole if not any(_same(item.box, other.box) for other in kept)]


def _same(a: Box, b: Box) -> bool:
    least = min(box_area(a), box_area(b))
    return iou(a, b) >= SAME_IOU or (least > 0 and box_area(_common(a, b)) >= INSIDE * least)


def _joined(items: Sequence[Found]) -> list[Found]:
    left = list(items)
    index = 0
    while index < len(left):
        part = next((other for other in left[index + 1 :] if _parts_of_one(left[index], other)), None)
        if part is None:
            index += 1
            continue
        left.remove(part)
        left[index] = _join(left[index], part)
        index = 0
    return left


def _parts_of_one(a: Found, b: Found) -> bool:
    """Whether two tiles each show a part of one defect: both boxes reach into the strip where the tiles overlap."""
    if a.window is None or b.window is None or a.window == b.window or a.label.casefold() != b.label.casefold():
        return False
    return box_area(_common(a.box, b.box)) > 0 and _cut_off(a, b) and _cut_off(b, a)


def _cut_off(item: Found, other: Found) -> bool:
    """Whether a box ends at the edge of its tile and the other tile goes on there."""
    assert item.window is not None
    assert other.window is not None
    for axis in (0, 1):
        low, high = item.window[axis], item.window[axis + 2]
        slack = 0.05 * (high - low)
        if item.box[axis] <= low + slack and other.window[axis] < low:
            return True
        if item.box[axis + 2] >= high - slack and other.window[axis + 2] > high:
            return True
    return False


def _join(a: Found, b: Found) -> Found:
    assert a.window is not None
    assert b.window is not None
    scores = [score for score in (a.score, b.score) if score is not None]
    return Found(_around(a.box, b.box), a.label, max(scores, default=None), _around(a.window, b.window))


def _around(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float, float, float]:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _common(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
