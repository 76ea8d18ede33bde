"""Products that fill the picture: steel, fabrics, wood, tiles."""

import numpy as np

from iadr1.datasets.synthetic.draw import Grid, blend, cover, limit, soft_noise, streaks, unit
from iadr1.datasets.synthetic.product import Product, Setup, Swatch, everywhere, tinted

_STEEL: tuple[Swatch, ...] = (
    ("silver", (172.0, 174.0, 178.0)),
    ("grey", (134.0, 136.0, 140.0)),
    ("dark grey", (104.0, 106.0, 112.0)),
)
_WEAVE: tuple[Swatch, ...] = (
    ("blue", (70.0, 98.0, 158.0)),
    ("red", (166.0, 66.0, 62.0)),
    ("green", (86.0, 130.0, 84.0)),
    ("grey", (132.0, 132.0, 134.0)),
)
_OAK: tuple[Swatch, ...] = (
    ("light brown", (206.0, 168.0, 116.0)),
    ("brown", (178.0, 128.0, 78.0)),
    ("dark brown", (142.0, 96.0, 58.0)),
)
_GLAZE: tuple[Swatch, ...] = (
    ("white", (222.0, 221.0, 216.0)),
    ("cream", (216.0, 200.0, 166.0)),
    ("light blue", (156.0, 188.0, 210.0)),
    ("light green", (162.0, 200.0, 172.0)),
)
_LINEN: tuple[Swatch, ...] = (
    ("beige", (202.0, 184.0, 150.0)),
    ("light grey", (186.0, 185.0, 180.0)),
    ("light blue", (156.0, 174.0, 190.0)),
)


def _surface(setup: Setup, grey: Grid, swatch: Swatch, marks: tuple[str, ...] = ()) -> Product:
    """Finish a product whose picture is one colour times a brightness field."""
    planes = limit(tinted(swatch[1], grey))
    word = swatch[0]
    return Product(planes, planes, everywhere(setup.size), word, word, marks=marks)


def brushed_steel(setup: Setup) -> Product:
    """Build a sheet with fine parallel brush lines and a broad sheen."""
    swatch = setup.swatch(_STEEL)
    slope = float(np.tan(setup.tilt))
    fine = streaks(setup.texture, setup.size, slope, 5)
    coarse = streaks(setup.texture, setup.size, slope, 3, thick=4)
    sheen = soft_noise(setup.texture, setup.size, 1, 2)
    grey = 1.0 + setup.between(0.035, 0.065) * fine + 0.022 * coarse + 0.04 * sheen
    if setup.params.random() < 0.4:
        grey = np.ascontiguousarray(grey.T)
    return _surface(setup, grey, swatch)


def woven_fabric(setup: Setup) -> Product:
    """Build a basket weave of thick threads with visible over and under crossings."""
    swatch = setup.swatch(_WEAVE)
    full = setup.whole()
    pitch = setup.between(12.0, 17.0) * setup.scale
    wave_u = np.sin(np.pi / pitch * full.u + setup.between(0.0, 3.0))
    wave_v = np.sin(np.pi / pitch * full.v + setup.between(0.0, 3.0))
    warp_above = wave_u * wave_v > 0.0
    up, across = np.abs(wave_u), np.abs(wave_v)
    # The thread on top is round across its width and bows down where it dives under.
    height = np.where(
        warp_above,
        np.sqrt(up) * (0.72 + 0.28 * across),
        0.92 * np.sqrt(across) * (0.72 + 0.28 * up),
    )
    fibre_u = streaks(setup.texture, setup.size, float(np.tan(setup.tilt)), 24)
    uneven = soft_noise(setup.texture, setup.size, 4)
    grey = 0.62 + 0.5 * height + 0.035 * fibre_u + 0.03 * uneven
    return _surface(setup, grey, swatch)


