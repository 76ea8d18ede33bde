"""95 % bootstrap intervals of figures that are ratios of sums over images, and of the AUROC; images are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iadr1.metrics.bootstrap import RESAMPLES, Intervals
from iadr1.metrics.counts import AVERAGE, mean

Array = NDArray[np.float64]

_BOUNDS = (2.5, 97.5)
_CHUNK = 2_000_000
"""Drawn weights held in memory at a time."""


@dataclass(frozen=True)
class Ratio:
    """A figure: the sum of `above` over the sum of `below`, both with one value for each unit."""

    above: Sequence[float]
    below: Sequence[float]


@dataclass(frozen=True)
class Ranking:
    """The AUROC in percent of `scores`, one for each unit; NaN for a unit without one."""

    scores: Sequence[float]
    truth: Sequence[bool]


Figure = Ratio | Ranking


def intervals(groups: Mapping[str, tuple[Sequence[str], Mapping[str, Figure]]], *, seed: int) -> Intervals:
    """Percentile intervals of figures and of their mean over the groups.

    Args:
        groups: Dataset -> the image of each unit (units of one image are drawn together), and the figures by name.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    names = list(dict.fromkeys(name for _, figures in groups.values() for name in figures))
    if not names:
        return {}
    draws = {
        group: _draws(images, [figures.get(name) for name in names], generator)
        for group, (images, figures) in groups.items()
    }
    every = {**draws, AVERAGE: mean(np.stack(list(draws.values())))}
    return {group: _bounds(values, names) for group, values in every.items()}


def _draws(images: Sequence[str], figures: Sequence[Figure | None], generator: np.random.Generator) -> Array:
    """The figures of all draws, of shape (draws, figures); NaN where a draw has nothing to divide by."""
    places: dict[str, int] = {}
    image_of = np.asarray([places.setdefault(image, len(places)) for image in images], dtype=np.int64)
    number = len(places)
    share = np.full(number, 1.0 / number)
    rows = max(1, _CHUNK // max(number, len(images)))
    parts = []
    for start in range(0, RESAMPLES, rows):
        times = generator.multinomial(number, share, size=min(rows, RESAMPLES - start)).astype(np.float64)
        weights = times[:, image_of]
        parts.append(np.stack([_weighted(figure, weights) for figure in figures], axis=-1))
    return np.concatenate(parts)


def _weighted(figure: Figure | None, weights: Array) -> Array:
    if figure is None:
        return np.full(len(weights), np.nan)
    if isinstance(figure, Ranking):
        return _auroc(figure, weights)
    above = weights @ np.asarray(figure.above, dtype=np.float64)
    below = weights @ np.asarray(figure.below, dtype=np.float64)
    ratio: Array = np.divide(above, below, out=np.full(len(weights), np.nan), where=below > 0)
    return ratio


def _auroc(ranking: Ranking, weights: Array) -> Array:
    """The share of (anomalous, normal) pairs in which the anomalous one scores higher; a tie is half a pair."""
    scores = np.asarray(ranking.scores, dtype=np.float64)
    truth = np.asarray(ranking.truth, dtype=bool)
    there = np.flatnonzero(~np.isnan(scores))
    order = there[np.argsort(scores[there], kind="stable")]
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    if not len(starts):
        return np.full(len(weights), np.nan)
    drawn = weights[:, order]
    anomalous = np.add.reduceat(drawn * truth[order], starts, axis=1)
    normal = np.add.reduceat(drawn * ~truth[order], starts, axis=1)
    below = np.cumsum(normal, axis=1) - normal
    pairs = anomalous.sum(axis=1) * normal.sum(axis=1)
    won = (anomalous * (below + normal / 2)).sum(axis=1)
    share: Array = np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return 100.0 * share


def _bounds(values: Array, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    places = np.flatnonzero(~np.isnan(values).all(axis=0))
    if not len(places):
        return {}
    low, high = np.nanpercentile(values[:, places], _BOUNDS, axis=0)
    return {names[place]: (float(a), float(b)) for place, a, b in zip(places.tolist(), low, high, strict=True)}
