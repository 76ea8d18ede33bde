"""From a seed to a product with its defects, before any camera looks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from iadr1.datasets.synthetic import assemblies, board, parts, surfaces, variety
from iadr1.datasets.synthetic.catalog import CATEGORY_NUMBERS, DEFECT_TYPES
from iadr1.datasets.synthetic.defects import DAMAGE
from iadr1.datasets.synthetic.draw import Planes
from iadr1.datasets.synthetic.losses import LOSSES
from iadr1.datasets.synthetic.manner import PLAIN, draw_manner
from iadr1.datasets.synthetic.product import Product, Setup
from iadr1.datasets.synthetic.workpiece import TRIES, Maker, Placed, Workpiece, keep_clear, put

_BUILDERS: Mapping[str, Callable[[Setup], Product]] = MappingProxyType(
    dict(variety.BUILDERS)
    | {
        builder.__name__: builder
        for builder in (
            surfaces.brushed_steel,
            surfaces.woven_fabric,
            surfaces.oak_board,
            surfaces.ceramic_tile,
            surfaces.linen,
            parts.steel_washer,
            parts.bottle_cap,
            parts.wooden_button,
            parts.hex_nut,
            board.circuit_board,
            assemblies.pill_blister,
            assemblies.keypad,
            assemblies.bolt_plate,
        )
    }
)
_MAKERS: Mapping[str, Maker] = MappingProxyType({**DAMAGE, **LOSSES})

# Stream numbers; zero would vanish at the end of a seed sequence, so they start at one.
PARAMS, TEXTURE, CAMERA, REFERENCE_CAMERA, DEFECTS, PLAN, POSE, OTHER_TEXTURE, OTHER_POSE, MANNER, TRAINING_PLAN = (
    range(1, 12)
)
_RESTARTS = 8
# A training set takes another plan instead of searching for long.
_VARIED_RESTARTS, _VARIED_TRIES = 2, 40


class NoRoomError(RuntimeError):
    """The defects found no place on the product."""


@dataclass(frozen=True, eq=False)
class Composition:
    """A scene before the camera: the product without and with its defects, in grey levels."""

    product: Product
    damaged: Planes
    placed: tuple[Placed, ...]
    nuisances: tuple[str, ...]


@cache
def _keep_memory() -> None:
    """Teach the C allocator, once, to keep freed pictures instead of returning them.

    Freeing one big block (never touched, so it costs nothing) raises glibc's limits; a scene then
    takes a third less time, because its pages are not cleared anew for every picture.
    """
    np.empty(30 << 20, dtype=np.uint8)


def stream(category: str, seed: int, *keys: int) -> np.random.Generator:
    """Open an independent stream of random numbers for one purpose of one scene."""
    entropy = [CATEGORY_NUMBERS[category], seed, *keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def build(category: str, seed: int, size: int, *, other: bool = False) -> tuple[Product, Setup]:
    """Build the product instance of a seed, free of defects.

    Args:
        category: Name of the category.
        seed: Number of the instance.
        size: Side of the picture.
        other: Build another piece of the same product: other grain, and in the training pool another pose.
    """
    _keep_memory()
    params = stream(category, seed, PARAMS)
    tilt = float(params.uniform(-0.09, 0.09)) if params.random() < 0.6 else 0.0
    toward = float(params.uniform(-2.6, -1.6))
    light = (float(np.cos(toward)), float(np.sin(toward)))
    texture, pose = (OTHER_TEXTURE, OTHER_POSE) if other else (TEXTURE, POSE)
    setup = Setup(size, params, stream(category, seed, texture), tilt, light, stream(category, seed, pose))
    return _BUILDERS[category](setup), setup


def compose(category: str, seed: int, defects: Sequence[str], size: int, *, varied: bool = False) -> Composition:
    """Build a product and put defects on it; the camera has not yet looked.

    Args:
        category: Name of the category.
        seed: Number of the instance.
        defects: Types to put on it.
        size: Side of the picture.
        varied: Draw each defect in a manner of its own, as in training sets.

    Raises:
        NoRoomError: The defects found no place on this product.
    """
    product, setup = build(category, seed, size)
    marks = product.marks + (("slight rotation",) if abs(setup.tilt) > 0.025 else ())
    if not defects:
        return Composition(product, product.clean, (), marks)
    codes = [DEFECT_TYPES.index(kind) + 1 for kind in defects]
    # Components first, they need the most room; then the others in the order asked for.
    order = sorted(range(len(codes)), key=lambda at: -codes[at] if codes[at] > 5 else 0)
    manners = stream(category, seed, MANNER)
    for restart in range(_VARIED_RESTARTS if varied else _RESTARTS):
        rng = stream(category, seed, DEFECTS, *codes, restart + 1)
        work = Workpiece(
            product,
            rng,
            setup.light,
            product.clean.copy(),
            product.region.copy(),
            list(product.poses),
        )
        found: dict[int, Placed] = {}
        for at in order:
            work.manner = draw_manner(manners) if varied else PLAIN
            tries = _VARIED_TRIES if varied else TRIES
            placed = put(work, defects[at], _MAKERS[defects[at]], tries=tries)
            if placed is None:
                break
            found[at] = placed
            if len(found) < len(codes):
                keep_clear(work, placed)
        if len(found) == len(codes):
            return Composition(product, work.planes, tuple(found[at] for at in range(len(codes))), marks)
    raise NoRoomError(f"no room for {list(defects)} on {category} {seed}")
