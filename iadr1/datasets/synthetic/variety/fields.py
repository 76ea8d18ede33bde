"""Random fields that surfaces are made of: turned coordinates, cells, tiles, relief, speckles.

All fields are (size, size); the geometry comes from the instance's parameters, what differs from photo to photo of one
product (place, noise) from its pose and texture streams.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from iadr1.datasets.synthetic.draw import Grid, Planes, Rgb, Window, cover, soft_noise, streaks, window
from iadr1.datasets.synthetic.product import Setup

Numbers = NDArray[np.int64]


def turned(setup: Setup, *, free: bool = True) -> Window:
    """Open a window over the picture, turned by any angle (or by the tilt alone) and shifted by the pose."""
    middle = (setup.size - 1) / 2.0
    x, y = (middle + setup.pose.uniform(-300.0, 300.0, 2) * setup.scale).tolist()
    angle = setup.tilt + (setup.between(0.0, np.pi) if free else 0.0)
    return window(setup.size, x, y, 3.0 * setup.size, angle)


def chance(setup: Setup, share: float) -> bool:
    """Decide something about the product once and for all of its photos."""
    return bool(setup.params.random() < share)


def wobble(setup: Setup, amount: float, cells: int) -> Grid:
    """Draw a smooth displacement in pixels, ``amount`` designed pixels strong."""
    return amount * setup.scale * soft_noise(setup.texture, setup.size, cells)


def relief(setup: Setup, height: Grid) -> Grid:
    """Light a height field from the side of the light: slope towards it, in height per designed pixel."""
    slope: Grid = np.zeros_like(height)
    slope[:, 1:-1] += setup.light[0] * 0.5 * (height[:, 2:] - height[:, :-2])
    slope[1:-1] += setup.light[1] * 0.5 * (height[2:] - height[:-2])
    slope[0], slope[-1], slope[:, 0], slope[:, -1] = slope[1], slope[-2], slope[:, 1], slope[:, -2]
    slope *= setup.scale
    # What rises away from the light turns its face to it.
    return -slope


def speckles(setup: Setup, cells: int, share: float) -> Grid:
    """Coverage of blobs, one or two cells wide, over about ``share`` of the picture."""
    count = min(cells, setup.size // 2)
    noise = soft_noise(setup.texture, setup.size, count)
    level = NormalDist().inv_cdf(1.0 - share)
    # The noise climbs by about 1.6 from one cell to the next.
    return cover((level - noise) * (setup.size / count / 1.6))


def brushed(setup: Setup) -> Grid:
    """Draw fine parallel lines along one of the axes, of about unit spread."""
    slope = float(np.tan(setup.tilt))
    changes, thick = int(setup.params.integers(2, 30)), int(setup.params.integers(1, 4))
    lines = streaks(setup.texture, setup.size, slope, changes, thick)
    return np.ascontiguousarray(lines.T) if chance(setup, 0.5) else lines


@dataclass(frozen=True)
class Cells:
    """A Voronoi diagram: distance to the nearest seed point, to the nearest border, and each cell's number.

    Attributes:
        near: Distance to the cell's own point, in cell widths.
        edge: Distance to the second nearest point minus ``near``: zero on borders.
        number: A number in 0..4095 that is the same all over one cell.
    """

    near: Grid
    edge: Grid
    number: Numbers


def cells(setup: Setup, width: float, *, jitter: float = 1.0, stretch: float = 1.0) -> Cells:
    """Cut the picture into cells of about ``width`` designed pixels.

    Args:
        setup: The instance.
        width: Mean distance of the points.
        jitter: 0 for a square grid, 1 for points anywhere in their square.
        stretch: Cells are so many times longer than wide.
    """
    full = turned(setup)
    u, v = full.u / (width * setup.scale * stretch), full.v / (width * setup.scale)
    at_u, at_v = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    u, v = u - at_u, v - at_v
    points = 0.5 + jitter * (setup.texture.random((2, 64, 64)) - 0.5)
    near = np.full(u.shape, 9.0)
    second = near.copy()
    number = np.zeros(u.shape, dtype=np.int64)
    for du in (-1, 0, 1):
        for dv in (-1, 0, 1):
            index = ((at_u + du) & 63) * 64 + ((at_v + dv) & 63)
            off_u = points[0].ravel()[index] + (du - u)
            off_v = points[1].ravel()[index] + (dv - v)
            away = off_u * off_u + off_v * off_v
            closer = away < near
            second = np.minimum(second, np.maximum(near, away))
            near = np.minimum(near, away)
            number = np.where(closer, index, number)
    near, second = np.sqrt(near), np.sqrt(second)
    return Cells(near, second - near, number)


def banded(setup: Setup, place: Grid, period: float) -> Grid:
    """Draw a wave of one of four shapes (sine, triangle, saw, steps) over ``place``, in -1..1."""
    phase = place / (period * setup.scale)
    kind = int(setup.params.integers(4))
    if kind == 0:
        wave: Grid = np.sin(2.0 * np.pi * phase)
        return wave
    part = phase - np.floor(phase)
    if kind == 1:
        return 4.0 * np.abs(part - 0.5) - 1.0
    if kind == 2:
        return np.minimum(2.0 * part - 1.0, 12.0 * (1.0 - part) - 1.0)
    return np.clip(3.0 * np.sin(2.0 * np.pi * phase), -1.0, 1.0)


def mixed(low: Rgb | Planes, high: Rgb | Planes, weight: Grid) -> Planes:
    """Go from one colour (or picture) to another as ``weight`` goes from 0 to 1."""
    first, last = (np.asarray(one, dtype=np.float64) for one in (low, high))
    first, last = (one[:, None, None] if one.ndim == 1 else one for one in (first, last))
    planes: Planes = first + weight * (last - first)
    return planes
