"""Box, verdict and word scores against figures worked out by hand."""

from __future__ import annotations

import pytest

from iadr1.geometry import Box
from iadr1.metrics.boxes import box_scores, grounding_scores, match, words_accuracy

A: Box = (0, 0, 10, 10)
HALF_A: Box = (0, 0, 10, 5)
B: Box = (20, 20, 30, 30)
FAR: Box = (50, 50, 60, 60)


def test_match_prefers_the_better_overlap_and_uses_each_box_once() -> None:
    assert match([HALF_A, A], [A]) == [(1, 0, 1.0)]
    assert match([A, A], [A, B]) == [(0, 0, 1.0)]
    assert match([], [A]) == []


def test_box_scores() -> None:
    # True: A, B | A | none. Found: A exactly, A half (IoU .5 counts). False: FAR and one on the normal image.
    scores = box_scores([([A, FAR], [A, B]), ([HALF_A], [A]), ([FAR], [])])
    assert scores == pytest.approx(
        {
            "true_boxes": 3,
            "predicted_boxes": 4,
            "mean_iou": (1 + 0 + 0.5) / 3,
            "recall": 200 / 3,
            "precision": 50.0,
            "f1": 400 / 7,
        }
    )


def test_box_scores_without_boxes() -> None:
    assert box_scores([([], [])]) == {"true_boxes": 0, "predicted_boxes": 0}
    assert box_scores([([], [A])])["f1"] == 0.0


def test_grounding_counts_only_the_first_boxes() -> None:
    # Naming the target second earns nothing; an IoU of exactly 0.5 is not above it.
    scores = grounding_scores([([A], [A]), ([FAR, A], [A]), ([HALF_A], [A]), ([], [A])])
    assert scores == pytest.approx({"targets": 4, "acc@0.5": 25.0, "mean_iou": 1.5 / 4})
    assert grounding_scores([]) == {"targets": 0}


def test_words_are_compared_as_sets() -> None:
    pairs = [(["Scratch", "hole"], ["hole", "scratch"]), (["hole"], ["hole", "scratch"]), (["Top  left"], ["top left"])]
    assert words_accuracy(pairs) == pytest.approx(200 / 3)
    assert words_accuracy([]) is None
