"""Intervals against simulated truth, and against drawing images one by one."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest

from iadr1.metrics.bootstrap import intervals
from iadr1.metrics.choice import SUBTASKS, ChoiceRow, score_choice
from iadr1.metrics.counts import count

DETECTION, ANALYSIS = "Anomaly Detection", "Object Analysis"


def simulated(rng: random.Random, truth: float, *, images: int = 120) -> list[ChoiceRow]:
    """Two datasets; an image's three analysis questions are right together, detection apart; `truth` is every rate."""
    rows = []
    for dataset, number in product(("X", "Y"), range(images)):
        bad, image = bool(number % 2), f"{number}"
        letters = ["A" if rng.random() < truth else None for _ in range(2)]
        rows.append(ChoiceRow(dataset, DETECTION, "A", letters[0], bad, image))
        rows += [ChoiceRow(dataset, ANALYSIS, "A", letters[1], bad, image)] * 3
    return rows


def test_intervals_cover_the_truth() -> None:
    rng, worlds = random.Random(5), 120
    hits = dict.fromkeys(("average", DETECTION, ANALYSIS, "miss"), 0)
    for world in range(worlds):
        found = intervals(count(simulated(rng, 0.6)), seed=world, resamples=300)["average"]
        for name in hits:
            low, high = found[name]
            hits[name] += low <= (40.0 if name == "miss" else 60.0) <= high
    # 95 % of 120 is 114, with a standard deviation of 2.4; drawing questions instead of images would cover 74 % of
    # the analysis column.
    assert all(105 <= number <= 120 for number in hits.values()), hits


def test_the_same_as_drawing_images_one_by_one() -> None:
    rows = simulated(random.Random(2), 0.7, images=40)
    groups: dict[str, list[list[ChoiceRow]]] = {}
    for place in range(0, len(rows), 4):
        groups.setdefault(rows[place].dataset, []).append(rows[place : place + 4])
    rng = random.Random(3)
    drawn = []
    for _ in range(500):
        chosen = [
            row._replace(image=str(number))
            for images in groups.values()
            for number, image in enumerate(rng.choices(images, k=len(images)))
            for row in image
        ]
        drawn.append(score_choice(chosen)["average"])
    found = intervals(count(rows), seed=0, resamples=4000)["average"]
    for name in ("average", DETECTION, ANALYSIS, "overkill"):
        wanted = np.percentile([scores[name] for scores in drawn], (2.5, 97.5))
        assert found[name] == pytest.approx(wanted, abs=1.6)


def test_certain_answers_have_no_width() -> None:
    rows = [ChoiceRow("X", name, "A", "A", True, f"{number}") for number in range(20) for name in SUBTASKS]
    found = intervals(count(rows), seed=0)["average"]
    assert all(interval == (100.0, 100.0) for name, interval in found.items() if name != "miss")


@pytest.mark.parametrize("questions", [1, 10])
def test_the_width_is_that_of_a_binomial_over_images(questions: int) -> None:
    """However many questions an image has that are all right or all wrong."""
    rows = [
        ChoiceRow("X", "Defect Classification", "A", "A" if number % 2 else "B", True, f"{number}")
        for number in range(100)
        for _ in range(questions)
    ]
    # Standard error 5 percent points: 50 +- 9.8.
    assert intervals(count(rows), seed=3)["average"]["average"] == pytest.approx((40.2, 59.8), abs=2)


def test_every_figure_has_an_interval_around_it() -> None:
    rows = simulated(random.Random(4), 0.6)
    table, found = score_choice(rows), intervals(count(rows), seed=1)
    assert {name: set(row) for name, row in found.items()} == {name: set(row) for name, row in table.items()}
    for name, row in table.items():
        assert all(found[name][column][0] < value < found[name][column][1] for column, value in row.items())


def test_one_seed_gives_one_result() -> None:
    counts = count(simulated(random.Random(4), 0.6))
    assert intervals(counts, seed=1) == intervals(counts, seed=1) != intervals(counts, seed=2)
    assert intervals(count([]), seed=1) == {}
