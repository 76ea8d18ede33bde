"""The published AnomalyR1 rewards, value for value: the hand table, and what is surprising about it."""

from __future__ import annotations

import pytest

from iadr1.prompts import Answer
from iadr1.rewards.anomalyr1 import choice_reference, roam_reference
from iadr1.rewards.roam import roam
from tests.rewards.samples import anomaly, choice, pick, raw

# What the reasoning says, what the answer says, ROAM, choice; the truth is B.
TABLE = [
    ("nothing here", "none", 0.0, 0.0),
    ("nothing here", "B", 0.8, 1.0),
    ("nothing here", "C", 0.05, 0.0),
    ("so B", "B", 1.0, 1.0),
    ("so B", "C", 0.0, 0.0),
    ("so B", "none", 0.0, 0.0),
    ("so C", "B", 0.0, 1.0),
    ("so C", "C", 0.1, 0.0),
    ("so C", "D", 0.0, 0.0),
    ("so C", "none", 0.0, 0.0),
]


@pytest.mark.parametrize(("think", "said", "of_roam", "of_choice"), TABLE)
def test_the_table_of_the_script(think: str, said: str, of_roam: float, of_choice: float) -> None:
    answer = raw(f"<think>{think}</think>\n<answer>{said}</answer>")
    assert (roam_reference(answer, choice("B")), choice_reference(answer, choice("B"))) == (of_roam, of_choice)


# Completion, truth, ROAM, choice, and what our own ROAM makes of it.
SURPRISES = [
    # The article names option A: a right answer loses everything, a wrong one is "consistent".
    ("<think>A crack is visible.</think><answer>B</answer>", "B", 0.0, 1.0, 0.8),
    ("<think>A crack is visible.</think><answer>A</answer>", "A", 1.0, 1.0, 0.8),
    ("<think>A crack is visible.</think><answer>A</answer>", "B", 0.1, 0.0, 0.05),
    # Letters are looked for in the answer as well; ours asks for the letter alone.
    ("<think>I look.</think><answer>A defect</answer>", "A", 0.8, 1.0, 0.0),
    ("<think>I look.</think><answer>It is B.</answer>", "B", 0.8, 1.0, 0.0),
    # A small letter is never right.
    ("<think>I look.</think><answer>b</answer>", "B", 0.05, 0.0, 0.8),
    # Any character is an option in a short text.
    ("<think>I look.</think><answer>7</answer>", "B", 0.05, 0.0, 0.0),
    # Text around the blocks, and blocks of different pairs, are no matter.
    ("Use <think>\n</think> <answer>C</answer>. <think>So B.</think>, <answer>B</answer>", "B", 1.0, 1.0, 0.0),
    # Without the tags nothing counts.
    ("The answer is B.", "B", 0.0, 0.0, 0.0),
    ("", "B", 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "truth", "of_roam", "of_choice", "of_ours"), SURPRISES)
def test_surprises_of_the_script(text: str, truth: str, of_roam: float, of_choice: float, of_ours: float) -> None:
    sample = choice(truth)
    assert (roam_reference(raw(text), sample), choice_reference(raw(text), sample)) == (of_roam, of_choice)
    assert roam(pick(text), sample) == pytest.approx(of_ours)


def test_they_apply_to_multiple_choice_only() -> None:
    assert roam_reference(Answer("ok"), anomaly("No")) is None
    assert choice_reference(Answer("ok"), anomaly("No")) is None
