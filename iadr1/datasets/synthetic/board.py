"""The circuit board: an assembly of chips."""

import numpy as np

from iadr1.datasets.synthetic.draw import (
    Grid,
    Planes,
    Rgb,
    Window,
    band,
    blend,
    box,
    cover,
    length,
    soft_noise,
    stroke,
    window,
)
from iadr1.datasets.synthetic.layout import assembled, drop, grid, shaded
from iadr1.datasets.synthetic.product import Pose, Product, Setup, Swatch, lot_number, tinted

_BOARD: tuple[Swatch, ...] = (
    ("green", (38.0, 112.0, 66.0)),
    ("blue", (38.0, 82.0, 140.0)),
    ("red", (146.0, 46.0, 46.0)),
)
_WHITE: Rgb = (222.0, 224.0, 218.0)


def circuit_board(setup: Setup) -> Product:
    """Build a lacquered board with traces, vias, pads and rows of chips."""
    word, rgb = setup.swatch(_BOARD)
    size, scale = setup.size, setup.scale
    poses, half = grid(setup, ((3, 3), (2, 3), (3, 2)))
    grey = 1.0 + 0.03 * soft_noise(setup.texture, size, 5) + 0.02 * soft_noise(setup.texture, size, 80)
    bare = tinted(rgb, grey)
    half_u, half_v = setup.between(0.44, 0.52) * half, setup.between(0.5, 0.6) * half
    _traces(setup, bare, rgb, poses, half)
    legs = int(setup.params.integers(4, 6))
    for pose in poses:
        _pads(setup, bare, pose, (half_u, half_v), legs)
    marks: tuple[str, ...] = ()
    if setup.params.random() < 0.6:
        ink = lot_number(setup, 10.0 * scale, size - 15.0 * scale, 8.0 * scale)
        blend(bare, 0.8 * ink, _WHITE)
        marks = ("printed lot number",)

    def paint(planes: Planes, pose: Pose) -> tuple[Window, Grid]:
        local = window(size, pose.x, pose.y, half * 0.98, pose.angle)
        view = local.of(planes)
        rake = (np.abs(local.v) + half_v / legs * (legs % 2 + 1)) % (2 * half_v / legs)
        pins = np.maximum(
            np.abs(np.abs(local.u) - half_u - 3.0 * scale) - 3.2 * scale,
            np.maximum(np.abs(rake - half_v / legs) - 1.7 * scale, np.abs(local.v) - half_v),
        )
        body = box(local.u, local.v, half_u, half_v, 2.0 * scale)
        drop(setup, planes, local, body, 5.0)
        blend(view, cover(pins), (196.0, 198.0, 200.0))
        lit = shaded(setup, local, pose.angle, half)
        tone = 46.0 + 14.0 * lit + 34.0 * band(body + 1.5 * scale, scale) * lit
        blend(view, cover(body), np.stack([tone, tone, tone * 1.05]))
        dot = length(local.u + half_u * 0.6, local.v + half_v * 0.66) - 2.4 * scale
        blend(view, 0.7 * cover(dot), (170.0, 170.0, 166.0))
        bar = np.maximum(np.abs(local.u - 1.0) - half_u * 0.5, np.abs(local.v) - 1.1 * scale)
        blend(view, 0.45 * cover(bar), (170.0, 170.0, 166.0))
        opaque: Grid = np.maximum(cover(body), cover(pins))
        return local, opaque

    return assembled(setup, bare, poses, paint, (word, "black", *marks))


def _traces(setup: Setup, bare: Planes, rgb: Rgb, poses: tuple[Pose, ...], half: float) -> None:
    """Draw copper lines under the lacquer between neighbouring chips, and vias at their bends."""
    size, scale = setup.size, setup.scale
    copper = (rgb[0] * 1.25 + 16.0, rgb[1] * 1.25 + 16.0, rgb[2] * 1.25 + 12.0)
    lines: Grid = np.zeros((size, size))
    vias = []
    for pose in poses:
        for _ in range(2):
            side = 1.0 if setup.params.random() < 0.5 else -1.0
            x = pose.x + side * half * setup.between(0.75, 0.95)
            y = pose.y + half * setup.between(-1.0, 1.0)
            end = y + half * setup.between(-1.6, 1.6)
            path = [(pose.x, y), (x, y), (x, end)]
            stroke(size, path, [2.6 * scale] * 3, onto=lines)
            vias.append((x, end))
    blend(bare, 0.9 * lines, copper)
    for x, y in vias:
        local = window(size, x, y, 5.0 * scale)
        r = length(local.u, local.v)
        blend(local.of(bare), cover(r - 3.4 * scale), (202.0, 176.0, 110.0))
        blend(local.of(bare), cover(r - 1.4 * scale), (40.0, 40.0, 40.0))


def _pads(setup: Setup, bare: Planes, pose: Pose, halves: tuple[float, float], legs: int) -> None:
    """Draw what a chip hides: its solder pads and the printed outline of its place."""
    scale = setup.scale
    half_u, half_v = halves
    local = window(setup.size, pose.x, pose.y, 1.4 * max(halves) + 8.0 * scale, pose.angle)
    view = local.of(bare)
    place = box(local.u, local.v, half_u - 2.0 * scale, half_v - scale)
    blend(view, 0.85 * band(place, 0.9 * scale), _WHITE)
    rake = (np.abs(local.v) + half_v / legs * (legs % 2 + 1)) % (2 * half_v / legs)
    pads = np.maximum(
        np.abs(np.abs(local.u) - half_u - 2.0 * scale) - 4.4 * scale,
        np.maximum(np.abs(rake - half_v / legs) - 2.2 * scale, np.abs(local.v) - half_v),
    )
    blend(view, cover(pads), (206.0, 182.0, 118.0))
