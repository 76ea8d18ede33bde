"""Single objects of random outline, holes and surface on random backgrounds: metal, plastic, rubber, wood, ceramic."""

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
from iadr1.datasets.synthetic.product import Product, Setup, tinted
from iadr1.datasets.synthetic.variety.fields import banded, brushed, chance, speckles
from iadr1.datasets.synthetic.variety.outlines import opening, outline, sector
from iadr1.datasets.synthetic.variety.palette import ANY, METAL, STONE, WOOD, apart, colour

# Defects keep this far inside outlines and holes, in designed pixels.
_RIM = 2.0


@dataclass(frozen=True)
class Finish:
    """How the material of an object looks.

    Attributes:
        words: Its colours.
        bevel: Strength of light on edges.
        grain: What covers it: ``brush``, ``wood``, ``fleck`` or ``plain``.
        raised: Chance of ribs, grooves and rings.
        printed: Chance of a print.
    """

    words: Sequence[str]
    bevel: float
    grain: str
    raised: float
    printed: float


_METAL = Finish(METAL, 0.3, "brush", 0.6, 0.25)
_PLASTIC = Finish(ANY, 0.22, "plain", 0.6, 0.4)
_RUBBER = Finish(("black", "dark grey", "grey", "red", "blue", "green", "white"), 0.14, "fleck", 0.6, 0.1)
_WOOD = Finish(WOOD, 0.2, "wood", 0.35, 0.3)
_CERAMIC = Finish(STONE, 0.16, "fleck", 0.35, 0.5)


def machined_part(setup: Setup) -> Product:
    """Build a metal object: any outline, bores, grooves, brush marks."""
    return _object(setup, _METAL)


def moulded_part(setup: Setup) -> Product:
    """Build a plastic object: any outline and colour, ribs, prints."""
    return _object(setup, _PLASTIC)


def rubber_seal(setup: Setup) -> Product:
    """Build a rubber object, most often with a wide opening."""
    return _object(setup, _RUBBER)


def wooden_piece(setup: Setup) -> Product:
    """Build a wooden object with grain."""
    return _object(setup, _WOOD)


def ceramic_part(setup: Setup) -> Product:
    """Build a glazed or speckled ceramic object."""
    return _object(setup, _CERAMIC)


def _background(setup: Setup, rgb: Rgb) -> Planes:
    """Paint what the object lies on: plain, cloudy, brushed, striped, speckled or slotted."""
    base = colour(setup, far=rgb, gap=150.0)[1]
    size = setup.size
    grey = 1.0 + 0.02 * soft_noise(setup.texture, size, 4)
    grey += setup.between(0.0, 0.04) * soft_noise(setup.texture, size, int(setup.params.integers(40, 110)))
    kind = int(setup.params.integers(6))
    full = setup.whole()
    if kind == 1:
        grey += setup.between(0.02, 0.07) * brushed(setup)
    elif kind == 2:
        grey += setup.between(0.02, 0.1) * banded(setup, full.u + setup.between(0.0, 60.0), setup.between(8.0, 70.0))
    elif kind == 3:
        weave = np.sin(full.u / setup.between(1.0, 4.0)) * np.sin(full.v / setup.between(1.0, 4.0))
        grey += setup.between(0.02, 0.08) * weave
    planes = tinted(base, grey)
    if kind == 4:
        other = colour(setup, far=rgb)[1]
        if apart(other, base) < 240.0:
            blend(planes, speckles(setup, int(setup.params.integers(20, 90)), 0.15), other)
    return planes


def _lie(setup: Setup) -> tuple[Window, float]:
    """Choose place, turn and size of the object; another photo shows it a little moved and turned."""
    radius = setup.between(62.0, 98.0) * setup.scale
    room = max(0.5 * setup.size - radius, 4.0) * 0.7
    middle = (setup.size - 1) / 2.0
    x, y = middle + setup.between(-room, room), middle + setup.between(-room, room)
    dx, dy, turn = setup.pose.uniform(-1.0, 1.0, 3).tolist()
    x, y = x + 4.0 * setup.scale * dx, y + 4.0 * setup.scale * dy
    return window(setup.size, x, y, 2.0 * setup.size, setup.between(0.0, 2.0 * np.pi) + 0.15 * turn), radius


def _slope(setup: Setup, distance: Grid) -> Grid:
    """Say how much the outward direction at every pixel looks at the light (-1..1)."""
    down: Grid = np.gradient(distance, axis=0)
    right: Grid = np.gradient(distance, axis=1)
    facing: Grid = (right * setup.light[0] + down * setup.light[1]) / (length(right, down) + 1e-6)
    return facing


