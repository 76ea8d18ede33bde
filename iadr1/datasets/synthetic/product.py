"""What every product builder gets and gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iadr1.datasets.synthetic.draw import Grid, Planes, Rgb, Window, stroke, window

Swatch = tuple[str, Rgb]


@dataclass(frozen=True)
class Setup:
    """What the builder of one product instance draws from.

    Attributes:
        size: Side of the picture in pixels; lengths are designed for 224.
        params: Stream of the instance parameters (colours, geometry).
        texture: Stream of the noise in the material.
        tilt: Slight turn of the whole product, in radians.
        light: Direction the light comes from, as a unit vector (x, y).
        pose: Stream of what differs from photo to photo of one product: its place, which part of it is seen. Only the
            products of the training pool draw from it.
    """

    size: int
    params: np.random.Generator
    texture: np.random.Generator
    tilt: float
    light: tuple[float, float]
    pose: np.random.Generator

    @property
    def scale(self) -> float:
        """Pixels per designed pixel."""
        return self.size / 224.0

    def between(self, low: float, high: float) -> float:
        """Draw an instance parameter."""
        return float(self.params.uniform(low, high))

    def swatch(self, choices: Sequence[Swatch]) -> Swatch:
        """Draw a named colour and shift its tone a little."""
        word, rgb = choices[int(self.params.integers(len(choices)))]
        tone = self.params.uniform(0.93, 1.07)
        red, green, blue = (np.asarray(rgb) * tone + self.params.uniform(-5.0, 5.0, 3)).tolist()
        return word, (red, green, blue)

    def whole(self) -> Window:
        """Open a window over the whole picture, turned by the tilt."""
        middle = (self.size - 1) / 2.0
        return window(self.size, middle, middle, self.size, self.tilt)


@dataclass(frozen=True)
class Pose:
    """Where a component sits: centre, turn in radians, and its number in the grid."""

    x: float
    y: float
    angle: float
    number: int


Painter = Callable[[Planes, Pose], tuple[Window, Grid]]


@dataclass(frozen=True)
class Product:
    """One product instance, free of defects.

    Attributes:
        clean: The picture before anything happens to it.
        bare: The same without the object or without the components.
        region: Where defects of the material may lie.
        colour: Word for the main colour.
        part_colour: Word for the colour of the object or components.
        poses: Places of the components.
        paint: Draws a component in a pose and says where and how opaque.
        marks: Names of harmless marks that belong to the product.
    """

    clean: Planes
    bare: Planes
    region: NDArray[np.bool_]
    colour: str
    part_colour: str
    poses: tuple[Pose, ...] = ()
    paint: Painter | None = None
    marks: tuple[str, ...] = field(default=())


def tinted(rgb: Rgb, grey: Grid) -> Planes:
    """Colour a field of brightness factors."""
    planes: Planes = np.asarray(rgb)[:, None, None] * grey
    return planes


def everywhere(size: int) -> NDArray[np.bool_]:
    """Allow defects in the whole picture."""
    return np.ones((size, size), dtype=np.bool_)


def lot_number(setup: Setup, x: float, y: float, height: float, count: int = 5) -> Grid:
    """Coverage of a printed row of made-up characters that starts at (x, y)."""
    ink: Grid = np.zeros((setup.size, setup.size))
    width = 0.55 * height
    corners = ((0.0, 0.0), (1.0, 0.0), (0.0, 0.5), (1.0, 0.5), (0.0, 1.0), (1.0, 1.0))
    for number in range(count):
        left = x + number * 1.6 * width
        picks = setup.params.permutation(len(corners))[:4].tolist()
        path = [(left + corners[p][0] * width, y + corners[p][1] * height) for p in picks]
        stroke(setup.size, path, [1.3 * setup.scale] * len(path), onto=ink)
    return ink
