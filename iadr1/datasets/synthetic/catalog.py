"""The catalogue: what is inspected, what can be wrong with it, and plain facts for questions."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from iadr1.errors import UsageError

Family = Literal["surface", "part", "assembly"]
Pool = Literal["main", "training"]

DEFECT_TYPES: tuple[str, ...] = (
    "scratch",
    "stain",
    "hole",
    "dent",
    "crack",
    "missing part",
    "misplacement",
)

# The five that can happen to any piece of material.
_ANYWHERE = DEFECT_TYPES[:5]

_BY_FAMILY: Mapping[Family, tuple[str, ...]] = MappingProxyType(
    {
        "surface": _ANYWHERE,
        "part": (*_ANYWHERE, "missing part"),
        "assembly": DEFECT_TYPES,
    }
)


class SyntheticError(UsageError, ValueError):
    """A scene was asked for that the synthetic world does not have."""


@dataclass(frozen=True)
class Category:
    """One kind of product.

    Attributes:
        name: Identifier, e.g. ``hex_nut``.
        title: The name in words, e.g. ``hex nut``.
        material: One of metal, fabric, wood, ceramic, plastic, laminate; in the training pool also of stone, leather,
            paper, rubber.
        family: ``surface`` (fills the picture), ``part`` (one object on a background) or
            ``assembly`` (a base with repeated components).
        held_out: True for a category that is never trained on.
        structure: A phrase that says what the product looks like.
        function: A phrase that says what the product is for.
        component: Name of the repeated component, None where nothing repeats.
        pool: ``main`` for the thirteen products of the evaluation sets, ``training`` for those whose look is drawn
            anew for every seed and which are in no evaluation set.
    """

    name: str
    title: str
    material: str
    family: Family
    held_out: bool
    structure: str
    function: str
    component: str | None = None
    pool: Pool = "main"


_ROWS: tuple[Category, ...] = (
    Category(
        "brushed_steel", "brushed steel", "metal", "surface", False,
        "a flat sheet with fine parallel brush lines", "covering machines and appliances",
    ),
    Category(
        "woven_fabric", "woven fabric", "fabric", "surface", False,
        "a plain weave of thick threads that pass over and under each other",
        "making bags and upholstery",
    ),
    Category(
        "oak_board", "oak board", "wood", "surface", False,
        "a flat board with wavy grain lines along its length", "building furniture and floors",
    ),
    Category(
        "ceramic_tile", "ceramic tile", "ceramic", "surface", False,
        "square glazed tiles separated by straight grout lines", "covering walls and floors",
    ),
    Category(
        "linen", "linen", "fabric", "surface", True,
        "a fine plain weave of thin, uneven threads", "making clothes and tablecloths",
    ),
    Category(
        "steel_washer", "steel washer", "metal", "part", False,
        "a flat ring with a round hole in the middle",
        "spreading the load under a bolt head or nut",
    ),
    Category(
        "bottle_cap", "bottle cap", "plastic", "part", False,
        "a round cap with fine ribs around its edge", "closing a bottle",
    ),
    Category(
        "wooden_button", "wooden button", "wood", "part", False,
        "a round disc with a raised rim and four small holes", "fastening clothes",
    ),
    Category(
        "hex_nut", "hex nut", "metal", "part", True,
        "a six-sided block with a threaded round hole in the middle",
        "holding parts together on a bolt",
    ),
    Category(
        "circuit_board", "circuit board", "laminate", "assembly", False,
        "a flat board with copper traces and rows of chips",
        "connecting electronic components", "chip",
    ),
    Category(
        "pill_blister", "pill blister", "plastic", "assembly", False,
        "a foil-backed sheet with a grid of pockets, each holding one pill",
        "packing and protecting pills", "pill",
    ),
    Category(
        "keypad", "keypad", "plastic", "assembly", False,
        "a panel with a regular grid of square keys", "entering numbers and commands", "key",
    ),
    Category(
        "bolt_plate", "bolt plate", "metal", "assembly", True,
        "a metal plate with a regular grid of bolts", "joining parts of a machine", "bolt",
    ),
)  # fmt: skip


def _varied(family: Family, name: str, material: str, structure: str, function: str) -> Category:
    title = name.replace("_", " ")
    component = "component" if family == "assembly" else None
    return Category(name, title, material, family, False, structure, function, component, "training")


_TRAINING_ROWS: tuple[Category, ...] = (
    _varied("surface", "patterned_cloth", "fabric", "threads that cross in a pattern", "making curtains and covers"),
    _varied("surface", "wire_mesh", "metal", "wires that cross over an open ground", "sieving and fencing"),
    _varied("surface", "stone_slab", "stone", "a flat slab with grains, chips or veins", "covering counters"),
    _varied("surface", "concrete_wall", "stone", "a rough face with small dark pores", "building walls"),
    _varied("surface", "leather_hide", "leather", "a net of fine creases", "making seats and shoes"),
    _varied("surface", "printed_paper", "paper", "a sheet with a print that repeats", "wrapping goods"),
    _varied("surface", "mosaic", "ceramic", "small pieces with joints between them", "decorating walls"),
    _varied("surface", "profiled_sheet", "metal", "a sheet with holes or bumps in rows", "building steps and screens"),
    _varied("surface", "ribbed_panel", "plastic", "a panel with ribs or waves", "covering roofs"),
    _varied("surface", "plank_floor", "wood", "boards side by side with dark seams", "building decks"),
    _varied("part", "machined_part", "metal", "one metal piece with straight or round edges", "moving in a machine"),
    _varied("part", "moulded_part", "plastic", "one plastic piece with smooth edges", "housing other parts"),
    _varied("part", "rubber_seal", "rubber", "one dark or coloured elastic piece", "keeping water in a pipe"),
    _varied("part", "wooden_piece", "wood", "one piece of wood with grain", "playing and building models"),
    _varied("part", "ceramic_part", "ceramic", "one hard piece with a glaze", "insulating wires"),
    _varied("assembly", "fastener_board", "wood", "a board with screws of one shape", "holding a frame together"),
    _varied("assembly", "lamp_panel", "plastic", "a panel with small lamps", "showing the state of a machine"),
    _varied("assembly", "pin_connector", "plastic", "a block with metal pins", "joining cables"),
    _varied("assembly", "pad_board", "laminate", "a board with metal pads", "carrying solder joints"),
    _varied("assembly", "parts_tray", "plastic", "a tray with one piece in every pocket", "sorting parts"),
)

CATEGORIES: Mapping[str, Category] = MappingProxyType({row.name: row for row in _ROWS})
"""The main pool: what evaluation sets, few-shot set and sample photos are drawn from."""

TRAINING_CATEGORIES: Mapping[str, Category] = MappingProxyType({row.name: row for row in _TRAINING_ROWS})
"""The training pool: in no set but those drawn for training."""

# The position in the catalogue is part of every seed: append new categories, never reorder. The first hundred numbers
# belong to the main pool, so that either pool can grow.
CATEGORY_NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        row.name: number
        for first, rows in ((1, _ROWS), (101, _TRAINING_ROWS))
        for number, row in enumerate(rows, start=first)
    }
)


def category_of(name: str) -> Category:
    """Look a category up.

    Raises:
        SyntheticError: The catalogue has no category of that name.
    """
    try:
        return CATEGORIES.get(name) or TRAINING_CATEGORIES[name]
    except KeyError:
        known = ", ".join((*CATEGORIES, *TRAINING_CATEGORIES))
        raise SyntheticError(f"unknown category {name!r}", hint=f"known: {known}") from None


def applicable_defects(category: str) -> tuple[str, ...]:
    """Say which defect types can be put on a category, in the order of ``DEFECT_TYPES``.

    Raises:
        SyntheticError: The catalogue has no category of that name.
    """
    return _BY_FAMILY[category_of(category).family]