def _holes(setup: Setup, lie: Window, radius: float) -> Grid:
    """Distance to all holes that belong to the object: in the middle, in a ring, or in rows; far where none."""
    u, v = lie.u, lie.v
    away: Grid = np.full(u.shape, 1e3)
    inner = 0.0
    if chance(setup, 0.65):
        inner = setup.between(0.1, 0.5) * radius
        away = opening(setup, inner)(u, v)
    if chance(setup, 0.45) and inner < 0.4 * radius:
        bore = setup.between(0.05, 0.1) * radius
        if chance(setup, 0.7):
            ring = max(setup.between(0.5, 0.7) * radius, inner + 2.2 * bore)
            along, across = sector(u, v, int(setup.params.integers(2, 9)))
            hole = opening(setup, bore)(along - ring, across)
        else:
            apart_u, apart_v = setup.between(0.4, 0.6) * radius, setup.between(0.3, 0.5) * radius
            hole = opening(setup, bore)(np.abs(u) - apart_u, np.abs(v) - apart_v)
        away = np.minimum(away, hole)
    return away


def _material(setup: Setup, finish: Finish, lie: Window) -> Grid:
    """Brightness of the bare material."""
    size, scale = setup.size, setup.scale
    grey = 1.0 + setup.between(0.0, 0.05) * soft_noise(setup.texture, size, int(setup.params.integers(3, 8)))
    grey += setup.between(0.0, 0.03) * soft_noise(setup.texture, size, int(setup.params.integers(60, 112)))
    if finish.grain == "wood":
        wave = soft_noise(setup.texture, size, 3)
        grey += setup.between(0.03, 0.09) * np.sin((lie.v + 6.0 * scale * wave) / (setup.between(1.2, 3.5) * scale))
    elif finish.grain == "brush" and chance(setup, 0.35):
        # Turned on a lathe: fine circles and a sheen of two lobes.
        r = length(lie.u, lie.v)
        lines = setup.texture.standard_normal(2 * size)
        grey += setup.between(0.01, 0.04) * lines[np.minimum(r, 2 * size - 1).astype(np.int64)]
        sheen = 2.0 * (lie.u / (r + 1e-9)) ** 2 - 1.0
        grey += setup.between(0.0, 0.14) * sheen * np.abs(sheen)
    elif finish.grain == "brush" and chance(setup, 0.5):
        grey += setup.between(0.01, 0.05) * brushed(setup)
    return grey


def _raised(setup: Setup, lie: Window, radius: float) -> Grid:
    """Change of brightness by what is raised on or cut into the object: rings, rays, ribs, knurls or a step."""
    scale, r = setup.scale, length(lie.u, lie.v)
    period, strong = setup.between(5.0, 16.0), setup.between(0.06, 0.2)
    low, high = setup.between(0.2, 0.6) * radius, setup.between(0.7, 1.2) * radius
    within = strong * cover(low - r) * cover(r - high)
    kind = int(setup.params.integers(5))
    if kind == 0:
        return within * banded(setup, r, period)
    if kind == 1:
        rays: Grid = within * np.cos(int(setup.params.integers(8, 48)) * np.arctan2(lie.v, lie.u))
        return rays
    if kind == 2:
        return strong * banded(setup, lie.u, period)
    if kind == 3:
        step = 0.2 * period * scale
        knurl: Grid = within * np.sin((lie.u + lie.v) / step) * np.sin((lie.u - lie.v) / step)
        return knurl
    shape = opening(setup, setup.between(0.4, 0.8) * radius)(lie.u, lie.v)
    rim = band(shape, setup.between(1.2, 3.0) * scale) * _slope(setup, shape)
    return 1.6 * strong * rim + setup.between(-0.12, 0.12) * cover(shape)


def _printed(setup: Setup, lie: Window, radius: float) -> Grid:
    """Coverage of a print that belongs: a ring, ticks, a row of signs or a figure."""
    u, v, r = lie.u, lie.v, length(lie.u, lie.v)
    thin = setup.between(1.0, 2.2) * setup.scale
    kind = int(setup.params.integers(4))
    at = setup.between(0.45, 0.75) * radius
    if kind == 0:
        return band(r - at, thin)
    if kind == 1:
        along, across = sector(u, v, int(setup.params.integers(6, 40)))
        return cover(np.maximum(np.abs(across) - 0.7 * thin, np.abs(along - at) - setup.between(0.05, 0.12) * radius))
    if kind == 2:
        return _letters(setup, u, v - at * setup.between(-0.9, 0.9), setup.between(0.06, 0.11) * radius)
    shape = opening(setup, at)(u, v)
    return band(shape, thin) if chance(setup, 0.6) else cover(shape)


