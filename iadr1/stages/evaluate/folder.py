"""A run's folder: free or of the same conditions, what is answered in it, and how answers are added."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from iadr1 import provenance
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.locks import lock
from iadr1.models import Engine, Profile
from iadr1.records import Prediction, RecordWriter, done_keys, read_records, write_records
from iadr1.stages.evaluate.asking import Asker, Batch
from iadr1.stages.evaluate.questions import Question
from iadr1.stages.scoring import MASKS, PREDICTIONS, MaskRecord

RUN = provenance.RUN
Progress = Callable[[int, int], None]
"""Called with (answered, all)."""

_OTHER = "give another --out"
_NEXT = "give another --out, or delete the folder to start again"


def input_of(profile: Profile) -> dict[str, Any]:
    """How the model gets images and writes boxes, which decides its answers as well as its weights do."""
    return {
        "factor": profile.factor,
        "pixels": [profile.min_pixels, profile.max_pixels],
        "cap_wh": list(profile.cap_wh),
        "tiling": repr(profile.tiling),
        "pads": profile.pads,
        "box_space": profile.box_space.value,
    }


def dtype_of(engine: Engine) -> str | None:
    """The number format that an engine computes in, where it knows it: what `auto` stands for differs by machine."""
    found = getattr(engine, "dtype", None)
    return None if found is None else str(found).removeprefix("torch.")


def check_folder(out: Path, *, sharded: bool) -> None:
    """Make sure, before a model is loaded, that a folder can be written to and is free or holds an evaluation.

    Args:
        out: The folder.
        sharded: Whether it is a shard's, in the folder of a whole run.

    Raises:
        OutputError: It, or a folder it would be made in, may not be written to.
        UsageError: It is a file or would be made in one, holds another command's run, or a whole run where a shard is
            to be put in.
    """
    nearest = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise UsageError("this is a file, not a folder", where=str(nearest), hint=_OTHER)
    if not os.access(nearest, os.W_OK):
        raise OutputError("this folder cannot be written to", where=str(nearest), hint=_OTHER)
    run = provenance.read_run(out, kind=UsageError, hint=_NEXT)
    if run is not None and run.get("command") != "eval":
        command = run.get("command")
        raise UsageError(f"the folder holds a run of another command ({command})", where=str(out), hint=_OTHER)
    if sharded:
        _check_siblings(out)
    shards = sorted(path.parent.name for path in out.glob("shard-*-of-*/" + PREDICTIONS))
    if shards and not sharded:
        hint = f"'iadr1 score {out}' joins them; for a run without --shard {_OTHER}"
        raise UsageError(f"the folder holds shards of a run: {', '.join(shards)}", where=str(out), hint=hint)


def _check_siblings(shard: Path) -> None:
    """A folder holds the shards of one run, cut into one number of them."""
    if (shard.parent / PREDICTIONS).exists():
        raise UsageError("the folder holds a run without --shard", where=str(shard.parent), hint=_OTHER)
    number = shard.name.rpartition("-")[2]
    for other in sorted(shard.parent.glob("shard-*-of-*")):
        if other.name.rpartition("-")[2] != number:
            message = f"the folder holds {other.name}, a shard of another number of them"
            raise UsageError(message, where=str(shard.parent), hint=_OTHER)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from evaluating in a folder: two would ask every question twice.

    Raises:
        UsageError: Another process is at it.
        OutputError: The folder cannot be written to.
    """
    held = lock(
        out, busy="another process is evaluating in this folder", busy_hint=f"wait for it, or {_OTHER}", hint=_OTHER
    )
    with held or nullcontext():
        yield


class TakenUp(NamedTuple):
    """What an earlier run left: the keys it has answered, and why its yes/no answers have no anomaly score."""

    done: set[str]
    no_score: str | None = None


def take_up(out: Path, now: Mapping[str, Any], asked: Collection[str]) -> TakenUp:
    """What an earlier run left that can be gone on with; what failed in it is removed, to be asked again.

    So are further lines with the same answer to a question, as two runs in one folder at a time leave them.

    Args:
        out: The folder; it may be absent.
        now: What this run's `run.json` will hold.
        asked: Keys of all that this run asks.

    Raises:
        UsageError: The answers are of another protocol, model, samples file or other condition, or to questions that
            this run does not ask.
        DataError: A question has several answers that differ.
    """
    path = out / PREDICTIONS
    done = done_keys(path, Prediction, lambda prediction: prediction.key)
    no_score = None
    if done:
        no_score = _refuse_other_run(path, now).get("no_score")
        strange = done.difference(asked)
        if strange:
            raise UsageError(
                f"it holds {len(strange)} answers to questions that this run does not ask, such as {min(strange)!r}",
                where=str(path),
                hint="give the --limit, --seed and --shard of the earlier run, or another --out",
            )
        done = _tidy(path)
    masks = out / MASKS
    if done_keys(masks, MaskRecord, lambda record: record.key) - done:
        write_records(masks, (one for one in read_records(masks, MaskRecord) if one.key in done))
    return TakenUp(done, no_score if done else None)


