"""Ratios over images by hand, and that pooled runs over the same images do not narrow an interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from iadr1.errors import DataError
from iadr1.metrics.ratios import Unit, compare_ratios, ratio


def test_by_hand() -> None:
    units: list[Unit] = [("a", 1, 1), ("b", 0, 3), ("a", 1, 4)]
    found = ratio(units, seed=0)
    assert found.value == 2 / 8
    assert found.interval_95 == (0.0, 0.4)  # only b drawn, only a drawn


def test_nothing_asked_for_is_no_figure() -> None:
    for units in ([], [("a", 0.0, 0.0)]):
        found = ratio(units, seed=0)
        assert math.isnan(found.value)
        assert found.interval_95 is None
    difference = compare_ratios([("a", 0, 0)], [("a", 0, 0)], seed=0)
    assert math.isnan(difference.difference)
    assert difference.interval_95 is None


def coins(seed: int, share: float, images: int = 200) -> list[Unit]:
    hits = np.random.default_rng(seed).random(images) < share
    return [(f"{number}.png", 100.0 * hit, 1.0) for number, hit in enumerate(hits.tolist())]


def test_pooling_the_same_answers_twice_says_nothing_new() -> None:
    units = coins(0, 0.7)
    assert ratio(units * 3, seed=1) == ratio(units, seed=1)
    a, b = coins(1, 0.5), coins(2, 0.6)
    assert compare_ratios(a * 3, b * 3, seed=1).interval_95 == pytest.approx(compare_ratios(a, b, seed=1).interval_95)


def test_pairs_are_drawn_together() -> None:
    a = coins(3, 0.5)
    better = [(image, 100.0 if number < 30 else above, below) for number, (image, above, below) in enumerate(a)]
    found = compare_ratios(a, better, seed=0)
    assert found.difference == pytest.approx(found.b - found.a)
    assert found.interval_95 is not None
    low, high = found.interval_95
    # Unpaired, two shares of 200 images are known to about +-10 points.
    assert 0 < low < found.difference < high
    assert high - low < 10
    back = compare_ratios(better, a, seed=0)
    assert back.difference == -found.difference
    assert back.interval_95 == pytest.approx((-high, -low))


def test_the_interval_is_that_of_the_binomial() -> None:
    found = ratio(coins(4, 0.5, images=400), seed=0)
    assert found.interval_95 is not None
    p = found.value / 100
    half = 196 * math.sqrt(p * (1 - p) / 400)
    assert found.interval_95 == pytest.approx((found.value - half, found.value + half), abs=0.8)


def test_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="same images"):
        compare_ratios([("a", 1, 1)], [("b", 1, 1)], seed=0)
