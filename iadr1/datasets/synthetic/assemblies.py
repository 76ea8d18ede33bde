"""Bases with a grid of equal components: blister, keypad, bolt plate."""

import numpy as np

from iadr1.datasets.synthetic.draw import (
    Grid,
    Planes,
    Window,
    band,
    blend,
    box,
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
from iadr1.datasets.synthetic.layout import assembled, drop, grid, shaded
from iadr1.datasets.synthetic.product import Pose, Product, Setup, Swatch, tinted

_FOIL: tuple[Swatch, ...] = (("silver", (176.0, 178.0, 182.0)), ("grey", (150.0, 153.0, 158.0)))
_PILL: tuple[Swatch, ...] = (
    ("white", (240.0, 240.0, 236.0)),
    ("yellow", (232.0, 200.0, 84.0)),
    ("pink", (226.0, 142.0, 152.0)),
    ("green", (108.0, 180.0, 128.0)),
    ("blue", (96.0, 144.0, 210.0)),
)
_PANEL: tuple[Swatch, ...] = (
    ("grey", (120.0, 122.0, 126.0)),
    ("beige", (194.0, 184.0, 162.0)),
    ("dark grey", (78.0, 80.0, 86.0)),
)
_KEY: tuple[Swatch, ...] = (
    ("white", (222.0, 222.0, 218.0)),
    ("orange", (222.0, 136.0, 60.0)),
    ("light blue", (140.0, 184.0, 214.0)),
)
_PLATE: tuple[Swatch, ...] = (
    ("grey", (118.0, 121.0, 126.0)),
    ("blue", (78.0, 104.0, 138.0)),
    ("green", (94.0, 118.0, 100.0)),
)


def pill_blister(setup: Setup) -> Product:
    """Build a foil sheet with embossed diamonds, clear pockets and one pill in each."""
    word, rgb = setup.swatch(_FOIL)
    pill_word, pill = setup.swatch(_PILL)
    size, scale = setup.size, setup.scale
    poses, half = grid(setup, ((3, 3), (3, 4), (4, 3)))
    full = setup.whole()
    step = np.pi / (4.5 * scale)
    diamonds = np.sin(step * (full.u + full.v)) * np.sin(step * (full.u - full.v))
    grey = 1.0 + 0.035 * diamonds + 0.03 * soft_noise(setup.texture, size, 4)
    bare = tinted(rgb, grey)
    reach = 0.82 * half
    long, wide = (0.62, 0.62) if setup.params.random() < 0.5 else (0.68, 0.42)
    long, wide = long * half, wide * half
    for pose in poses:
        local = window(size, pose.x, pose.y, half, pose.angle)
        view = local.of(bare)
        pocket = box(local.u, local.v, reach, reach * (0.6 + 0.4 * wide / long), reach * 0.55)
        lit = shaded(setup, local, pose.angle, reach)
        blend(view, 0.9 * cover(pocket), tuple(0.56 * c for c in rgb))  # type: ignore[arg-type]
        rim = band(pocket + scale, 2.2 * scale)
        view += rim * (46.0 * -lit + 14.0)

    def paint(planes: Planes, pose: Pose) -> tuple[Window, Grid]:
        local = window(size, pose.x, pose.y, long + 7.0 * scale, pose.angle)
        view = local.of(planes)
        body = box(local.u, local.v, long, wide, wide)
        drop(setup, planes, local, body, 4.0)
        lit = shaded(setup, local, pose.angle, long)
        fall = unit(1.0 + body / (0.4 * wide))
        grey = 1.0 + 0.05 * lit + fall * (0.2 * lit - 0.12)
        blend(view, cover(body), limit(tinted(pill, grey)))
        blend(view, 0.3 * cover(np.maximum(np.abs(local.u) - scale, body + 3.0 * scale)), (90.0,) * 3)
        return local, cover(body)

    return assembled(setup, bare, poses, paint, (word, pill_word))


def _glyph(local: Window, number: int, reach: float, thin: float) -> Grid:
    """Draw one of six plain key symbols."""
    u, v = local.u, local.v
    kind = number % 6
    if kind == 0:
        return band(length(u, v) - 0.7 * reach, thin)
    if kind == 1:
        return cover(np.maximum(np.abs(u) - thin, np.abs(v) - reach))
    if kind == 2:
        cross = np.minimum(np.abs(u), np.abs(v)) - thin
        return cover(np.maximum(cross, length(u, v) - reach))
    if kind == 3:
        return cover(np.maximum(np.abs(v) - thin, np.abs(u) - reach))
    if kind == 4:
        return band(box(u, v, 0.7 * reach, 0.7 * reach), thin)
    return cover(length(u, v) - 0.5 * reach)


def keypad(setup: Setup) -> Product:
    """Build a panel with wells and square keys that carry printed symbols."""
    word, rgb = setup.swatch(_PANEL)
    key_word, key = setup.swatch(_KEY)
    size, scale = setup.size, setup.scale
    poses, half = grid(setup, ((3, 3), (4, 3), (4, 4)))
    grain = soft_noise(setup.texture, size, 90)
    bare = tinted(rgb, 1.0 + 0.015 * grain + 0.015 * soft_noise(setup.texture, size, 3))
    side = setup.between(0.68, 0.78) * half
    for pose in poses:
        local = window(size, pose.x, pose.y, half, pose.angle)
        well = box(local.u, local.v, side + 2.0 * scale, side + 2.0 * scale, 0.3 * side)
        blend(local.of(bare), cover(well), (34.0, 34.0, 38.0))
        post = box(local.u, local.v, 0.3 * side, 0.3 * side, 0.0)
        blend(local.of(bare), band(post, 1.3 * scale), (84.0, 84.0, 88.0))

    def paint(planes: Planes, pose: Pose) -> tuple[Window, Grid]:
        local = window(size, pose.x, pose.y, 1.45 * side + 3.0 * scale, pose.angle)
        view = local.of(planes)
        body = box(local.u, local.v, side, side, 0.28 * side)
        drop(setup, planes, local, body, 3.0)
        lit = shaded(setup, local, pose.angle, side)
        edge = unit(1.0 + body / (5.0 * scale))
        grey = 1.0 - 0.04 * lit + edge * (0.24 * lit - 0.06)
        blend(view, cover(body), limit(tinted(key, grey)))
        blend(view, 0.85 * _glyph(local, pose.number, 0.42 * side, 1.5 * scale), (52.0, 52.0, 58.0))
        return local, cover(body)

    return assembled(setup, bare, poses, paint, (word, key_word, "printed symbols"))


def bolt_plate(setup: Setup) -> Product:
    """Build a painted or ground plate with hexagon bolts on washers."""
    word, rgb = setup.swatch(_PLATE)
    size, scale = setup.size, setup.scale
    poses, half = grid(setup, ((2, 3), (3, 3), (3, 2), (2, 2)))
    reach = min(0.66 * half, 27.0 * scale)
    turns = setup.params.uniform(0.0, np.pi / 3.0, len(poses))
    ground = streaks(setup.texture, size, float(np.tan(setup.tilt)), 4, thick=2)
    bare = tinted(rgb, 1.0 + 0.022 * ground + 0.03 * soft_noise(setup.texture, size, 3))
    for pose in poses:
        local = window(size, pose.x, pose.y, half, pose.angle)
        view = local.of(bare)
        r = length(local.u, local.v)
        view *= 1.0 + 0.3 * cover(r - reach)
        lit = shaded(setup, local, pose.angle, 0.5 * reach)
        bore = 0.5 * reach
        view += band(r - bore, 2.0 * scale) * (-34.0 * lit)
        blend(view, cover(r - bore), (26.0, 26.0, 28.0))
        blend(view, 0.6 * band(r - 0.8 * bore, 0.8 * scale), (80.0, 80.0, 84.0))

    def paint(planes: Planes, pose: Pose) -> tuple[Window, Grid]:
        angle = pose.angle + float(turns[pose.number])
        local = window(size, pose.x, pose.y, reach + 7.0 * scale, angle)
        view = local.of(planes)
        r = length(local.u, local.v)
        lit = shaded(setup, local, angle, reach)
        drop(setup, planes, local, r - reach, 5.0)
        ring = 178.0 + 40.0 * lit * band(r - reach + 2.0 * scale, 2.0 * scale) + 10.0 * lit
        blend(view, cover(r - reach), np.stack([ring, ring, ring * 1.02]))
        head = hexagon(local.u, local.v, 0.66 * reach)
        drop(setup, planes, local, head, 3.0)
        face = 196.0 + 18.0 * lit + 50.0 * lit * unit(1.0 + head / (4.0 * scale))
        blend(view, cover(head), np.stack([face, face, face * 1.02]))
        blend(view, cover(ellipse(local.u, local.v, 0.26 * reach, 0.26 * reach)), (58.0, 58.0, 62.0))
        return local, cover(r - reach)

    return assembled(setup, bare, poses, paint, (word, "silver"))
