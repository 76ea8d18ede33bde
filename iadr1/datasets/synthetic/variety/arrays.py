"""Bases with repeated components of random shape, number and order: grids, staggered rows, circles, frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iadr1.datasets.synthetic.draw import (
    Grid,
    Planes,
    Rgb,
    Window,
    band,
    blend,
    cover,
    length,
    limit,
    soft_noise,
    unit,
    window,
)
from iadr1.datasets.synthetic.layout import assembled, drop, shaded
from iadr1.datasets.synthetic.product import Pose, Product, Setup, tinted
from iadr1.datasets.synthetic.variety.fields import banded, brushed, chance, speckles, turned
from iadr1.datasets.synthetic.variety.outlines import Outline, opening, outline
from iadr1.datasets.synthetic.variety.palette import ANY, METAL, WOOD, colour


@dataclass(frozen=True)
class Kind:
    """What an assembly is made of.

    Attributes:
        base: Colours of the base.
        parts: Colours of its components.
        grain: What covers the base: ``wood``, ``brush`` or ``plain``.
        tops: What components may look like, names in ``_TOPS``.
        seats: What an empty place may look like, names in ``_SEATS``.
    """

    base: Sequence[str]
    parts: Sequence[str]
    grain: str
    tops: Sequence[str]
    seats: Sequence[str]


_FASTENERS = Kind(
    base=(*WOOD, "white", "blue", "green", "red", "black", "yellow"),
    parts=METAL,
    grain="wood",
    tops=("drive", "dome", "ring"),
    seats=("hole", "ring", "none"),
)
_LAMPS = Kind(base=ANY, parts=ANY, grain="plain", tops=("dome", "glow", "ring"), seats=("hole", "well", "ring"))
_PINS = Kind(base=ANY, parts=METAL, grain="plain", tops=("ring", "flat", "dome"), seats=("hole", "well", "none"))
_PADS = Kind(
    base=("green", "blue", "red", "black", "white", "dark brown", "purple"),
    parts=(*METAL, "yellow"),
    grain="plain",
    tops=("flat", "drive", "sign"),
    seats=("ring", "none", "well"),
)
_TRAY = Kind(
    base=ANY,
    parts=ANY,
    grain="brush",
    tops=("dome", "flat", "sign", "drive", "ring"),
    seats=("well", "well", "hole"),
)


def fastener_board(setup: Setup) -> Product:
    """Build a wooden or painted board with screws or rivets of one shape."""
    return _assembly(setup, _FASTENERS)


def lamp_panel(setup: Setup) -> Product:
    """Build a panel with coloured lamps."""
    return _assembly(setup, _LAMPS)


def pin_connector(setup: Setup) -> Product:
    """Build a plastic block with metal pins."""
    return _assembly(setup, _PINS)


def pad_board(setup: Setup) -> Product:
    """Build a lacquered board with metal pads."""
    return _assembly(setup, _PADS)


def parts_tray(setup: Setup) -> Product:
    """Build a tray with one piece in every pocket."""
    return _assembly(setup, _TRAY)


@dataclass(frozen=True)
class _Order:
    """Where components are: points from the middle, half the least distance, and whether an end could be cut off."""

    points: list[tuple[float, float]]
    half: float
    open_ended: bool = False


def _circle(setup: Setup) -> _Order:
    """Lay components out on a circle, with or without one in the middle."""
    count = int(setup.params.integers(4, 10))
    ring = setup.between(0.28, 0.36) * setup.size
    theta = 2.0 * np.pi * (np.arange(count) / count) + setup.between(0.0, 6.3)
    points = [(ring * c, ring * s) for c, s in zip(np.cos(theta).tolist(), np.sin(theta).tolist(), strict=True)]
    half = min(ring * float(np.sin(np.pi / count)), 0.47 * setup.size - ring)
    if chance(setup, 0.5):
        return _Order([*points, (0.0, 0.0)], min(half, 0.5 * ring))
    return _Order(points, half)


def _rows(setup: Setup) -> _Order:
    """Lay components out in rows and columns, rows shifted against each other at times."""
    size = setup.size
    if chance(setup, 0.25):
        rows, columns = int(setup.params.integers(1, 3)), int(setup.params.integers(4, 7))
    else:
        rows, columns = (int(n) for n in setup.params.integers(2, 6, 2))
    lag = 0.25 if chance(setup, 0.3) and columns > 2 and rows > 1 else 0.0
    pitch_u = setup.between(0.82, 0.94) * size / (columns + 2.0 * lag)
    pitch_v = setup.between(0.82, 0.94) * size / rows
    pitch_u, pitch_v = min(pitch_u, 1.7 * pitch_v), min(pitch_v, 1.7 * pitch_u)
    points = [
        ((c - (columns - 1) / 2.0 + (lag if r % 2 else -lag)) * pitch_u, (r - (rows - 1) / 2.0) * pitch_v)
        for r in range(rows)
        for c in range(columns)
    ]
    return _Order(points, 0.5 * min(pitch_u, pitch_v), rows == 1)


def _posed(setup: Setup, points: Sequence[tuple[float, float]]) -> tuple[Pose, ...]:
    """Turn and move the whole layout a little, at times by a quarter."""
    angle = setup.tilt + float(setup.pose.uniform(-0.02, 0.02))
    quarter = chance(setup, 0.5)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    middle = (setup.size - 1) / 2.0
    x0, y0 = (middle + setup.pose.uniform(-3.0, 3.0, 2) * setup.scale).tolist()
    turned_points = [(-y, x) if quarter else (x, y) for x, y in points]
    return tuple(
        Pose(x0 + cos * x - sin * y, y0 + sin * x + cos * y, angle, number)
        for number, (x, y) in enumerate(turned_points)
    )


def _base(setup: Setup, kind: Kind, rgb: Rgb) -> Planes:
    """Paint the base: plain, grained, striped, speckled or with lines drawn on it."""
    size, scale = setup.size, setup.scale
    grey = 1.0 + setup.between(0.0, 0.04) * soft_noise(setup.texture, size, int(setup.params.integers(2, 6)))
    grey += setup.between(0.0, 0.03) * soft_noise(setup.texture, size, int(setup.params.integers(40, 112)))
    if kind.grain == "wood" and chance(setup, 0.6):
        full = setup.whole()
        wave = soft_noise(setup.texture, size, 3, 2)
        rings = np.sin((full.v + 8.0 * scale * wave) / (setup.between(1.5, 4.0) * scale))
        grey += setup.between(0.02, 0.07) * rings
    elif kind.grain == "brush" and chance(setup, 0.4):
        grey += setup.between(0.01, 0.04) * brushed(setup)
    pattern = int(setup.params.integers(5))
    full = turned(setup, free=False)
    if pattern == 0:
        grey += setup.between(0.02, 0.07) * banded(setup, full.u, setup.between(5.0, 40.0))
    planes = tinted(rgb, grey)
    if pattern == 1:
        ink = colour(setup, ANY, far=rgb)[1]
        share = setup.between(0.02, 0.1)
        blend(planes, 0.4 * speckles(setup, int(setup.params.integers(40, 100)), share), ink)
    elif pattern == 2:
        step = setup.between(20.0, 60.0) * scale
        near = np.minimum(np.abs(full.u % step - 0.5 * step), np.abs(full.v % step - 0.5 * step))
        blend(planes, 0.35 * cover(near - setup.between(0.6, 1.6) * scale), colour(setup, ANY, far=rgb)[1])
    return planes


@dataclass(frozen=True)
class _Part:
    """One kind of component, the same in all places.

    Attributes:
        shape: Its outline.
        reach: Radius of the circle that holds it.
        rgb: Its colour.
        top: What it looks like from above.
        mark: Outline of the recess or sign on top.
        ink: Colour of that.
        turns: Extra turn of every component.
        lift: Width of its shadow in designed pixels.
        edge: Width of its bevel in pixels.
    """

    shape: Outline
    reach: float
    rgb: Rgb
    top: str
    mark: Outline
    ink: Rgb
    turns: tuple[float, ...]
    lift: float
    edge: float


def _paint(setup: Setup, part: _Part, planes: Planes, pose: Pose) -> tuple[Window, Grid]:
    """Draw one component with its shadow."""
    angle = pose.angle + part.turns[pose.number]
    local = window(setup.size, pose.x, pose.y, 1.1 * part.reach + (part.lift + 2.0) * setup.scale, angle)
    view = local.of(planes)
    body = part.shape(local.u, local.v)
    drop(setup, planes, local, body, part.lift)
    lit = shaded(setup, local, angle, part.reach)
    fall = unit(1.0 + body / part.edge)
    r = length(local.u, local.v) / part.reach
    if part.top in ("dome", "glow"):
        grey = 1.08 + 0.32 * lit - 0.25 * r * r
    else:
        grey = 1.0 + 0.06 * lit + fall * (0.3 * lit - 0.05)
    blend(view, cover(body), limit(tinted(part.rgb, grey)))
    mark = part.mark(local.u, local.v)
    if part.top == "glow":
        shine = unit(1.0 - length(local.u - 0.3 * part.reach, local.v + 0.3 * part.reach) / (0.4 * part.reach))
        blend(view, 0.7 * shine * cover(body), (248.0, 248.0, 244.0))
    elif part.top == "ring":
        blend(view, cover(np.maximum(mark, body)), part.ink)
    elif part.top in ("drive", "sign"):
        blend(view, 0.9 * cover(np.maximum(mark, body + 1.0)), part.ink)
    return local, cover(body)


def _seat(setup: Setup, bare: Planes, pose: Pose, part: _Part, seat: str) -> None:
    """Draw what is below a component: a hole, a well, a ring, or nothing."""
    local = window(setup.size, pose.x, pose.y, 1.3 * part.reach, pose.angle + part.turns[pose.number])
    view = local.of(bare)
    if seat == "hole":
        away = length(local.u, local.v) - 0.45 * part.reach
        blend(view, cover(away), (24.0, 24.0, 26.0))
        view += 24.0 * band(away, 1.6 * setup.scale) * -shaded(setup, local, pose.angle, part.reach)
    elif seat == "well":
        away = part.shape(local.u / 1.14, local.v / 1.14)
        view *= 1.0 - 0.5 * cover(away)
        view += 36.0 * band(away, 1.8 * setup.scale) * -shaded(setup, local, pose.angle, part.reach)
    elif seat == "ring":
        away = length(local.u, local.v) - 0.7 * part.reach
        view *= 1.0 - 0.45 * band(away, 1.4 * setup.scale)


def _assembly(setup: Setup, kind: Kind) -> Product:
    """Build a base with components."""
    word, rgb = colour(setup, kind.base)
    part_word, part_rgb = colour(setup, kind.parts, far=rgb, gap=170.0)
    order = _circle(setup) if chance(setup, 0.25) else _rows(setup)
    poses = _posed(setup, order.points)
    bare = _base(setup, kind, rgb)
    reach = min(order.half * setup.between(0.5, 0.72), 38.0 * setup.scale)
    top = kind.tops[int(setup.params.integers(len(kind.tops)))]
    free = chance(setup, 0.4)
    turns = setup.params.uniform(0.0, 2.0 * np.pi, len(poses)) if free else np.full(len(poses), setup.between(0.0, 6.3))
    part = _Part(
        shape=outline(setup, reach) if chance(setup, 0.7) else (lambda u, v: length(u, v) - 0.95 * reach),
        reach=reach,
        rgb=part_rgb,
        top=top,
        mark=opening(setup, setup.between(0.3, 0.55) * reach),
        ink=colour(setup, ANY, far=part_rgb)[1],
        turns=tuple(turns.tolist()),
        lift=setup.between(1.5, 5.0),
        edge=setup.between(0.12, 0.4) * reach,
    )
    # Without a seat a row that lost its last component would be a whole, shorter one.
    seats = [seat for seat in kind.seats if seat != "none" or not order.open_ended]
    seat = seats[int(setup.params.integers(len(seats)))]
    for pose in poses:
        _seat(setup, bare, pose, part, seat)
    marks = ("printed symbols",) if top == "sign" else ()

    def paint(planes: Planes, pose: Pose) -> tuple[Window, Grid]:
        return _paint(setup, part, planes, pose)

    return assembled(setup, bare, poses, paint, (word, part_word, *marks))
