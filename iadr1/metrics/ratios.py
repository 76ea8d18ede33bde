"""Figures that are a ratio of sums over images (a rate, a mean IoU), and whether two runs differ in one.

Images are drawn with replacement, all of an image's units together. Where several runs over the same images are pooled
(seeds of a training), an image's units of all runs are drawn together: the same images do not count as new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iadr1.errors import DataError
from iadr1.metrics.bootstrap import RESAMPLES

Array = NDArray[np.float64]
Unit = tuple[str, float, float]
"""The image of a unit, what it adds above the line and what below."""

_BOUNDS = (2.5, 97.5)


class Ratio(NamedTuple):
    """A figure and its 95 % interval; the value is NaN and the interval None where nothing was asked for."""

    value: float
    interval_95: tuple[float, float] | None


class RatioDifference(NamedTuple):
    """One figure of two runs, and B minus A with its 95 % interval; NaN and None where nothing was asked for."""

    a: float
    b: float
    difference: float
    interval_95: tuple[float, float] | None


def ratio(units: Sequence[Unit], *, seed: int) -> Ratio:
    """The sum above over the sum below, with a percentile interval over images.

    Args:
        units: All units, for example one for each answer.
        seed: Seed of the draws.
    """
    images = _places(units)
    sums = _sums(units, images)
    return Ratio(float(_divide(sums.sum(axis=0))), _interval(_divide(_drawn(sums, seed))))


def compare_ratios(a: Sequence[Unit], b: Sequence[Unit], *, seed: int) -> RatioDifference:
    """The difference of one figure between two runs over the same images, which are drawn for both together.

    Args:
        a: Units of the first run, or of all its seeds.
        b: Units of the second.
        seed: Seed of the draws.

    Raises:
        DataError: The runs are about different images.
    """
    images = _places(a)
    if images.keys() != {image for image, _, _ in b}:
        raise DataError("the two runs are not about the same images", hint="compare runs on the same samples file")
    first, second = _sums(a, images), _sums(b, images)
    drawn = _drawn(np.concatenate([first, second], axis=1), seed)
    value_a, value_b = (float(_divide(sums.sum(axis=0))) for sums in (first, second))
    return RatioDifference(
        value_a, value_b, value_b - value_a, _interval(_divide(drawn[:, 2:]) - _divide(drawn[:, :2]))
    )


def _places(units: Sequence[Unit]) -> dict[str, int]:
    return {image: place for place, image in enumerate(dict.fromkeys(image for image, _, _ in units))}


def _sums(units: Sequence[Unit], images: dict[str, int]) -> Array:
    """What each image adds above and below, of shape (images, 2)."""
    sums = np.zeros((len(images), 2))
    for image, above, below in units:
        sums[images[image]] += above, below
    return sums


def _drawn(sums: Array, seed: int) -> Array:
    """Sums over images drawn with replacement, of shape (draws, columns)."""
    number = len(sums)
    if not number:
        return np.zeros((1, sums.shape[1]))
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1.0 / number), size=RESAMPLES)
    drawn: Array = times.astype(np.float64) @ sums
    return drawn


def _divide(sums: Array) -> Array:
    """Above over below along the last axis; NaN where there is nothing below."""
    above, below = sums[..., 0], sums[..., 1]
    found: Array = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return found


def _interval(values: Array) -> tuple[float, float] | None:
    if np.isnan(values).all():
        return None
    low, high = np.nanpercentile(values, _BOUNDS)
    return float(low), float(high)
