"""The folder of a detection run: whose results it holds, whether a run may go on in it, and clearing it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadr1.config import VLLM_FIELDS, DetectConfig
from iadr1.errors import OutputError, UsageError, dashed
from iadr1.images import file_sha256
from iadr1.models.base import Engine
from iadr1.provenance import RUN, digest, plain, read_run
from iadr1.records import Detection, done_keys, read_records, write_records
from iadr1.stages.inspection import InspectSettings, Photo, References, image_root

RECORDS = "detections.jsonl"
REPORT, TABLE = "report.html", "summary.csv"

_OTHER = "name another folder with --out"
_NOT_RESULTS = frozenset(
    {
        *("out", "overwrite", "batch_size", "device", "attention", "overlays", "report", "language", "glob"),
        *("shard", "join"),  # a shard has a folder of its own, and they are joined to what one run would have found
        *("base_url", "key_env", "concurrency", "timeout_s", "retries", "requests_per_minute"),
        *VLLM_FIELDS,
    }
)
"""Settings that may change when a run goes on in the same folder: they do not change what is found."""


def run_key(
    config: DetectConfig, engine: Engine, settings: InspectSettings, references: References | None
) -> dict[str, str]:
    """What must be equal for a run to go on in a folder: the settings that decide what is found, and the model.

    The model counts with its weights' fingerprint where the engine has one: a folder that was trained again is
    another model under the same name. References count with their names and contents, wherever they lie.
    """
    counting = {key: value for key, value in plain(config).items() if key not in _NOT_RESULTS}
    counting["images"] = str(image_root(config.images).resolve())
    counting["references"] = None  # an entry of their own, so that a refusal names them
    counting["segmenter"] = config.segmenter if config.masks else None
    counting["calibration"] = settings.calibration  # its content, wherever it lies
    counting["asked"] = settings.digest
    key = {"settings": digest(counting), "model": engine.model, "weights": engine.fingerprint}
    return key if references is None else {**key, "references": references.digest}


def check_folder(out: Path) -> None:
    """Make sure that the folder is there or can be made, without making it.

    Raises:
        UsageError: It is a file, or would be made in one.
        OutputError: It cannot be made.
    """
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UsageError(f"cannot make the folder: {str(there)!r} is a file", where=str(out), hint=_OTHER)
    if there != out and not os.access(there, os.W_OK | os.X_OK):
        raise _no_folder(out, f"{str(there)!r} is read-only")


def make_folder(out: Path) -> None:
    """Make the folder where it is not there yet.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(out, str(error.strerror)) from error


def _no_folder(out: Path, why: str) -> OutputError:
    return OutputError(f"cannot make the folder: {why}", where=str(out), hint=_OTHER)


def take_up(config: DetectConfig, out: Path, photos: Sequence[Photo]) -> set[str]:
    """The names of the photos that earlier runs have done.

    Records of failures are taken out of the file where their photo is about to be looked at again or is gone, and
    records of photos whose bytes have changed since, so that a mended or replaced photo gets its own result and none
    has two records.

    Raises:
        DataError: The records cannot be read.
        OutputError: They cannot be written.
    """
    path, root, again = out / RECORDS, image_root(config.images), {photo.name: photo for photo in photos}

    def stale(record: Detection) -> bool:
        if record.error is not None:
            return record.image in again or not (root / record.image).exists()
        return record.image in again and content_of(again[record.image].path) != record.image_sha256

    done = done_keys(path, Detection, lambda record: "" if stale(record) else record.image)
    if "" in done:
        write_records(path, (record for record in read_records(path, Detection) if record.image in done))
    return done - {""}


def content_of(path: Path) -> str | None:
    """SHA-256 of a photo's file; None where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError:  # it is looked at again, and then its record says what is wrong
        return None


def claim(out: Path, run: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make sure the folder is free, holds an unfinished run with the same key, or is cleared for `overwrite`.

    Args:
        out: The folder.
        run: What its `run.json` is to say: `run_key` and `config` are read.
        overwrite: Clear it where it holds a run.

    Raises:
        UsageError: It holds something else.
        OutputError: It cannot be cleared.
    """
    earlier = read_run(out, kind=UsageError, hint=_OTHER)
    if earlier is None:
        if (out / RECORDS).exists():
            raise UsageError(f"{str(out)!r} holds a {RECORDS} without a {RUN}", hint=_OTHER)
        return
    if earlier.get("command") != "detect":
        raise UsageError(f"{str(out)!r} holds the results of another command", hint=_OTHER)
    if overwrite:
        _clear(out)
        return
    if earlier.get("run_key") != run["run_key"]:
        named = ", ".join(f"{name} {then} there, {now} now" for name, then, now in differences(earlier, run))
        raise UsageError(
            f"{str(out)!r} holds the results of another run ({named})",
            hint="go on with the same settings, replace it with --overwrite, or name another folder with --out",
        )


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What decides the results and differs between two `run.json`: its name and both values.

    Settings have their names, as far as they are among the settings; what is only a digest (weights, the files of the
    references, the content of a calibration) has that.
    """
    keys, configs = ([_entry(run, name) for run in (one, other)] for name in ("run_key", "config"))
    for name in dict.fromkeys((*keys[0], *keys[1])):
        then, now = (str(key.get(name, "none")) for key in keys)
        if then == now:
            continue
        settings = list(_changed(*configs)) if name == "settings" else []
        shown, shows = (str(config.get("references") or "none") for config in configs)
        if name == "references" and shown != shows:
            yield name, shown, shows
        elif name == "references":
            yield "content of references", then, now
        elif name == "settings" and not settings and shown != shows:  # references are a part of the question
            continue
        elif name == "settings" and not settings:  # it is in none of them: the content of a file, or the question
            yield "content of the calibration, or the question:", then, now
        else:
            yield from settings or [(name, then, now)]


def _entry(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = run.get(name)
    return found if isinstance(found, dict) else {}


def _changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The settings of two configs that decide the results and differ; the model and the references have own entries."""
    for name in dict.fromkeys((*one, *other)):
        if name in _NOT_RESULTS | {"model", "references"}:
            continue
        then, now = (_told(config, name) for config in (one, other))
        if then != now:
            yield dashed(name), then, now


def _told(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name)
    if name == "segmenter" and not config.get("masks"):
        return "none"
    if name == "images":
        return str(image_root(Path(str(value))).resolve())
    return "none" if value is None else str(value)


def _clear(out: Path) -> None:
    """Remove what the records name and the files beside them, nothing else."""
    names = [REPORT, TABLE, RUN]
    if (out / RECORDS).exists():
        for record in read_records(out / RECORDS, Detection):
            names += [name for name in (record.overlay, *(defect.mask for defect in record.defects)) if name]
    try:
        for name in (*names, RECORDS):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot remove: {error.strerror}", where=str(out)) from error
