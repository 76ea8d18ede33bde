"""What assemblies share: the grid of components, their shading and shadows."""

from collections.abc import Sequence

import numpy as np

from iadr1.datasets.synthetic.draw import (
    Grid,
    Planes,
    Window,
    limit,
    unit,
)
from iadr1.datasets.synthetic.product import Painter, Pose, Product, Setup, everywhere


def grid(setup: Setup, shapes: Sequence[tuple[int, int]]) -> tuple[tuple[Pose, ...], float]:
    """Lay components out on a slightly turned grid; returns the poses and half the pitch."""
    rows, columns = shapes[int(setup.params.integers(len(shapes)))]
    middle = (setup.size - 1) / 2.0
    pitch = setup.size * setup.between(0.88, 0.94) / max(rows, columns)
    cos, sin = float(np.cos(setup.tilt)), float(np.sin(setup.tilt))
    poses = []
    # The axis with fewer components is stretched, so that the grid fills the picture.
    wide = pitch * min(1.25, max(1.0, rows / columns))
    high = pitch * min(1.25, max(1.0, columns / rows))
    for number in range(rows * columns):
        u = (number % columns - (columns - 1) / 2.0) * wide
        v = (number // columns - (rows - 1) / 2.0) * high
        poses.append(Pose(middle + cos * u - sin * v, middle + sin * u + cos * v, setup.tilt, number))
    return tuple(poses), pitch / 2.0


def assembled(
    setup: Setup,
    bare: Planes,
    poses: tuple[Pose, ...],
    paint: Painter,
    words: tuple[str, ...],
) -> Product:
    """Put every component on the base; ``words``: base colour, component colour, marks."""
    bare = limit(bare)
    clean = bare.copy()
    for pose in poses:
        paint(clean, pose)
    return Product(
        limit(clean),
        bare,
        everywhere(setup.size),
        words[0],
        words[1],
        poses,
        paint,
        words[2:],
    )


def shaded(setup: Setup, local: Window, angle: float, reach: float) -> Grid:
    """Brightness slope across a component: +1 at the side of the light, -1 opposite."""
    lx, ly = setup.light
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    slope: Grid = (local.u * (lx * cos + ly * sin) + local.v * (ly * cos - lx * sin)) / reach
    return slope


def drop(setup: Setup, planes: Planes, local: Window, distance: Grid, wide: float) -> None:
    """Darken the base around a component that stands on it."""
    shadow = 0.45 * unit(1.0 - np.maximum(distance, 0.0) / (wide * setup.scale))
    view = local.of(planes)
    view *= 1.0 - shadow
