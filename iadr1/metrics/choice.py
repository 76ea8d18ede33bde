"""MMAD's multiple-choice scoring (MMAD section 4; AnomalyR1 Table 2), with an unparsed answer counted as wrong.

Departures from the published scorer, which drops unparsed answers and counts an absent subtask as 0: see `tables`.
What that scorer would print is `metrics.mmad`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from iadr1.metrics.counts import (
    ANOMALOUS,
    AVERAGE,
    DETECTION,
    MISS,
    NORMAL,
    OVERKILL,
    SUBTASKS,
    Array,
    ChoiceRow,
    Counts,
    count,
    mean,
    named,
    percents,
)

__all__ = [
    "AVERAGE",
    "DETECTION",
    "MISS",
    "OVERKILL",
    "SUBTASKS",
    "ChoiceRow",
    "Table",
    "by_category",
    "detection",
    "score_choice",
    "table",
    "tallies",
]

Table = dict[str, dict[str, float]]
"""Dataset or `average` -> subtask, `average`, `overkill` or `miss` -> percent."""


def score_choice(rows: Sequence[ChoiceRow], *, parsed_only: bool = False) -> Table:
    """`table` of rows.

    Args:
        rows: The answered questions.
        parsed_only: Leave unparsed answers out instead of counting them as wrong.
    """
    return table(count(rows), parsed_only=parsed_only)


def table(counts: Counts, *, parsed_only: bool = False) -> Table:
    """Accuracy in percent for each dataset and subtask, and the macro average over the datasets.

    Anomaly Detection is the mean of the accuracies on normal and on anomalous images; `overkill` and `miss` are 100
    minus these two. A dataset's `average` is the mean over its subtasks; the row `average` is the mean over the
    datasets, column by column. Whatever no question was asked for is left out, not counted as 0.

    Args:
        counts: The answered questions.
        parsed_only: Leave unparsed answers out instead of counting them as wrong.
    """
    asked = counts.parsed if parsed_only else counts.asked
    per_dataset = {
        name: percents(right, questions)
        for name, (right, questions) in _by_dataset(counts, counts.right, asked)
        if questions.any()
    }
    found = {name: named(scores) for name, scores in per_dataset.items()}
    if found:
        found[AVERAGE] = named(mean(np.stack(list(per_dataset.values()))))
    return found


def by_category(counts: Counts) -> dict[str, Table]:
    """Dataset -> category -> column -> percent, unparsed answers counted as wrong."""
    groups: dict[str, dict[str, list[int]]] = {}
    for place, (dataset, category, _) in enumerate(counts.images):
        groups.setdefault(dataset, {}).setdefault(category, []).append(place)
    return {
        dataset: {
            category: named(percents(counts.right[places].sum(axis=0), counts.asked[places].sum(axis=0)))
            for category, places in categories.items()
        }
        for dataset, categories in groups.items()
    }


def detection(counts: Counts) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of "anomalous" in percent: dataset -> figure, and their macro average.

    An answer to a two-option question that cannot be read claims no defect: on an anomalous image it is a miss, on a
    normal image it is no false alarm (but `overkill` counts it, as it is not right either). Precision is left out
    where no image was called anomalous, recall and F1 where none is.
    """
    scores: dict[str, dict[str, float]] = {}
    for name, (right, parsed, asked) in _by_dataset(counts, counts.right, counts.parsed, counts.asked):
        hits, anomalous = right[ANOMALOUS], asked[ANOMALOUS]
        called = hits + parsed[NORMAL] - right[NORMAL]
        figures = {}
        if called:
            figures["precision"] = 100.0 * float(hits / called)
        if anomalous:
            figures["recall"] = 100.0 * float(hits / anomalous)
            figures["f1"] = 200.0 * float(hits / (anomalous + called))
        if figures:
            scores[name] = figures
    if scores:
        names = ("precision", "recall", "f1")
        there = {name: [row[name] for row in scores.values() if name in row] for name in names}
        scores[AVERAGE] = {name: sum(values) / len(values) for name, values in there.items() if values}
    return scores


def tallies(counts: Counts) -> dict[str, dict[str, dict[str, int]]]:
    """Dataset -> subtask -> how many questions were `asked`, of these `parsed`, of these `right`."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, totals in _by_dataset(counts, counts.asked, counts.parsed, counts.right):
        cells = np.stack(totals, axis=-1).astype(int)
        subtasks = [cells[:2].sum(axis=0), *cells[2:]]
        found[name] = {
            subtask: dict(zip(("asked", "parsed", "right"), map(int, row), strict=True))
            for subtask, row in zip(SUBTASKS, subtasks, strict=True)
            if row[0]
        }
    return found


def _by_dataset(counts: Counts, *arrays: Array) -> Iterator[tuple[str, list[Array]]]:
    """Each dataset with its totals by cell."""
    for place, name in enumerate(counts.datasets):
        yield name, [counts.of_dataset(place, array).sum(axis=0) for array in arrays]
