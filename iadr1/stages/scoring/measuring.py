"""From answers to `metrics.json`, tables, pictures and the page of answers."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.atomic import write_text_atomic
from iadr1.errors import MissingExtraError
from iadr1.reports import grid
from iadr1.reports.grid import Grid
from iadr1.reports.result_plots import write_plots
from iadr1.reports.results import result_tables
from iadr1.stages.scoring.context import read_context
from iadr1.stages.scoring.figures import category_intervals, run_figures
from iadr1.stages.scoring.gaps import Gaps
from iadr1.stages.scoring.loading import Loaded
from iadr1.stages.scoring.page import REPORT, write_page
from iadr1.stages.scoring.pixel import image_root


@dataclass(frozen=True)
class Measured:
    """What measuring gives back.

    Attributes:
        metrics: The content of `metrics.json`.
        tables: The tables, the headline first.
        out: The folder of the files.
        files: What was written.
        gaps: What is missing or doubled.
        notes: Sentences to be said beside the figures: what was left out, which images were trained on.
    """

    metrics: dict[str, Any]
    tables: list[Grid]
    out: Path
    files: tuple[Path, ...]
    gaps: Gaps
    notes: tuple[str, ...] = ()


def measure(
    loaded: Loaded,
    *,
    seed: int,
    out: Path,
    report: bool = True,
    root: Path | None = None,
    manifest: Path | None = None,
) -> Measured:
    """Measure answers and write `metrics.json`, `table.md` and `table.tex`; with `report` the pictures and the page.

    Args:
        loaded: The answers.
        seed: Seed of the bootstrap intervals.
        out: Folder for the files.
        report: Write `heat_map.png`, `categories.png` and `report.html` as well, which takes much longer.
        root: Folder of the images; by default the one that the run names.
        manifest: The leak manifest; by default where the run says, where it names one.

    Raises:
        DataError: A question cannot be scored, or a file beside the answers is broken.
        UsageError: A file or folder that the run names is not there, or the manifest is another one.
        OutputError: The folder cannot be written to.
    """
    shown_from = image_root(loaded.runs[0], root) if report else None
    context = read_context(loaded, root=root, manifest=manifest)
    with collector_paused():
        metrics = run_figures(loaded, context, seed=seed)
    tables = result_tables(metrics, task=loaded.task)
    files = [write_json(out / "metrics.json", metrics), *write_tables(out / "table", tables)]
    notes = [*context.notes, *([context.leaks.sentence()] if context.leaks else [])]
    if shown_from is not None:
        try:
            drawn = category_intervals(loaded, seed=seed) if loaded.task != "grounding" else {}
            files += write_plots(out, {**metrics, **drawn}, task=loaded.task)
        except MissingExtraError as error:
            notes.append(str(error))
        files.append(write_page(loaded, metrics, out / REPORT, root=shown_from))
    return Measured(metrics, tables, out, tuple(files), loaded.gaps, tuple(notes))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the garbage collector, which would walk the records again and again as their number grows."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object, atomically."""
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def write_tables(stem: Path, tables: Sequence[Grid]) -> list[Path]:
    """Write tables as Markdown and as LaTeX, atomically."""
    markdown, latex = stem.with_suffix(".md"), stem.with_suffix(".tex")
    write_text_atomic(markdown, "\n".join(map(grid.to_markdown, tables)))
    write_text_atomic(latex, "\n".join(map(grid.to_latex, tables)))
    return [markdown, latex]
