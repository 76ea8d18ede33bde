"""95 % bootstrap intervals of the multiple-choice figures, with images as the units that are drawn.

Images with the same counts are interchangeable, so what is drawn is how often each kind of image occurs: the same
distribution as drawing images one by one, at a small part of the cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from iadr1.metrics.counts import AVERAGE, COLUMNS, Array, Counts, mean, percents

Intervals = dict[str, dict[str, tuple[float, float]]]
"""Dataset or `average` -> column -> lower and upper bound in percent (points)."""

RESAMPLES = 1000
_BOUNDS = (2.5, 97.5)


def intervals(counts: Counts, *, seed: int, resamples: int = RESAMPLES) -> Intervals:
    """Percentile intervals of everything `choice.table` holds, unparsed answers counted as wrong.

    Images are drawn with replacement within their dataset, with all their questions, so that the dependence between
    the questions of one image is kept.

    Args:
        counts: The answered questions.
        seed: Seed of the draws.
        resamples: How many draws.
    """
    drawn = resample(counts, (counts.right, counts.asked), seed=seed, resamples=resamples)
    return bounds({name: percents(right, asked) for name, (right, asked) in drawn})


def resample(
    counts: Counts, arrays: tuple[Array, ...], *, seed: int, resamples: int
) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """Each dataset with its arrays, of shape (images, cells), summed over images drawn with replacement.

    Args:
        counts: Says which image belongs to which dataset.
        arrays: Drawn together.
        seed: Seed of the draws.
        resamples: How many draws; the sums have the shape (resamples, cells).
    """
    generator = np.random.default_rng(seed)
    stacked = np.concatenate(arrays, axis=1)
    for place, name in enumerate(counts.datasets):
        kinds, times = np.unique(counts.of_dataset(place, stacked), axis=0, return_counts=True)
        images = int(times.sum())
        drawn = generator.multinomial(images, times / images, size=resamples).astype(np.float64)
        yield name, tuple(np.split(drawn @ kinds, len(arrays), axis=1))


def bounds(draws: dict[str, Array]) -> Intervals:
    """The intervals of drawn rows of percents, and of their mean over the datasets.

    Args:
        draws: Dataset -> percents of shape (resamples, columns); NaN where a draw holds no question of a column.
    """
    if not draws:
        return {}
    every = {**draws, AVERAGE: mean(np.stack(list(draws.values())))}
    return {name: _bounds(scores) for name, scores in every.items()}


def _bounds(scores: Array) -> dict[str, tuple[float, float]]:
    places = np.flatnonzero(~np.isnan(scores).all(axis=0))
    low, high = np.nanpercentile(scores[:, places], _BOUNDS, axis=0)
    names = [COLUMNS[place] for place in places]
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
