"""Drawing in float64: signed-distance shapes in local windows, and noise fields.

Pictures are ``(3, height, width)`` planes in grey levels. Nothing here rounds, so the same numbers
come out wherever NumPy runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]
Planes = NDArray[np.float64]
Rgb = tuple[float, float, float]
_Pixels = TypeVar("_Pixels", Planes, NDArray[np.bool_])


@dataclass(frozen=True)
class Window:
    """A rectangle of the picture with coordinates measured from a centre.

    Attributes:
        ys: Rows it covers.
        xs: Columns it covers.
        u: Distance of every pixel from the centre along the window's own x axis.
        v: The same along its y axis.
    """

    ys: slice
    xs: slice
    u: Grid
    v: Grid

    def of(self, planes: _Pixels) -> _Pixels:
        """Return the view of ``planes`` (or of a single grid) under this window."""
        view: _Pixels = planes[..., self.ys, self.xs]
        return view


def window(size: int, x: float, y: float, reach: float, angle: float = 0.0) -> Window:
    """Open a window around a point.

    Args:
        size: Side of the picture.
        x: Centre column (pixel centres are whole numbers).
        y: Centre row.
        reach: Half the side, before clipping at the border of the picture.
        angle: Turn of the window's own axes, in radians.
    """
    x0, x1 = (int(np.clip(e, 0, size)) for e in (np.floor(x - reach), np.ceil(x + reach) + 1))
    y0, y1 = (int(np.clip(e, 0, size)) for e in (np.floor(y - reach), np.ceil(y + reach) + 1))
    dx = np.arange(x0, x1, dtype=np.float64)[None, :] - x
    dy = np.arange(y0, y1, dtype=np.float64)[:, None] - y
    cos, sin = np.cos(angle), np.sin(angle)
    return Window(slice(y0, y1), slice(x0, x1), cos * dx + sin * dy, cos * dy - sin * dx)


def unit(values: Grid) -> Grid:
    """Limit to 0..1; several times cheaper than ``numpy.clip`` on small windows."""
    limited: Grid = np.minimum(np.maximum(values, 0.0), 1.0)
    return limited


def length(u: Grid, v: Grid) -> Grid:
    """Distance from the origin; unlike ``hypot`` exactly rounded, and faster."""
    away: Grid = np.sqrt(u * u + v * v)
    return away


def limit(planes: Planes) -> Planes:
    """Limit a picture to 0..255 in place."""
    np.maximum(planes, 0.0, out=planes)
    np.minimum(planes, 255.0, out=planes)
    return planes


def cover(distance: Grid) -> Grid:
    """Turn a signed distance in pixels into anti-aliased coverage in 0..1."""
    return unit(0.5 - distance)


def band(distance: Grid, half: float) -> Grid:
    """Coverage of a line of half-width ``half`` along the zero level of ``distance``."""
    return cover(np.abs(distance) - half)


def box(u: Grid, v: Grid, half_u: float, half_v: float, corner: float = 0.0) -> Grid:
    """Signed distance to a rectangle with rounded corners."""
    du = np.abs(u) - (half_u - corner)
    dv = np.abs(v) - (half_v - corner)
    outside = length(np.maximum(du, 0.0), np.maximum(dv, 0.0))
    distance: Grid = outside + np.minimum(np.maximum(du, dv), 0.0) - corner
    return distance


def hexagon(u: Grid, v: Grid, apothem: float) -> Grid:
    """Distance to a regular hexagon; exact inside and along its flats."""
    au, av = np.abs(u), np.abs(v)
    distance: Grid = np.maximum(av, 0.5 * av + np.sqrt(0.75) * au) - apothem
    return distance


def ellipse(u: Grid, v: Grid, half_u: float, half_v: float) -> Grid:
    """Approximate signed distance to an ellipse, good near its outline."""
    distance: Grid = (length(u / half_u, v / half_v) - 1.0) * min(half_u, half_v)
    return distance


def blend(target: Planes, alpha: Grid, colour: Rgb | Planes) -> None:
    """Paint ``colour`` over a view of planes in place, as opaque as ``alpha`` says."""
    paint = np.asarray(colour, dtype=np.float64)
    if paint.ndim == 1:
        paint = paint[:, None, None]
    # One plane at a time: the temporaries stay in the cache.
    for plane, ink in zip(target, paint, strict=True):
        change = ink - plane
        change *= alpha
        np.add(plane, change, out=plane)


def stroke(size: int, points: Sequence[tuple[float, float]], widths: Sequence[float], onto: Grid | None = None) -> Grid:
    """Coverage of a polyline on the whole picture.

    Args:
        size: Side of the picture.
        points: Corners as (x, y).
        widths: Full width at every corner; each segment takes the mean of its two ends.
        onto: Coverage to add to, in place; a fresh one if not given.
    """
    canvas: Grid = np.zeros((size, size)) if onto is None else onto
    ends = list(zip(points, widths, strict=True))
    for ((ax, ay), aw), ((bx, by), bw) in pairwise(ends):
        half = (aw + bw) / 4.0
        dx, dy = bx - ax, by - ay
        reach = max(abs(dx), abs(dy)) / 2.0 + half + 1.5
        local = window(size, (ax + bx) / 2.0, (ay + by) / 2.0, reach)
        length2 = dx * dx + dy * dy + 1e-9
        along = np.clip((local.u * dx + local.v * dy) / length2, -0.5, 0.5)
        distance = length(local.u - along * dx, local.v - along * dy) - half
        view = local.of(canvas)
        np.maximum(view, cover(distance), out=view)
    return canvas


@lru_cache(maxsize=64)
def _spline(size: int, cells: int) -> Grid:
    """Weights that raise ``cells + 3`` control values to ``size`` samples (cubic B-spline)."""
    place = (np.arange(size) + 0.5) * (cells / size)
    first = np.minimum(place.astype(np.int64), cells - 1)
    t = place - first
    rows = np.arange(size)
    weights: Grid = np.zeros((size, cells + 3))
    weights[rows, first] = (1 - t) ** 3 / 6
    weights[rows, first + 1] = (3 * t**3 - 6 * t**2 + 4) / 6
    weights[rows, first + 2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    weights[rows, first + 3] = t**3 / 6
    weights.setflags(write=False)
    return weights


def soft_noise(rng: np.random.Generator, size: int, rows: int, columns: int | None = None) -> Grid:
    """Draw smooth noise of about unit spread with bumps one cell wide."""
    columns = rows if columns is None else columns
    control = rng.standard_normal((rows + 3, columns + 3))
    # 0.479 is the mean sum of squared B-spline weights: it gives back unit variance.
    field: Grid = (_spline(size, rows) @ control @ _spline(size, columns).T) / 0.479
    return field


def streaks(rng: np.random.Generator, size: int, slope: float, cells: int, thick: int = 1) -> Grid:
    """Draw noise stretched along rows that climb by ``slope`` pixels per pixel.

    Args:
        rng: Where the noise comes from.
        size: Side of the picture.
        slope: Tangent of the streaks' angle, between -0.5 and 0.5.
        cells: How often a streak changes along its length.
        thick: Thickness of a streak in pixels.
    """
    margin = int(np.ceil(abs(slope) * size / 2)) + 2
    tall = size + 2 * margin
    control = rng.standard_normal((-(-tall // thick), cells + 3))
    field = np.repeat(control @ _spline(size, cells).T, thick, axis=0)[:tall] / 0.692
    columns = np.arange(size)
    shift = margin + slope * (columns - (size - 1) / 2.0)
    whole = np.floor(shift).astype(np.int64)
    part = shift - whole
    rows = columns[:, None] + whole[None, :]
    upper, lower = field[rows, columns[None, :]], field[rows + 1, columns[None, :]]
    sheared: Grid = upper + part[None, :] * (lower - upper)
    return sheared


def smooth3(planes: Planes, side: float) -> Planes:
    """Blur with a three-tap kernel (side, 1 - 2 side, side) along both axes."""
    for axis in (-1, -2):
        padded = np.concatenate([planes.take([0], axis), planes, planes.take([-1], axis)], axis=axis)
        count = planes.shape[axis]
        before = padded[..., :count] if axis == -1 else padded[..., :count, :]
        after = padded[..., 2:] if axis == -1 else padded[..., 2:, :]
        planes = (1.0 - 2.0 * side) * planes + side * (before + after)
    return planes
