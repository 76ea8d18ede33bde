"""The images of the ablation: three training sets and an evaluation that share no image, by the project's leak check.

All are made with `iadr1 prepare`: the training sets with `--variety`, each under a seed of its own, the evaluation as
the synthetic world under another one. What the leak check calls the same as an image of an earlier set is left out (a
perceptual hash also matches a few strangers); then the check must find nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1 import leaks
from iadr1.atomic import write_text_atomic
from iadr1.config import PrepareConfig
from iadr1.errors import DataError
from iadr1.leaks import LeakManifest
from iadr1.models import EMBEDDED
from iadr1.records import Sample, meta_path, read_records, resolve_root, write_records
from iadr1.stages import prepare

TRAINING = ("sft", "reinforce", "ground")
"""The training sets in the order of their seeds; prompts of reinforcement are in the last two."""
EVALUATION = ("mmad", "anomaly")
BASE = "the base model"


@dataclass(frozen=True)
class Sizes:
    """How many images each set has.

    Attributes:
        images: Of each training set.
        evaluated: Of each benchmark.
        seed: Seed of the first training set; the others and the evaluation have the next ones.
    """

    images: int
    evaluated: int
    seed: int


def questions(folder: Path, name: str) -> Path:
    """Multiple-choice questions of a training set, one an image."""
    return folder / name / "data" / "questions.jsonl"


def verdicts(folder: Path, name: str) -> Path:
    """Yes/no samples of a training set, one an image."""
    return folder / name / "data" / "verdicts.jsonl"


def regions(folder: Path, name: str) -> Path:
    """Referring expressions of a training set."""
    return folder / name / "data" / "regions.jsonl"


def benchmark(folder: Path, name: str) -> Path:
    """Samples of an evaluation, `mmad` or `anomaly`."""
    return folder / "evaluation" / "data" / f"asked-{name}.jsonl"


def make(folder: Path, sizes: Sizes, *, model: str) -> dict[str, Any]:
    """Make all sets below `folder`; what is there already stays.

    Args:
        folder: Where they go.
        sizes: How large they are.
        model: The common start, whose leak manifest is looked for.

    Returns:
        Set or benchmark -> its images, samples, and how many images were left out for looking like those of which set.

    Raises:
        DataError: A set shares an image with an earlier one.
    """
    note = folder / "sets.json"
    if note.exists():
        found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
        return found
    manifests = _of_model(model)
    report: dict[str, Any] = {
        "base manifest": sum(len(manifest.images) for manifest in manifests.values()) or "none: what it saw is unknown"
    }
    for place, name in enumerate(TRAINING):
        report[name] = _training_set(folder / name, name, sizes, manifests, seed=sizes.seed + place)
    report |= _evaluation(folder, sizes, manifests)
    _check(folder, manifests)
    write_text_atomic(note, json.dumps(report, indent=1) + "\n")
    return report


def _of_model(model: str) -> dict[str, LeakManifest]:
    """What the start was trained on, where that is known."""
    folder = EMBEDDED / model if (EMBEDDED / model).is_dir() else Path(model)
    path = leaks.find_manifest(folder) if folder.is_dir() else None
    return {} if path is None else {BASE: leaks.read_manifest(path)}


def _training_set(
    folder: Path, name: str, sizes: Sizes, manifests: dict[str, LeakManifest], *, seed: int
) -> dict[str, Any]:
    """Draw a set, keep what is new, write its samples by task, and add its manifest to `manifests`."""
    prepare.run(PrepareConfig(variety=sizes.images, seed=seed, out=folder))
    drawn, root = folder / "data" / "train.jsonl", folder / "data" / "train"
    kept, left_out = _new(list(read_records(drawn, Sample)), root, manifests)
    parts = {task: [sample for sample in kept if sample.task == task] for task in ("choice", "anomaly", "grounding")}
    choice = folder / "data" / "choice.jsonl"
    for path, samples in (
        (choice, parts["choice"]),
        (verdicts(folder.parent, name), parts["anomaly"]),
        (regions(folder.parent, name), parts["grounding"]),
    ):
        _write(path, samples, root="train")
    images = {sample.image for sample in parts["choice"]}
    prepare.run(
        PrepareConfig("fewshot", data=(choice,), out=questions(folder.parent, name), size=len(images), seed=seed)
    )
    manifests[name] = leaks.build_manifest(kept, root)
    return {"images": len(images), "left out": left_out, **{task: len(samples) for task, samples in parts.items()}}


def _evaluation(folder: Path, sizes: Sizes, manifests: Mapping[str, LeakManifest]) -> dict[str, Any]:
    world = folder / "evaluation"
    prepare.run(
        PrepareConfig(
            seed=sizes.seed + len(TRAINING), fewshot_images=1, eval_images=sizes.evaluated, photos=0, out=world
        )
    )
    report = {}
    for name in EVALUATION:
        drawn = world / "data" / f"{name}.jsonl"
        root = resolve_root(drawn)
        kept, left_out = _new(list(read_records(drawn, Sample)), root, manifests)
        _write(benchmark(folder, name), kept, root=f"synthetic/{root.name}")
        images = {sample.image: sample.held_out for sample in kept}
        report[name] = {
            "images": len(images),
            "of held-out categories": sum(images.values()),
            "samples": len(kept),
            "left out": left_out,
        }
    return report


def _new(
    samples: list[Sample], root: Path, manifests: Mapping[str, LeakManifest]
) -> tuple[list[Sample], dict[str, int]]:
    """The samples whose images are in none of the manifests, and how many images each of these took away."""
    left_out = {}
    for name, manifest in manifests.items():
        same = {match.image for match in leaks.compare(manifest, samples, root).trained}
        samples = [sample for sample in samples if sample.image not in same]
        left_out[name] = len(same)
    return samples, left_out


def _check(folder: Path, manifests: Mapping[str, LeakManifest]) -> None:
    """Look again, at the files that are trained on and asked about.

    Raises:
        DataError: An image is in two sets.
    """
    after = {
        "reinforce": [questions(folder, "reinforce"), verdicts(folder, "reinforce")],
        "ground": [regions(folder, "ground")],
        "evaluation": [benchmark(folder, name) for name in EVALUATION],
    }
    order = list(manifests)
    for name, paths in after.items():
        earlier = order[: order.index(name)] if name in order else order
        for path in paths:
            samples = list(read_records(path, Sample))
            for other in earlier:
                if shared := leaks.compare(manifests[other], samples, resolve_root(path)).trained:
                    raise DataError(f"{len(shared)} images are of {other} too: {shared[0].image}", where=str(path))


def _write(path: Path, samples: Iterable[Sample], *, root: str) -> None:
    write_records(path, samples)
    write_text_atomic(meta_path(path), json.dumps({"root": root}) + "\n")
