from __future__ import annotations

import math
import random

import pytest

from iadr1.metrics import calibration


@pytest.mark.parametrize(("budget", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.001, 999), (0.3, 3)])
def test_normals_needed_is_the_least_that_can_claim_the_budget(budget: float, needed: int) -> None:
    assert calibration.normals_needed(budget) == needed
    calibration.threshold([0.1] * needed, budget)
    with pytest.raises(ValueError, match=f"needs {needed}"):
        calibration.threshold([0.1] * (needed - 1), budget)


@pytest.mark.parametrize("budget", [0.0, 1.0, -0.1, math.nan])
def test_a_budget_outside_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="not above 0 and below 1"):
        calibration.normals_needed(budget)


@pytest.mark.parametrize(
    ("count", "budget", "rank", "false_alarms"),
    [
        (19, 0.05, 19, 0),
        (20, 0.05, 20, 0),  # ceil(19.95)
        (39, 0.05, 38, 1),
        (99, 0.01, 99, 0),
        (99, 0.05, 95, 4),
        (100, 0.05, 96, 4),  # ceil(95.95)
        (9, 0.3, 7, 2),
        (999, 0.001, 999, 0),
    ],
)
def test_the_threshold_is_the_conformal_rank(count: int, budget: float, rank: int, false_alarms: int) -> None:
    scores = [number / 1000 for number in range(1, count + 1)]
    random.Random(0).shuffle(scores)
    found = calibration.threshold(scores, budget)
    assert found.value == rank / 1000
    assert found.false_alarms == false_alarms
    assert found.band[0] <= found.value <= found.band[1] <= count / 1000


def test_the_budget_holds_on_average_for_new_photos() -> None:
    generator = random.Random(1)
    rates = []
    for _ in range(400):
        found = calibration.threshold([generator.random() for _ in range(39)], 0.1)
        rates.append(1 - found.value)  # uniform scores: the true rate is what lies above
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.01)
    inside = sum(
        low <= rate <= high
        for rate in rates
        for low, high in [calibration.threshold([n / 39 for n in range(39)], 0.1).expected]
    )
    assert 0.91 <= inside / len(rates) <= 0.99


def test_ties_are_no_false_alarms() -> None:
    found = calibration.threshold([0.2] * 30 + [0.9] * 10, 0.1)
    assert (found.value, found.false_alarms) == (0.9, 0)


@pytest.mark.parametrize(("hits", "count"), [(0, 19), (4, 99), (50, 60), (10, 10)])
def test_clopper_pearson_leaves_a_fortieth_on_each_side(hits: int, count: int) -> None:
    low, high = calibration.clopper_pearson(hits, count)
    assert 0 <= low < hits / count or low == hits == 0
    above = sum(math.comb(count, k) * low**k * (1 - low) ** (count - k) for k in range(hits, count + 1))
    below = sum(math.comb(count, k) * high**k * (1 - high) ** (count - k) for k in range(hits + 1))
    assert above == pytest.approx(0.025 if hits else 1)
    assert below == pytest.approx(0.025 if hits < count else 1)


def test_the_band_encloses_the_quantile_in_95_of_100_draws() -> None:
    generator = random.Random(2)
    enclosed = 0
    for _ in range(400):
        low, high = calibration.threshold([generator.random() for _ in range(199)], 0.1).band
        enclosed += low <= 0.9 <= high
    assert 0.93 <= enclosed / 400 <= 0.99


def test_a_band_without_an_upper_end_ends_at_the_largest_score() -> None:
    found = calibration.threshold([number / 20 for number in range(19)], 0.05)
    assert found.band == (16 / 20 - 1 / 20, 18 / 20)
