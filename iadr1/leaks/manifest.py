"""The manifest: what is written down of a training set, and where the manifest of a model is found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError

from iadr1 import parallel
from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256, open_image
from iadr1.records import Record, RelativePath, Sample

MANIFEST_NAME = "leak.json"
"""Name of the manifest in the folder of a training run or of a model."""
RUN_KEY = "leak_manifest"
"""Key of a training run's `run.json`: `{"file": name beside it, "sha256": of that file}`."""

_LEAST_SPREAD = 1.0
"""Grey levels: below it, saving an image as JPEG of quality 75 changes 12 to 22 bits of its hash."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Phash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class TrainedImage(Record):
    """One image that was trained on; `phash` is None for an image of one tone."""

    path: RelativePath
    dataset: str
    category: str
    sha256: Sha256
    phash: Phash | None


class LeakManifest(Record):
    """What a model was trained on.

    `categories` are the names of all trained categories, those of `images` among them; a name may be added by hand
    where images of it cannot be listed. Names are compared without letter case, `-` and `_` counting as spaces, and
    whatever their data set: a held-out category is one that is nowhere among them.
    """

    version: Literal[1] = 1
    categories: tuple[str, ...]
    images: tuple[TrainedImage, ...]

    def to_json(self) -> str:
        """The manifest's file: the same manifest gives the same text."""
        return self.model_dump_json(indent=1) + "\n"


def perceptual_hash(image: Image.Image) -> str | None:
    """The 64-bit pHash as 16 hexadecimal digits; None for an image of one tone, whose hash would be noise."""
    import imagehash  # loads scipy; only here

    small = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    if np.asarray(small, dtype=np.float64).std() < _LEAST_SPREAD:
        return None
    return str(imagehash.phash(small))


def manifest_path(samples: Path) -> Path:
    """Where the manifest of a samples file lies: `fewshot.jsonl` -> `fewshot.leak.json`."""
    return samples.with_suffix(".leak.json")


def build_manifest(samples: Iterable[Sample], root: Path, *, shots: int = 0) -> LeakManifest:
    """The manifest of what a model sees in training: every sample's image and its first `shots` references.

    Args:
        samples: The training samples, in any order.
        root: The folder their paths are relative to.
        shots: Reference images shown with each.

    Raises:
        DataError: An image is not the one the sample was made from.
        ImageError: An image is missing or cannot be read.
    """
    ordered = sorted(samples, key=lambda sample: (sample.image, sample.category))
    shown = {sample.image: sample for sample in reversed(ordered)}
    for sample in ordered:
        for path in sample.references[:shots]:
            shown.setdefault(path, sample)
    images = parallel.ordered(lambda path: _trained_image(shown[path], path, root), sorted(shown))
    return LeakManifest(categories=tuple(sorted({sample.category for sample in ordered})), images=tuple(images))


def _trained_image(sample: Sample, path: str, root: Path) -> TrainedImage:
    phash = perceptual_hash(open_image(root / path))
    digest = file_sha256(root / path)
    if path == sample.image and sample.image_sha256 not in (None, digest):
        raise DataError(
            f"the image has changed since the sample {sample.id!r} was made from it",
            where=str(root / path),
            hint="run 'iadr1 prepare' again",
        )
    return TrainedImage(path=path, dataset=sample.dataset, category=sample.category, sha256=digest, phash=phash)


def merge(manifests: Iterable[LeakManifest]) -> LeakManifest:
    """One manifest of all: for a model that goes on from one that was trained before."""
    every = list(manifests)
    images = {image.sha256: image for manifest in reversed(every) for image in reversed(manifest.images)}
    return LeakManifest(
        categories=tuple(sorted({name for manifest in every for name in manifest.categories})),
        images=tuple(sorted(images.values(), key=lambda image: (image.path, image.sha256))),
    )


def write(path: Path, manifest: LeakManifest) -> None:
    """Write a manifest, atomically.

    Raises:
        OutputError: The folder cannot be written to.
    """
    write_text_atomic(path, manifest.to_json())


def write_for_run(out: Path, manifest: LeakManifest) -> dict[str, str]:
    """Write a training run's manifest into its folder; returns what its `run.json` holds under `RUN_KEY`."""
    write(out / MANIFEST_NAME, manifest)
    return {"file": MANIFEST_NAME, "sha256": file_sha256(out / MANIFEST_NAME)}


def read_manifest(path: Path) -> LeakManifest:
    """A manifest from its file.

    Raises:
        DataError: The file is absent or no manifest of this version.
    """
    try:
        return LeakManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the leak manifest: {error.strerror}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise DataError(
            f"not a leak manifest: {place}: {first['msg']} (got {first['input']!r:.60})",
            where=str(path),
            hint="'iadr1 prepare fewshot' writes one beside its samples, FILE.leak.json, and 'iadr1 train' one into "
            "its folder",
        ) from error


def find_manifest(place: Path) -> Path | None:
    """The manifest a place leads to: a manifest itself, a model's folder, or a training run's folder.

    A folder is asked for `leak.json`, then for a `run.json` that names one; the run of a model's folder (`model`,
    `checkpoint-N`) may also be the folder above it.

    Raises:
        UsageError: There is no such place.
        DataError: A `run.json` names a manifest that is absent or has changed.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise UsageError(f"no file or folder {str(place)!r}", hint="name a leak manifest, or a training run's folder")
    if (place / MANIFEST_NAME).is_file():
        return place / MANIFEST_NAME
    return _of_run(place) or _of_run(place.absolute().parent)


def _of_run(folder: Path) -> Path | None:
    run_file = folder / "run.json"
    if not run_file.is_file():
        return None
    try:
        run = json.loads(run_file.read_text(encoding="utf-8"))
        entry = run.get(RUN_KEY)
        if entry is None:
            return None
        path, digest = folder / str(entry["file"]), entry["sha256"]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"no run.json with a usable {RUN_KEY!r}", where=str(run_file), hint=_SAY) from error
    if not path.is_file():
        raise DataError(f"its leak manifest {path.name!r} is missing", where=str(run_file), hint=_SAY)
    if file_sha256(path) != digest:
        raise DataError("the leak manifest has changed since the run wrote it", where=str(path), hint=_SAY)
    return path


_SAY = "say with --leaks FILE what the model was trained on"
