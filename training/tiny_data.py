"""Renders the training set of the embedded model: images at the model's input size, dense labels, and samples.

    python training/tiny_data.py OUT --scenes 40000

Scenes come from the training categories and the seeds below 1,000,000 only. Every scene becomes the samples a real
dataset would give (`iadr1.records.Sample`); nothing here knows how a prompt looks.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tiny_model import GRID, SIDE

from iadr1.datasets.synthetic import CATEGORIES, DEFECT_TYPES, Scene, render
from iadr1.datasets.synthetic.questions import anomaly_reasoning, phrase_reasoning, phrases, questions
from iadr1.datasets.synthetic.scene import SceneDefect, draw_plan
from iadr1.geometry import location_word, mask_box
from iadr1.images import resize
from iadr1.prompts import DETECT_QUESTION
from iadr1.records import Defect, Sample

TRAINED = [name for name, category in CATEGORIES.items() if not category.held_out]
REFERENCES_EVERY = 4
"""Every fourth scene is stored with its normal reference, for prompts with two images."""


class View(NamedTuple):
    """One scene as the model sees it."""

    image: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    patch_type: NDArray[np.uint8]
    cell_type: NDArray[np.uint8]
    cell_box: NDArray[np.float16]
    samples: list[dict[str, Any]]


def crop(scene: Scene, reference: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Scene, NDArray[np.uint8]]:
    """Cut the scene to a window of another shape that keeps every defect whole: scale and aspect ratio vary."""
    height, width = scene.image.shape[:2]
    w, h = (round(side * rng.uniform(0.7, 1.0)) for side in (width, height))
    boxes = [defect.box for defect in scene.defects]
    left = min((box[0] for box in boxes), default=width)
    top = min((box[1] for box in boxes), default=height)
    right, bottom = max((box[2] for box in boxes), default=0), max((box[3] for box in boxes), default=0)
    w, h = max(w, int(right - left) + 2), max(h, int(bottom - top) + 2)
    x = int(rng.integers(max(0, int(right) - w), min(int(left), width - w) + 1))
    y = int(rng.integers(max(0, int(bottom) - h), min(int(top), height - h) + 1))
    window = np.s_[y : y + h, x : x + w]
    return replace_scene(scene, window, (w, h)), reference[window]


def replace_scene(scene: Scene, window: tuple[slice, slice], size_wh: tuple[int, int]) -> Scene:
    """The scene inside a window, with masks, boxes and location words of the new picture."""
    defects = []
    for defect in scene.defects:
        mask = defect.mask[window]
        box = mask_box(mask)
        if box is None:
            raise ValueError("a crop lost a defect")
        defects.append(replace(defect, mask=mask, box=box, location=location_word(box, size_wh)))
    return replace(scene, image=scene.image[window], defects=tuple(defects))


def dense_labels(
    defects: tuple[SceneDefect, ...], shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float16]]:
    """Defect type (0 = none) of each patch and of each image token, and the token's defect box in 0..1."""
    height, width = shape
    counts = np.zeros((len(defects) + 1, 2 * GRID, 2 * GRID))
    for index, defect in enumerate(defects, start=1):
        ys, xs = np.nonzero(defect.mask)
        np.add.at(counts[index], (ys * 2 * GRID // height, xs * 2 * GRID // width), 1)
    types = np.array([0, *(1 + DEFECT_TYPES.index(d.type) for d in defects)], dtype=np.uint8)
    boxes = np.array([(0, 0, 0, 0), *(d.box for d in defects)]) / (width, height, width, height)
    by_cell = counts.reshape(-1, GRID, 2, GRID, 2).sum(axis=(2, 4))
    owner = by_cell.argmax(axis=0)
    return types[counts.argmax(axis=0)], types[owner], boxes[owner].astype(np.float16)


def samples_of(scene: Scene, number: int) -> list[dict[str, Any]]:
    """All samples of a scene: yes/no with boxes, MMAD's questions, grounding phrases."""
    height, width = scene.image.shape[:2]
    anomalous = bool(scene.defects)
    defects = tuple(Defect(type=d.type, box=d.box, location=d.location) for d in scene.defects)
    base: dict[str, Any] = {
        "dataset": "synthetic", "category": scene.category, "split": "train", "image": f"{number}.png",
        "references": (f"{number}_reference.png",),
    }  # fmt: skip
    found = [
        Sample(
            id=f"{number}", task="anomaly", question=DETECT_QUESTION, answer="Yes" if anomalous else "No",
            question_type="Anomaly Detection", is_anomalous=anomalous, defects=defects,
            reasoning=anomaly_reasoning(scene), **base,
        )
    ]  # fmt: skip
    found += [
        Sample(
            id=f"{number}#{i}", task="choice", question=q.text, options=q.options, answer=q.answer,
            question_type=q.type, is_anomalous=anomalous, reasoning=q.reasoning, **base,
        )
        for i, q in enumerate(questions(scene))
    ]  # fmt: skip
    found += [
        Sample(
            id=f"{number}@{i}", task="grounding", question=grounding_question(p.text), question_type="Grounding",
            defects=(defects[p.defect],), reasoning=phrase_reasoning(scene, p), **base,
        )
        for i, p in enumerate(phrases(scene))
    ]  # fmt: skip
    return [{"wh": (width, height), **s.model_dump(exclude_defaults=True)} for s in found]


def grounding_question(phrase: str) -> str:
    """VLM-R1's lead-in for referring expressions."""
    return f"Please provide the bounding box coordinate of the region this sentence describes: {phrase}."


def view(number: int, *, first_seed: int) -> View:
    """Render scene `number` of the set."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([first_seed, number])))
    category = TRAINED[number % len(TRAINED)]
    seed = first_seed + number
    scene = render(category, seed, defects=draw_plan(category, seed))
    with_reference = number % REFERENCES_EVERY == 0
    reference = scene.reference if with_reference else scene.image
    if rng.random() < 0.6:
        scene, reference = crop(scene, reference, rng)
    small = _shrink(scene.image)
    labels = dense_labels(scene.defects, scene.image.shape[:2])
    return View(small, _shrink(reference) if with_reference else small, *labels, samples_of(scene, number))


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(resize(Image.fromarray(pixels), (SIDE, SIDE)))


def build(out: Path, scenes: int, *, first_seed: int, workers: int) -> None:
    """Render `scenes` scenes into `out`: `images.npy`, `references.npy`, `labels.npz`, `samples.jsonl`."""
    out.mkdir(parents=True, exist_ok=True)
    shape = (scenes, SIDE, SIDE, 3)
    images = np.lib.format.open_memmap(out / "images.npy", "w+", np.uint8, shape)
    rows = (scenes + REFERENCES_EVERY - 1) // REFERENCES_EVERY
    references = np.lib.format.open_memmap(out / "references.npy", "w+", np.uint8, (rows, *shape[1:]))
    labels: list[tuple[Any, Any, Any]] = []
    with ProcessPoolExecutor(workers) as pool, (out / "samples.jsonl").open("w", encoding="utf-8") as lines:
        for number, item in enumerate(pool.map(partial(view, first_seed=first_seed), range(scenes), chunksize=64)):
            images[number] = item.image
            if number % REFERENCES_EVERY == 0:
                references[number // REFERENCES_EVERY] = item.reference
            labels.append((item.patch_type, item.cell_type, item.cell_box))
            lines.write(json.dumps(item.samples) + "\n")
    images.flush()
    references.flush()
    names = ("patch_type", "cell_type", "cell_box")
    np.savez(out / "labels.npz", **{name: np.stack([row[i] for row in labels]) for i, name in enumerate(names)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=40_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    build(arguments.out, arguments.scenes, first_seed=arguments.first_seed, workers=arguments.workers)
