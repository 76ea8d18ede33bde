"""A large synthetic training set: drawn in parts by several processes, gone on with where a run was stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import iadr1
from iadr1.atomic import atomic, write_text_atomic
from iadr1.config import PrepareConfig
from iadr1.datasets.synthetic import training
from iadr1.datasets.synthetic.samples import LICENCE
from iadr1.datasets.synthetic.training import Settings
from iadr1.errors import OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.records import Sample, meta_path, write_records
from iadr1.stages.prepare.output import refuse_foreign
from iadr1.stages.prepare.summary import PrepareSummary, Progress

FILE = "data/train.jsonl"
FOLDER = "data/train"
PART = 250
"""Scenes of one part, which is made whole or not at all."""

_SETTINGS = "settings.json"
_SAMPLES = "samples.jsonl"


def prepare_variety(config: PrepareConfig, report: Progress) -> PrepareSummary:
    """Write `config.variety` scenes with all their samples into the folder `config.out` (the current one by default).

    Parts that are there already are kept, so that a stopped run goes on and a finished one can grow.

    Raises:
        UsageError: A value out of range, an unknown or held-out category, or `out` is a file.
        OutputError: The folder holds a set of other settings, a file is in the way, or nothing can be written.
    """
    settings = _settings(config)
    out = config.out or Path()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {str(out)!r} is not a folder", hint="the training set is written into a folder")
    folder, samples = out / FOLDER, out / FILE
    refuse_foreign(samples)
    try:
        _claim(folder, settings)
        parts = [(first, min(PART, config.variety - first)) for first in range(0, config.variety, PART)]
        made = _draw(folder, parts, settings, config.workers or os.cpu_count() or 1, report)
        count = _join(samples, folder, parts, settings)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(error.filename or out)) from error
    lines = [
        f"{samples}: {count} samples about {config.variety} scenes of {len(settings.categories)} products",
        f"{made} of {len(parts)} parts drawn, {len(parts) - made} were there already.",
    ]
    return PrepareSummary(lines, {samples: count}, made, len(parts) - made)


def _settings(config: PrepareConfig) -> Settings:
    for name, low, high in (("variety", 1, 900_000), ("side", 96, 1024), ("normal_share", 0, 1)):
        if not low <= getattr(config, name) <= high:
            raise UsageError(f"{name} is {getattr(config, name)}, it must be from {low} to {high}")
    for name in ("reference_every", "workers"):
        if getattr(config, name) < 0:
            raise UsageError(f"{name} is {getattr(config, name)}, it must not be negative")
    wanted = tuple(config.category.split(",")) if config.category else training.POOL
    unknown = [name for name in wanted if name not in training.POOL]
    if unknown:
        raise UsageError(f"no category {unknown[0]!r} to train on", hint=f"known: {', '.join(training.POOL)}")
    return Settings(config.seed, config.side, config.normal_share, config.reference_every, wanted)


def _claim(folder: Path, settings: Settings) -> None:
    """Make the folder this set's, or make sure that it is.

    Parts that another version of the code has drawn would differ from new ones.
    """
    world = {**asdict(settings), "categories": list(settings.categories), "iadr1": iadr1.__version__, "code": _digest()}
    note = folder / _SETTINGS
    if folder.exists() and any(folder.iterdir()):
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known != world:
            raise OutputError(
                "the folder holds another training set, of other settings or another version",
                where=str(folder),
                hint="remove it or choose another --out",
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(note, json.dumps(world, indent=1) + "\n")
    for rest in folder.glob(".part-*"):  # of a killed run
        shutil.rmtree(rest)


def _digest() -> str:
    """What the scenes are drawn with."""
    digest = hashlib.sha256()
    for path in sorted(Path(training.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _name(first: int, count: int) -> str:
    return f"part-{first:06d}-{count:03d}"


def _draw(folder: Path, parts: list[tuple[int, int]], settings: Settings, workers: int, report: Progress) -> int:
    """Draw the parts that are not there; returns how many."""
    names = {_name(*part) for part in parts}
    for old in folder.glob("part-*"):  # a last part that was cut short, or of a larger set
        if old.name not in names:
            shutil.rmtree(old)
    missing = [part for part in parts if not (folder / _name(*part)).exists()]
    total = sum(count for _, count in parts)
    done = total - sum(count for _, count in missing)
    with ProcessPoolExecutor(max(1, min(workers, len(missing)))) as pool:
        running: dict[Future[None], tuple[int, int]] = {
            pool.submit(write_part, folder, *part, settings): part for part in missing
        }
        try:
            for future in as_completed(running):
                future.result()
                done += running[future][1]
                report("training scenes", done, total)
        finally:
            for future in running:
                future.cancel()
    return len(missing)


def write_part(folder: Path, first: int, count: int, settings: Settings) -> None:
    """Draw scenes `first` to `first + count` into a folder of their own, which appears whole or not at all."""
    name = _name(first, count)
    new = folder / f".{name}.{os.getpid()}"
    new.mkdir()
    write_records(new / _SAMPLES, _drawn(new, name, range(first, first + count), settings))
    new.replace(folder / name)


def _drawn(new: Path, name: str, numbers: range, settings: Settings) -> Iterator[Sample]:
    for number in numbers:
        made = training.photo(number, settings)
        for file, content in made.files.items():
            (new / file).write_bytes(content)
        for sample in made.samples:
            yield sample.model_copy(
                update={
                    "id": f"{name}/{sample.id}",
                    "image": f"{name}/{sample.image}",
                    "references": tuple(f"{name}/{path}" for path in sample.references),
                }
            )


def _join(samples: Path, folder: Path, parts: list[tuple[int, int]], settings: Settings) -> int:
    """Write the samples of all parts into one file, and its sidecar."""
    count = 0
    new = samples.with_name(f".{samples.name}.new")
    with atomic(new) as file:
        for part in parts:
            with (folder / _name(*part) / _SAMPLES).open(encoding="utf-8") as lines:
                for line in lines:
                    file.write(line)
                    count += 1
    meta = {
        "root": Path(FOLDER).name,
        "licence": LICENCE,
        "source": f"iadr1 synthetic world, seed {settings.seed}",
        "settings": asdict(settings),
        "records": count,
        "sha256": file_sha256(new),
        "replaces": file_sha256(samples) if samples.exists() else None,
    }
    write_text_atomic(meta_path(samples), json.dumps(meta, indent=2) + "\n")
    new.replace(samples)
    return count
