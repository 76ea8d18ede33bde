"""`iadr1 score` and `iadr1 compare`: figures from answers on disk, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.metrics import paired
from iadr1.reports.grid import Grid
from iadr1.reports.results import comparison_tables
from iadr1.stages import scoring
from iadr1.stages.scoring import Loaded, Measured

__all__ = ["FORMATS", "CompareResult", "Measured", "ScoreSettings", "compare", "score"]

FORMATS = ("iadr1", "mmad")
"""What answers can be read from: our predictions, and the answers file of MMAD's own scripts."""


@dataclass(frozen=True)
class ScoreSettings:
    """How answers are read and scored.

    Attributes:
        source: One of `FORMATS`.
        data: The samples file; by default the one that the run names.
        leaks: The leak manifest that the run was compared with; by default where the run says.
        root: Folder of the images; by default the one that the run names.
        partial: Score what is there where answers are missing or doubled; the result is marked.
        report: Write the pictures and the page of answers as well.
        seed: Seed of intervals and tests; None for the run's own, so that `score` gives what `eval` gave.
    """

    source: str = "iadr1"
    data: Path | None = None
    leaks: Path | None = None
    root: Path | None = None
    partial: bool = False
    report: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class CompareResult:
    """What a comparison gives back.

    Attributes:
        content: The content of `compare.json`.
        tables: Its tables.
    """

    content: dict[str, Any]
    tables: list[Grid]


def score(path: Path, settings: ScoreSettings, *, out: Path | None = None) -> Measured:
    """Score the answers of a run.

    Args:
        path: `predictions.jsonl`, its folder, the folder of a run's shards, or an answers file.
        settings: How they are read and scored.
        out: Folder for the results; by default `score` beside the answers.

    Raises:
        UsageError: A file is missing, or the answers are of another protocol, model or data version.
        DataError: A record is broken; answers are missing or doubled, and `partial` is off.
        OutputError: The folder cannot be written to.
    """
    with scoring.collector_paused():
        loaded = _load(path, settings)
        folder = out if out is not None else loaded.folder / "score"
        seed = _seed(settings, loaded)
        measured = scoring.measure(
            loaded, seed=seed, out=folder, report=settings.report, root=settings.root, manifest=settings.leaks
        )
        del loaded  # before the collector is back, which would walk all of it
    return measured


def compare(
    a: Path, b: Path, settings: ScoreSettings, *, across_protocols: bool = False, out: Path | None = None
) -> CompareResult:
    """Compare two runs on the same questions; where rotations of the options were asked, rotation by rotation.

    Args:
        a: The first run, as for `score`.
        b: The second run.
        settings: How both are read; with `partial` the questions both have answered are compared.
        across_protocols: Compare runs that were asked under different protocols, with other domain knowledge, or whose
            answers were taken in another way (`scoring`).
        out: Folder for `compare.json`, `compare.md` and `compare.tex`; nothing is written without it.

    Raises:
        UsageError: The runs are of different data versions, or asked differently; or boxes were asked for.
        DataError: They have not answered the same questions, and `partial` is off.
        OutputError: The folder cannot be written to.
    """
    with scoring.collector_paused():
        first, second = _load(a, settings), _load(b, settings)
        for run in (first, second):
            if run.task == "grounding":
                raise UsageError("boxes are not compared, only answers that are right or wrong", where=str(run.path))
        _refuse_difference("data", "sha256", first, second, hint="compare runs on the same samples file")
        if not across_protocols:
            hint = "--across-protocols compares them nevertheless"
            for what, key in (("protocol", "hash"), ("scoring", ""), ("domain_knowledge", "")):
                _refuse_difference(what, key, first, second, hint=hint)
        for one, other in ((first, second), (second, first)):
            gaps = scoring.find_gaps(list(other.items), list(one.items))
            scoring.refuse_gaps(gaps, one.path, partial=settings.partial)
        common = [name for name in first.items if name in second.items]
        if not common:
            raise DataError(f"no question is answered in both {first.path} and {second.path}")
        rows_a, rows_b = ([scoring.row(run.items[name]) for name in common] for run in (first, second))
        found = paired.compare(rows_a, rows_b, seed=_seed(settings, first))
    content = {
        "a": dict(first.about),
        "b": dict(second.about),
        "questions": len(common),
        "complete": not (first.gaps or second.gaps) and len(common) == len(first.items) == len(second.items),
        "differences": found.differences,
        "mcnemar": {name: test._asdict() for name, test in found.mcnemar.items()},
    }
    tables = comparison_tables(content)
    if out is not None:
        scoring.write_json(out / "compare.json", content)
        scoring.write_tables(out / "compare", tables)
    return CompareResult(content, tables)


def _load(path: Path, settings: ScoreSettings) -> Loaded:
    if settings.source not in FORMATS:
        raise UsageError(f"no format {settings.source!r}", hint=f"known: {', '.join(FORMATS)}")
    if settings.seed is not None and settings.seed < 0:
        raise UsageError(f"seed is {settings.seed}, it must be at least 0")
    if settings.source == "mmad":
        if settings.report:
            raise UsageError("an answers file holds no reasoning to browse", hint="leave out --report")
        return scoring.load_answers(path, data=settings.data, partial=settings.partial)
    return scoring.load(path, data=settings.data, partial=settings.partial)


def _seed(settings: ScoreSettings, loaded: Loaded) -> int:
    if settings.seed is not None:
        return settings.seed
    seed = loaded.runs[0].whole("seed", least=0)
    return seed if seed is not None else 0


def _refuse_difference(what: str, key: str, a: Loaded, b: Loaded, *, hint: str) -> None:
    """Raise where an entry of `about`, or with `key` what it holds under it, is not the same."""
    entries = [run.about.get(what) for run in (a, b)]
    values = [(entry or {}).get(key) for entry in entries] if key else entries
    if values[0] != values[1]:
        name = what.replace("_", " ")
        raise UsageError(f"{a.path} is of the {name} {values[0]}, {b.path} of the {name} {values[1]}", hint=hint)
