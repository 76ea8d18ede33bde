"""MMAD's multiple-choice scoring (MMAD section 4; AnomalyR1 Table 2), with an unparsed answer counted as wrong.

Departures from the published scorer, which drops unparsed answers and counts an absent subtask as 0: see
`score_choice`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iadr1.errors import DataError

DETECTION = "Anomaly Detection"
SUBTASKS: tuple[str, ...] = (
    DETECTION,
    "Defect Classification",
    "Defect Localization",
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
)
"""The seven subtasks, in the order of AnomalyR1's Table 2."""

AVERAGE, OVERKILL, MISS = "average", "overkill", "miss"
Table = dict[str, dict[str, float]]
"""Dataset or `average` -> subtask, `average`, `overkill` or `miss` -> percent."""

# A cell is what is counted on its own: detection on normal images, detection on anomalous images, each other subtask.
_CELLS = len(SUBTASKS) + 1


@dataclass(frozen=True)
class ChoiceRow:
    """One answered question.

    Attributes:
        dataset: Its dataset.
        subtask: One of `SUBTASKS`, as `Sample.reported_as` gives it.
        truth: The right letter.
        letter: The chosen letter; None where none could be read.
        is_anomalous: Whether the image shows a defect; needed for Anomaly Detection.
        image: What the bootstrap draws: questions of one image stay together.
    """

    dataset: str
    subtask: str
    truth: str
    letter: str | None
    is_anomalous: bool | None
    image: str = ""


def score_choice(rows: Sequence[ChoiceRow], *, parsed_only: bool = False) -> Table:
    """Accuracy in percent for each dataset and subtask, and the macro average over the datasets.

    Anomaly Detection is the mean of the accuracies on normal and on anomalous images; `overkill` and `miss` are 100
    minus these two. A dataset's `average` is the mean over its subtasks; the row `average` is the mean over the
    datasets, column by column. Whatever no question was asked for is left out, not counted as 0.

    Args:
        rows: The answered questions.
        parsed_only: Leave unparsed answers out instead of counting them as wrong.
    """
    kept = [row for row in rows if row.letter is not None] if parsed_only else list(rows)
    counts = _count(kept)
    per_dataset = {name: _scores(right.sum(axis=0), asked.sum(axis=0)) for name, (right, asked) in counts.items()}
    table = {name: _named(scores) for name, scores in per_dataset.items()}
    if table:
        table[AVERAGE] = _named(_mean(np.stack(list(per_dataset.values()))))
    return table


def bootstrap(rows: Sequence[ChoiceRow], *, seed: int, resamples: int = 1000) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of the row `average` of `score_choice`, in percent, by column.

    Images are drawn with replacement within their dataset, with all their questions, so that the dependence between
    the questions of one image is kept.

    Args:
        rows: The answered questions.
        seed: Seed of the draws.
        resamples: How many draws.
    """
    if not rows:
        return {}
    generator = np.random.default_rng(seed)
    draws = []
    for right, asked in _count(rows).values():
        images = len(asked)
        weights = generator.multinomial(images, np.full(images, 1.0 / images), size=resamples).astype(np.float64)
        draws.append(_scores(weights @ right, weights @ asked))
    means = _mean(np.stack(draws))
    low, high = np.nanpercentile(means[:, ~np.isnan(means).all(axis=0)], (2.5, 97.5), axis=0)
    names = [name for name, column in zip(_COLUMNS, means.T, strict=True) if not np.isnan(column).all()]
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


_COLUMNS = (*SUBTASKS, AVERAGE, OVERKILL, MISS)


def _count(rows: Sequence[ChoiceRow]) -> Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each dataset the right answers and the questions of each image and cell, both of shape (images, cells)."""
    places: dict[str, dict[str, int]] = {}
    for row in rows:
        images = places.setdefault(row.dataset, {})
        images.setdefault(row.image, len(images))
    counts = {name: (np.zeros((len(im), _CELLS)), np.zeros((len(im), _CELLS))) for name, im in places.items()}
    for row in rows:
        right, asked = counts[row.dataset]
        place = places[row.dataset][row.image], _cell(row)
        asked[place] += 1
        right[place] += row.letter == row.truth
    return counts


def _cell(row: ChoiceRow) -> int:
    """Cell 0 is detection on normal, 1 on anomalous images, 2 to 7 the other subtasks in their order."""
    if row.subtask not in SUBTASKS:
        raise DataError(f"no subtask {row.subtask!r}", hint=f"known: {', '.join(SUBTASKS)}")
    if row.subtask != DETECTION:
        return SUBTASKS.index(row.subtask) + 1
    if row.is_anomalous is None:
        raise DataError(f"an {DETECTION} question about {row.image!r} does not say whether the image is anomalous")
    return int(row.is_anomalous)


def _scores(right: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of shape (..., cells) -> percents of shape (..., columns); NaN where nothing was asked."""
    cells = np.full(right.shape, np.nan)
    np.divide(100.0 * right, asked, out=cells, where=asked > 0)
    subtasks = np.concatenate([_mean(cells[..., :2], axis=-1)[..., None], cells[..., 2:]], axis=-1)
    average = _mean(subtasks, axis=-1)[..., None]
    return np.concatenate([subtasks, average, 100.0 - cells[..., :2]], axis=-1)


def _mean(values: NDArray[np.float64], axis: int = 0) -> NDArray[np.float64]:
    """The mean over what is there; NaN (without a warning) where nothing is."""
    there = ~np.isnan(values)
    number = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    result: NDArray[np.float64] = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return result


def _named(scores: NDArray[np.float64]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(_COLUMNS, scores, strict=True) if not np.isnan(value)}
