"""Image scores, box tables and COCO AP against figures worked out by hand."""

from __future__ import annotations

import importlib
import math

import pytest

from iadr1.errors import DataError, MissingExtraError
from iadr1.geometry import Box
from iadr1.metrics.quality import BoxImage, box_table, coco_ap, image_scores

A: Box = (0, 0, 10, 10)
B: Box = (20, 20, 40, 40)
FAR: Box = (50, 50, 60, 60)
PERFECT = {"ap": 100.0, "ap50": 100.0, "ap75": 100.0}


def test_image_scores_by_hand() -> None:
    # Falling: .9 anomalous, .8 normal, .7 anomalous, .2 normal: of four pairs three are in order.
    scores = image_scores([0.2, 0.9, 0.8, 0.7], [False, True, False, True])
    assert scores == pytest.approx(
        {
            "auroc": 75.0,
            "ap": 100 * (0.5 * 1 + 0.5 * 2 / 3),
            "f1_max": 80.0,  # three called anomalous, two rightly
            "f1_max_threshold": 0.7,
        }
    )


def test_image_scores_with_ties() -> None:
    flat = image_scores([0.5, 0.5, 0.5, 0.5], [True, False, False, False])
    assert flat == pytest.approx({"auroc": 50.0, "ap": 25.0, "f1_max": 40.0, "f1_max_threshold": 0.5})
    reverse = image_scores([0.1, 0.9], [True, False])
    assert reverse == pytest.approx({"auroc": 0.0, "ap": 50.0, "f1_max": 200 / 3, "f1_max_threshold": 0.1})


def test_one_kind_of_image_has_no_figures() -> None:
    assert image_scores([0.1, 0.9], [True, True]) == {}
    assert image_scores([0.1, 0.9], [False, False]) == {}
    assert image_scores([], []) == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match=f"score 2 is {bad}"):
        image_scores([0.1, bad], [True, False])
    with pytest.raises(DataError, match=f"score 1 is {bad}"):
        coco_ap([BoxImage([A], [bad], [A])])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="1 scores for 2 images"):
        image_scores([0.1], [True, False])
    with pytest.raises(DataError, match="image 1 has 2 predicted boxes and 1 scores"):
        coco_ap([BoxImage([A, B], [0.5], [A])])


def test_box_table() -> None:
    # Against A: a box of IoU 0.4, one of 0.6; the third image has a false one only.
    table = box_table([([(0, 0, 10, 4)], [A]), ([(0, 0, 10, 6)], [A]), ([FAR], [])])
    assert table == pytest.approx(
        {
            "true_boxes": 2,
            "predicted_boxes": 3,
            "mean_iou": 0.5,
            "recall@0.33": 100.0,
            "precision@0.33": 200 / 3,
            "f1@0.33": 80.0,
            "recall@0.5": 50.0,
            "precision@0.5": 100 / 3,
            "f1@0.5": 40.0,
            "recall@0.75": 0.0,
            "precision@0.75": 0.0,
            "f1@0.75": 0.0,
        }
    )
    assert box_table([([], [])]) == {"true_boxes": 0, "predicted_boxes": 0}


def test_coco_ap_of_perfect_boxes() -> None:
    assert coco_ap([BoxImage([A, B], [0.9, 0.1], [A, B]), BoxImage([], [], [])]) == pytest.approx(PERFECT)
    # The first true box and the first image count like all others.
    assert coco_ap([BoxImage([A], [0.0], [A])]) == pytest.approx(PERFECT)


def test_coco_ap_by_iou_thresholds() -> None:
    # IoU 0.62 is a hit at .50, .55 and .60 of the ten thresholds, with x2 and y2 exclusive (inclusive it were 0.64).
    scores = coco_ap([BoxImage([(0, 0, 10, 6.2)], [0.5], [A])])
    assert scores == pytest.approx({"ap": 30.0, "ap50": 100.0, "ap75": 0.0})


def test_coco_ap_with_false_positives() -> None:
    # Rank 1 is false (on a normal image), rank 2 right: precision 1/2 at every recall.
    wrong_first = [BoxImage([FAR], [0.9], []), BoxImage([A], [0.5], [A])]
    assert coco_ap(wrong_first) == pytest.approx(dict.fromkeys(PERFECT, 50.0))
    # Ranked last it costs nothing; and a second box on the same defect is false.
    assert coco_ap([BoxImage([FAR], [0.1], []), BoxImage([A], [0.5], [A])]) == pytest.approx(PERFECT)
    twice = [BoxImage([A, A], [0.9, 0.8], [A]), BoxImage([A], [0.1], [A])]
    # Recall .5 at precision 1 (51 of the 101 points), recall 1 at precision 2/3.
    assert coco_ap(twice)["ap50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_coco_ap_of_nothing_found_and_of_nothing_there() -> None:
    assert coco_ap([BoxImage([], [], [A])]) == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    assert coco_ap([BoxImage([A], [0.5], [])]) == {}
    assert coco_ap([]) == {}


def test_pycocotools_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    coco_ap([BoxImage([A], [0.5], [A])])
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"'scikit-learn' .*iadr1\[eval\]"):
        image_scores([0.1, 0.9], [False, True])
    with pytest.raises(MissingExtraError, match=r"'pycocotools' .*iadr1\[eval\]"):
        coco_ap([BoxImage([A], [0.5], [A])])
