"""Surfaces of threads: cloth in any weave, width and colour, and meshes of wire."""

import numpy as np
from numpy.typing import NDArray

from iadr1.datasets.synthetic.draw import Grid, Planes, limit, soft_noise, unit
from iadr1.datasets.synthetic.product import Product, Setup, everywhere
from iadr1.datasets.synthetic.variety.fields import brushed, chance, mixed, turned, wobble
from iadr1.datasets.synthetic.variety.palette import ANY, METAL, colour

Matrix = NDArray[np.int64]

_PLAIN: Matrix = np.array([[1, 0], [0, 1]])


def _weave(setup: Setup) -> Matrix:
    """Choose which thread lies on top: a small matrix that repeats (plain, basket, twill, satin or made up)."""
    kind = int(setup.params.integers(5))
    if kind == 0:
        return _PLAIN
    if kind == 1:
        basket: Matrix = np.kron(_PLAIN, np.ones((2, int(setup.params.integers(1, 3))), dtype=np.int64))
        return basket
    side = int(setup.params.integers(3, 7))
    rows, columns = np.indices((side, side))
    over = int(setup.params.integers(1, side))
    weave: Matrix = setup.params.integers(0, 2, (side, side))
    if kind == 2:
        weave = ((columns - rows) % side < over).astype(np.int64)
    elif kind == 3:
        weave = ((columns - 2 * rows) % side != 0).astype(np.int64)
    return weave


def _yarns(setup: Setup, first: tuple[float, float, float], alike: bool) -> NDArray[np.float64]:
    """Draw the colours of 64 threads (64, 3): one, or stripes of two or three that repeat."""
    tones = [np.asarray(first)]
    if not alike:
        tones += [np.asarray(colour(setup)[1]) for _ in range(int(setup.params.integers(1, 3)))]
    order = setup.params.integers(0, len(tones), int(setup.params.choice([4, 8, 16])))
    order[0] = 0
    return np.stack([tones[at] for at in np.resize(order, 64).tolist()])


def patterned_cloth(setup: Setup) -> Product:
    """Build a cloth: any weave, two thread widths, irregular threads, stripes or checks."""
    word, rgb = colour(setup, ANY)
    full = turned(setup, free=chance(setup, 0.5))
    pitch_u, pitch_v = setup.between(3.6, 19.0), 1.0
    pitch_v = pitch_u * setup.between(0.7, 1.4) if chance(setup, 0.5) else pitch_u
    loose = setup.between(0.0, 0.25) * min(pitch_u, pitch_v)
    u = (full.u + wobble(setup, loose, 9)) / (pitch_u * setup.scale)
    v = (full.v + wobble(setup, loose, 9)) / (pitch_v * setup.scale)
    at_u, at_v = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    weave = _weave(setup)
    warp_above = weave[at_v % weave.shape[0], at_u % weave.shape[1]] > 0
    # Threads are round: bright in the middle, dark where they meet the next one.
    off_u, off_v = 2.0 * (u - at_u) - 1.0, 2.0 * (v - at_v) - 1.0
    depth = setup.between(0.12, 0.55)
    round_u, round_v = 1.0 - depth * off_u * off_u, 1.0 - depth * off_v * off_v
    dive = setup.between(0.0, 0.3)
    height: Grid = np.where(warp_above, round_u * (1.0 - dive * off_v**2), round_v * (1.0 - dive * off_u**2))
    spread = setup.between(0.0, 0.09)
    tones = 1.0 + spread * setup.texture.standard_normal((2, 64))
    height *= np.where(warp_above, tones[0][at_u & 63], tones[1][at_v & 63])
    fluff = soft_noise(setup.texture, setup.size, int(setup.params.integers(30, 90)))
    height *= 1.0 + setup.between(0.01, 0.05) * fluff + setup.between(0.0, 0.04) * wobble(setup, 1.0 / setup.scale, 4)
    if chance(setup, 0.4):
        # Threads that are thicker here and thinner there.
        height *= 1.0 + setup.between(0.01, 0.06) * (brushed(setup) + brushed(setup))
    alike = chance(setup, 0.5)
    warp, weft = _yarns(setup, rgb, alike), _yarns(setup, rgb, alike)
    if alike and chance(setup, 0.4):
        weft = np.clip(weft * setup.between(0.75, 1.25), 25.0, 235.0)
    yarn = np.where(warp_above[..., None], warp[at_u & 63], weft[at_v & 63])
    planes = limit(np.ascontiguousarray(np.moveaxis(yarn, 2, 0)) * (height * setup.between(1.0, 1.12)))
    return Product(planes, planes, everywhere(setup.size), word, word)


def wire_mesh(setup: Setup) -> Product:
    """Build a mesh of round wires, woven or laid on each other, over a plain ground."""
    word, rgb = colour(setup, METAL if chance(setup, 0.6) else ANY)
    _, ground = colour(setup, ANY, far=rgb, gap=170.0)
    full = turned(setup)
    pitch = setup.between(9.0, 34.0) * setup.scale
    wide = setup.between(0.22, 0.55)
    lean = setup.between(-0.5, 0.5) if chance(setup, 0.4) else 0.0
    u = (full.u + lean * full.v + wobble(setup, 0.5, 6)) / pitch
    v = (full.v * setup.between(0.8, 1.25) + wobble(setup, 0.5, 6)) / pitch
    at_u, at_v = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    off_u, off_v = np.abs(u - at_u - 0.5), np.abs(v - at_v - 0.5)
    woven = chance(setup, 0.6)
    above = ((at_u + at_v) % 2 == 0) if woven else np.ones(u.shape, dtype=np.bool_)
    bend = 0.18 if woven else 0.0
    planes: Planes = mixed(ground, ground, np.zeros_like(u)) * (1.0 + 0.03 * soft_noise(setup.texture, setup.size, 60))
    half = 0.5 * wide
    shade = 0.35 * np.maximum(unit(1.4 - off_u / half), unit(1.4 - off_v / half))
    planes *= 1.0 - shade
    for first in (False, True):
        for off, along, is_u in ((off_u, off_v, True), (off_v, off_u, False)):
            top = above if is_u else ~above
            lit = (1.0 - 0.7 * (off / half) ** 2) * (1.0 + bend * np.where(top, 1.0 - 2.0 * along, 2.0 * along - 1.0))
            alpha = unit((half - off) * pitch + 0.5) * (top == first)
            body = np.asarray(rgb)[:, None, None] * (setup.between(1.05, 1.2) * lit)
            planes += alpha * (body - planes)
    planes = limit(planes)
    return Product(planes, planes, everywhere(setup.size), word, word)
