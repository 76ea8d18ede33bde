"""Two runs on the same questions: how far apart they are, and whether chance alone explains it.

- The difference of every figure has a 95 % interval: images are drawn with replacement, both runs' answers together.
- Its p-value is that of a paired randomisation test by image: were the runs equally good, each image's two sets of
  answers could be swapped. This holds for macro averages and for several questions about one image, and is McNemar's
  test where a figure has one question an image.
- Beside it, exact McNemar tests on single questions, by subtask and for all. They take questions as independent, so
  where an image has several (Object Analysis, and all questions together) the test by image is the one to report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from iadr1.errors import DataError
from iadr1.metrics.bootstrap import RESAMPLES, bounds, resample
from iadr1.metrics.choice import Table, table
from iadr1.metrics.counts import AVERAGE, COLUMNS, SUBTASKS, Array, ChoiceRow, Counts, count, mean, percents

SWAPS = 10_000
"""Random swaps of the randomisation test."""

ALL = "all"
"""Key of the McNemar test over the questions of all subtasks."""


class Difference(TypedDict):
    """One figure of two runs: percent, percent points, and the two-sided p-value of the randomisation test."""

    a: float
    b: float
    difference: float
    interval_95: tuple[float, float]
    p: float


class McNemar(NamedTuple):
    """Questions that only one of two runs answered rightly, and the two-sided p-value of the exact test."""

    only_a: int
    only_b: int
    p: float


class Comparison(NamedTuple):
    """What `compare` finds.

    Attributes:
        differences: Dataset or `average` -> column -> the two runs' figures and B minus A.
        mcnemar: Subtask or `all` -> exact test on single questions.
    """

    differences: dict[str, dict[str, Difference]]
    mcnemar: dict[str, McNemar]


def compare(a: Sequence[ChoiceRow], b: Sequence[ChoiceRow], *, seed: int, swaps: int = SWAPS) -> Comparison:
    """Compare two runs; an unparsed answer is wrong.

    Args:
        a: The first run's rows.
        b: The second run's rows about the same questions, in the same order; their options may be lettered otherwise.
        seed: Seed of the draws and swaps.
        swaps: Random swaps of the randomisation test; the smallest p-value is 1 / (swaps + 1).

    Raises:
        DataError: The rows are not about the same questions.
    """
    for number, (first, second) in enumerate(zip(a, b, strict=True)):
        if first._replace(truth="", letter=None) != second._replace(truth="", letter=None):
            raise DataError(f"question {number + 1} of the two runs is not the same: {first} and {second}")
    counts_a, counts_b = count(a), count(b)
    figures_a, figures_b = table(counts_a), table(counts_b)
    intervals = _intervals(counts_a, counts_b, seed)
    p_values = _p_values(counts_a, counts_b, seed, swaps)
    differences = {
        name: {
            column: Difference(
                a=row[column],
                b=figures_b[name][column],
                difference=figures_b[name][column] - row[column],
                interval_95=intervals[name][column],
                p=p_values[name][column],
            )
            for column in row
        }
        for name, row in figures_a.items()
    }
    return Comparison(differences, _mcnemar_by_subtask(a, b))


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """The exact two-sided test (binomial with probability one half) on discordant pairs."""
    number, fewer = only_a + only_b, min(only_a, only_b)
    tail, term = 0, 1
    for place in range(fewer + 1):
        tail += term
        term = term * (number - place) // (place + 1)
    # Whole numbers of any size: nothing is rounded before the last division.
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2**number))


def _mcnemar_by_subtask(a: Sequence[ChoiceRow], b: Sequence[ChoiceRow]) -> dict[str, McNemar]:
    discordant: Counter[tuple[str, bool]] = Counter()
    for first, second in zip(a, b, strict=True):
        right = first.letter == first.truth
        if right != (second.letter == second.truth):
            discordant.update([(first.subtask, right), (ALL, right)])
    asked = {row.subtask for row in a}
    names = [*(name for name in SUBTASKS if name in asked), ALL]
    return {name: mcnemar(discordant[name, True], discordant[name, False]) for name in names}


def _intervals(a: Counts, b: Counts, seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    drawn = resample(a, (a.right, b.right, a.asked), seed=seed, resamples=RESAMPLES)
    return bounds({name: percents(later, asked) - percents(first, asked) for name, (first, later, asked) in drawn})


def _p_values(a: Counts, b: Counts, seed: int, swaps: int) -> Table:
    """Two-sided p-values of the randomisation test, for every column of every dataset and of the macro average.

    With the questions fixed, every column is a sum over images, so a swap of an image's answers turns one sign round.
    """
    generator = np.random.default_rng(seed)
    observed, swapped = [], []
    for place in range(len(a.datasets)):
        asked = a.of_dataset(place, a.asked).sum(axis=0)
        change = a.of_dataset(place, b.right - a.right)
        weights = _column_weights(asked)
        observed.append(change.sum(axis=0) @ weights)
        swapped.append(_swaps(change, generator, swaps) @ weights)
    result = {name: _p(observed[place], swapped[place]) for place, name in enumerate(a.datasets)}
    result[AVERAGE] = _p(mean(np.stack(observed)), mean(np.stack(swapped)))
    return result


def _column_weights(asked: Array) -> Array:
    """What one more right answer in each cell adds to each column, of shape (cells, columns), in percent points."""
    unit = np.diag(np.where(asked > 0, 1.0, 0.0))
    zero = percents(np.zeros_like(asked), asked)
    weights: Array = percents(unit, np.broadcast_to(asked, unit.shape)) - zero
    return weights


def _swaps(change: Array, generator: np.random.Generator, swaps: int) -> Array:
    """Sums over images of `change`, of shape (images, cells), under random signs; of shape (swaps, cells)."""
    # Images with the same change, or the opposite one, are interchangeable: only how many are turned round matters.
    leading = np.take_along_axis(change, (change != 0).argmax(axis=1)[:, None], axis=1)
    kinds, times = np.unique(change * np.sign(leading), axis=0, return_counts=True)
    moved = kinds.any(axis=1)
    turned = generator.binomial(times[moved], 0.5, size=(swaps, int(moved.sum())))
    sums: Array = (2.0 * turned - times[moved]) @ kinds[moved]
    return sums


def _p(observed: Array, swapped: Array) -> dict[str, float]:
    # What differs by rounding only is as extreme as what was observed.
    reached = (np.abs(swapped) >= np.abs(observed) - 1e-9).sum(axis=0)
    return {
        name: (1 + int(times)) / (len(swapped) + 1)
        for name, times, value in zip(COLUMNS, reached, observed, strict=True)
        if not math.isnan(value)
    }
