"""`iadr1 export`: the results of `iadr1 detect` in the format of an annotation tool."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PureWindowsPath

from iadr1.errors import DataError, UsageError
from iadr1.exports.annotations import (
    AnnotationFormat,
    Entry,
    Job,
    check_opencv,
    check_photo,
    claim_folder,
    find_format,
    read_entry,
)
from iadr1.images import file_sha256
from iadr1.provenance import digest
from iadr1.records import Detection, Verdict, read_records
from iadr1.stages.scoring import RunInfo, shard_folders

RECORDS = "detections.jsonl"
_UNNAMED = "with a backslash in its name, which is no file's name on every system"

Progress = Callable[[str, int, int], None]
"""Takes a name, how many are done and how many there are (0: not known)."""


@dataclass(frozen=True)
class Export:
    """What is exported, and how.

    Attributes:
        file: The records, or the run's folder, which holds them as `detections.jsonl`.
        fmt: Name of the format.
        out: The file or folder to write.
        images: Folder of the photos, as `detect` looked at it.
        only: Only photos of this verdict; None takes what is decided (for csv: all).
        min_score: Only photos with an anomaly score of at least this, 0..1.
    """

    file: Path
    fmt: str
    out: Path
    images: Path | None = None
    only: Verdict | None = None
    min_score: float | None = None


@dataclass(frozen=True)
class ExportSummary:
    """What was written.

    Attributes:
        photos: Photos by verdict.
        defects: Their defects.
        left_out: Why photos were left out, and how many.
        unnamed: Photos whose names hold a backslash, as those do that are no UTF-8; they are left out too.
        lines: What to tell the user.
    """

    photos: dict[str, int]
    defects: int
    left_out: dict[str, int]
    lines: tuple[str, ...]
    unnamed: tuple[str, ...] = ()


@dataclass
class _Survey:
    """What the first reading finds; every record has then been checked."""

    labels: set[str] = field(default_factory=set)
    photos: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unnamed: list[str] = field(default_factory=list)
    defects: int = 0


def run(plan: Export, *, progress: Progress | None = None) -> ExportSummary:
    """Check every record, then write; nothing is written where one is wrong.

    Raises:
        UsageError: Options that do not fit the format, or a place that holds something else.
        DataError: A line is no record or a record cannot be what it says, a photo has two although nothing was
            overwritten, none is left.
        OutputError: Something cannot be written, or is there with another content.
        MissingExtraError: Masks cannot become polygons.
    """
    fmt = find_format(plan.fmt)
    file = plan.file / RECORDS if plan.file.is_dir() else plan.file
    _check(plan, fmt, file)
    # With `iadr1 watch` a name is a file that may be overwritten, so that a photo may have several records.
    run = RunInfo.beside(file)
    missing = _what_is_missing(run)
    report = progress or (lambda name, done, total: None)
    reading = _Reading(plan, fmt, file, report, watched=run.values.get("command") == "watch")
    survey = reading.survey()
    if not fmt.suffix:
        claim_folder(plan.out, _key(plan, file))
    job = Job(plan.out, reading.entries, tuple(sorted(survey.labels)), survey.photos.total())
    lines = fmt.write(job)
    photos, left_out = dict(survey.photos), dict(survey.left_out)
    return ExportSummary(photos, survey.defects, left_out, (*lines, *missing), tuple(survey.unnamed))


def _check(plan: Export, fmt: AnnotationFormat, file: Path) -> None:
    if plan.out.suffix.lower() != fmt.suffix and fmt.suffix:
        raise UsageError(
            f"{fmt.name} is a file of its own, not {str(plan.out)!r}", hint=f"let --out end in {fmt.suffix}"
        )
    if fmt.suffix and plan.out.is_dir():
        raise UsageError(f"--out {str(plan.out)!r} is a folder", hint="name the file to write")
    if plan.out.resolve() == file.resolve():
        raise UsageError("--out is the file that is read", hint="name another")
    if plan.file.is_dir():
        _refuse_shards(plan.file)
    if plan.images is not None and not plan.images.is_dir():
        raise UsageError(f"no folder {str(plan.images)!r}", hint="--images is the folder that `detect` looked at")
    if plan.images is None and fmt.photos == "needed":
        raise UsageError(f"{fmt.name} holds the photos themselves", hint="say where they are with --images")
    if plan.only == "undecided" and fmt.only_decided:
        raise UsageError(f"{fmt.name} has no place for undecided photos", hint="labelme, cvat and label-studio have")
    if plan.min_score is not None and not 0 <= plan.min_score <= 1:
        raise UsageError(f"--min-score is {plan.min_score}, a score is within 0..1")


def _refuse_shards(folder: Path) -> None:
    """Say of a folder without records that its run was cut into shards and not joined.

    Raises:
        UsageError: It was.
    """
    if not (folder / RECORDS).exists() and (shards := shard_folders(folder)):
        there = sum((folder / name).is_dir() for name in shards)
        join = f"iadr1 detect PHOTOS --out {shlex.quote(str(folder))} --join"
        absent = next((name for name in shards if not (folder / name).is_dir()), None)
        hint = f"join them first: {join}" if absent is None else f"{absent} is missing: when all are there, {join}"
        raise UsageError(
            f"it holds {there} of the {len(shards)} shards of a run and no {RECORDS} of all",
            where=str(folder),
            hint=hint,
        )


def _what_is_missing(run: RunInfo) -> tuple[str, ...]:
    """Of records that are not those of all photos of a run, one line each that says so and what to do.

    `detect` adds its counts to `run.json` when it has finished.

    Raises:
        DataError: The run names a shard that cannot be.
    """
    if run.values.get("command") != "detect":
        return ()
    lines = []
    if "counts" not in run.values:
        lines.append("the run has not finished: photos it has not come to are missing; the same `iadr1 detect` goes on")
    if (shard := run.shard) is not None:
        place = run.path.parent
        photos = shlex.quote(str(run.entry("config").get("images", "PHOTOS")))
        out = shlex.quote(str(place.parent)) if place.name == shard.folder else "FOLDER-OF-THE-SHARDS"
        told = f"this is shard {shard.number} of {shard.of}: photos of the others are missing"
        lines.append(f"{told}; `iadr1 detect {photos} --out {out} --join` joins them, then export {out}")
    return tuple(lines)


def _key(plan: Export, file: Path) -> dict[str, str]:
    settings = {"only": plan.only, "min_score": plan.min_score, "images": plan.images is not None}
    return {"format": plan.fmt, "records": file_sha256(file), "settings": digest(settings)}


class _Reading:
    """The records of a file, read as often as a format needs, with the same ones chosen each time."""

    def __init__(self, plan: Export, fmt: AnnotationFormat, file: Path, report: Progress, *, watched: bool) -> None:
        self._plan, self._fmt, self._file, self._report = plan, fmt, file, report
        self._lines: int | None = None
        self._last = self._last_of_each() if watched else None

    def _last_of_each(self) -> dict[str, int]:
        """The line of each photo's last record, which is the one that counts where photos are overwritten."""
        last = {record.image: line for line, record in self._records()}
        self._lines = max(last.values(), default=0)
        return last

    def _records(self) -> Iterator[tuple[int, Detection]]:
        """The records with their lines; no more than at the first reading, since a watcher may be adding to them."""
        return islice(enumerate(read_records(self._file, Detection), start=1), self._lines)

    def survey(self) -> _Survey:
        """Read all once.

        Raises:
            DataError: A record is wrong, a photo has two, two need the same file, or no record is chosen.
        """
        found = _Survey()
        seen: dict[str, int] = {}
        slots: dict[str, tuple[str, int]] = {}
        line = 0
        for line, record in self._records():
            self._report("checking", line, 0)
            if self._last is None and seen.setdefault(record.image, line) != line:
                raise DataError(
                    f"the photo {record.image!r} has a record in line {seen[record.image]} already",
                    where=f"{self._file}:{line}",
                    hint="export the records of one run; those of `iadr1 watch` need its run.json beside them",
                )
            reason = self._reason(record, line)
            if reason is not None:
                found.left_out[reason] += 1
                found.unnamed += [record.image] * (reason == _UNNAMED)
                continue
            entry = self._entry(record, found.photos.total(), line)
            self._check_slot(entry, slots, line)
            if self._fmt.polygons and any(shape.mask is not None for shape in entry.shapes):
                check_opencv()
            check_photo(entry)
            found.photos["failed" if record.error is not None else record.verdict] += 1
            found.labels |= {shape.label for shape in entry.shapes}
            found.defects += len(entry.shapes)
        self._lines = line
        if not found.photos:
            told = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items()) or "it is empty"
            raise DataError(f"no photo to export: {told}", where=str(self._file))
        return found

    def entries(self) -> Iterator[Entry]:
        """The chosen records."""
        number = 0
        for line, record in self._records():
            self._report("writing", line, self._lines or 0)
            if self._reason(record, line) is None:
                yield self._entry(record, number, line)
                number += 1

    def _entry(self, record: Detection, number: int, line: int) -> Entry:
        return read_entry(
            record,
            number=number,
            folder=self._file.parent,
            images=self._plan.images,
            where=f"{self._file}:{line}",
        )

    def _check_slot(self, entry: Entry, slots: dict[str, tuple[str, int]], line: int) -> None:
        if self._fmt.slot is None:
            return
        slot = self._fmt.slot(entry.record.image)
        if drive := PureWindowsPath(slot).drive:
            raise DataError(
                f"{entry.record.image!r} begins with {drive!r}, which is a drive to Windows and no file's name",
                where=entry.where,
                hint="rename the photo, or take a format that is one file",
            )
        other = slots.setdefault(slot, (entry.record.image, line))
        if other[1] != line:
            raise DataError(
                f"{entry.record.image!r} and {other[0]!r} (line {other[1]}) would both have {slot!r}",
                where=entry.where,
                hint="rename one of the photos and run `iadr1 detect` again, or take a format that is one file",
            )

    def _reason(self, record: Detection, line: int) -> str | None:
        """Why a photo is left out; None where it is exported."""
        plan, fmt, failed = self._plan, self._fmt, record.error is not None
        undecided = record.verdict == "undecided"
        bounded = plan.min_score is not None
        reasons = {
            _UNNAMED: "\\" in record.image,
            "overwritten by a later photo of the same name": self._last is not None
            and self._last[record.image] != line,
            "of another verdict": plan.only is not None and (record.verdict != plan.only or failed),
            "could not be looked at": failed and not fmt.all_states,
            "undecided": undecided and plan.only is None and not fmt.all_states,
            "without a score": bounded and record.score is None,
            "below the score": bounded and record.score is not None and not record.score >= (plan.min_score or 0.0),
            "called normal although a defect is named": (
                record.verdict == "normal" and bool(record.defects) and not fmt.all_states
            ),
            "not normal but without a box, which would say normal": (
                record.verdict != "normal" and not record.defects and fmt.empty_is_normal
            ),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)
