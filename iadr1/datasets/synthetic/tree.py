"""The synthetic world on disk, in the layouts of the real data sets.

    MMAD/mmad.json, MMAD/<Syn-Surface, ...>/<category>/{train/good,test/<type>,ground_truth/<type>}
    fewshot/                     the same layout, other images, trained categories only
    mvtec/<category>/{train/good,test/<type>,ground_truth/<type>}
    mvtec_3d/<category>/{train/good/rgb,test/<type>/{rgb,gt}}     no `xyz`: only the colour images are ever read
    refcoco/refcoco_train.json, refcoco/images/<category>/

An image with several defects lies in `combined`, as in MVTec AD. The same seed gives the same pixels everywhere.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1.datasets.layout import GOOD
from iadr1.datasets.synthetic.catalog import CATEGORIES
from iadr1.datasets.synthetic.ledger import Ledger
from iadr1.datasets.synthetic.samples import (
    anomaly_sample,
    dataset_of,
    mmad_entry,
    rec_entries,
    state_of,
    union_mask,
)
from iadr1.datasets.synthetic.scene import Scene, draw_plan, render
from iadr1.records import Sample

TRAINING_SEEDS = range(1_000_000)
"""Scenes the embedded model is pretrained on."""
FEWSHOT_SEEDS = range(1_000_000, 1_500_000)
"""Scenes of the few-shot set, for reinforcement learning; the embedded model saw those of world seed 1 only."""
GROUNDING_SEEDS = range(1_500_000, 2_000_000)
"""Scenes of the referring expressions, for training."""
MMAD_SEEDS = range(2_000_000, 2_250_000)
"""Scenes of the MMAD-like benchmark: evaluation only."""
MVTEC_SEEDS = range(2_250_000, 2_500_000)
"""Scenes of the yes/no benchmark: evaluation only."""
MVTEC3D_SEEDS = range(2_500_000, 2_750_000)
"""Scenes of the MVTec-3D-like benchmark: evaluation only."""
PHOTO_SEEDS = range(3_000_000, 4_000_000)
"""Scenes of the sample photos."""

TRAINED: tuple[str, ...] = tuple(name for name, category in CATEGORIES.items() if not category.held_out)
HELD_OUT: tuple[str, ...] = tuple(name for name, category in CATEGORIES.items() if category.held_out)

Tick = Callable[[], None]
"""Called after each scene."""

_PHOTO_SIDES = (224, 320, 448, 288, 384)
_FURTHER = 3
"""Templates of an image besides its own."""
SPREAD = 7919
"""Distance between the blocks of neighbouring world seeds; a prime, so that they do not line up."""


@dataclass(frozen=True)
class Shot:
    """One scene to be rendered."""

    category: str
    seed: int
    defects: tuple[str, ...]

    def render(self, *, size: int = 224) -> Scene:
        """Render it, `size` pixels a side."""
        return render(self.category, self.seed, defects=self.defects, size=size)


def plan(seeds: range, count: int, *, seed: int, categories: Sequence[str], p_defect: float = 0.5) -> list[Shot]:
    """Choose `count` scenes: the categories in turn, and of each every second one defective.

    Args:
        seeds: The range of scene seeds this purpose owns.
        count: How many scenes, at most as many as there are seeds.
        seed: The world's seed: picks a block of consecutive seeds in the range.
        categories: In which order to go through the categories.
        p_defect: 0.5, or 1 for only defective ones.
    """
    seen: Counter[str] = Counter()
    shots = []
    for number in range(count):
        category = categories[number % len(categories)]
        scene_seed = seeds[(seed * SPREAD + number) % len(seeds)]
        turn = (seen[category] + sorted(CATEGORIES).index(category)) % 2
        seen[category] += 1
        defective = p_defect == 1.0 or turn == 1
        shots.append(Shot(category, scene_seed, draw_plan(category, scene_seed, p_defect=1.0) if defective else ()))
    return shots


def half_held_out() -> list[str]:
    """An order of categories in which every second one is held out."""
    return [name for number, known in enumerate(TRAINED) for name in (known, HELD_OUT[number % len(HELD_OUT)])]


def encode(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """Pixels (H, W) or (H, W, 3) as the bytes of a PNG or JPEG file."""
    file = io.BytesIO()
    # Sensor noise hardly compresses: a higher level costs much time and gains little.
    # Each format ignores the other's option.
    Image.fromarray(pixels).save(file, kind, compress_level=1, quality=92)
    return file.getvalue()


class _Names:
    """Numbers that restart in every folder, as in the real sets: 000, 001, ..."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def next(self, folder: str) -> str:
        self._used[folder] += 1
        return f"{self._used[folder] - 1:03d}"


@dataclass(frozen=True)
class _Paths:
    """Where a scene's files lie, from its category's folder."""

    image: str
    mask: str | None
    template: str


def _put(ledger: Ledger, folder: str, scene: Scene, names: _Names) -> _Paths:
    """Write image, mask and template of a scene into a category's folder."""
    state = state_of(scene)
    number = names.next(f"{folder}/{state}")
    mask = f"ground_truth/{state}/{number}_mask.png" if scene.defects else None
    paths = _Paths(f"test/{state}/{number}.png", mask, f"train/{GOOD}/{names.next(folder)}.png")
    ledger.write(f"{folder}/{paths.image}", encode(scene.image))
    ledger.write(f"{folder}/{paths.template}", encode(scene.reference))
    if mask is not None:
        ledger.write(f"{folder}/{mask}", encode(union_mask(scene)))
    return paths


