"""`iadr1 data view`: some samples of a file as one HTML page, chosen so that every kind of sample is seen."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from iadr1.errors import UsageError
from iadr1.records import Sample, read_records, resolve_root
from iadr1.reports.samples import Shown, write_samples_page
from iadr1.stages.inspect.lines import Progress, check_out, count_lines


@dataclass(frozen=True)
class ViewSummary:
    """What the page shows: how many of how many records, of how many kinds (category, question type, verdict)."""

    out: Path
    shown: int
    records: int
    kinds: int


def run(
    path: Path,
    *,
    out: Path,
    root: Path | None = None,
    limit: int = 60,
    seed: int = 0,
    progress: Progress | None = None,
) -> ViewSummary:
    """Write samples of a file as one self-contained HTML page.

    Args:
        path: The JSONL file.
        out: The HTML file.
        root: The folder its paths are relative to; see `records.resolve_root`.
        limit: Samples shown at most; each category, and in it each question type and verdict, gets its turn
            before any gets a second.
        seed: Of the choice.
        progress: Called after each record read and each picture drawn.

    Raises:
        UsageError: The limit is not positive, or `out` is the samples file or a folder.
        DataError: The file cannot be read, is empty, or a line is no sample (`iadr1 data check` names all).
        OutputError: `out` cannot be written.
    """
    if limit < 1:
        raise UsageError(f"--limit is {limit}, it must be at least 1")
    check_out(path, out)
    total = count_lines(path)
    folder = resolve_root(path, root)
    report = progress or (lambda name, done, of: None)
    categories: dict[tuple[str, str], dict[str, _Draw]] = {}
    for number, sample in enumerate(read_records(path, Sample), start=1):
        category = (sample.dataset, sample.category)
        kind = f"{sample.question_type}, {sample.is_anomalous}"
        kinds = categories.setdefault(category, {})
        kinds.setdefault(kind, _Draw(limit, f"{seed} {category} {kind}")).add(number)
        report("reading", number, total)
    lines = _choose([list(kinds.values()) for kinds in categories.values()], limit, random.Random(seed))
    shown = (
        Shown(number, sample) for number, sample in enumerate(read_records(path, Sample), start=1) if number in lines
    )
    info = {"File": str(path), "Shown": f"{len(lines)} of {total} records", "Seed": str(seed)}
    write_samples_page(out, shown, root=folder, info=info, on_card=lambda done: report("drawing", done, len(lines)))
    return ViewSummary(out, len(lines), total, sum(map(len, categories.values())))


class _Draw:
    """A random choice among lines that come one by one, each equally likely (Vitter 1985, algorithm R)."""

    def __init__(self, most: int, seed: str) -> None:
        self._most, self._random, self._count = most, random.Random(seed), 0
        self._lines: list[int] = []

    def add(self, line: int) -> None:
        """Take one more line into account."""
        self._count += 1
        if len(self._lines) < self._most:
            self._lines.append(line)
            return
        place = self._random.randrange(self._count)
        if place < self._most:
            self._lines[place] = line

    def lines(self) -> list[int]:
        """The chosen ones, in random order."""
        return self._random.sample(self._lines, len(self._lines))


def _choose(categories: list[list[_Draw]], limit: int, draw: random.Random) -> set[int]:
    """Lines of all categories by turns, and in each of their kinds by turns."""
    for kinds in categories:
        draw.shuffle(kinds)
    draw.shuffle(categories)
    turns = [_by_turns([kind.lines() for kind in kinds]) for kinds in categories]
    return set(_by_turns(turns)[:limit])


def _by_turns(rows: list[list[int]]) -> list[int]:
    """The first of each row, then the second of each, and so on."""
    return [value for turn in zip_longest(*rows) for value in turn if value is not None]
