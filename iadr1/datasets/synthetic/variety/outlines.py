"""Outlines and openings drawn at random: polygons, gears, stars, lobes, plates, brackets, crosses."""

from collections.abc import Callable

import numpy as np

from iadr1.datasets.synthetic.draw import Grid, box, ellipse, length
from iadr1.datasets.synthetic.product import Setup

Outline = Callable[[Grid, Grid], Grid]
"""Signed distance (pixels, negative inside) at coordinates in pixels from the centre."""

_SIDES = (3, 4, 5, 7, 8, 9, 10)
"""Regular polygons; hexagons are left to the held-out nut."""


def sector(u: Grid, v: Grid, count: int) -> tuple[Grid, Grid]:
    """Fold the plane into one of ``count`` equal sectors: coordinates along and across its middle line."""
    step = 2.0 * np.pi / count
    theta = np.arctan2(v, u)
    theta -= step * np.floor(theta / step + 0.5)
    r = length(u, v)
    return r * np.cos(theta), r * np.sin(theta)


def regular(count: int, apothem: float) -> Outline:
    """Make a regular polygon."""
    return lambda u, v: sector(u, v, count)[0] - apothem


def _lobed(setup: Setup, radius: float) -> Outline:
    """Make a gear, star or wavy disc."""
    count = int(setup.params.integers(3, 25))
    # Six shallow lobes are a hexagon.
    count = 25 if count == 6 else count
    deep = setup.between(0.05, 0.12) if count > 12 else setup.between(0.08, 0.24)
    sharp = setup.between(1.0, 5.0)
    star = bool(setup.params.random() < 0.35)

    def distance(u: Grid, v: Grid) -> Grid:
        phase = count * np.arctan2(v, u)
        wave = 2.0 * np.abs(phase / (2.0 * np.pi) - np.floor(phase / (2.0 * np.pi)) - 0.5) * 2.0 - 1.0
        wave = wave if star else np.clip(sharp * np.cos(phase), -1.0, 1.0)
        steep: Grid = length(u, v) - radius * (1.0 - deep + deep * wave)
        return steep * (0.75 if deep * count > 1.0 else 0.9)

    return distance


def _plates(setup: Setup, radius: float) -> Outline:
    """Make a bracket or cross of two or three bars."""
    bars = []
    wide = setup.between(0.3, 0.42) * radius
    kind = int(setup.params.integers(4))
    corner = setup.between(0.0, 0.5) * wide
    arm = radius * setup.between(0.75, 0.95)
    if kind == 0:
        bars = [(0.0, 0.0, arm, wide), (0.0, 0.0, wide, arm)]
    elif kind == 1:
        bars = [(0.0, arm - wide, arm, wide), (wide - arm, 0.0, wide, arm)]
    elif kind == 2:
        bars = [(0.0, wide - arm, arm, wide), (0.0, 0.0, wide, arm)]
    else:
        bars = [(0.0, arm - wide, arm, wide), (wide - arm, 0.0, wide, arm), (arm - wide, 0.0, wide, arm)]

    def distance(u: Grid, v: Grid) -> Grid:
        parts = [box(u - x, v - y, half_u, half_v, corner) for x, y, half_u, half_v in bars]
        nearest: Grid = np.minimum.reduce(parts)
        return nearest

    return distance


def _cut(setup: Setup, radius: float) -> Outline:
    """Make an irregular convex polygon of four, five, seven or eight sides."""
    count = int(setup.params.choice(_SIDES[1:5]))
    angles = (np.arange(count) + setup.params.uniform(-0.3, 0.3, count)) * (2.0 * np.pi / count)
    reach = radius * setup.params.uniform(0.68, 0.95, count)
    sides = list(zip(np.cos(angles).tolist(), np.sin(angles).tolist(), reach.tolist(), strict=True))
    return lambda u, v: np.maximum.reduce([cos * u + sin * v - away for cos, sin, away in sides])


def _disc(setup: Setup, radius: float) -> Outline:
    return lambda u, v: length(u, v) - 0.95 * radius


def _polygon(setup: Setup, radius: float) -> Outline:
    """Make a regular polygon whose corners are cut round at times."""
    count = int(setup.params.choice(_SIDES))
    flat, limit = radius * float(np.cos(np.pi / count)), radius * setup.between(0.88, 1.05)
    polygon = regular(count, max(flat, 0.62 * radius))
    return lambda u, v: np.maximum(polygon(u, v), length(u, v) - limit)


def _oval(setup: Setup, radius: float) -> Outline:
    wide = radius * setup.between(0.6, 0.9)
    return lambda u, v: ellipse(u, v, 0.98 * radius, wide)


def _plate(setup: Setup, radius: float) -> Outline:
    """Make a rectangle with sharp to fully round corners."""
    wide = radius * setup.between(0.5, 0.85)
    corner = wide * setup.between(0.02, 0.98)
    return lambda u, v: box(u, v, 0.88 * radius, wide, corner)


def outline(setup: Setup, radius: float) -> Outline:
    """Draw the outline of an object that fits into a circle of ``radius`` pixels."""
    makers = (_disc, _disc, _polygon, _lobed, _lobed, _plates, _cut, _oval, _plate)
    return makers[int(setup.params.integers(len(makers)))](setup, radius)


def opening(setup: Setup, radius: float) -> Outline:
    """Draw the outline of a hole or boss: round, polygonal, oblong, crossed or flattened."""
    kind = int(setup.params.integers(6))
    if kind <= 1:
        return lambda u, v: length(u, v) - radius
    if kind == 2:
        return regular(int(setup.params.choice(_SIDES)), 0.85 * radius)
    if kind == 3:
        slim, turn = setup.between(0.35, 0.7), setup.between(0.0, np.pi)
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        return lambda u, v: box(cos * u + sin * v, cos * v - sin * u, radius, slim * radius, slim * radius)
    if kind == 4:
        slim = setup.between(0.3, 0.5) * radius
        return lambda u, v: np.minimum(box(u, v, radius, slim), box(u, v, slim, radius))
    return lambda u, v: np.maximum(length(u, v) - radius, np.abs(u) - 0.75 * radius)
