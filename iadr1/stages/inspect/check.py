"""`iadr1 data check`: every fault of a samples file, with its line; nothing stops at the first.

Lines are read one by one and looked at in parallel, those of one image in a row together. Kept in memory are the ids
and the paths of the files seen, never the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from iadr1 import parallel
from iadr1.geometry import Size
from iadr1.records import Sample, resolve_root, write_records
from iadr1.stages.inspect.disk import Disk
from iadr1.stages.inspect.habits import Habits
from iadr1.stages.inspect.lines import Fault, Finding, Level, Line, Progress, check_out, count_lines, read_lines
from iadr1.stages.inspect.rules import faults_of

EXAMPLES = 3
"""Findings of each kind that the summary holds."""


_NO_LICENCE = ("", "unknown", "none stated")


@dataclass
class Kind:
    """The findings of one kind: how many, and the first few."""

    level: Level
    name: str
    count: int = 0
    first: list[Finding] = field(default_factory=list)


@dataclass
class CheckSummary:
    """What a check found; `kinds` in the order errors, warnings, each with the most frequent first."""

    records: int = 0
    images: int = 0
    kinds: list[Kind] = field(default_factory=list)

    def count(self, level: Level) -> int:
        """How many findings of a level."""
        return sum(kind.count for kind in self.kinds if kind.level == level)


@dataclass(frozen=True)
class _Seen:
    """A line after a look at its files."""

    line: Line
    size: Size | None
    faults: tuple[Fault, ...]


def run(
    path: Path,
    *,
    root: Path | None = None,
    out: Path | None = None,
    hashes: bool = False,
    tiny_px: int = 4,
    progress: Progress | None = None,
) -> CheckSummary:
    """Look for faults in every record of a samples file.

    Args:
        path: The JSONL file.
        root: The folder its paths are relative to; see `records.resolve_root`.
        out: Where all findings are written, a JSON object each; None keeps the first few of each kind only.
        hashes: Also read every image whole and compare it with `image_sha256`.
        tiny_px: Boxes narrower or lower than this are warned of.
        progress: Called after each image.

    Raises:
        UsageError: `out` is the samples file, or a folder.
        DataError: The file cannot be read or is empty, or the root is no folder.
        OutputError: `out` cannot be written.
    """
    check_out(path, out)
    total = count_lines(path)
    disk = Disk(resolve_root(path, root), hashes=hashes)
    whole = _Whole(str(path))
    report = progress or (lambda name, done, of: None)
    lines = _seen(path, disk, tiny_px=tiny_px, report=lambda done: report("checking", done, total))
    summary = CheckSummary(records=total)
    counted = _counted(_findings(lines, whole), summary)
    if out is not None:
        write_records(out, counted)
    else:
        for _ in counted:
            pass
    summary.images = whole.images
    return summary


def _counted(found: Iterator[Finding], summary: CheckSummary) -> Iterator[Finding]:
    kinds: dict[tuple[Level, str], Kind] = {}
    for finding in found:
        kind = kinds.setdefault((finding.level, finding.kind), Kind(finding.level, finding.kind))
        kind.count += 1
        if len(kind.first) < EXAMPLES:
            kind.first.append(finding)
        yield finding
    summary.kinds = sorted(kinds.values(), key=lambda kind: (kind.level, -kind.count))


def _findings(lines: Iterator[_Seen], whole: _Whole) -> Iterator[Finding]:
    for seen in lines:
        for fault in (*seen.faults, *whole.add(seen.line, seen.size)):
            yield whole.finding(seen.line.number, seen.line.id, fault)
    for number, name, fault in whole.faults():
        yield whole.finding(number, name, fault)


def _seen(path: Path, disk: Disk, *, tiny_px: int, report: Callable[[int], None]) -> Iterator[_Seen]:
    groups = (list(group) for _, group in groupby(read_lines(path), key=_image))
    for group in parallel.ordered(partial(_look, disk=disk, tiny_px=tiny_px), groups):
        yield from group
        report(group[-1].line.number)


def _image(line: Line) -> object:
    return line.sample.image if line.sample is not None else line.number


def _look(lines: list[Line], *, disk: Disk, tiny_px: int) -> list[_Seen]:
    seen = []
    for line in lines:
        if line.sample is None:
            seen.append(_Seen(line, None, line.faults))
            continue
        size = disk.size_of(line.sample)
        faults = (*disk.faults_of(line.sample), *faults_of(line.sample, size, tiny_px=tiny_px))
        seen.append(_Seen(line, size, faults))
    return seen


class _Whole:
    """What only the whole file shows: ids twice, defective references, coordinate habits, unknown licences."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._ids: dict[str, int] = {}
        self._verdicts: dict[str, tuple[int, bool | None]] = {}
        self._contents: dict[str, tuple[int, str, bool | None]] = {}
        self._references: dict[str, tuple[int, str, int]] = {}
        self._habits: dict[str, Habits] = {}
        self._unlicensed: dict[str, tuple[int, str, int]] = {}

    @property
    def images(self) -> int:
        """How many different images there are."""
        return len(self._verdicts)

    def finding(self, number: int, name: str, fault: Fault) -> Finding:
        """A fault with its place."""
        return Finding(where=f"{self._file}:{number}", id=name, **fault._asdict())

    def add(self, line: Line, size: Size | None) -> Iterator[Fault]:
        """Remember a line; what it repeats is told at once."""
        if line.id:
            first = self._ids.setdefault(line.id, line.number)
            if first != line.number:
                hint = "ids name answers, so each must occur once"
                yield Fault("error", "id", f"the id stands in line {first} already", line.id, hint)
        sample = line.sample
        if sample is None:
            return
        yield from self._verdict(line.number, sample)
        for path in dict.fromkeys((*sample.references, *sample.similar_references)):
            self._references[path] = _one_more(self._references.get(path), line)
        if sample.licence.strip().lower() in _NO_LICENCE:
            self._unlicensed[sample.dataset] = _one_more(self._unlicensed.get(sample.dataset), line)
        habits = self._habits.setdefault(sample.dataset, Habits())
        for defect in sample.defects:
            if defect.box is not None:
                habits.add(line.number, defect.box, size)

    def _verdict(self, number: int, sample: Sample) -> Iterator[Fault]:
        first, verdict = self._verdicts.get(sample.image, (number, None))
        if verdict is None:
            self._verdicts[sample.image] = (number, sample.is_anomalous)
        elif sample.is_anomalous is not None and sample.is_anomalous is not verdict:
            message = f"is_anomalous={sample.is_anomalous}, but line {first} says {verdict} of the same image"
            yield Fault("error", "verdict", message, sample.image, "an image is normal or it is not: correct one")
        if sample.image_sha256 is None or sample.is_anomalous is None:
            return
        known = self._contents.setdefault(sample.image_sha256, (number, sample.image, sample.is_anomalous))
        if known[1] != sample.image and known[2] is not sample.is_anomalous:
            message = f"is_anomalous={sample.is_anomalous}, but line {known[0]} says {known[2]} of a copy of the image"
            yield Fault("error", "verdict", message, known[1], "the same photo lies in two folders: remove one")

    def faults(self) -> Iterator[tuple[int, str, Fault]]:
        """What shows at the end, each with line and id of its first example."""
        for path, (number, name, count) in self._references.items():
            at, bad = self._verdicts.get(path, (0, None))
            if bad:
                message = f"a reference of {count} records shows a defect, as line {at} says"
                yield number, name, Fault("error", "reference", message, path, "references must be normal products")
        for dataset, habits in self._habits.items():
            for number, fault in habits.faults(dataset):
                yield number, "", fault
        for dataset, (number, name, count) in self._unlicensed.items():
            message = f"{dataset}: {count} records do not say under which licence they are"
            hint = "find out before the data, or a model trained on them, leave the house"
            yield number, name, Fault("warning", "licence", message, "unknown", hint)


def _one_more(known: tuple[int, str, int] | None, line: Line) -> tuple[int, str, int]:
    """First line, its id, and the count."""
    return (line.number, line.id, 1) if known is None else (known[0], known[1], known[2] + 1)
