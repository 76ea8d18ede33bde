"""Large photos in tiles: where they are cut, and how the boxes found in overlapping tiles become one list."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1.errors import UsageError
from iadr1.geometry import Box, Size, box_area
from iadr1.prompts import LabelledBox

OVERLAP = 0.2
"""How much of a tile's side its neighbour shows as well, so that a small defect is whole in one of them."""
MOST_SHRUNK = 2.0
"""With `auto` a side is cut until the model sees it shrunk to no less than 1 / this."""
MOST_SIDE = 8
"""Most tiles along a side."""
SAME_IOU = 0.5
INSIDE = 0.8
"""A box of which this share lies inside another one of its name shows the same defect."""
_AT_EDGE = 0.05
"""A box that ends within this share of its tile's side from the edge is cut off by it."""
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
    detail: a box is dropped where one of another pass shows the same place (`SAME_IOU`), or holds it (`INSIDE`) under
    the same name. So a large defect that only the whole photo shows stays, whatever tiles saw of it. Boxes of one
    pass never drop each other.
    """
    tiles = _joined([item for item in found if item.window is not None])
    tiles.sort(key=lambda item: -box_area(item.box))
    kept: list[Found] = []
    boxes = np.empty((len(found), 4))
    for item in (*tiles, *(item for item in found if item.window is None)):
        if not _covered(item, kept, boxes[: len(kept)]):
            boxes[len(kept)] = item.box
            kept.append(item)
    return kept


def _covered(item: Found, kept: Sequence[Found], boxes: NDArray[np.float64]) -> bool:
    """Whether one of the kept defects, with these boxes (N, 4), shows what a box shows."""
    area = box_area(item.box)
    common = _common_areas(np.array(item.box), boxes)
    same = common >= SAME_IOU * (area + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common)
    inside = common >= INSIDE * area
    return any(
        kept[index].window != item.window and (same[index] or _name(kept[index]) == _name(item))
        for index in np.flatnonzero((common > 0) & (same | inside)).tolist()
    )


def _joined(items: Sequence[Found]) -> list[Found]:
    """The same with parts of one defect made one, however many tiles it runs through."""
    if not items:
        return []
    boxes = np.array([item.box for item in items], dtype=np.float64)
    windows = np.array([item.window for item in items], dtype=np.float64)
    names = np.unique([_name(item) for item in items], return_inverse=True)[1]
    slack = _AT_EDGE * (windows[:, 2:] - windows[:, :2])
    ends = np.hstack([boxes[:, :2] <= windows[:, :2] + slack, boxes[:, 2:] >= windows[:, 2:] - slack])
    groups = np.arange(len(items))
    for index in np.flatnonzero(ends.any(axis=1)):
        own, others = windows[index], windows[index + 1 :]
        # Each is cut off at an edge of its tile behind which the other's goes on.
        here = ends[index] & np.hstack([others[:, :2] < own[:2], others[:, 2:] > own[2:]])
        there = ends[index + 1 :] & np.hstack([own[:2] < others[:, :2], own[2:] > others[:, 2:]])
        parts = here.any(axis=1) & there.any(axis=1) & (names[index + 1 :] == names[index])
        parts &= _common_areas(boxes[index], boxes[index + 1 :]) > 0
        groups[np.isin(groups, groups[index + 1 :][parts])] = groups[index]
    return [_join([items[index] for index in np.flatnonzero(groups == group).tolist()]) for group in np.unique(groups)]


def _join(parts: Sequence[Found]) -> Found:
    scores = [part.score for part in parts if part.score is not None]
    windows = [part.window for part in parts if part.window is not None]
    return Found(_around([part.box for part in parts]), parts[0].label, max(scores, default=None), _around(windows))


def _around(boxes: Sequence[Box]) -> Box:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _common_areas(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas that a box (4,) shares with each of others (N, 4), in square pixels."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    areas: NDArray[np.float64] = np.prod(np.clip(sides, 0.0, None), axis=1)
    return areas


def _name(item: Found) -> str:
    return item.label.casefold()
