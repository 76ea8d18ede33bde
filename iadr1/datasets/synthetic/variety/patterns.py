"""Surfaces of stone, hide, paper, tiles, sheet and plank: no two scenes of a category share a pattern."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from iadr1.datasets.synthetic.draw import (
    Grid,
    Planes,
    band,
    blend,
    box,
    cover,
    length,
    limit,
    soft_noise,
    streaks,
    unit,
)
from iadr1.datasets.synthetic.product import Product, Setup, everywhere, tinted
from iadr1.datasets.synthetic.variety.fields import (
    banded,
    brushed,
    cells,
    chance,
    mixed,
    relief,
    speckles,
    turned,
    wobble,
)
from iadr1.datasets.synthetic.variety.palette import ANY, HIDE, METAL, STONE, WOOD, colour


def _whole(planes: Planes, word: str, marks: tuple[str, ...] = ()) -> Product:
    planes = limit(planes)
    return Product(planes, planes, everywhere(planes.shape[-1]), word, word, marks=marks)


def stone_slab(setup: Setup) -> Product:
    """Build a slab: granite grains, terrazzo chips, or marble with veins."""
    word, rgb = colour(setup, STONE)
    size = setup.size
    cloud = soft_noise(setup.texture, size, int(setup.params.integers(2, 7)))
    base = tinted(rgb, 1.0 + setup.between(0.01, 0.05) * cloud + 0.015 * soft_noise(setup.texture, size, 90))
    kind = int(setup.params.integers(3))
    if kind == 0:
        for _ in range(int(setup.params.integers(2, 5))):
            fleck = colour(setup, STONE)[1]
            share, grain = setup.between(0.04, 0.22), int(setup.params.integers(45, 112))
            blend(base, setup.between(0.3, 0.75) * speckles(setup, grain, share), fleck)
    elif kind == 1:
        chips = cells(setup, setup.between(9.0, 30.0), jitter=setup.between(0.7, 1.0))
        tones = np.stack([np.asarray(colour(setup, STONE)[1]) for _ in range(int(setup.params.integers(2, 6)))])
        picture = np.ascontiguousarray(np.moveaxis(tones[chips.number % len(tones)], 2, 0))
        gone = (chips.number * 7919 % 101) < setup.between(0.0, 60.0)
        inside = cover((setup.between(0.08, 0.25) - chips.edge) * 8.0) * ~gone
        blend(base, setup.between(0.5, 0.95) * inside, picture)
    else:
        for _ in range(int(setup.params.integers(1, 3))):
            coarse = soft_noise(setup.texture, size, int(setup.params.integers(2, 6)))
            fine = soft_noise(setup.texture, size, int(setup.params.integers(8, 20)))
            vein = unit(1.0 - np.abs(coarse + setup.between(0.2, 0.5) * fine) / setup.between(0.15, 0.6))
            blend(base, setup.between(0.1, 0.4) * vein, colour(setup, STONE)[1])
    return _whole(base, word)


def concrete_wall(setup: Setup) -> Product:
    """Build concrete, plaster or foam: clouds, grain, and small dark pores that belong to it."""
    word, rgb = colour(setup, STONE)
    size = setup.size
    grey = 1.0 + setup.between(0.01, 0.06) * soft_noise(setup.texture, size, int(setup.params.integers(2, 6)))
    grey += setup.between(0.01, 0.05) * soft_noise(setup.texture, size, int(setup.params.integers(20, 60)))
    grey += setup.between(0.0, 0.05) * soft_noise(setup.texture, size, 110)
    if chance(setup, 0.5):
        rough = soft_noise(setup.texture, size, int(setup.params.integers(25, 80)))
        grey += relief(setup, setup.between(0.1, 0.5) * rough)
    planes = tinted(rgb, grey)
    if chance(setup, 0.7):
        pores = speckles(setup, int(setup.params.integers(40, 100)), setup.between(0.01, 0.1))
        blend(planes, setup.between(0.25, 0.75) * pores, (42.0, 42.0, 44.0))
    if chance(setup, 0.35):
        full = turned(setup)
        joint = np.abs((full.u / (setup.between(60.0, 120.0) * setup.scale)) % 1.0 - 0.5)
        blend(planes, 0.5 * unit(1.0 - joint * 60.0), (60.0, 60.0, 60.0))
    return _whole(planes, word)


def leather_hide(setup: Setup) -> Product:
    """Build leather or grained plastic: creases between cells, shine, at times a row of stitches."""
    word, rgb = colour(setup, HIDE)
    size = setup.size
    grain = cells(setup, setup.between(5.0, 18.0), jitter=setup.between(0.6, 1.0), stretch=setup.between(1.0, 2.0))
    crease = unit(1.0 - grain.edge / setup.between(0.15, 0.45))
    grey = 1.02 - setup.between(0.1, 0.4) * crease
    if chance(setup, 0.6):
        grey += relief(setup, setup.between(0.6, 2.2) * np.minimum(grain.edge, 0.4))
    grey += setup.between(0.0, 0.05) * soft_noise(setup.texture, size, 5)
    planes = tinted(rgb, grey)
    marks: tuple[str, ...] = ()
    if chance(setup, 0.35):
        full = turned(setup)
        place = full.v % (setup.between(70.0, 120.0) * setup.scale) - 30.0 * setup.scale
        step = full.u % (9.0 * setup.scale) - 4.5 * setup.scale
        thread = box(step, place, 3.0 * setup.scale, 1.3 * setup.scale, setup.scale)
        planes *= 1.0 - 0.3 * unit(1.0 - np.abs(place) / (5.0 * setup.scale))
        blend(planes, cover(thread), colour(setup, ANY, far=rgb)[1])
        marks = ("stitches",)
    return _whole(planes, word, marks)


def printed_paper(setup: Setup) -> Product:
    """Build paper, card or film with a print that repeats: dots, rings, lines, checks, zigzag, rows of signs."""
    word, rgb = colour(setup)
    size = setup.size
    fibre = soft_noise(setup.texture, size, int(setup.params.integers(30, 100)))
    grey = 1.0 + setup.between(0.005, 0.03) * fibre + 0.012 * soft_noise(setup.texture, size, 3)
    planes = tinted(rgb, grey)
    for _ in range(int(setup.params.choice([0, 1, 1, 1, 2]))):
        _, ink = colour(setup, far=rgb, gap=60.0)
        blend(planes, setup.between(0.35, 0.95) * _print(setup), ink)
    if chance(setup, 0.3):
        fold = turned(setup)
        planes *= 1.0 + 0.05 * banded(setup, fold.u, setup.between(50.0, 150.0))
    return _whole(planes, word, ("printed pattern",))


@dataclass(frozen=True)
class _Lattice:
    """Cells in rows: their numbers, and coordinates in pixels from the middle of each."""

    row: Grid
    column: Grid
    u: Grid
    v: Grid
    pitch: tuple[float, float]


def _lattice(setup: Setup) -> _Lattice:
    """Cut the picture into rows of equal cells, every second row shifted at times."""
    full, scale = turned(setup), setup.scale
    pitch_u = setup.between(7.0, 44.0) * scale
    pitch_v = pitch_u * (setup.between(0.6, 1.7) if chance(setup, 0.5) else 1.0)
    row = np.floor(full.v / pitch_v)
    shift = pitch_u * (0.5 * (row % 2) if chance(setup, 0.4) else 0.0)
    column = np.floor((full.u + shift) / pitch_u)
    u = (full.u + shift) - (column + 0.5) * pitch_u
    return _Lattice(row, column, u, full.v - (row + 0.5) * pitch_v, (pitch_u, pitch_v))


def _signs(setup: Setup, cell: _Lattice, reach: float, thin: float) -> Grid:
    """Draw rows of made-up signs: up to three strokes each."""
    at = (cell.row.astype(np.int64) & 31, cell.column.astype(np.int64) & 31)
    drawn = setup.params.integers(0, 2, (3, 32, 32)).astype(np.bool_)
    inside = np.maximum(np.abs(cell.u), np.abs(cell.v)) - reach
    strokes = (np.abs(cell.u + 0.6 * reach), np.abs(cell.v), np.abs(cell.u - 0.6 * reach))
    ink: Grid = np.zeros_like(inside)
    for number, stroke in enumerate(strokes):
        np.maximum(ink, cover(np.maximum(stroke - thin, inside)) * drawn[number][at], out=ink)
    return ink


def _print(setup: Setup) -> Grid:
    """Coverage of one repeated figure: dots, rings, lines, a grid, checks, zigzag, bars or signs."""
    cell = _lattice(setup)
    u, v = cell.u, cell.v
    reach = 0.5 * min(cell.pitch) * setup.between(0.35, 0.85)
    thin = max(0.18 * reach, 0.7)
    zigzag = 4.0 * np.abs(u / cell.pitch[0]) - 1.0
    figures: tuple[Callable[[], Grid], ...] = (
        lambda: cover(length(u, v) - reach),
        lambda: band(length(u, v) - 0.8 * reach, thin),
        lambda: cover(np.abs(v) - 0.5 * reach),
        lambda: cover(np.minimum(np.abs(u), np.abs(v)) - thin),
        lambda: (cell.row + cell.column) % 2.0,
        lambda: cover(np.abs(v + 0.5 * reach * zigzag) - thin),
        lambda: cover(box(u, v, reach, 0.6 * reach, 0.2 * reach)),
        lambda: _signs(setup, cell, reach, thin),
    )
    return figures[int(setup.params.integers(len(figures)))]()


def mosaic(setup: Setup) -> Product:
    """Build tiles of any pitch: squares, bricks, diamonds or broken pieces, of one to four colours."""
    word, rgb = colour(setup)
    size, scale = setup.size, setup.scale
    joint = setup.between(0.8, 3.6) * scale
    if chance(setup, 0.25):
        wide = setup.between(16.0, 48.0)
        pieces = cells(setup, wide, jitter=setup.between(0.5, 1.0))
        edge, number = 0.5 * pieces.edge * wide * scale - joint, pieces.number
        lit: Grid = np.zeros_like(edge)
    else:
        full = turned(setup, free=chance(setup, 0.4))
        pitch_u = setup.between(14.0, 90.0) * scale
        pitch_v = pitch_u * (setup.between(0.3, 1.0) if chance(setup, 0.5) else 1.0)
        row = np.floor(full.v / pitch_v)
        u = full.u / pitch_u + (setup.between(0.2, 0.8) * row if chance(setup, 0.5) else 0.0)
        column = np.floor(u)
        in_u, in_v = (u - column) * pitch_u, full.v - row * pitch_v
        edge = np.minimum(np.minimum(in_u, pitch_u - in_u), np.minimum(in_v, pitch_v - in_v)) - joint
        number = (row.astype(np.int64) & 63) * 64 + (column.astype(np.int64) & 63)
        soft = setup.between(2.0, 7.0) * scale
        low = unit(1.0 - np.minimum(pitch_u - in_u, pitch_v - in_v) / soft)
        lit = unit(1.0 - np.minimum(in_u, in_v) / soft) - low
    more = int(setup.params.choice([0, 0, 1, 3]))
    tones = np.stack([np.asarray(rgb), *(np.asarray(colour(setup)[1]) for _ in range(more))])
    of_tile = setup.params.integers(0, len(tones), 4096)
    factor = 1.0 + setup.between(0.0, 0.07) * setup.texture.standard_normal(4096)
    grey = factor[number] + setup.between(0.0, 0.12) * lit
    grey += 0.012 * soft_noise(setup.texture, size, 5) + setup.between(0.0, 0.03) * soft_noise(setup.texture, size, 70)
    planes = np.ascontiguousarray(np.moveaxis(tones[of_tile[number]], 2, 0)) * grey
    grout = colour(setup, STONE)[1]
    blend(planes, cover(edge), tinted(grout, 1.0 + 0.04 * soft_noise(setup.texture, size, 100)))
    return _whole(planes, word)


def profiled_sheet(setup: Setup) -> Product:
    """Build a metal sheet: brushed or rolled, with punched holes, bumps or slots in a regular pattern."""
    word, rgb = colour(setup, METAL)
    size, scale = setup.size, setup.scale
    grey = 1.0 + setup.between(0.0, 0.06) * brushed(setup)
    grey += setup.between(0.0, 0.05) * soft_noise(setup.texture, size, int(setup.params.integers(1, 6)))
    full = turned(setup, free=chance(setup, 0.6))
    pitch = setup.between(12.0, 46.0) * scale
    row = np.floor(full.v / pitch)
    shift = 0.5 * (row % 2) if chance(setup, 0.5) else 0.0
    u = (full.u / pitch + shift) % 1.0 - 0.5
    v = full.v / pitch - row - 0.5
    if chance(setup, 0.3):
        # Neighbours lie across each other, as on tread plate.
        odd = (row + np.floor(full.u / pitch + shift)) % 2 == 0
        u, v = np.where(odd, u, v), np.where(odd, v, u)
    reach, slim = setup.between(0.18, 0.36), setup.between(0.25, 1.0)
    figure = (length(u, v / slim) if chance(setup, 0.6) else np.maximum(np.abs(u), np.abs(v) / slim)) - reach
    kind = int(setup.params.integers(4))
    if kind == 1:
        grey += relief(setup, setup.between(0.5, 1.4) * np.minimum(figure, 0.0) * -pitch / scale * 0.4)
    elif kind == 2:
        grey += 0.14 * banded(setup, full.v, setup.between(6.0, 30.0))
    planes = tinted(rgb, grey)
    if kind == 3:
        away = figure * pitch * slim
        planes += 60.0 * relief(setup, unit(-away / (2.0 * scale) + 0.5))
        ground = colour(setup, ("black", "dark grey", "dark brown", "blue", "white"), far=rgb)[1]
        blend(planes, cover(away), ground)
    return _whole(planes, word)


def ribbed_panel(setup: Setup) -> Product:
    """Build a plastic panel with ribs, waves, crossed ribs or rings."""
    word, rgb = colour(setup)
    full, size = turned(setup), setup.size
    period = setup.between(6.0, 52.0)
    place = full.u + wobble(setup, setup.between(0.0, 1.2), 4)
    if chance(setup, 0.2):
        place = length(full.u, full.v)
    if chance(setup, 0.2):
        wide = setup.between(6.0, 20.0) * setup.scale
        place = full.u + setup.between(2.0, 10.0) * setup.scale * np.sin(full.v / wide)
    wave = banded(setup, place, period)
    if chance(setup, 0.3):
        wave = np.maximum(wave, banded(setup, full.v, period * setup.between(0.7, 1.5)))
    grey = 1.0 + setup.between(0.04, 0.16) * wave + relief(setup, setup.between(0.0, 0.06) * period * wave)
    grey += setup.between(0.0, 0.03) * soft_noise(setup.texture, size, int(setup.params.integers(30, 110)))
    grey += 0.015 * soft_noise(setup.texture, size, 3)
    planes = mixed(colour(setup)[1], rgb, unit(0.5 + wave)) if chance(setup, 0.2) else tinted(rgb, np.ones_like(grey))
    return _whole(planes * grey, word)


def plank_floor(setup: Setup) -> Product:
    """Build boards side by side: grain, dark seams, each board of its own tone."""
    word, rgb = colour(setup, WOOD)
    full, size, scale = turned(setup, free=chance(setup, 0.5)), setup.size, setup.scale
    wide = setup.between(28.0, 110.0) * scale
    board = np.floor(full.v / wide)
    number = board.astype(np.int64) & 63
    grain_shift = setup.texture.uniform(0.0, 400.0, 64)[number] * scale
    wave = soft_noise(setup.texture, size, 3, 2)
    period = setup.between(5.0, 22.0) * scale
    place = full.v + grain_shift + setup.between(2.0, 12.0) * scale * wave + setup.between(0.0, 0.08) * full.u
    rings = np.sin(2.0 * np.pi / period * place)
    pores = streaks(setup.texture, size, float(np.tan(setup.tilt)), int(setup.params.integers(6, 20)))
    grey = 1.0 + setup.between(0.02, 0.09) * rings - setup.between(0.0, 0.09) * np.clip(pores - 0.9, 0.0, 1.5)
    grey += setup.between(0.0, 0.07) * setup.texture.standard_normal(64)[number]
    planes = tinted(rgb, grey)
    inside = full.v - board * wide
    seam = np.minimum(inside, wide - inside)
    if chance(setup, 0.7):
        planes += setup.between(0.0, 25.0) * unit(1.0 - inside / (4.0 * scale))
        blend(planes, setup.between(0.5, 0.95) * cover(seam - setup.between(0.6, 2.2) * scale), (44.0, 34.0, 28.0))
    return _whole(planes, word)
