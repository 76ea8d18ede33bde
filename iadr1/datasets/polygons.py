"""Shapes as annotation tools store them (boxes, polygons, bitmaps) and the defects they become.

Coordinates are in pixels of the stored image after EXIF orientation, `x` right, `y` down, so that the centre of the
first pixel is (0.5, 0.5). A pixel belongs to a polygon when its centre lies inside; several rings are one defect in
several parts, and a ring inside another ring of the same shape is not a hole (COCO writes holes as RLE).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iadr1 import rle as coco_rle
from iadr1.errors import DataError
from iadr1.geometry import Box, Size, clip_box, location_word
from iadr1.records import Defect
from iadr1.rle import Rle

Ring = NDArray[np.float64]
"""The corners of a polygon, (N, 2) as x, y; the last one is joined to the first."""

_FARTHEST = 1e9


@dataclass(frozen=True)
class Shape:
    """One defect as it was drawn.

    Attributes:
        type: The defect's type in words.
        where: File and line or entry, for errors.
        box: What was drawn as a box, or stated as one beside a polygon; else it follows from the rings or the bitmap.
        rings: Polygons, which become a mask.
        rle: A bitmap of the whole image.
        relative: Whether `box` and `rings` are in fractions of the image's sides instead of pixels.
        placed: False for a defect that is known to be there, but not where.
        attributes: What else the tool says of it.
    """

    type: str
    where: str
    box: Box | None = None
    rings: tuple[Ring, ...] = ()
    rle: Rle | None = None
    relative: bool = False
    placed: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)

    def defect(self, size: Size | None) -> Defect:
        """The defect in an image of `size` (width, height) in pixels.

        Where the image and so its size is unknown (None), a box in pixels stays as it is, one in fractions is left
        out, and neither mask nor region can be told.

        Raises:
            DataError: Box or polygon have no area inside the image, or the bitmap is empty or of another size.
        """
        plain = Defect(type=self.type, attributes=dict(self.attributes))
        if not self.placed:
            return plain
        if size is None:
            box = None if self.relative else self.box or _around(self.rings)
            return plain.model_copy(update={"box": box, "mask_rle": self.rle})
        rings = self._in_pixels(size)
        mask = self._mask(rings, size)
        box = self._box(rings, mask, size)
        return plain.model_copy(update={"box": box, "mask_rle": mask, "location": location_word(box, size)})

    def _in_pixels(self, size: Size) -> tuple[Ring, ...]:
        return tuple(ring * size for ring in self.rings) if self.relative else self.rings

    def _mask(self, rings: Sequence[Ring], size: Size) -> Rle | None:
        if self.rle is not None:
            if coco_rle.size_of(self.rle) != size:
                (w, h), (iw, ih) = coco_rle.size_of(self.rle), size
                raise DataError(f"the mask is {w}x{h} px, its image {iw}x{ih} px", where=self.where)
            if coco_rle.area(self.rle) == 0:
                raise DataError("the mask is empty", where=self.where, hint="draw the defect or remove the annotation")
            return self.rle
        mask = fill(rings, size) if rings else None
        # A sliver between the pixels' centres is a defect with a box, but without a pixel of its own.
        return mask if mask is not None and coco_rle.area(mask) else None

    def _box(self, rings: Sequence[Ring], mask: Rle | None, size: Size) -> Box:
        box = self.box or _around(rings)
        if box is not None and self.box is not None and self.relative:
            box = (box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1])
        if box is None and mask is not None:
            box = coco_rle.box(mask)
        inside = clip_box(box, size) if box is not None else None
        if inside is None:
            text = "nothing" if box is None else ", ".join(f"{value:g}" for value in box)
            raise DataError(
                f"no area inside the {size[0]}x{size[1]} px image: {text}",
                where=self.where,
                hint="mend or remove the annotation",
            )
        return inside


def _around(rings: Sequence[Ring]) -> Box | None:
    if not rings:
        return None
    points = np.concatenate(rings)
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def ring(values: object, where: str) -> Ring:
    """A polygon's corners from `[[x, y], ...]` or `[x, y, x, y, ...]`.

    Raises:
        DataError: Fewer than three corners, or something other than finite numbers.
    """
    flat = values
    if isinstance(values, list) and values and all(isinstance(point, list) and len(point) == 2 for point in values):
        flat = [number for point in values for number in point]
    if not isinstance(flat, list) or len(flat) % 2 or len(flat) < 6 or not are_numbers(flat):
        raise DataError(f"not a polygon of at least three corners x, y: {values!r:.60}", where=where)
    return np.asarray(flat, dtype=np.float64).reshape(-1, 2)


def are_numbers(values: object) -> bool:
    """Whether this is a list of numbers that can be coordinates: finite, within a billion; true is no number."""
    return isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FARTHEST for value in values
    )


def circle(center: tuple[float, float], radius: float) -> Ring:
    """A circle as a polygon of 128 corners, four of them on the axes, so that its box is exact."""
    angles = np.arange(128) * (2 * math.pi / 128)
    return np.asarray(center) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def fill(rings: Sequence[Ring], size: Size) -> Rle:
    """The pixels of an image of `size` (width, height) whose centre lies inside one of the rings (even-odd rule)."""
    points = np.concatenate(rings)
    # Only the part around the rings is filled: images are large and defects small.
    left, top = (max(0, math.ceil(low - 0.5)) for low in points.min(axis=0))
    right, bottom = (min(side, math.ceil(high - 0.5)) for side, high in zip(size, points.max(axis=0), strict=True))
    part = np.zeros((max(0, bottom - top), max(0, right - left)), dtype=bool)
    for corners in rings:
        part |= _part(corners - (left, top), part.shape[1], part.shape[0])
    return coco_rle.encode(part, corner=(left, top), size=size)


def _part(corners: Ring, width: int, height: int) -> NDArray[np.bool_]:
    """One ring's pixels, (height, width): each edge toggles a row from its crossing on; what is odd is inside."""
    (xa, ya), (xb, yb) = corners.T, np.roll(corners, -1, axis=0).T
    first = np.clip(np.ceil(np.minimum(ya, yb) - 0.5), 0, height).astype(np.int64)
    crossed = np.clip(np.ceil(np.maximum(ya, yb) - 0.5), 0, height).astype(np.int64) - first
    edge = np.repeat(np.arange(len(corners)), crossed)
    rows = first[edge] + np.arange(edge.size) - np.repeat(np.cumsum(crossed) - crossed, crossed)
    x = xa[edge] + (rows + 0.5 - ya[edge]) * (xb - xa)[edge] / (yb - ya)[edge]
    toggles = np.zeros((height, width + 1), dtype=np.uint8)
    np.bitwise_xor.at(toggles, (rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), 1)
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(toggles, axis=1)[:, :width].astype(bool)
    return inside
