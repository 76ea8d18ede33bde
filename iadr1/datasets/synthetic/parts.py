"""Single objects that lie on a background: washer, cap, button, nut."""

import numpy as np

from iadr1.datasets.synthetic.draw import (
    Grid,
    Planes,
    Rgb,
    Window,
    band,
    blend,
    cover,
    ellipse,
    hexagon,
    length,
    limit,
    soft_noise,
    streaks,
    unit,
    window,
)
from iadr1.datasets.synthetic.product import Product, Setup, Swatch, tinted

_BENCH: tuple[Swatch, ...] = (
    ("dark grey", (62.0, 64.0, 68.0)),
    ("blue", (60.0, 84.0, 118.0)),
    ("light grey", (198.0, 199.0, 198.0)),
    ("green", (72.0, 108.0, 92.0)),
    ("beige", (190.0, 180.0, 160.0)),
)
_WASHER: tuple[Swatch, ...] = (
    ("silver", (176.0, 178.0, 182.0)),
    ("grey", (138.0, 140.0, 144.0)),
    ("gold", (190.0, 160.0, 92.0)),
)
_CAP: tuple[Swatch, ...] = (
    ("red", (196.0, 52.0, 48.0)),
    ("blue", (52.0, 104.0, 192.0)),
    ("green", (58.0, 150.0, 84.0)),
    ("white", (222.0, 222.0, 220.0)),
    ("yellow", (226.0, 188.0, 56.0)),
)
_BUTTON: tuple[Swatch, ...] = (
    ("light brown", (208.0, 166.0, 112.0)),
    ("brown", (168.0, 116.0, 70.0)),
    ("dark brown", (124.0, 82.0, 52.0)),
)
_NUT: tuple[Swatch, ...] = (
    ("silver", (178.0, 180.0, 184.0)),
    ("gold", (196.0, 162.0, 84.0)),
    ("dark grey", (106.0, 108.0, 114.0)),
)
# Defects keep this far inside the outline, in designed pixels.
_RIM = 2.0


def _unlike(setup: Setup, rgb: Rgb) -> Rgb:
    """Draw a background colour that stands off from the object's."""
    far = [s for s in _BENCH if sum(abs(a - b) for a, b in zip(s[1], rgb, strict=True)) > 150.0]
    return setup.swatch(far or _BENCH[:1])[1]


def _bench(setup: Setup, rgb: Rgb) -> Planes:
    """Paint the background the object lies on."""
    size = setup.size
    grain = soft_noise(setup.texture, size, 75)
    grey = 1.0 + 0.02 * grain + 0.02 * soft_noise(setup.texture, size, 4)
    return tinted(_unlike(setup, rgb), grey)


def _lie(setup: Setup, low: float, high: float) -> tuple[Window, float]:
    """Choose place, turn and radius of the object; the window covers the whole picture."""
    radius = setup.between(low, high) * setup.scale
    middle = (setup.size - 1) / 2.0
    off = 10.0 * setup.scale
    x, y = middle + setup.between(-off, off), middle + setup.between(-off, off)
    angle = setup.between(0.0, 2.0 * np.pi)
    return window(setup.size, x, y, 2.0 * setup.size, angle), radius


def _facing(setup: Setup, lie: Window, distance: Grid) -> Grid:
    """Say how much the outward direction at every pixel looks at the light (-1..1)."""
    # The picture's axes, not the object's: the light does not turn with the object.
    x = np.arange(setup.size, dtype=np.float64)[None, :]
    y = np.arange(setup.size, dtype=np.float64)[:, None]
    centre = np.unravel_index(int(np.argmin(distance)), distance.shape)
    dx, dy = x - float(centre[1]), y - float(centre[0])
    facing: Grid = (dx * setup.light[0] + dy * setup.light[1]) / (length(dx, dy) + 1e-9)
    return facing


def _finish(setup: Setup, bench: Planes, body: Planes, distance: Grid, words: tuple[str, ...]) -> Product:
    """Put the object with its shadow on the background.

    Args:
        setup: The instance.
        bench: The background.
        body: The object's picture, given everywhere.
        distance: Signed distance to the object's outline.
        words: The colour word, then the names of harmless marks.
    """
    scale = setup.scale
    steps = [round(-5.0 * scale * along) for along in setup.light]
    cast = np.roll(distance, (steps[1], steps[0]), axis=(0, 1))
    shadow = 0.42 * unit(1.0 - np.maximum(cast, 0.0) / (9.0 * scale))
    clean = bench * (1.0 - shadow)
    blend(clean, cover(distance), body)
    clean, bench = limit(clean), limit(bench)
    region = distance < -_RIM * scale
    return Product(clean, bench, region, words[0], words[0], marks=words[1:])


def _bevel(distance: Grid, wide: float) -> Grid:
    """Weight of an edge ``wide`` pixels broad, one at the outline and zero inside."""
    weight: Grid = unit(1.0 + distance / wide)
    return weight


def steel_washer(setup: Setup) -> Product:
    """Build a flat metal ring with turning marks and a two-lobed sheen."""
    word, rgb = setup.swatch(_WASHER)
    bench = _bench(setup, rgb)
    lie, radius = _lie(setup, 72.0, 88.0)
    inner = radius * setup.between(0.36, 0.46)
    r = length(lie.u, lie.v)
    distance = np.maximum(r - radius, inner - r)
    marks = setup.texture.standard_normal(int(setup.size * 1.5))
    turned = np.take(marks, np.minimum(r, len(marks) - 1.0).astype(np.int64))
    sheen = 2.0 * (lie.u / (r + 1e-9)) ** 2 - 1.0
    facing = _facing(setup, lie, r)
    edge = 3.5 * setup.scale
    grey = 1.0 + 0.025 * turned + 0.13 * sheen * np.abs(sheen)
    grey += 0.28 * facing * (_bevel(r - radius, edge) - _bevel(inner - r, edge))
    return _finish(setup, bench, tinted(rgb, grey), distance, (word,))


