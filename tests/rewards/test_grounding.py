"""Hand tables for the box rewards."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from iadr1.geometry import Box, BoxFrame, BoxSpace
from iadr1.prompts import Answer, parse
from iadr1.rewards.grounding import box_format, grounding, grounding_giou, grounding_hard, half_giou
from tests.rewards.samples import CHOICE, anomaly, found, sample, with_boxes

LEFT: Box = (0, 0, 10, 10)
RIGHT: Box = (20, 0, 30, 10)
HALF: Box = (0, 0, 10, 5)  # IoU with LEFT: 50 / 100
WIDE: Box = (0, 0, 20, 10)  # IoU with LEFT: 100 / 200
MOST: Box = (0, 0, 10, 6)  # IoU with LEFT: 60 / 100
NEXT: Box = (10, 0, 20, 10)  # touches LEFT: hull 200, union 200

# Answer, truth, soft IoU, (1 + GIoU) / 2, IoU above 0.5.
TABLE = [
    (found(LEFT), (LEFT,), 1.0, 1.0, 1.0),
    (found(MOST), (LEFT,), 0.6, 0.8, 1.0),
    # Exactly 0.5 is not above it.
    (found(HALF), (LEFT,), 0.5, 0.75, 0.0),
    (found(NEXT), (LEFT,), 0.0, 0.5, 0.0),
    # Hull 300, union 200: GIoU -1/3.
    (found(RIGHT), (LEFT,), 0.0, 1 / 3, 0.0),
    (found(RIGHT, LEFT), (LEFT, RIGHT), 1.0, 1.0, 1.0),
    # One of two found, one of two invented.
    (found(LEFT), (LEFT, RIGHT), 0.5, 0.5, 0.5),
    (found(LEFT, RIGHT), (LEFT,), 0.5, 0.5, 0.5),
    # LEFT is the better match, so HALF is left for RIGHT: hull 300, union 150, GIoU -1/2.
    (found(HALF, LEFT), (LEFT, RIGHT), 0.5, 0.625, 0.5),
    # Greedy in the written order would give (0, 0, 10, 4) to MOST and leave LEFT with the rest.
    (found(LEFT, (0, 0, 10, 4)), ((0, 0, 10, 4), MOST), 0.8, 0.9, 1.0),
    (found(), (), 1.0, 1.0, 1.0),
    (found(LEFT), (), 0.0, 0.0, 0.0),
    (found(), (LEFT,), 0.0, 0.0, 0.0),
    (Answer("failed", "no JSON"), (), 0.0, 0.0, 0.0),
    (Answer("failed", "no JSON"), (LEFT,), 0.0, 0.0, 0.0),
    # A format without boxes, and a truth without them.
    (Answer("ok", is_anomalous=True), (LEFT,), None, None, None),
    (found(LEFT), (LEFT, None), None, None, None),
]


@pytest.mark.parametrize(("answer", "truth", "soft", "giou", "hard"), TABLE)
def test_boxes_by_hand(answer: Answer, truth: tuple[Box | None, ...], soft: Any, giou: Any, hard: Any) -> None:
    values = [reward(answer, with_boxes(*truth)) for reward in (grounding, grounding_giou, grounding_hard)]
    assert values == ([None] * 3 if soft is None else pytest.approx([soft, giou, hard]))


def test_the_order_of_the_boxes_does_not_count() -> None:
    boxes = (LEFT, HALF, NEXT, RIGHT)
    truth = with_boxes(MOST, RIGHT, (9, 0, 19, 10))
    for reward in (grounding, grounding_giou, grounding_hard):
        values = [reward(found(*order), truth) for order in permutations(boxes)]
        assert values == pytest.approx([values[0]] * len(values))


def test_they_do_not_apply_to_multiple_choice() -> None:
    assert [reward(found(LEFT), CHOICE) for reward in (grounding, grounding_giou, grounding_hard, box_format)] == [
        None
    ] * 4


def test_giou_of_an_empty_box_is_finite() -> None:
    assert half_giou((1, 1, 1, 1), (1, 1, 1, 1)) == 0.0
    assert 0 <= half_giou((1, 1, 1, 1), LEFT) <= 1


def test_the_models_space_is_converted_on_the_way() -> None:
    region = sample(task="grounding", defects=[{"type": "nut", "box": (100, 100, 200, 200)}])
    frame = BoxFrame(BoxSpace.NORM1000, (400, 200), (1, 1))
    text = '<think>there</think><answer>{"bbox_2d": [250, 500, 500, 1000]}</answer>'
    assert grounding(parse(text, "grounding", frame=frame), region) == 1.0
    # VLM-R1's example: 25 / 175.
    pixels = BoxFrame(BoxSpace.INPUT_PX, (400, 200), (400, 200))
    small = sample(task="grounding", defects=[{"type": "nut", "box": (5, 5, 15, 15)}])
    text = '<think>there</think><answer>{"bbox_2d": [0, 0, 10, 10]}</answer>'
    assert grounding(parse(text, "grounding", frame=pixels), small) == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('<think>t</think><answer>[{"bbox_2d": [1, 2, 3, 4], "label": "x"}]</answer>', 1.0),
        ("<think>t</think><answer>[]</answer>", 1.0),
        ("<think></think><answer>[]</answer>", 0.0),
        ("<answer>[]</answer>", 0.0),
        ("<think>t</think><answer>no defect</answer>", 0.0),
        ("<think>t</think><answer>[1, 2, 3, 4]</answer>", 0.0),
        ('<think>t</think><answer>[{"bbox_2d": [1, 2, 3]}]</answer>', 0.0),
        ('<think>t</think><answer>[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [1, 2]}]</answer>', 0.0),
        ('<think>t</think><answer>[{"bbox_2d": [1, 2, 3, 4]}</answer>', 0.0),
        ('so: <think>t</think><answer>[{"bbox_2d": [1, 2, 3, 4]}]</answer>', 0.0),
        ("", 0.0),
    ],
)
def test_the_format_of_boxes(text: str, value: float) -> None:
    answer = parse(text, "boxes", frame=BoxFrame(BoxSpace.INPUT_PX, (9, 9), (9, 9)))
    assert box_format(answer, with_boxes(LEFT)) == value
    assert box_format(answer, with_boxes()) == value


def test_the_format_of_boxes_is_asked_only_where_there_are_boxes() -> None:
    assert box_format(Answer("ok", think="t", is_anomalous=True), anomaly("No")) is None
    assert box_format(found(LEFT), with_boxes(None)) is None
