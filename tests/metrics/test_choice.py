"""Multiple-choice scores against tables worked out by hand."""

from __future__ import annotations

import pytest

from iadr1.errors import DataError
from iadr1.metrics.choice import (
    ChoiceRow,
    by_category,
    detection,
    score_choice,
    tallies,
)
from iadr1.metrics.counts import count


def row(dataset: str, kind: str, letter: str | None, *, bad: bool | None = True, image: str = "i") -> ChoiceRow:
    """A question whose right letter is A."""
    return ChoiceRow(dataset, kind, "A", letter, bad, image=image)


DETECTION, TYPE, PLACE = "Anomaly Detection", "Defect Classification", "Defect Localization"

# Dataset X: normal 3 of 4 right, anomalous 1 of 2 (the other unparsed); type 1 of 2; object analysis 1 of 3.
# Dataset Y: normal 0 of 1, anomalous 1 of 1; type 1 of 1. No object questions.
ROWS = [
    *[row("X", DETECTION, letter, bad=False, image=f"n{i}") for i, letter in enumerate("AAAB")],
    row("X", DETECTION, "A", image="d0"),
    row("X", DETECTION, None, image="d1"),
    row("X", TYPE, "A", image="d0"),
    row("X", TYPE, "C", image="d1"),
    row("X", "Object Analysis", "A", bad=False, image="n0"),
    row("X", "Object Analysis", "B", bad=False, image="n1"),
    row("X", "Object Analysis", None, bad=False, image="n2"),
    row("Y", DETECTION, "B", bad=False, image="n0"),
    row("Y", DETECTION, "A", image="d0"),
    row("Y", TYPE, "A", image="d0"),
]


def test_strict_scores() -> None:
    table = score_choice(ROWS)
    assert table["X"] == pytest.approx(
        {
            DETECTION: (75 + 50) / 2,
            TYPE: 50.0,
            "Object Analysis": 100 / 3,
            "average": (62.5 + 50 + 100 / 3) / 3,
            "overkill": 25.0,
            "miss": 50.0,
        }
    )
    assert table["Y"] == pytest.approx({DETECTION: 50.0, TYPE: 100.0, "average": 75.0, "overkill": 100.0, "miss": 0.0})
    # Y has no object questions: its column is X's alone, and the headline is the mean of the datasets' averages.
    assert table["average"] == pytest.approx(
        {
            DETECTION: (62.5 + 50) / 2,
            TYPE: 75.0,
            "Object Analysis": 100 / 3,
            "average": ((62.5 + 50 + 100 / 3) / 3 + 75) / 2,
            "overkill": 62.5,
            "miss": 25.0,
        }
    )


def test_parsed_scores_leave_unparsed_answers_out() -> None:
    table = score_choice(ROWS, parsed_only=True)
    assert table["X"][DETECTION] == pytest.approx((75 + 100) / 2)
    assert table["X"]["Object Analysis"] == pytest.approx(50.0)
    assert table["X"]["miss"] == 0.0


def test_one_sided_detection_is_the_accuracy_of_that_side() -> None:
    table = score_choice([row("X", DETECTION, "A", image="d"), row("X", DETECTION, "B", image="e")])
    assert table["X"] == {DETECTION: 50.0, "average": 50.0, "miss": 50.0}


def test_no_rows() -> None:
    assert score_choice([]) == {}


def test_nothing_parsed_gives_no_parsed_table() -> None:
    assert score_choice([row("X", TYPE, None)], parsed_only=True) == {}
    assert score_choice([row("X", TYPE, None)])["average"]["average"] == 0.0


@pytest.mark.parametrize("name", ["Colour", "Object Structure"])
def test_what_is_no_subtask_is_refused(name: str) -> None:
    """Raw types among them: rows carry the subtask they are reported under."""
    with pytest.raises(DataError, match=f"no subtask '{name}'"):
        score_choice([row("X", name, "A")])


def test_detection_without_truth_is_refused() -> None:
    with pytest.raises(DataError, match="anomalous"):
        score_choice([row("X", DETECTION, "A", bad=None)])


def test_precision_recall_and_f1() -> None:
    """X: 3 of 5 anomalous images found, 1 unread; of 4 normal images 1 called anomalous, 1 unread."""
    rows = [
        *[row("X", DETECTION, letter, image=f"d{i}") for i, letter in enumerate(["A", "A", "A", "B", None])],
        *[row("X", DETECTION, letter, bad=False, image=f"n{i}") for i, letter in enumerate(["A", "A", "B", None])],
        row("Y", DETECTION, "B", image="d0"),
        row("Y", DETECTION, "A", bad=False, image="n0"),
        row("Z", DETECTION, "B", bad=False, image="n0"),
        row("W", TYPE, "A", image="d0"),
    ]
    found = detection(count(rows))
    assert found["X"] == pytest.approx({"precision": 75, "recall": 60, "f1": 100 * 2 * 0.75 * 0.6 / 1.35})
    # Nothing called anomalous: no precision. Nothing anomalous: no recall. No detection questions: nothing.
    assert found["Y"] == {"recall": 0, "f1": 0}
    assert found["Z"] == {"precision": 0}
    assert set(found) == {"X", "Y", "Z", "average"}
    assert found["average"] == pytest.approx({"precision": 37.5, "recall": 30, "f1": found["X"]["f1"] / 2})
    assert detection(count([row("W", TYPE, "A")])) == {}


def test_figures_by_category() -> None:
    rows = [
        row("X", TYPE, letter, image=image)._replace(category=image[0])
        for letter, image in zip("AAB", ("a1", "b1", "b2"), strict=True)
    ]
    found = by_category(count([*rows, row("Y", TYPE, None)._replace(category="a")]))
    assert found == {
        "X": {"a": {TYPE: 100, "average": 100}, "b": {TYPE: 50, "average": 50}},
        "Y": {"a": {TYPE: 0, "average": 0}},
    }


def test_tallies() -> None:
    assert tallies(count(ROWS))["X"] == {
        DETECTION: {"asked": 6, "parsed": 5, "right": 4},
        TYPE: {"asked": 2, "parsed": 2, "right": 1},
        "Object Analysis": {"asked": 3, "parsed": 2, "right": 1},
    }
