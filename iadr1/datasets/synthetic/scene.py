"""Scenes: a product, its defects, the camera, and the normal photo beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from iadr1.datasets.synthetic.catalog import SyntheticError, applicable_defects, category_of
from iadr1.datasets.synthetic.compose import CAMERA, PLAN, REFERENCE_CAMERA, build, compose, stream
from iadr1.datasets.synthetic.draw import Planes, blend, limit, smooth3, window
from iadr1.datasets.synthetic.variety.camera import unsteady
from iadr1.datasets.synthetic.workpiece import Placed
from iadr1.geometry import location_word, mask_box

_MAX_DEFECTS = 3
# Chance that a defective scene has one, two or three defects.
_COUNTS = (0.70, 0.92)
_STRUCTURAL = frozenset({"hole", "crack", "missing part"})


@dataclass(frozen=True, eq=False)
class SceneDefect:
    """One defect with its exact ground truth.

    Attributes:
        type: One of ``DEFECT_TYPES``.
        mask: Pixels that the defect changed, as a boolean picture.
        box: (x1, y1, x2, y2) around the mask, x2 and y2 exclusive, in pixels.
        location: Word for the place of the box's centre in a 3x3 grid.
        severity: ``minor``, ``moderate`` or ``severe``.
        colour: Word for the look of the defect.
        size: ``small``, ``medium`` or ``large``.
    """

    type: str
    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]
    location: str
    severity: str
    colour: str
    size: str


@dataclass(frozen=True, eq=False)
class Scene:
    """One photo of a product and all that is known about it.

    Attributes:
        category: Name of the category.
        seed: Number of the product instance.
        image: The photo, height x width x 3.
        defects: What is wrong with it; empty for a normal product.
        nuisances: Harmless things that make the photo harder.
        colour: Word for the product's main colour.
        component_count: Number of components that a complete product has, 0 if none repeat.
        varied: Whether defects and camera are those of a training set.
    """

    category: str
    seed: int
    image: NDArray[np.uint8]
    defects: tuple[SceneDefect, ...]
    nuisances: tuple[str, ...]
    colour: str
    component_count: int
    varied: bool = False

    @cached_property
    def reference(self) -> NDArray[np.uint8]:
        """Photo of the same instance without defects, under another light, 0-3 px off.

        In a training set every second one shows another piece of the same product instead, with another grain and
        pose. Rendered when first asked for: training on single photos does not pay for it.
        """
        size = int(self.image.shape[0])
        rng = stream(self.category, self.seed, REFERENCE_CAMERA)
        shift = (int(rng.integers(-3, 4)), int(rng.integers(-3, 4)))
        other = self.varied and bool(rng.random() < 0.5)
        clean = build(self.category, self.seed, size, other=other)[0].clean
        margins = ((0, 0), (3, 3), (3, 3))
        moved = np.pad(clean, margins, mode="edge")[
            :, 3 + shift[0] : 3 + shift[0] + size, 3 + shift[1] : 3 + shift[1] + size
        ]
        return _photograph(unsteady(moved, rng) if self.varied else moved, rng)[0]


def _photograph(planes: Planes, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[str]]:
    """Take a photo: light, glare, dust, lens and sensor; also names what stands out."""
    size = planes.shape[-1]
    names = []
    slope_x, slope_y = rng.uniform(-0.11, 0.11, 2).tolist()
    if abs(slope_x) + abs(slope_y) > 0.11:
        names.append("uneven lighting")
    ramp = np.linspace(-1.0, 1.0, size)
    gain = float(rng.uniform(0.92, 1.06))
    picture = planes * (gain * (1.0 + slope_x * ramp[None, :] + slope_y * ramp[:, None]))
    noise = rng.standard_normal((size, size))
    if rng.random() < 0.3:
        names.append("glare")
        x, y = rng.uniform(0.1 * size, 0.9 * size, 2).tolist()
        spread = float(rng.uniform(0.13, 0.25)) * size
        row = np.exp(-((np.arange(size) - x) ** 2) / (2.0 * spread * spread))
        column = np.exp(-((np.arange(size) - y) ** 2) / (2.0 * spread * spread))
        # Screened: bright places gain less, so that no contrast is lost by clipping.
        glare = float(rng.uniform(0.12, 0.24)) * column[:, None] * row[None, :]
        blend(picture, glare, (255.0, 255.0, 255.0))
    if rng.random() < 0.3:
        names.append("dust")
        for _ in range(int(rng.integers(1, 4))):
            _dust(picture, rng)
    if rng.random() < 0.25:
        names.append("slight blur")
        picture = smooth3(picture, float(rng.uniform(0.1, 0.2)))
    spread = float(rng.uniform(1.0, 4.0))
    if spread > 2.8:
        names.append("sensor noise")
    noise *= spread
    picture += noise
    limit(picture)
    picture += 0.5
    photo = np.empty((size, size, 3), dtype=np.uint8)
    for channel, plane in enumerate(picture):
        # Casting cuts the fraction off, which after the half added above is rounding.
        photo[..., channel] = plane.astype(np.uint8)
    return photo, names


def _dust(picture: Planes, rng: np.random.Generator) -> None:
    """Lay a faint speck on the picture, below the limit at which a defect counts as visible."""
    size = picture.shape[-1]
    x, y = rng.uniform(4.0, size - 4.0, 2).tolist()
    local = window(size, x, y, 5.0)
    width = float(rng.uniform(0.9, 1.6)) * size / 224.0
    speck = np.exp(-(local.u**2 + local.v**2) / (2.0 * width * width))
    view = local.of(picture)
    view += float(rng.choice([-1.0, 1.0])) * float(rng.uniform(7.0, 13.0)) * speck


def _describe(placed: Placed, size: int) -> SceneDefect:
    """Put the measured defect into words.

    Severity adds up extent (0-2), contrast (0-2) and one point for what goes through the
    material (hole, crack, missing part): up to 1 is minor, up to 3 moderate, above severe.
    """
    box = mask_box(placed.mask)
    if box is None:
        raise RuntimeError("a placed defect has an empty mask")
    extent = max(box[2] - box[0], box[3] - box[1]) / size
    big = int(extent >= 0.16) + int(extent >= 0.32)
    strong = int(placed.contrast >= 32.0) + int(placed.contrast >= 60.0)
    score = big + strong + int(placed.type in _STRUCTURAL)
    return SceneDefect(
        placed.type,
        placed.mask,
        box,
        location_word(box, (size, size)),
        "minor" if score <= 1 else "moderate" if score <= 3 else "severe",
        placed.colour,
        ("small", "medium", "large")[big],
    )


def render(category: str, seed: int, *, defects: Sequence[str] = (), size: int = 224, varied: bool = False) -> Scene:
    """Render one scene; the same arguments give the same pixels everywhere.

    Args:
        category: A key of ``CATEGORIES`` or ``TRAINING_CATEGORIES``.
        seed: Number of the product instance, not negative.
        defects: Types to put on it, at most three; the same type may come twice.
        size: Side of the picture in pixels, 96 to 1024.
        varied: Draw defects and camera from the wider ranges of a training set.

    Raises:
        SyntheticError: An argument is unknown, not applicable or out of range (a ``ValueError``).
        NoRoomError: The defects found no place on the product.
    """
    known = applicable_defects(category)
    wrong = [kind for kind in defects if kind not in known]
    if wrong:
        raise SyntheticError(f"a {category_of(category).title} cannot have {wrong}", hint=f"known: {', '.join(known)}")
    if len(defects) > _MAX_DEFECTS:
        raise SyntheticError(f"{len(defects)} defects asked for, at most {_MAX_DEFECTS} fit")
    if seed < 0 or not 96 <= size <= 1024:
        raise SyntheticError(f"seed {seed} or size {size} is out of range")
    made = compose(category, seed, tuple(defects), size, varied=varied)
    camera = stream(category, seed, CAMERA)
    image, seen = _photograph(unsteady(made.damaged, camera) if varied else made.damaged, camera)
    return Scene(
        category,
        seed,
        image,
        tuple(_describe(placed, size) for placed in made.placed),
        (*made.nuisances, *seen),
        made.product.colour,
        len(made.product.poses),
        varied,
    )


def draw_plan(category: str, seed: int, *, p_defect: float = 0.5) -> tuple[str, ...]:
    """Choose which defects a seed gets: none, or one (70%), two (22%) or three (8%).

    Args:
        category: A key of ``CATEGORIES``.
        seed: Number of the product instance.
        p_defect: Chance of a defective product.
    """
    kinds = applicable_defects(category)
    rng = stream(category, seed, PLAN)
    if rng.random() >= p_defect:
        return ()
    dice = rng.random()
    count = 1 + sum(dice >= limit for limit in _COUNTS)
    return tuple(kinds[at] for at in rng.choice(len(kinds), size=count, replace=False).tolist())
