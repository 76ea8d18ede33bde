"""The ablation's tables, in the manner of AnomalyR1's Tables 2 and 5 beside the paper's figures, and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.ablation_figures import FIELDS, MMAD
from iadr1 import published
from iadr1.metrics.counts import AVERAGE, DETECTION
from iadr1.published import SUBTASKS
from iadr1.reports.grid import Grid, Group, Row, to_markdown
from iadr1.reports.plots import smooth

PAPER = ("Random Chance", "Qwen2.5-VL (base) 3B", "Qwen2.5-VL (sft) 3B", "AnomalyR1 (ours) 3B")
"""Rows of Table 2 that are laid beside ours."""
PANELS = ("reward", "accuracy", "spread", "flat")
_COLOURS = ("#1f5fa8", "#c46a12")


def tables(results: Mapping[str, Any]) -> str:
    """All tables as one Markdown document."""
    found = [_table_2(results), _table_5(results)]
    found += [_fields(results, split) for split in next(iter(results["arms"].values()))["figures"]]
    found += [_comparisons(results, split) for split in next(iter(results["comparisons"].values()), {})]
    return "# Ablation\n\n" + _about(results) + "\n" + "\n".join(map(to_markdown, [*found, _why(results)]))


def _about(results: Mapping[str, Any]) -> str:
    settings, sets = results["settings"], results["sets"]
    return (
        f"Start `{settings['model']}`; seeds {', '.join(map(str, results['seeds']))}; {settings['steps']} steps of "
        f"{settings['questions']} questions; {sets['mmad']['samples']} questions about {sets['mmad']['images']} images "
        f"and {sets['anomaly']['images']} yes/no images, {sets['anomaly']['of held-out categories']} of them of "
        "held-out categories. Percent, IoU in 0..1. Mean over seeds ± half of the 95 % t-interval over seeds; in "
        "brackets the 95 % bootstrap interval over images, the answers of all seeds to an image drawn together.\n"
    )


def _cell(row: Mapping[str, Any] | None, digits: int = 1, *, images: bool = False) -> str:
    if not row or row["mean"] is None:
        return "-"
    text = f"{row['mean']:.{digits}f}"
    if row["t_interval_95"]:
        text += f" ± {(row['t_interval_95'][1] - row['t_interval_95'][0]) / 2:.{digits}f}"
    return f"{text} {_bounds(row['images_interval_95'], digits)}" if images else text


def _bounds(interval: Sequence[float] | None, digits: int) -> str:
    return f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else ""


def _rows(results: Mapping[str, Any], names: Sequence[str], split: str = "all", *, images: bool = False) -> list[Row]:
    def digits(name: str) -> int:
        return FIELDS[name].digits if name in FIELDS else 1

    return [
        (arm, [_cell(entry["figures"].get(split, {}).get(name), digits(name), images=images) for name in names])
        for arm, entry in results["arms"].items()
    ]


def _table_2(results: Mapping[str, Any]) -> Grid:
    names = [*SUBTASKS, MMAD]
    theirs: list[Row] = [
        (row.model, [f"{row.figures[name]:.2f}" for name in (*SUBTASKS, AVERAGE)])
        for row in published.table_2()
        if row.model in PAPER
    ]
    return Grid(
        "Seven subtasks (as AnomalyR1's Table 2)",
        [(name, name) for name in names],
        [Group("synthetic MMAD, this run", _rows(results, names)), Group("MMAD, as printed in the paper", theirs)],
        note="Strict: an answer that cannot be read is wrong. Other data and another model: compare differences only.",
    )


def _table_5(results: Mapping[str, Any]) -> Grid:
    arms = [arm for arm in ("base", "grpo", "roam", "roam-reference") if arm in results["arms"]]
    first = results["arms"][arms[0]]["figures"]["all"]
    sets = [name for name in first if name.startswith(f"{DETECTION}, ")]
    ours = dict(_rows(results, [*sets, DETECTION]))
    paper = published.table_5()
    columns = [name for name in paper[0].figures if name != AVERAGE]
    width = max(len(sets), len(columns))
    headings = [f"set {number + 1}" for number in range(width)]

    def padded(cells: Sequence[str]) -> list[str]:
        return [*cells[:-1], *["-"] * (width - len(cells) + 1), cells[-1]]

    theirs: list[Row] = [
        (row.model, padded([f"{row.figures[name]:.2f}" for name in (*columns, AVERAGE)])) for row in paper
    ]
    named = ", ".join(f"{place}: {name.split(', ')[1]}" for place, name in enumerate(sets, start=1))
    printed = ", ".join(f"{place}: {name}" for place, name in enumerate(columns, start=1))
    return Grid(
        "Anomaly Detection by data set (as AnomalyR1's Table 5)",
        [(name, name) for name in (*headings, AVERAGE)],
        [
            Group(f"this run ({named})", [(arm, padded(ours[arm])) for arm in arms]),
            Group(f"as printed in the paper ({printed})", theirs),
        ],
    )


def _fields(results: Mapping[str, Any], split: str) -> Grid:
    names = [*FIELDS, MMAD]
    rows = _rows(results, names, split, images=True)
    return Grid(f"Yes/no with boxes: {split}", [(name, name) for name in names], [Group("", rows)])


def _comparisons(results: Mapping[str, Any], split: str) -> Grid:
    names = [*FIELDS, MMAD]
    rows: list[Row] = []
    for pair, splits in results["comparisons"].items():
        figures = splits[split]["figures"]
        cells = [
            "-" if (row := figures.get(name)) is None or row["interval_95"] is None else _change(row, name)
            for name in names
        ]
        rows.append((pair, [*cells, splits[split]["verdict"]]))
    return Grid(
        f"Differences: {split}",
        [(name, name) for name in (*names, "verdict")],
        [Group("", rows)],
        note="Bracketed: 95 % bootstrap interval over images. '+' better: the interval and every seed are on the good "
        "side of 0; '!' worse: the interval is on the bad side. Verdict better: a '+' and no '!'.",
    )


def _change(row: Mapping[str, Any], name: str) -> str:
    digits = FIELDS[name].digits if name in FIELDS else 1
    mark = {"better": " +", "worse": " !", "none": ""}[row["change"]]
    return f"{row['difference']:+.{digits}f} {_bounds(row['interval_95'], digits)}{mark}"


def _why(results: Mapping[str, Any]) -> Grid:
    asked = ("agrees", "contradicts", "concludes nothing", "no answer", "readings differ")
    drawn = ("readings differ", "spread", "flat", "accuracy")
    rows: list[Row] = []
    for arm, entry in results["arms"].items():
        cells = [f"{fmean(run['reasoning'][name] for run in entry['runs']):.1f}" for name in asked]
        logs = [run["training"] for run in entry["runs"] if run.get("training")]
        cells += [_first_last(logs, name) for name in drawn]
        rows.append((arm, cells))
    columns = [*(f"{name}" for name in asked), *(f"training: {name}" for name in drawn)]
    return Grid(
        "Reasoning and its reward",
        [(name, name) for name in columns],
        [Group("", rows)],
        note="Percent of the answers to the multiple-choice questions. Training: first -> last tenth of the steps, "
        "mean over seeds; spread is the standard deviation of the run's own reward within a group, flat the percentage "
        "of groups without any, accuracy that of the answers drawn, counted alike for all rewards.",
    )


def _first_last(logs: Sequence[Sequence[Mapping[str, float]]], name: str) -> str:
    logs = [log for log in logs if name in log[0]]
    if not logs:
        return "-"
    few = max(1, len(logs[0]) // 10)
    ends = [
        fmean(entry[name] for log in logs for entry in part(log)) for part in (lambda x: x[:few], lambda x: x[-few:])
    ]
    digits = 3 if name == "spread" else 1
    return " -> ".join(f"{value:.{digits}f}" for value in ends)


def curves(results: Mapping[str, Any], path: Path) -> None:
    """Reward, accuracy of the drawn answers, spread within groups and flat groups, a row for each reward."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logs = {
        arm: [run["training"] for run in entry["runs"] if run.get("training")] for arm, entry in results["arms"].items()
    }
    names = [arm for arm in logs if logs[arm] and not (arm.startswith("ground-") and arm[7:] in logs)]
    if not names:
        return
    figure = Figure(figsize=(3.2 * len(PANELS), 2.3 * len(names)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), len(PANELS), squeeze=False)
    for row, arm in zip(grid, names, strict=True):
        for axes, panel in zip(row, PANELS, strict=True):
            for colour, name in zip(_COLOURS, (arm, f"ground-{arm}"), strict=True):
                _draw(axes, logs.get(name, []), panel, colour=colour, label=name)
            axes.set_title(f"{arm}: {panel}", fontsize=9, loc="left")
            axes.tick_params(labelsize=7)
        row[0].legend(fontsize=7, frameon=False)
    figure.savefig(path)


def _draw(axes: Any, logs: Sequence[Sequence[Mapping[str, float]]], panel: str, *, colour: str, label: str) -> None:
    logs = [log for log in logs if panel in log[0]]
    if not logs:
        return
    steps = [entry["step"] for entry in logs[0]]
    span = max(3, len(steps) // 8)
    for log in logs:
        axes.plot(steps, smooth([entry[panel] for entry in log], span=span), color=colour, linewidth=0.6, alpha=0.5)
    mean = [fmean(values) for values in zip(*([entry[panel] for entry in log] for log in logs), strict=True)]
    axes.plot(steps, smooth(mean, span=span), color=colour, linewidth=2, label=label)
