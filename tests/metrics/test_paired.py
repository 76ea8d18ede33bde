"""Two runs: planted differences are found, chance ones are not, and small cases agree with tests worked out by hand."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest

from iadr1.errors import DataError
from iadr1.metrics.choice import SUBTASKS, ChoiceRow, score_choice
from iadr1.metrics.paired import SWAPS, compare, mcnemar

PLACE, ANALYSIS = "Defect Localization", "Object Analysis"


def run(letters: str, *, kind: str = PLACE, per_image: int = 1) -> list[ChoiceRow]:
    """One question a letter; the right one is A."""
    return [ChoiceRow("X", kind, "A", letter, True, str(place // per_image)) for place, letter in enumerate(letters)]


def world(rng: random.Random, rates: dict[str, float], *, images: int = 300) -> list[ChoiceRow]:
    return [
        ChoiceRow(dataset, kind, "A", "A" if rng.random() < rates[dataset] else "B", bool(number % 2), str(number))
        for dataset in rates
        for number in range(images)
        for kind in SUBTASKS
    ]


def test_a_planted_difference_is_found() -> None:
    rng = random.Random(1)
    found = compare(world(rng, {"X": 0.6, "Y": 0.6}), world(rng, {"X": 0.6, "Y": 0.7}), seed=0)
    total = found.differences["average"]["average"]
    assert total["p"] < 0.001
    assert 0 < total["interval_95"][0] < 5 < total["interval_95"][1] < 10
    assert found.differences["Y"]["average"]["p"] < 0.001 < found.differences["X"]["average"]["p"]
    assert found.mcnemar["all"].p < 0.001


def test_chance_is_found_as_often_as_it_says() -> None:
    rng, worlds = random.Random(2), 60
    p_values, outside = [], 0
    for seed in range(worlds):
        rates = {"X": 0.6, "Y": 0.3}
        found = compare(world(rng, rates, images=30), world(rng, rates, images=30), seed=seed, swaps=400)
        figure = found.differences["average"]["average"]
        p_values.append(figure["p"])
        outside += not figure["interval_95"][0] <= 0 <= figure["interval_95"][1]
    # Of 60 p-values 3 are expected below 0.05 and 30 below 0.5; standard deviations 1.7 and 3.9.
    assert sum(p < 0.05 for p in p_values) <= 8
    assert 18 <= sum(p < 0.5 for p in p_values) <= 42
    assert outside <= 9


def test_questions_of_one_image_count_as_one() -> None:
    """Five images, ten questions each, all better in B: as improbable as five tosses with one side up."""
    found = compare(run("B" * 50, kind=ANALYSIS, per_image=10), run("A" * 50, kind=ANALYSIS, per_image=10), seed=0)
    assert found.differences["X"][ANALYSIS]["p"] == pytest.approx(2 / 2**5, abs=0.01)
    assert found.mcnemar[ANALYSIS].p == 2 / 2**50


def test_with_one_question_an_image_it_is_mcnemars_test() -> None:
    found = compare(run("AAAAAAAAABBB" + "A" * 20), run("BBBBBBBBBAAA" + "A" * 20), seed=0)
    assert found.mcnemar[PLACE] == found.mcnemar["all"]
    assert list(found.mcnemar[PLACE]) == [9, 3, pytest.approx(binomtest(3, 12).pvalue)]
    figure = found.differences["average"][PLACE]
    assert figure["p"] == pytest.approx(found.mcnemar[PLACE].p, abs=0.015)
    assert figure["difference"] == figure["b"] - figure["a"] == pytest.approx(-600 / 32)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (5, 0), (3, 9), (40, 60), (700, 650)])
def test_mcnemar_is_the_binomial_test(a: int, b: int) -> None:
    wanted = binomtest(a, a + b).pvalue if a + b else 1.0
    assert list(mcnemar(a, b)) == [a, b, pytest.approx(wanted, rel=1e-9)]


def test_equal_runs_do_not_differ() -> None:
    rows = world(random.Random(3), {"X": 0.5}, images=20)
    for row in compare(rows, rows, seed=0).differences.values():
        assert all((f["difference"], f["interval_95"], f["p"]) == (0, (0, 0), 1) for f in row.values())


def test_the_differences_are_those_of_the_tables() -> None:
    rng = random.Random(4)
    a, b = world(rng, {"X": 0.5, "Y": 0.9}, images=20), world(rng, {"X": 0.6, "Y": 0.9}, images=20)
    found, table_a, table_b = compare(a, b, seed=0).differences, score_choice(a), score_choice(b)
    for name, row in found.items():
        assert {column: f["a"] for column, f in row.items()} == table_a[name]
        assert {column: f["b"] for column, f in row.items()} == table_b[name]
    assert found["average"]["average"]["p"] >= 1 / (SWAPS + 1)


def test_other_options_are_no_other_question() -> None:
    """Options may be shuffled, so that the right letter differs between the runs."""
    shuffled = [row._replace(truth="C", letter="C") for row in run("AB")]
    assert compare(run("AB"), shuffled, seed=0).differences["X"][PLACE]["b"] == 100


def test_other_questions_are_refused() -> None:
    with pytest.raises(DataError, match="question 2 of the two runs"):
        compare(run("AB"), [run("A")[0], run("B", kind=ANALYSIS)[0]], seed=0)
