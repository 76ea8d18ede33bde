"""Scenes for training in any number: every product but the held-out ones, defects and camera varied, all questions.

A scene is one number: category, seed, defects and whether it has a reference follow from it and the world's seed alone,
so that any part of a set can be made by anyone at any time.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import rle
from iadr1.datasets.synthetic.catalog import TRAINING_CATEGORIES, applicable_defects
from iadr1.datasets.synthetic.compose import TRAINING_PLAN, NoRoomError, stream
from iadr1.datasets.synthetic.samples import scene_samples
from iadr1.datasets.synthetic.scene import Scene, SceneDefect, render
from iadr1.datasets.synthetic.tree import SPREAD, TRAINED, TRAINING_SEEDS
from iadr1.records import Sample

POOL: tuple[str, ...] = (*TRAINED, *TRAINING_CATEGORIES)
"""What training sets are drawn from."""

# Chance that a defective scene has one, two or three defects, and that one of several is of the same type as the first.
_COUNTS = (0.62, 0.88)
_TWINS = 0.15
# Second attempts lie far from the seeds of the other scenes' first ones.
_NEXT = 104_729


@dataclass(frozen=True)
class Settings:
    """What a training set is drawn with, besides the number of its scenes.

    Attributes:
        seed: The world's seed.
        side: Side of the photos in pixels.
        normal_share: Share of normal products, 0..1.
        reference_every: Of so many scenes of a category one has a photo of a good product beside it; 0 for none.
        categories: What it is drawn from, in turn.
    """

    seed: int = 0
    side: int = 224
    normal_share: float = 0.5
    reference_every: int = 4
    categories: tuple[str, ...] = POOL


@dataclass(frozen=True)
class Photo:
    """A scene ready to be stored: samples and files by name."""

    samples: list[Sample]
    files: dict[str, bytes]


def draw_defects(category: str, seed: int, *, normal_share: float) -> tuple[str, ...]:
    """Choose the defects of a training scene: none, one (62%), two (26%) or three (12%), at times of one type."""
    rng = stream(category, seed, TRAINING_PLAN)
    if rng.random() < normal_share:
        return ()
    kinds = applicable_defects(category)
    dice = rng.random()
    count = 1 + sum(dice >= limit for limit in _COUNTS)
    picked = [kinds[at] for at in rng.choice(len(kinds), size=count, replace=False).tolist()]
    if count > 1 and rng.random() < _TWINS:
        picked[1] = picked[0]
    return tuple(picked)


def draw(number: int, settings: Settings) -> Scene:
    """Render scene ``number`` of a training set.

    Where its defects find no place on the product it gets fewer of them, and another seed where none finds one.
    """
    category = settings.categories[number % len(settings.categories)]
    for attempt in range(50):
        seed = TRAINING_SEEDS[(settings.seed * SPREAD + number + attempt * _NEXT) % len(TRAINING_SEEDS)]
        defects = draw_defects(category, seed, normal_share=settings.normal_share)
        first = defects
        while first == () or defects:
            try:
                return render(category, seed, defects=defects, size=settings.side, varied=True)
            except NoRoomError:
                defects = defects[:-1]
    raise RuntimeError(f"no scene of {category} has room for its defects")


def photo(number: int, settings: Settings) -> Photo:
    """Render scene ``number`` and say everything about it.

    Names of files are `000123.jpg` and `000123_reference.jpg`.
    """
    scene = draw(number, settings)
    name = f"{number:06d}.jpg"
    files = {name: encode(scene.image)}
    references: Sequence[str] = ()
    turn = sum(divmod(number, len(settings.categories)))
    if settings.reference_every and turn % settings.reference_every == 0:
        references = (f"{number:06d}_reference.jpg",)
        files[references[0]] = encode(scene.reference)
    facts = {
        "references": tuple(references),
        "image_sha256": hashlib.sha256(files[name]).hexdigest(),
        "image_size": (settings.side, settings.side),
        "source": f"iadr1 synthetic world, seed {settings.seed}",
    }
    masks = [mask_rle(defect) for defect in scene.defects]
    return Photo([sample.model_copy(update=facts) for sample in scene_samples(scene, image=name, masks=masks)], files)


def mask_rle(defect: SceneDefect) -> rle.Rle:
    """The mask of one defect as COCO RLE."""
    height, width = defect.mask.shape
    x1, y1, x2, y2 = map(int, defect.box)
    return rle.encode(defect.mask[y1:y2, x1:x2], corner=(x1, y1), size=(width, height))


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (H, W, 3) as a JPEG without visible loss: a third of a PNG's bytes, and twenty times quicker."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
