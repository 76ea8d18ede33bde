"""A product while defects are put on it: room, visibility, exact masks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from iadr1.datasets.synthetic.draw import Grid, Planes, limit
from iadr1.datasets.synthetic.manner import PLAIN, Manner
from iadr1.datasets.synthetic.product import Pose, Product

Mask = NDArray[np.bool_]

# A pixel belongs to a defect where the paint is this opaque or the change is this strong.
MASK_ALPHA = 0.3
MASK_DELTA = 6.0
# Mean change on the mask, in grey levels, below which a defect counts as invisible.
VISIBLE = 18.0
# Share of the mask that has to differ from what was there.
_SHOWS = 0.8
_BORDER = 3
TRIES = 160
_STRENGTHS = (1.0, 1.3, 1.7, 2.2, 2.8)


@dataclass
class Workpiece:
    """A product while defects are put on it.

    Attributes:
        product: The product without defects.
        rng: Stream of the defects.
        light: Direction of the light.
        planes: The picture so far.
        free: Where the next defect may lie.
        poses: Components still in their place.
        manner: How the next defect is drawn.
    """

    product: Product
    rng: np.random.Generator
    light: tuple[float, float]
    planes: Planes
    free: Mask
    poses: list[Pose]
    manner: Manner = PLAIN

    @property
    def size(self) -> int:
        """Side of the picture."""
        return int(self.planes.shape[-1])

    @property
    def scale(self) -> float:
        """Pixels per designed pixel."""
        return self.size / 224.0

    def between(self, low: float, high: float) -> float:
        """Draw one parameter of a defect."""
        return float(self.rng.uniform(low, high))

    def has_room(self, x: float, y: float) -> bool:
        """Say whether a point lies inside the picture and on free material."""
        edge = self.size - _BORDER
        inside = _BORDER <= x < edge and _BORDER <= y < edge
        return inside and bool(self.free[int(y), int(x)])

    def spot(self, reach: float) -> tuple[float, float]:
        """Draw a point at least ``reach`` from the border of the picture."""
        low = min(reach + _BORDER, self.size / 2.0 - 1.0)
        return self.between(low, self.size - low), self.between(low, self.size - low)


@dataclass(frozen=True)
class Sketch:
    """A defect before its strength is settled.

    Attributes:
        ys: Rows it touches.
        xs: Columns it touches.
        alpha: How opaque it is there.
        apply: Returns the damaged picture of that rectangle at a given strength.
        colour: Word for how it looks.
        bound: Whether it must stay on free material and stand out from its texture.
        pose: The component that is gone from its place, if one is.
        even: Whether most of it has to show: paint of the colour below it would hide.
    """

    ys: slice
    xs: slice
    alpha: Grid
    apply: Callable[[Planes, float], Planes]
    colour: str
    bound: bool = True
    pose: Pose | None = None
    even: bool = True


@dataclass(frozen=True)
class Placed:
    """A defect that has been put on: its type, exact mask, colour word and mean change."""

    type: str
    mask: Mask
    colour: str
    contrast: float


Maker = Callable[[Workpiece, float], Sketch | None]
"""Draws a sketch at random; the number (1 down to 0.2) shrinks it when room is short."""


def _attempt(work: Workpiece, kind: str, sketch: Sketch) -> Placed | None:
    """Put a sketch on at the least strength that shows; None where it cannot lie there."""
    view = work.planes[:, sketch.ys, sketch.xs]
    free = work.free[sketch.ys, sketch.xs]
    # On rough material damage has to stand out from the texture as well.
    rough = 0.4 * min(float(view.mean(axis=0).std()), 30.0) if sketch.bound else 0.0
    rough = 0.0 if kind == "dent" else rough
    for strength in _STRENGTHS:
        damaged = limit(sketch.apply(view, strength * work.manner.strength))
        change = np.abs(damaged - view)
        inside = (sketch.alpha > MASK_ALPHA) | (change.max(axis=0) >= MASK_DELTA)
        if sketch.bound and bool((inside & ~free).any()):
            return None
        amounts = change.mean(axis=0)[inside]
        contrast = float(amounts.mean()) if amounts.size else 0.0
        if sketch.even and float((amounts >= MASK_DELTA).mean()) < _SHOWS:
            continue
        if contrast >= (VISIBLE + 2.0 + rough) * work.manner.visible:
            view[...] = damaged
            if sketch.pose is not None:
                work.poses.remove(sketch.pose)
            mask = np.zeros((work.size, work.size), dtype=np.bool_)
            mask[sketch.ys, sketch.xs] = inside
            return Placed(kind, mask, sketch.colour, contrast)
    return None


def put(work: Workpiece, kind: str, make: Maker, *, tries: int = TRIES) -> Placed | None:
    """Put one defect on the workpiece, in place.

    Args:
        work: The product so far; its picture and its free area change.
        kind: One of ``DEFECT_TYPES`` that applies to the product.
        make: What sketches a defect of that type.
        tries: How many sketches are made at most, each smaller than the one before.

    Returns:
        The defect, or None where no place and strength made it visible.
    """
    for number in range(tries):
        sketch = make(work, max(1.0 - 1.5 * number / tries, 0.2))
        placed = None if sketch is None else _attempt(work, kind, sketch)
        if placed is not None:
            return placed
    return None


def keep_clear(work: Workpiece, placed: Placed) -> None:
    """Bar the surroundings of a defect to the next one."""
    work.free &= ~ndimage.binary_dilation(placed.mask, iterations=3)