def bottle_cap(setup: Setup) -> Product:
    """Build a plastic cap with ribs round the edge, a groove and often a printed logo."""
    word, rgb = setup.swatch(_CAP)
    bench = _bench(setup, rgb)
    lie, radius = _lie(setup, 70.0, 84.0)
    scale = setup.scale
    r = length(lie.u, lie.v)
    ribs = np.cos(int(setup.params.integers(36, 49)) * np.arctan2(lie.v, lie.u))
    distance = r - radius - 1.3 * scale * ribs
    facing = _facing(setup, lie, r)
    rim = 0.83 * radius
    wall = cover(rim - r)
    grey = 1.0 + wall * (0.2 * ribs + 0.24 * facing - 0.08)
    grey += 0.2 * band(r - rim, 1.6 * scale) * facing - 0.1 * band(r - 0.8 * radius, scale)
    # The top is slightly domed: brighter towards the light.
    grey += (1.0 - wall) * 0.12 * facing * r / radius
    body = tinted(rgb, grey)
    words: tuple[str, ...] = (word,)
    if setup.params.random() < 0.6:
        ink = (60.0, 60.0, 66.0) if sum(rgb) > 480.0 else (226.0, 226.0, 222.0)
        blend(body, 0.75 * _logo(setup, lie, 0.34 * radius), ink)
        words = (word, "printed logo")
    return _finish(setup, bench, body, distance, words)


def _logo(setup: Setup, lie: Window, reach: float) -> Grid:
    """Draw a round printed emblem: a ring around bars, a disc or a triangle of dots."""
    thin = 1.6 * setup.scale
    ring = band(length(lie.u, lie.v) - reach, thin)
    kind = int(setup.params.integers(3))
    if kind == 0:
        inside = cover(np.maximum(np.abs(lie.u) - 0.55 * reach, np.abs(np.abs(lie.v) - 6.0) - thin))
    elif kind == 1:
        inside = cover(hexagon(lie.u, lie.v, 0.42 * reach))
    else:
        inside = band(hexagon(lie.u, lie.v, 0.55 * reach), thin)
    mark: Grid = np.maximum(ring, inside)
    return mark


def wooden_button(setup: Setup) -> Product:
    """Build a wooden disc with grain, a raised rim and four thread holes."""
    word, rgb = setup.swatch(_BUTTON)
    bench = _bench(setup, rgb)
    lie, radius = _lie(setup, 68.0, 84.0)
    scale = setup.scale
    r = length(lie.u, lie.v)
    apart, bore = 0.19 * radius, 0.085 * radius
    holes = length(np.abs(lie.u) - apart, np.abs(lie.v) - apart) - bore
    distance = np.maximum(r - radius, -holes)
    wave = soft_noise(setup.texture, setup.size, 3)
    rings = np.sin(2.0 * np.pi / (setup.between(9.0, 14.0) * scale) * (lie.v + 5.0 * scale * wave))
    pores = streaks(setup.texture, setup.size, 0.0, 16)
    facing = _facing(setup, lie, r)
    rim = 0.8 * radius
    grey = 1.0 + 0.055 * rings + 0.02 * pores
    grey += 0.26 * facing * _bevel(r - radius, 6.0 * scale)
    # The rim falls towards the middle, so its inner slope faces the other way.
    grey -= 0.24 * facing * unit(1.0 - np.abs(r - rim) / (5.0 * scale))
    grey -= 0.25 * unit(1.0 - holes / (3.0 * scale))
    dark = limit(bench * 0.5)
    made = _finish(setup, bench, tinted(rgb, grey), distance, (word,))
    blend(made.clean, cover(holes), dark)
    return made


def hex_nut(setup: Setup) -> Product:
    """Build a hexagonal nut with chamfered corners and a threaded hole."""
    word, rgb = setup.swatch(_NUT)
    bench = _bench(setup, rgb)
    lie, apothem = _lie(setup, 64.0, 76.0)
    scale = setup.scale
    r = length(lie.u, lie.v)
    bore = apothem * setup.between(0.46, 0.54)
    outline = hexagon(lie.u, lie.v, apothem)
    distance = np.maximum(outline, bore - r)
    facing = _facing(setup, lie, r)
    chamfer = unit((r - 0.95 * apothem) / (0.16 * apothem))
    cloud = soft_noise(setup.texture, setup.size, 6)
    grain = soft_noise(setup.texture, setup.size, 90)
    grey = 1.0 + 0.03 * cloud + 0.018 * grain - chamfer * (0.16 - 0.3 * facing)
    grey += 0.22 * facing * _bevel(outline, 3.0 * scale)
    # Countersink, then the thread seen as rings that climb down into the hole.
    sink = unit(1.0 - (r - bore) / (9.0 * scale))
    grey -= sink * (0.18 + 0.28 * facing)
    body = tinted(rgb, grey)
    made = _finish(setup, bench, body, distance, (word,))
    turns = 0.45 + 0.25 * np.sin(2.0 * np.pi * (bore - r) / (4.2 * scale))
    thread = tinted(rgb, turns - 0.2 * facing)
    inside = cover(r - bore) * cover(0.78 * bore - r)
    blend(made.clean, inside, limit(thread))
    blend(made.clean, cover(ellipse(lie.u, lie.v, 0.78 * bore, 0.78 * bore)), made.bare * 0.55)
    return made
