"""Which figures of `metrics.json` are drawn: a heat map beside published rows, and bars by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iadr1 import published
from iadr1.published import PublishedRow
from iadr1.reports.charts import Bar, MapRows, plot_bars, plot_heat_map
from iadr1.reports.results import run_name, run_title
from iadr1.reports.rows import TRAINED, TRAINED_NOTE

Metrics = Mapping[str, Any]

HEAT_MAP, BARS = "heat_map.png", "categories.png"

_AVERAGE = "average"
_DETECTION = published.SUBTASKS[0]
_STRICT = "Percent; an answer that cannot be read is wrong."
_WHISKERS = "Whiskers: 95 % bootstrap intervals over images; n: questions."


def write_plots(folder: Path, metrics: Metrics, *, task: str) -> list[Path]:
    """Draw a run's figures.

    Args:
        folder: Where `HEAT_MAP` (not for `grounding`) and `BARS` are written.
        metrics: The content of `metrics.json`; for the bars `per_category` with, in the same form,
            `per_category_interval_95` (bounds instead of percents) and `per_category_questions` (one count a category).
        task: The task of the questions: `choice`, `anomaly` (yes/no) or `grounding`.

    Returns:
        The files written.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The folder cannot be written to.
    """
    title, who = run_title(metrics), run_name(metrics)
    bars = _splits(metrics) if task == "grounding" else _categories(metrics)
    label = {"choice": "average of the subtasks", "anomaly": "mean of normal and anomalous images"}
    found = []
    if task != "grounding":
        draw = _subtasks if task == "choice" else _datasets
        found.append(draw(folder / HEAT_MAP, metrics, title=title, who=who))
    if bars:
        note = f"{who}. {_STRICT} {_WHISKERS}"
        axis = f"{label.get(task, 'targets found at IoU 0.5')}, percent"
        found.append(plot_bars(folder / BARS, bars, title=title, label=axis, note=note))
    return found


def _subtasks(path: Path, metrics: Metrics, *, title: str, who: str) -> Path:
    """Datasets by subtasks; below, where the benchmark is multiple choice, the macro averages of others."""
    strict = metrics["strict"]
    own = {"Average" if name == _AVERAGE else name: scores for name, scores in strict.items()}
    columns = [name for name in (*published.SUBTASKS, _AVERAGE) if any(name in scores for scores in strict.values())]
    heads = [(name, name.replace(" ", "\n") if name != _AVERAGE else "Average") for name in columns]
    rows = _three(published.table_2())
    groups = [MapRows(who, own, own=True), _published(rows)]
    return plot_heat_map(path, groups, heads, title=title, note=_note(rows))


def _datasets(path: Path, metrics: Metrics, *, title: str, who: str) -> Path:
    """Own accuracies by dataset; below the best published rows that have all of the datasets."""
    strict: Mapping[str, Mapping[str, float]] = metrics["strict"]
    datasets = [name for name in strict if name != _AVERAGE]
    own = {
        "mean": {name: row[_DETECTION] for name, row in strict.items() if _DETECTION in row},
        "normal images": {name: 100 - row["overkill"] for name, row in strict.items() if "overkill" in row},
        "anomalous images": {name: 100 - row["miss"] for name, row in strict.items() if "miss" in row},
    }
    rows = [row for row in published.iadr1() if set(datasets) <= row.figures.keys()]
    rows = sorted(rows, key=lambda row: -sum(row.figures[name] for name in datasets))[:3]
    heads = [(name, name) for name in datasets] + [(_AVERAGE, "Average")]
    # A published average is over all sets of its source.
    shown = {name for row in rows for name in row.figures} - {_AVERAGE} - set(datasets)
    rows = [replace(row, figures={name: row.figures[name] for name in datasets}) for row in rows] if shown else rows
    groups = [MapRows(who, own, own=True), _published(rows)]
    return plot_heat_map(path, groups, heads, title=title, note=_note(rows))


def _three(rows: Sequence[PublishedRow]) -> list[PublishedRow]:
    """Chance, the best that is not known to be trained on the benchmark's images, and the best that is."""
    free = max((row for row in rows if row.trained is None), key=lambda row: row.figures[_AVERAGE])
    trained = max((row for row in rows if row.trained), key=lambda row: row.figures[_AVERAGE])
    return [rows[0], free, trained]


def _published(rows: Sequence[PublishedRow]) -> MapRows:
    names = [
        f"{row.model}{f' {TRAINED}' if row.trained else ''}\n{row.setting or 'protocol not stated'}" for row in rows
    ]
    heading = f"published: {rows[0].source}" if rows else ""
    return MapRows(heading, {name: row.figures for name, row in zip(names, rows, strict=True)})


def _note(rows: Sequence[PublishedRow]) -> str:
    return f"{_STRICT} {TRAINED_NOTE}" if rows else _STRICT


def _categories(metrics: Metrics) -> list[Bar]:
    intervals, counts = metrics["per_category_interval_95"], metrics["per_category_questions"]
    return [
        Bar(f"{dataset} / {name}", row[_AVERAGE], intervals[dataset][name].get(_AVERAGE), counts[dataset][name])
        for dataset, categories in metrics["per_category"].items()
        for name, row in categories.items()
        if _AVERAGE in row
    ]


def _splits(metrics: Metrics) -> list[Bar]:
    """Datasets, or splits of one, of referring expressions."""
    intervals, targets = metrics["interval_95"], metrics["grounding"]
    return [
        Bar(name, row[_AVERAGE], intervals.get(name, {}).get(_AVERAGE), int(targets[name]["targets"]))
        for name, row in metrics["strict"].items()
        if name != _AVERAGE
    ]