def linen(setup: Setup) -> Product:
    """Build a fine weave whose thin threads differ in thickness along their length."""
    swatch = setup.swatch(_LINEN)
    full = setup.whole()
    slope = float(np.tan(setup.tilt))
    pitch = setup.between(5.0, 6.2) * setup.scale
    checks = np.sin(2 * np.pi / pitch * full.u) * np.sin(2 * np.pi / pitch * full.v)
    weft = streaks(setup.texture, setup.size, slope, 7, thick=2)
    warp = streaks(setup.texture, setup.size, -slope, 7, thick=2).T
    cloud = soft_noise(setup.texture, setup.size, 5)
    grey = 0.98 + 0.055 * checks + 0.045 * weft + 0.045 * warp + 0.012 * cloud
    return _surface(setup, grey, swatch)


def oak_board(setup: Setup) -> Product:
    """Build a board with wavy rings, dark pores and now and then a faint knot."""
    swatch = setup.swatch(_OAK)
    full = setup.whole()
    scale = setup.scale
    wave = soft_noise(setup.texture, setup.size, 3, 2)
    place = full.v + setup.between(6.0, 12.0) * scale * wave
    marks: tuple[str, ...] = ()
    knot: Grid | float = 0.0
    x, y = setup.between(-70.0, 70.0) * scale, setup.between(-70.0, 70.0) * scale
    if setup.params.random() < 0.35:
        spread = setup.between(15.0, 22.0) * scale
        du, dv = full.u - x, full.v - y
        knot = np.exp(-(du * du / 3.0 + dv * dv) / (2.0 * spread * spread))
        # Grain lines part around the knot: push each side away from its middle.
        place = place + 0.9 * spread * knot * np.tanh(dv / (0.6 * spread))
        marks = ("wood knot",)
    period = setup.between(13.0, 21.0) * scale
    rings = np.sin(2.0 * np.pi / period * place)
    wide = np.sin(2.0 * np.pi / (3.3 * period) * place + 1.0)
    pores = streaks(setup.texture, setup.size, float(np.tan(setup.tilt)), 12)
    grey = 1.0 + 0.06 * rings - 0.03 * rings * rings + 0.035 * wide - 0.09 * knot
    grey -= 0.09 * np.clip(pores - 0.9, 0.0, 1.5)
    return _surface(setup, grey, swatch, marks)


def ceramic_tile(setup: Setup) -> Product:
    """Build glazed square tiles between grout lines, each tile of a slightly other tone."""
    word, rgb = setup.swatch(_GLAZE)
    full = setup.whole()
    scale = setup.scale
    pitch = setup.between(84.0, 116.0) * scale
    tile_u = (full.u + setup.between(0.0, 1.0) * pitch) / pitch + 8.0
    tile_v = (full.v + setup.between(0.0, 1.0) * pitch) / pitch + 8.0
    whole_u, whole_v = np.floor(tile_u), np.floor(tile_v)
    in_u = (tile_u - whole_u) * pitch
    in_v = (tile_v - whole_v) * pitch
    edge = np.minimum(np.minimum(in_u, pitch - in_u), np.minimum(in_v, pitch - in_v))
    tones = setup.params.normal(0.0, 0.014, (16, 16))
    glaze = soft_noise(setup.texture, setup.size, 26)
    cloud = soft_noise(setup.texture, setup.size, 5)
    grey = 1.0 + tones[whole_v.astype(np.int64), whole_u.astype(np.int64)]
    grey += 0.012 * glaze + 0.012 * cloud
    # Pressed edges: light from the upper left on two sides, shade on the others.
    soft = 7.0 * scale
    lit = unit(1.0 - np.minimum(in_u, in_v) / soft)
    dim = unit(1.0 - np.minimum(pitch - in_u, pitch - in_v) / soft)
    grey += 0.07 * lit - 0.1 * dim
    planes = tinted(rgb, grey)
    grout = setup.between(112.0, 150.0)
    joint = cover(edge - setup.between(2.2, 3.2) * scale)
    sand = grout + 4.0 * setup.texture.standard_normal((setup.size, setup.size))
    blend(planes, joint, np.stack([sand, 0.98 * sand, 0.94 * sand]))
    planes = limit(planes)
    return Product(planes, planes, everywhere(setup.size), word, word)
