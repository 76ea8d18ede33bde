"""`iadr1 score` and `iadr1 compare`: figures from answers on disk, without a model.

Reads our own predictions or MMAD's answers file, and writes `metrics.json`, `table.md` and `table.tex`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1 import leaks
from iadr1.errors import DataError, UsageError
from iadr1.metrics import paired, summary
from iadr1.records import write_text_atomic
from iadr1.reports import grid
from iadr1.reports.grid import Grid
from iadr1.reports.results import comparison_tables, result_tables
from iadr1.stages.score.answers import load_answers
from iadr1.stages.score.loading import Gaps, Loaded, find_gaps, load_predictions, refuse_gaps

__all__ = ["FORMATS", "CompareResult", "ScoreResult", "ScoreSettings", "compare", "score"]

FORMATS = ("iadr1", "mmad")
"""What answers can be read from: our predictions, and the answers file of MMAD's own scripts."""


@dataclass(frozen=True)
class ScoreSettings:
    """How answers are read and scored.

    Attributes:
        source: One of `FORMATS`.
        data: The samples file; by default the one that the run names.
        partial: Score what is there where answers are missing or doubled; the result is marked.
        seed: Seed of intervals and tests.
    """

    source: str = "iadr1"
    data: Path | None = None
    partial: bool = False
    seed: int = 0


@dataclass(frozen=True)
class ScoreResult:
    """What scoring gives back.

    Attributes:
        out: The folder with `metrics.json`, `table.md` and `table.tex`.
        metrics: The content of `metrics.json`.
        tables: The tables, the headline first.
        gaps: What is missing or doubled.
    """

    out: Path
    metrics: dict[str, Any]
    tables: list[Grid]
    gaps: Gaps


@dataclass(frozen=True)
class CompareResult:
    """What a comparison gives back.

    Attributes:
        content: The content of `compare.json`.
        tables: Its tables.
    """

    content: dict[str, Any]
    tables: list[Grid]


def score(path: Path, settings: ScoreSettings, *, out: Path | None = None) -> ScoreResult:
    """Score the answers of a run.

    Args:
        path: `predictions.jsonl` (or its folder), or an answers file.
        settings: How they are read and scored.
        out: Folder for the results; by default `score` beside the answers.

    Raises:
        UsageError: A file is missing, or the answers are of another protocol, model or data version.
        DataError: A record is broken; answers are missing or doubled, and `partial` is off.
        OutputError: The folder cannot be written to.
    """
    with _collector_paused():
        loaded = _load(path, settings)
        metrics = _metrics(loaded, seed=settings.seed)
    tables = result_tables(metrics, task=loaded.task)
    folder = out if out is not None else loaded.path.parent / "score"
    _write_json(folder / "metrics.json", metrics)
    _write_tables(folder / "table", tables)
    return ScoreResult(folder, metrics, tables, loaded.gaps)


def compare(
    a: Path, b: Path, settings: ScoreSettings, *, across_protocols: bool = False, out: Path | None = None
) -> CompareResult:
    """Compare two runs on the same questions.

    Args:
        a: The first run, as for `score`.
        b: The second run.
        settings: How both are read; with `partial` the questions both have answered are compared.
        across_protocols: Compare runs that were asked under different protocols.
        out: Folder for `compare.json`, `compare.md` and `compare.tex`; nothing is written without it.

    Raises:
        UsageError: The runs are of different data versions, or of different protocols.
        DataError: They have not answered the same questions, and `partial` is off.
        OutputError: The folder cannot be written to.
    """
    with _collector_paused():
        first, second = _load(a, settings), _load(b, settings)
        _refuse_difference("data", first, second, hint="compare runs on the same samples file")
        if not across_protocols:
            _refuse_difference("protocol", first, second, hint="--across-protocols compares them nevertheless")
        for one, other in ((first, second), (second, first)):
            refuse_gaps(find_gaps(list(other.rows), list(one.rows)), one.path, partial=settings.partial)
        common = [name for name in first.rows if name in second.rows]
        if not common:
            raise DataError(f"no question is answered in both {first.path} and {second.path}")
        rows_a, rows_b = [first.rows[name] for name in common], [second.rows[name] for name in common]
        found = paired.compare(rows_a, rows_b, seed=settings.seed)
    content = {
        "a": dict(first.about),
        "b": dict(second.about),
        "questions": len(common),
        "complete": not (first.gaps or second.gaps) and len(common) == len(first.rows) == len(second.rows),
        "differences": found.differences,
        "mcnemar": {name: test._asdict() for name, test in found.mcnemar.items()},
    }
    tables = comparison_tables(content)
    if out is not None:
        _write_json(out / "compare.json", content)
        _write_tables(out / "compare", tables)
    return CompareResult(content, tables)


def _load(path: Path, settings: ScoreSettings) -> Loaded:
    if settings.source not in FORMATS:
        raise UsageError(f"no format {settings.source!r}", hint=f"known: {', '.join(FORMATS)}")
    if settings.seed < 0:
        raise UsageError(f"seed is {settings.seed}, it must be at least 0")
    load = load_answers if settings.source == "mmad" else load_predictions
    return load(path, data=settings.data, partial=settings.partial)


def _metrics(loaded: Loaded, *, seed: int) -> dict[str, Any]:
    try:
        figures = summary.summarise(list(loaded.rows.values()), seed=seed, records=loaded.records)
    except DataError as error:
        raise DataError(error.message, where=str(loaded.path), hint=error.hint) from error
    trained = loaded.leaks.get("images", {}).get(leaks.TRAINED_IMAGES, 0)
    return {
        **loaded.about,
        **({"leaks": dict(loaded.leaks), "includes_trained_images": trained} if loaded.leaks else {}),
        # Without samples nobody knows which questions there are.
        "complete": False if loaded.gaps else True if loaded.about["data"] else None,
        "missing": len(loaded.gaps.missing),
        "doubled": len(loaded.gaps.doubled),
        "seed": seed,
        **figures,
    }


def _refuse_difference(what: str, a: Loaded, b: Loaded, *, hint: str) -> None:
    values = [run.about[what]["sha256"] if what == "data" and run.about[what] else run.about[what] for run in (a, b)]
    if values[0] != values[1]:
        raise UsageError(f"{a.path} is of the {what} {values[0]}, {b.path} of the {what} {values[1]}", hint=hint)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the garbage collector, which would walk the records again and again as their number grows."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write_tables(stem: Path, tables: list[Grid]) -> None:
    write_text_atomic(stem.with_suffix(".md"), "\n".join(map(grid.to_markdown, tables)))
    write_text_atomic(stem.with_suffix(".tex"), "\n".join(map(grid.to_latex, tables)))