def _letters(setup: Setup, u: Grid, v: Grid, high: float) -> Grid:
    """Coverage of a row of three to six made-up signs, `high` pixels half their height."""
    thin, step = max(0.2 * high, 0.6), 2.4 * high
    number = np.floor(u / step).astype(np.int64)
    signs = setup.params.integers(0, 2, (4, 64)).astype(np.bool_)[:, number & 63]
    x = u - (number + 0.5) * step
    inside = np.maximum(
        np.maximum(np.abs(x) - 0.8 * high, np.abs(v) - high), np.abs(u) - setup.between(3.0, 6.0) * high
    )
    strokes = (np.abs(x), np.abs(v), np.abs(x + 0.7 * high), np.abs(v - 0.8 * high))
    drawn = [cover(np.maximum(one - thin, inside)) * on for one, on in zip(strokes, signs, strict=True)]
    letters: Grid = np.maximum.reduce(drawn)
    return letters


def _bored(setup: Setup, rgb: Rgb, holes: Grid) -> Planes:
    """Picture of blind holes and of the walls of holes: dark, at times with the rings of a thread."""
    grey = 1.0 + setup.between(-0.3, 0.3) * _slope(setup, holes)
    if chance(setup, 0.6):
        grey += setup.between(0.15, 0.7) * np.sin(holes / (setup.between(0.4, 1.2) * setup.scale))
    deep = setup.between(0.2, 0.65)
    return tinted((deep * rgb[0], deep * rgb[1], deep * rgb[2]), grey)


def _rims(setup: Setup, holes: Grid) -> Grid:
    """Change of brightness around holes: a sunk or raised collar, and a thin bright or dark rim."""
    grey: Grid = np.zeros_like(holes)
    facing = _slope(setup, holes)
    if chance(setup, 0.4):
        collar = unit(1.0 - holes / (setup.between(3.0, 14.0) * setup.scale))
        grey += collar * (setup.between(-0.3, 0.12) + setup.between(-0.35, 0.35) * facing)
    if chance(setup, 0.3):
        step = setup.between(3.0, 12.0) * setup.scale
        grey += setup.between(-0.2, 0.2) * cover(holes - step) + 0.25 * band(holes - step, setup.scale) * facing
    if chance(setup, 0.3):
        grey += setup.between(-0.35, 0.35) * band(holes, setup.between(1.0, 2.5) * setup.scale)
    return grey


def _object(setup: Setup, finish: Finish) -> Product:
    """Build an object with its shadow on a background."""
    word, rgb = colour(setup, finish.words)
    bench = _background(setup, rgb)
    lie, radius = _lie(setup)
    scale = setup.scale
    outer = outline(setup, radius)(lie.u, lie.v)
    holes = _holes(setup, lie, radius)
    grey = _material(setup, finish, lie)
    if chance(setup, finish.raised):
        grey += _raised(setup, lie, radius)
    wide = setup.between(2.0, 9.0) * scale
    bevel = finish.bevel * setup.between(0.3, 1.2)
    grey += bevel * _slope(setup, outer) * unit(1.0 + outer / wide)
    grey -= 0.8 * bevel * _slope(setup, holes) * unit(1.0 - holes / (0.7 * wide)) * (holes > -1.0)
    if float(holes.min()) < 0.0:
        grey += _rims(setup, holes)
    if chance(setup, 0.4):
        grey += setup.between(0.03, 0.12) * (lie.u * setup.light[0] + lie.v * setup.light[1]) / radius
    body = tinted(rgb, grey)
    marks: tuple[str, ...] = ()
    if finish.grain == "fleck" and chance(setup, 0.5):
        flecks = speckles(setup, int(setup.params.integers(50, 110)), setup.between(0.02, 0.12))
        blend(body, setup.between(0.2, 0.6) * flecks, colour(setup, STONE)[1])
    if chance(setup, finish.printed):
        blend(body, setup.between(0.4, 0.9) * _printed(setup, lie, radius), colour(setup, far=rgb)[1])
        marks = ("printed mark",)
    deep = chance(setup, 0.35)
    # Through holes show the background, at times inside a threaded wall; blind ones are dark to the middle.
    wall = setup.between(3.0, 14.0) * setup.scale if chance(setup, 0.4) else 0.0
    distance = outer if deep else np.maximum(outer, -holes - wall)
    if deep or wall:
        blend(body, cover(holes), _bored(setup, rgb, holes))
    clean = bench * (1.0 - _shadow(setup, distance))
    blend(clean, cover(distance), body)
    clean, bench = limit(clean), limit(bench)
    region = np.maximum(outer, -holes) < -_RIM * scale
    return Product(clean, bench, region, word, word, marks=marks)


def _shadow(setup: Setup, distance: Grid) -> Grid:
    """How much darker the background is beside the object."""
    reach = setup.between(2.0, 8.0) * setup.scale
    steps = [round(-reach * along) for along in setup.light]
    cast = np.roll(distance, (steps[1], steps[0]), axis=(0, 1))
    dark, wide = setup.between(0.1, 0.5), setup.between(3.0, 12.0) * setup.scale
    return dark * unit(1.0 - np.maximum(cast, 0.0) / wide)