def _put_json(ledger: Ledger, path: str, value: object) -> None:
    ledger.write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def write_mmad(ledger: Ledger, folder: str, shots: Sequence[Shot], *, tick: Tick) -> None:
    """Write scenes as an MMAD tree below `folder` (POSIX, from the ledger's root).

    An image's first template is its own instance's normal photo, the next ones those of others of its category.
    """
    index: dict[str, dict[str, Any]] = {}
    normal: dict[str, list[str]] = {}
    names = _Names()
    for shot in shots:
        scene = shot.render()
        place = f"{dataset_of(shot.category)}/{shot.category}"
        paths = _put(ledger, f"{folder}/{place}", scene, names)
        template = f"{place}/{paths.template}"
        index[f"{place}/{paths.image}"] = mmad_entry(scene, image=paths.image, mask=paths.mask, template=template)
        normal.setdefault(place, []).append(template)
        tick()
    for entry in index.values():
        (own,) = entry["similar_templates"]
        others = _others(own, normal[own.rpartition("/train/")[0]])
        entry["similar_templates"] = [own, *others[:_FURTHER]]
        entry["random_templates"] = [own, *others[::-1][:_FURTHER]]
    _put_json(ledger, f"{folder}/mmad.json", index)


def write_mvtec(ledger: Ledger, folder: str, shots: Sequence[Shot], *, tick: Tick) -> list[Sample]:
    """Write scenes as an MVTec tree and return what folders and masks do not tell: exact yes/no samples.

    Paths in the samples are relative to `folder`.
    """
    samples: list[Sample] = []
    normal: dict[str, list[str]] = {}
    names = _Names()
    for shot in shots:
        scene = shot.render()
        paths = _put(ledger, f"{folder}/{shot.category}", scene, names)
        mask = f"{shot.category}/{paths.mask}" if paths.mask else None
        image, template = f"{shot.category}/{paths.image}", f"{shot.category}/{paths.template}"
        samples.append(anomaly_sample(scene, image=image, mask=mask, template=template, split="test"))
        normal.setdefault(samples[-1].category, []).append(template)
        tick()
    return [
        sample.model_copy(update={"references": (own, *_others(own, normal[sample.category])[:_FURTHER])})
        for sample, own in ((sample, sample.references[0]) for sample in samples)
    ]


def _others(own: str, normal: Sequence[str]) -> list[str]:
    """The other normal photos of a category, those that follow its own first."""
    place = normal.index(own)
    return [*normal[place + 1 :], *normal[:place]]


def write_mvtec3d(ledger: Ledger, folder: str, shots: Sequence[Shot], *, tick: Tick) -> None:
    """Write scenes as an MVTec 3D-AD tree of colour images, with one normal training photo per category."""
    names = _Names()
    for shot in shots:
        scene = shot.render()
        place = f"{folder}/{shot.category}"
        state = state_of(scene)
        number = names.next(f"{place}/{state}")
        ledger.write(f"{place}/test/{state}/rgb/{number}.png", encode(scene.image))
        ledger.write(f"{place}/test/{state}/gt/{number}.png", encode(union_mask(scene)))
        if names.next(place) == "000":
            ledger.write(f"{place}/train/{GOOD}/rgb/000.png", encode(scene.reference))
        tick()


def write_refcoco(ledger: Ledger, folder: str, shots: Sequence[Shot], *, tick: Tick) -> None:
    """Write scenes as VLM-R1's REC data: one JSON list with an entry per referring expression, and the images."""
    entries: list[dict[str, object]] = []
    names = _Names()
    for number, shot in enumerate(shots):
        scene = shot.render()
        image = f"images/{shot.category}/{names.next(shot.category)}.png"
        ledger.write(f"{folder}/{image}", encode(scene.image))
        entries += rec_entries(scene, image=image, image_id=number, first_id=len(entries))
        tick()
    _put_json(ledger, f"{folder}/refcoco_train.json", entries)


def write_photos(ledger: Ledger, shots: Sequence[Shot], *, tick: Tick) -> None:
    """Write sample photos to `images/<category>/<state>_<number>` and their normal photos to `references/`.

    Sizes differ, surfaces are cropped to 4:3, and every second photo is a JPEG. The names tell the truth to whoever
    looks; nothing reads them.
    """
    names = _Names()
    for number, shot in enumerate(shots):
        scene = shot.render(size=_PHOTO_SIDES[number % len(_PHOTO_SIDES)])
        rows = _four_by_three(scene) if CATEGORIES[shot.category].family == "surface" else slice(None)
        kind, suffix = ("JPEG", "jpg") if number % 2 else ("PNG", "png")
        name = f"{shot.category}/{state_of(scene)}_{names.next(shot.category)}.{suffix}"
        ledger.write(f"images/{name}", encode(np.ascontiguousarray(scene.image[rows]), kind))
        ledger.write(f"references/{name}", encode(np.ascontiguousarray(scene.reference[rows]), kind))
        tick()


def _four_by_three(scene: Scene) -> slice:
    """The rows to keep so that the picture is 4:3 and all defects stay whole; all rows where they do not fit."""
    side = scene.image.shape[0]
    height = 3 * side // 4
    lowest = max([0, *(int(defect.box[3]) - height for defect in scene.defects)])
    highest = min([side - height, *(int(defect.box[1]) for defect in scene.defects)])
    if lowest > highest:
        return slice(None)
    top = (lowest + highest) // 2
    return slice(top, top + height)
