"""The folder of a detection run: whose results it holds, whether a run may go on in it, and clearing it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from iadr1.config import VLLM_FIELDS, DetectConfig
from iadr1.errors import OutputError, UsageError, dashed
from iadr1.images import file_sha256
from iadr1.locks import lock
from iadr1.models.base import Engine
from iadr1.provenance import RUN, digest, plain, read_run
from iadr1.records import Detection, done_keys, read_records, write_records
from iadr1.stages.inspection import InspectSettings, Photo, References, image_root
from iadr1.stages.inspection.settings import THRESHOLD

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


def run_key(config: DetectConfig, settings: InspectSettings, references: References | None) -> dict[str, str]:
    """What must be equal for a run to go on in a folder, besides the model (`model_key`): what decides what is found.

    References count with their names and contents, wherever they lie.
    """
    counting = {key: value for key, value in plain(config).items() if key not in _NOT_RESULTS}
    counting["images"] = str(image_root(config.images).resolve())
    counting["references"] = None  # an entry of their own, so that a refusal names them
    counting["segmenter"] = config.segmenter if config.masks else None
    counting["threshold"] = _threshold(config.threshold)
    counting["calibration"] = settings.calibration  # its content, wherever it lies
    counting["asked"] = settings.digest
    key = {"settings": digest(counting)}
    return key if references is None else {**key, "references": references.digest}


def model_key(engine: Engine) -> dict[str, str]:
    """The model, with its weights' fingerprint where the engine has one: trained again, it is another one."""
    return {"model": engine.model, "weights": engine.fingerprint}


def _threshold(value: float | None) -> float | None:
    """The default is the same whether it was written out or not."""
    return None if value == THRESHOLD else value


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make a folder where it is not there, and keep other runs out of it: two would write every record twice.

    The lock is let go of by the system when the process ends, however it ends.

    Raises:
        UsageError: Another run is at work in it.
        OutputError: It cannot be made or written to.
    """
    held = lock(out, busy="another run is writing into this folder", busy_hint=f"wait for it, or {_OTHER}", hint=_OTHER)
    with held or nullcontext():
        yield


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
        raise OutputError(f"cannot make the folder: {str(there)!r} is read-only", where=str(out), hint=_OTHER)


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


def claim(out: Path, run: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Make sure the folder is free, holds an unfinished run with the same key, or may be cleared.

    Args:
        out: The folder.
        run: What its `run.json` is to say: `run_key` and `config` are read. Before the model is loaded the key is one
            without it, and the rest is compared.
        overwrite: What it holds of a run may be replaced.

    Returns:
        Whether it holds a run that is to be replaced: `clear` it before the first record.

    Raises:
        UsageError: It holds something else.
    """
    earlier = read_run(out, kind=UsageError, hint=_OTHER)
    if earlier is None:
        if (out / RECORDS).exists():
            raise UsageError(f"{str(out)!r} holds a {RECORDS} without a {RUN}", hint=_OTHER)
        return False
    if earlier.get("command") != "detect":
        raise UsageError(f"{str(out)!r} holds the results of another command", hint=_OTHER)
    if overwrite:
        return True
    there, now = _entry(earlier, "run_key"), run["run_key"]
    unknown = {name: there[name] for name in ("model", "weights") if name in there and name not in now}
    if there != {**now, **unknown}:
        changed = differences(earlier, {**run, "run_key": {**now, **unknown}})
        named = ", ".join(f"{name} {then} there, {new} now" for name, then, new in changed)
        raise UsageError(
            f"{str(out)!r} holds the results of another run ({named})",
            hint="go on with the same settings, replace it with --overwrite, or name another folder with --out",
        )
    return False


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
    if name == "threshold":
        value = _threshold(value)
    return "none" if value is None else str(value)


def clear(out: Path) -> None:
    """Remove what the records name and the files beside them, nothing else.

    Raises:
        DataError: The records cannot be read.
        OutputError: A file cannot be removed.
    """
    names = [REPORT, TABLE, RUN]
    if (out / RECORDS).exists():
        for record in read_records(out / RECORDS, Detection):
            names += [name for name in (record.overlay, *(defect.mask for defect in record.defects)) if name]
    try:
        for name in (*names, RECORDS):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot remove: {error.strerror}", where=str(out)) from error