def _tidy(path: Path) -> set[str]:
    """Remove failed answers and equal doubles from a file, where it has any; returns the keys of what stays."""
    keys: set[str] = set()
    doubled: dict[str, Prediction] = {}
    failed = False
    for one in read_records(path, Prediction):
        if one.error:
            failed = True
        elif one.key in keys:
            doubled[one.key] = one
        else:
            keys.add(one.key)
    if failed or doubled:
        write_records(path, _first_of_each(path, doubled))
    return keys


def _first_of_each(path: Path, doubled: Mapping[str, Prediction]) -> Iterator[Prediction]:
    """The answers that did not fail, of equal ones the first; `doubled` holds one of each key that occurs twice."""
    seen: set[str] = set()
    for number, one in enumerate(read_records(path, Prediction), start=1):
        if one.error:
            continue
        # How long it took is never the same.
        if one.key in doubled and doubled[one.key].model_copy(update={"seconds": one.seconds}) != one:
            raise DataError(
                f"the question {one.key!r} has several answers that differ",
                where=f"{path}:{number}",
                hint="delete this line or the other one, and run the same command again",
            )
        if one.key not in seen:
            seen.add(one.key)
            yield one


def answer_all(
    asker: Asker, batches: Iterable[list[Question]], out: Path, *, counts: tuple[int, int], progress: Progress | None
) -> None:
    """Ask batch by batch and append the answers to the files, written through to the disk after each batch.

    Masks are written before the predictions they belong to, so that no prediction is without its masks.

    Args:
        asker: Asks the model.
        batches: What is left to ask.
        out: The run's folder.
        counts: How many an earlier run has answered, and how many there are.
        progress: Called with (answered, all) at the start and after every batch.
    """
    answered, total = counts
    tell = progress or (lambda done, every: None)
    tell(answered, total)
    with RecordWriter(out / PREDICTIONS) as predictions:
        for batch in _one_ahead(asker.prepare, batches):
            found = asker.answer(batch)
            masks = [one.masks for one in found if one.masks is not None]
            if masks:
                _append(out / MASKS, masks)
            for one in found:
                predictions.write(one.prediction)
            predictions.flush()
            answered += len(found)
            tell(answered, total)


def _one_ahead(prepare: Callable[[list[Question]], Batch], batches: Iterable[list[Question]]) -> Iterator[Batch]:
    """Each batch prepared, the next one on a thread of its own while the model works on this one."""
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[Batch] | None = None
        for batch in batches:
            ready, waiting = waiting, pool.submit(prepare, batch)
            if ready is not None:
                yield ready.result()
        if waiting is not None:
            yield waiting.result()


def _append(path: Path, records: Iterable[MaskRecord]) -> None:
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)


_CONDITIONS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "of the protocol": lambda info: f"{info['protocol']['name']} {info['protocol']['hash']}",
    "of the model": lambda info: info["model_fingerprint"],
    "for samples with the SHA-256": lambda info: ", ".join(info["data"].values()),
    "about the images in": lambda info: info["root"],
    "of the dtype": lambda info: info["dtype"],
    "of the scoring": lambda info: info["scoring"],
    "with the domain knowledge": lambda info: info["domain_knowledge"] or "none",
    "with the score prompt": lambda info: info["score_prompt"] or "none",
    "of the model input": lambda info: json.dumps(info["input"], sort_keys=True),
    "with the masks of": lambda info: info["masks"] or "no segmenter",
}
"""What must be equal for answers to be of one run, and where `run.json` holds it."""


def _refuse_other_run(path: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """What the `run.json` of answers says, if they are of this run."""
    run_file = path.with_name(RUN)
    earlier = provenance.read_run(path.parent, kind=UsageError, hint=_NEXT)
    if earlier is None:
        raise UsageError(
            "cannot read: it is not there, and nothing else says how the answers were asked",
            where=str(run_file),
            hint=_NEXT,
        )
    for what, read in _CONDITIONS.items():
        try:
            before = read(earlier)
        except (KeyError, AttributeError, TypeError) as error:
            message = "it does not say which samples were asked, and how"
            raise UsageError(message, where=str(run_file), hint=_NEXT) from error
        _refuse_other(what, before, read(now), path)
    digest, fingerprint = now["protocol"]["hash"], now["model_fingerprint"]
    for prediction in read_records(path, Prediction):
        _refuse_other("of the protocol", prediction.protocol, digest, path)
        _refuse_other("of the model", prediction.model.rpartition("@")[2], fingerprint, path)
    return earlier


def _refuse_other(what: str, before: object, now: object, path: Path) -> None:
    if before != now:
        raise UsageError(f"its answers are {what} {before}, this run's is {now}", where=str(path), hint=_NEXT)
