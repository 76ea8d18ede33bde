"""Large photos in tiles: where they are cut, and how the boxes found in overlapping tiles become one list."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
_BLOCK = 256
"""Boxes compared with the others at a time."""
_TILES = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")

Window = tuple[int, int, int, int]
"""A part of a photo in its pixels: left, top, right, bottom."""
Places = NDArray[np.intp]


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
    window: Window | None = None


def moved(item: LabelledBox, window: Window, score: float | None) -> Found:
    """A box of a tile in pixels of the photo."""
    left, top = window[:2]
    x1, y1, x2, y2 = item.box
    return Found((x1 + left, y1 + top, x2 + left, y2 + top), item.label, score, window)


class Defect(NamedTuple):
    """A box that was found in one pass, or joined from several: the tiles, and None for the whole photo."""

    box: Box
    label: str
    score: float | None
    passes: frozenset[Window | None]


def merge(found: Sequence[Found]) -> list[Defect]:
    """The defects behind boxes of several passes, each once.

    Boxes of one name from two tiles that overlap and are cut off by their tiles are parts of one defect and are
    joined. Then larger boxes of tiles go before smaller ones, and tiles before the whole photo, which shows less
    detail: a box is dropped where one of another pass shows the same place (`SAME_IOU`), or holds it (`INSIDE`) under
    the same name. So a large defect that only the whole photo shows stays, and so do smaller ones that tiles see in
    it. Boxes of one pass never drop each other, nor does what one of them was joined to.
    """
    defects = sorted(_joined([item for item in found if item.window is not None]), key=lambda one: -box_area(one.box))
    defects += [Defect(item.box, item.label, item.score, frozenset([None])) for item in found if item.window is None]
    kept = np.ones(len(defects), dtype=bool)
    for place, before in enumerate(_covering(defects)):
        kept[place] = not kept[before].any()
    return [defects[place] for place in np.flatnonzero(kept).tolist()]


def _covering(defects: Sequence[Defect]) -> list[Places]:
    """For each defect those before it that show what it shows, and are of other passes."""
    boxes = _array([one.box for one in defects])
    if not defects:
        return []
    areas, names = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), _numbered([_name(one) for one in defects])
    columns = {found: column for column, found in enumerate({found for one in defects for found in one.passes})}
    passes = np.zeros((len(defects), len(columns)), dtype=np.float32)
    for place, one in enumerate(defects):
        passes[place, [columns[found] for found in one.passes]] = 1
    covering: list[Places] = [np.empty(0, dtype=np.intp)] * len(defects)
    for rows, near in _blocks(boxes, _numbered([tuple(row) for row in passes.tolist()])):
        common = _common_areas(boxes[rows], boxes[near])
        same = common >= SAME_IOU * (areas[rows, None] + areas[near] - common)
        inside = (common >= INSIDE * areas[rows, None]) & (names[rows, None] == names[near])
        shown = (common > 0) & (same | inside) & (near < rows[:, None]) & (passes[rows] @ passes[near].T == 0)
        for row, found in zip(rows.tolist(), shown, strict=True):
            covering[row] = near[found]
    return covering


def _joined(items: Sequence[Found]) -> list[Defect]:
    """The same with parts of one defect made one, however many tiles it runs through."""
    if not items:
        return []
    boxes, windows = _array([item.box for item in items]), _array([item.window or item.box for item in items])
    names = _numbered([_name(item) for item in items])
    slack = _AT_EDGE * (windows[:, 2:] - windows[:, :2])
    ends = np.hstack([boxes[:, :2] <= windows[:, :2] + slack, boxes[:, 2:] >= windows[:, 2:] - slack])
    pairs = [np.empty((2, 0), dtype=np.intp)]
    for rows, near in _blocks(boxes, _numbered([item.window for item in items])):
        own = windows[rows[0]]  # of all rows
        # Each is cut off at an edge of its tile behind which the other's goes on.
        there = ends[near] & np.hstack([own[:2] < windows[near, :2], own[2:] > windows[near, 2:]])
        cut = near[there.any(axis=1)]
        beyond = np.hstack([windows[cut, :2] < own[:2], windows[cut, 2:] > own[2:]])
        parts = (ends[rows] @ beyond.T) & (names[rows, None] == names[cut]) & (cut > rows[:, None])
        one, other = np.nonzero(parts & (_common_areas(boxes[rows], boxes[cut]) > 0))
        pairs.append(np.stack([rows[one], cut[other]]))
    count, groups = _groups(np.hstack(pairs), len(items))
    members: list[list[Found]] = [[] for _ in range(count)]
    for item, group in zip(items, groups.tolist(), strict=True):
        members[group].append(item)
    return [_join(parts) for parts in members]


def _groups(pairs: NDArray[np.intp], count: int) -> tuple[int, NDArray[np.int32]]:
    """How many groups the pairs (2, P) make of `count` places, and the group of each."""
    from scipy.sparse import coo_array  # slow to import; only here
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(pairs.shape[1], dtype=np.int8), (pairs[0], pairs[1])), shape=(count, count))
    found: tuple[int, NDArray[np.int32]] = connected_components(graph, directed=False)
    return found


def _join(parts: Sequence[Found]) -> Defect:
    left, top, right, bottom = zip(*(part.box for part in parts), strict=True)
    scores = [part.score for part in parts if part.score is not None]
    box = min(left), min(top), max(right), max(bottom)
    return Defect(box, parts[0].label, max(scores, default=None), frozenset(part.window for part in parts))


def _blocks(boxes: NDArray[np.float64], kinds: Places) -> Iterator[tuple[Places, Places]]:
    """All places, some of one kind at a time, each time with the places of the boxes (N, 4) that may overlap them.

    Kinds are what lies together, such as the boxes of a tile: so few of all pairs of boxes are compared.
    """
    order = np.argsort(kinds, kind="stable")
    for kind in np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1):
        for rows in np.split(kind, range(_BLOCK, len(kind), _BLOCK)):
            first, last = np.fmin.reduce(boxes[rows, :2]), np.fmax.reduce(boxes[rows, 2:])
            yield rows, np.flatnonzero(((boxes[:, :2] < last) & (boxes[:, 2:] > first)).all(axis=1))


def _array(boxes: Sequence[Box]) -> NDArray[np.float64]:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _numbered(values: Sequence[Hashable]) -> Places:
    """Equal values as equal numbers."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.intp)


def _common_areas(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas that boxes (N, 4) share with others (M, 4), in square pixels (N, M)."""
    wide, high = (
        np.minimum(boxes[:, None, axis + 2], others[:, axis + 2]) - np.maximum(boxes[:, None, axis], others[:, axis])
        for axis in (0, 1)
    )
    areas: NDArray[np.float64] = np.clip(wide, 0.0, None) * np.clip(high, 0.0, None)
    return areas


def _name(item: Found | Defect) -> str:
    return item.label.casefold()
