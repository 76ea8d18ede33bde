"""Masks as polygons: outlines along the pixels' edges, straightened within a bound on what that may change.

Coordinates are pixels, the centre of the first one at (0.5, 0.5), so that the outline of a mask has the mask's own
area. OpenCV's contours run through pixel centres; a mask drawn twice as large puts each centre beside one corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1 import rle
from iadr1.errors import MissingExtraError
from iadr1.rle import Rle

Ring = NDArray[np.float64]
"""The corners of a polygon, (N, 2) as x, y; the last one is joined to the first."""

MAX_CHANGE = 0.05
"""Straightening may change at most this share of a part's area, so that thin and small parts keep every corner. What it
does change is less: the IoU with the mask was at least 0.987 for circles, ellipses, turned bars and blobs of any size.
"""
_MAX_DEVIATION_PX = 1.0


@dataclass(frozen=True)
class Part:
    """A connected part of a mask (pixels that touch at a corner belong together) and the holes in it."""

    outer: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def ring(self) -> Ring:
        """One polygon with the part's area, for formats without holes."""
        return joined((self.outer, *self.holes))


def check_opencv() -> None:
    """Make sure that masks can become polygons.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    _opencv()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "masks", purpose="turning masks into polygons") from error
    return cv2


def parts(mask: Rle) -> list[Part]:
    """The parts of a mask, in the order in which OpenCV finds them, which is the same for the same mask.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = _opencv()
    around = rle.box(mask)
    if around is None:
        return []
    left, top, right, bottom = map(int, around)
    cut = rle.decode(mask)[top:bottom, left:right].astype(np.uint8)
    twice = np.pad(cut.repeat(2, axis=0).repeat(2, axis=1), 2)
    contours, hierarchy = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [_corners(contour[:, 0, :] - 2) for contour in contours]
    holes: dict[int, list[Ring]] = {}
    for ring, (_, _, _, parent) in zip(rings, hierarchy[0], strict=True):
        holes.setdefault(int(parent), []).append(ring)
    return [
        _straightened(cv2, Part(rings[place], tuple(holes.get(place, ()))), (left, top))
        for place, (_, _, _, parent) in enumerate(hierarchy[0])
        if parent < 0
    ]


def _corners(contour: NDArray[np.int32]) -> Ring:
    """A contour of the doubled mask as the corners of the pixels' edges."""
    # Of the two centres in a pixel's row or column the first lies beside its near edge, the second beside the far one.
    points = (contour + 1) // 2
    corners: Ring = points[np.any(points != np.roll(points, 1, axis=0), axis=1)].astype(np.float64)
    return corners


def _straightened(cv2: Any, part: Part, corner: tuple[int, int]) -> Part:
    rings = (part.outer, *part.holes)
    area = abs(_area(part.outer)) - sum(abs(_area(hole)) for hole in part.holes)
    length = sum(float(np.abs(ring - np.roll(ring, 1, axis=0)).sum()) for ring in rings)
    # No corner moves the line farther than this, over the whole of its length: that bounds the area that changes.
    deviation = min(_MAX_DEVIATION_PX, MAX_CHANGE * area / length)
    outer, *holes = (_simple(cv2, ring, deviation) + corner for ring in rings)
    return Part(outer, tuple(holes))


def _simple(cv2: Any, ring: Ring, deviation: float) -> Ring:
    kept = cv2.approxPolyDP(ring.astype(np.float32)[:, None, :], deviation, closed=True)[:, 0, :].astype(np.float64)
    return kept if len(kept) >= 3 and _area(kept) != 0 else ring


def _area(ring: Ring) -> float:
    (x, y), (x2, y2) = ring.T, np.roll(ring, -1, axis=0).T
    return float((x * y2 - x2 * y).sum() / 2)


def joined(rings: tuple[Ring, ...]) -> Ring:
    """One ring with the area of all: a slit of no width leads from the first to each of the others, and back.

    Each leads from the nearest corner. Outer rings and holes run in opposite directions, so that both rules for what is
    inside agree. Ultralytics' own converter joins the parts of a COCO object in the same way.
    """
    from scipy.spatial import cKDTree

    first, *rest = rings
    corners = cKDTree(first)
    loops: dict[int, list[Ring]] = {}
    for ring in rest:
        distances, nearest = corners.query(ring)
        start = int(np.argmin(distances))
        loops.setdefault(int(nearest[start]), []).append(np.roll(ring, -start, axis=0))
    pieces: list[Ring] = []
    done = 0
    for at, found in sorted(loops.items()):
        pieces.append(first[done : at + 1])
        for loop in found:
            pieces += [loop, loop[:1], first[at : at + 1]]
        done = at + 1
    return np.concatenate((*pieces, first[done:]))
