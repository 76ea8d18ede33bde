"""Prompts: render and parse are inverses, what is asked for is sent, ugly completions are never guessed."""

from typing import Any

import pytest

from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import (
    FORMATS,
    LabelledBox,
    conclude,
    instruction,
    parse,
    question_text,
    render_prompt,
    render_target,
)
from iadr1.records import Defect, Sample

FRAME = BoxFrame(BoxSpace.INPUT_PX, (224, 448), (112, 112))
OPTIONS = {"A": "Yes.", "B": "No."}
FOUR = {"A": "a hole", "B": "a scratch", "C": "a dent", "D": "a stain"}


def make(task: Any = "choice", **changes: Any) -> Sample:
    values = {
        "id": "s", "dataset": "d", "category": "c", "split": "test", "image": "x.png", "references": ("r.png", "q.png"),
        "task": task, "question": "Is there any defect in the object?", "question_type": "Anomaly Detection",
        "reasoning": "There is a hole. So the answer is B.",
    }  # fmt: skip
    extra: dict[str, dict[str, Any]] = {
        "choice": {"options": FOUR, "answer": "B"},
        "anomaly": {"answer": "Yes", "is_anomalous": True},
        "grounding": {},
    }
    return Sample.model_validate({**values, **extra[task], **changes})


DEFECTS = (
    Defect(type="hole", box=(10, 20, 50, 60), location="top left"),
    Defect(type="scratch", box=(100, 200, 202, 300), location="center"),
)


def test_choice_round_trip() -> None:
    answer = parse(render_target(make(), "choice"), "choice", options=FOUR)
    assert (answer.status, answer.letter, answer.think) == ("ok", "B", make().reasoning)


@pytest.mark.parametrize("defects", [(), DEFECTS[:1], DEFECTS])
def test_anomaly_round_trips(defects: tuple[Defect, ...]) -> None:
    truth = make("anomaly", defects=defects, is_anomalous=bool(defects), answer="Yes" if defects else "No")
    boxes = parse(render_target(truth, "boxes", frame=FRAME), "boxes", frame=FRAME)
    assert (boxes.status, boxes.is_anomalous) == ("ok", bool(defects))
    assert boxes.boxes == tuple(LabelledBox(d.box, d.type) for d in defects if d.box)
    structured = parse(render_target(truth, "structured"), "structured")
    assert (structured.status, structured.is_anomalous) == ("ok", bool(defects))
    assert structured.locations == tuple(d.location for d in defects)
    assert structured.types == tuple(d.type for d in defects)
    direct = parse(render_target(truth, "direct"), "direct")
    assert (direct.status, direct.is_anomalous) == ("ok", bool(defects))


def test_grounding_round_trip() -> None:
    truth = make("grounding", defects=DEFECTS[:1])
    assert DEFECTS[0].box is not None
    answer = parse(render_target(truth, "grounding", frame=FRAME), "grounding", frame=FRAME)
    assert (answer.status, answer.boxes) == ("ok", (LabelledBox(DEFECTS[0].box, "hole"),))


def test_targets_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a frame"):
        render_target(make("anomaly", defects=DEFECTS), "boxes")
    with pytest.raises(ValueError, match="without a box"):
        render_target(make("anomaly", defects=(Defect(type="hole"),)), "boxes", frame=FRAME)
    with pytest.raises(ValueError, match="anomalous"):
        render_target(make("grounding"), "direct")


@pytest.mark.parametrize("shots", [0, 1, 2])
def test_the_image_slots_are_what_was_asked_for(shots: int) -> None:
    (message,) = render_prompt(make(), "choice", shots=shots)
    slots = [part for part in message["content"] if part["type"] == "image"]
    assert len(slots) == shots + 1
    assert message["content"][-1]["text"].endswith("</answer> tags.")


def test_more_shots_than_references_are_refused() -> None:
    with pytest.raises(ValueError, match="3 references asked for"):
        render_prompt(make(), "choice", shots=3)


def test_the_text_holds_options_only_where_a_letter_is_asked() -> None:
    assert question_text(make(), "choice").splitlines()[1:5] == [f"{k}. {v}" for k, v in FOUR.items()]
    assert question_text(make("anomaly"), "direct") == "Is there any defect in the object? Answer with Yes or No."
    assert len({instruction(fmt) for fmt in FORMATS}) == len(FORMATS)


CHOICES = [
    ("<think>x</think><answer>B</answer>", "B", "ok"),
    ("<think>x</think>\n\n<answer>\n b \n</answer>", "B", "ok"),
    ("<answer>(C)</answer>", "C", "ok"),
    ("<answer>B.</answer>", "B", "ok"),
    ("<answer>B: a scratch</answer>", "B", "ok"),
    ("<answer>Option D</answer>", "D", "ok"),
    ("<answer>a scratch</answer>", "B", "repaired"),  # the option's own text, not the article "a"
    ("<answer>A scratch.</answer>", "B", "repaired"),
    ("<answer>The answer is C.</answer>", "C", "repaired"),
    ("<answer>A</answer> no, <answer>C</answer>", "C", "repaired"),  # the last block
    ("<think>x</think><answer>B", "B", "truncated"),
    ("<think>x</think>The answer is B.", "B", "repaired"),
    ("Answer: D", "D", "repaired"),
    ("**Answer:** (D)", "D", "repaired"),
    ("<answer>B. It is long and thin.</answer>", "B", "repaired"),
    ("<answer>A, B</answer>", None, "failed"),
    ("<answer>A) or B)</answer>", None, "failed"),
    ("<answer>A,B,C</answer>", None, "failed"),
    ("<answer>A. or maybe B</answer>", None, "failed"),
    ("<answer>A: not a scratch</answer>", None, "failed"),
    ("<answer>There is no scratch.</answer>", None, "failed"),
    ("<answer>E</answer>", None, "failed"),  # not offered
    ("<answer>A or B</answer>", None, "failed"),
    ("<answer>Defect</answer>", None, "failed"),  # AnomalyR1's script reads D
    ("<answer>B: a hole</answer>", None, "failed"),  # letter and text disagree
    ("<answer></answer>", None, "failed"),
    ("", None, "failed"),
    ("A crack is visible on the rim.", None, "failed"),  # the article
    ("<think>The answer is B.</think>", None, "failed"),  # thought, never answered
]


@pytest.mark.parametrize(("text", "letter", "status"), CHOICES)
def test_choices(text: str, letter: str | None, status: str) -> None:
    if text.startswith("<answer>"):
        text = f"<think>x</think>{text}"
    answer = parse(text, "choice", options=FOUR)
    assert (answer.letter, answer.status) == (letter, status)
    assert bool(answer.reason) == (status != "ok")


@pytest.mark.parametrize(
    "text",
    [
        "<answer>B</answer>",
        "<answer>B</answer><think>the answer is B</think>",
        "<think>x</think><think>the answer is B</think><answer>B</answer>",
        "<think>x</think> so <answer>B</answer>",
        "<think>x</think><answer>B</answer> zz",
        "<think>x</think><answer>A</answer><answer>B</answer>",
        "<think>x<answer>B</answer>",
    ],
)
def test_only_one_reasoning_and_then_one_answer_is_the_format(text: str) -> None:
    answer = parse(text, "choice", options=FOUR)
    assert (answer.letter, answer.status) == ("B", "repaired")
    assert parse("<think>x</think>\n<answer>B</answer>\n", "choice", options=FOUR).status == "ok"


def test_a_rest_that_only_sounds_like_another_option_is_no_conflict() -> None:
    answer = parse("<think>x</think><answer>A. Yes, a known cause</answer>", "choice", options=OPTIONS)
    assert (answer.letter, answer.status) == ("A", "repaired")


CONCLUSIONS = [
    ("There is a crack, so the answer is B.", "B"),
    ("A scratch is visible on the left, so the answer is B.", "B"),
    ("I first think the answer is A. But the answer is C.", "C"),
    ("D is the correct option.", "D"),
    ("The right choice is (C).", "C"),
    ("Looking closely. It must be a dent.", "C"),
    ("It could be a dent or a stain.", None),
    ("A crack is on the rim.", None),
    ("The answer is a hole in the surface", "A"),
    ("There is no scratch visible.", None),
    ("I do not see a scratch.", None),
    ("Option A: no. Option B: no. Option C: no.", None),
    ("Option B: correct. Option C: incorrect.", None),
    ("The answer is B. It cannot be the option C.", "B"),
    ("The answer is A? No.", None),
    ("I would not choose A.", None),
    ("The answer is B. No, the answer is A.", "A"),
    ("The answer is not A.", None),
    ("The correct option is D.", "D"),
    ("The answer is E.", None),
    ("The answer is A hole.", "A"),  # the option's text, in the last sentence
    ("The answer is A shiny thing.", None),  # the article
    ("The answer is B because nothing is wrong.", "B"),
    ("So the answer is A because it is cracked.", "A"),
    ("So it must be B.", "B"),
    ("Therefore, B.", "B"),
    ("Hence, it is (D).", "D"),
    ("Therefore it must be option C!", "C"),
    ("So B is the answer", "B"),
    ("Either A or B is right", None),
    ("A, C and D is correct", None),
    ("It must not be B.", None),
    ("It must be A or B.", None),
    ("Thus A shiny thing is there", None),
    ("Therefore, it must be on side B.", None),
    ("C is right, therefore A is wrong", "C"),
    ("", None),
]


@pytest.mark.parametrize(("text", "letter"), CONCLUSIONS)
def test_conclusions(text: str, letter: str | None) -> None:
    assert conclude(text, FOUR) == letter


def test_no_inside_a_sentence_is_not_the_option_no() -> None:
    assert conclude("There is no doubt about the colour.", OPTIONS) is None


BOXES = [
    ('<answer>[{"bbox_2d": [0, 0, 56, 56], "label": "hole"}]</answer>', "ok", True, 1),
    ('<answer>```json\n[{"bbox_2d": [0, 0, 56, 56], "label": "hole"}]\n```</answer>', "ok", True, 1),
    ('<answer>{"bbox_2d": [0, 0, 56, 56]}</answer>', "ok", True, 1),
    ('<answer>[{"bbox": [0, 0, 56.5, 56], "label": null}]</answer>', "ok", True, 1),
    ("<answer>[0, 0, 56, 56]</answer>", "repaired", True, 1),
    ("<answer>[[0, 0, 56, 56], [60, 60, 70, 70]]</answer>", "ok", True, 2),
    ("<answer>[]</answer>", "ok", False, 0),
    ("<answer>No</answer>", "repaired", False, 0),
    ("<answer>No defects.</answer>", "repaired", False, 0),
    ('<answer>[{"bbox_2d": [0, 0, 56, 56], "label": "hole"}, {"bbox_2d": [1, 2', "truncated", True, 1),
    ('<think>t</think>[{"bbox_2d": [0, 0, 56, 56]}]', "repaired", True, 1),
    ('<answer>[{"bbox_2d": [0, 0, 56, 56]},]</answer>', "repaired", True, 1),  # trailing comma
    ('<answer>[{"bbox_2d": [0, 0, 56, 56]}, {"bbox_2d": [500, 500, 600, 600]}]</answer>', "repaired", True, 1),
    ('<answer>[{"bbox_2d": [56, 56, 0, 0]}]</answer>', "ok", True, 1),  # reversed corners
    # nothing usable is never "normal"
    ("", "failed", None, None),
    ("<answer>", "failed", None, None),
    ("<answer>[", "failed", None, None),
    ("<answer>[{}]</answer>", "failed", None, None),
    ('<answer>[{"bbox_2d": [1, 2, 3]}]</answer>', "failed", None, None),
    ('<answer>[{"bbox_2d": ["a", 0, 1, 2]}]</answer>', "failed", None, None),
    ('<answer>[{"bbox_2d": [500, 500, 600, 600]}]</answer>', "failed", None, None),
    ('<answer>[{"bbox_2d": [NaN, 0, 5, 5]}]</answer>', "failed", None, None),
    ('<answer>[{"bbox_2d": [1e999, 0, 5, 5]}]</answer>', "failed", None, None),
    ("<answer>Yes, there is a defect.</answer>", "failed", None, None),
    ("<answer>42</answer>", "failed", None, None),
    ("[" * 100_000, "failed", None, None),
    ('<answer>[{"bbox_2d": [1, 2, 3, ' + "9" * 400 + "]}]</answer>", "failed", None, None),
    ('<answer>[{"bbox_2d": [1, 2, 3, ' + "9" * 5000 + "]}]</answer>", "failed", None, None),
    ('<answer>[{"bbox_2d": [0, 0, 56, 56], "label": "\\ud800"}]</answer>', "ok", True, 1),
]


@pytest.mark.parametrize(("text", "status", "anomalous", "count"), BOXES)
def test_boxes(text: str, status: str, anomalous: bool | None, count: int | None) -> None:
    if text.startswith("<answer>"):
        text = f"<think>x</think>{text}"
    answer = parse(text, "boxes", frame=FRAME)
    assert (answer.status, answer.is_anomalous) == (status, anomalous)
    assert (None if answer.boxes is None else len(answer.boxes)) == count
    for item in answer.boxes or ():
        assert 0 <= item.box[0] < item.box[2] <= 224
        assert 0 <= item.box[1] < item.box[3] <= 448
        assert item.label.encode("utf-8")


def test_an_empty_list_is_no_answer_where_a_box_was_asked_for() -> None:
    assert parse("<answer>[]</answer>", "grounding", frame=FRAME).status == "failed"
    assert parse("<answer>none</answer>", "grounding", frame=FRAME).status == "failed"


VERDICTS = [
    ("<think>t</think><location>top</location><type>hole</type><answer>Yes</answer>", "ok", True),
    ("<think>t</think><answer>no.</answer>", "repaired", False),
    ("<answer>unknown</answer>", "failed", None),  # IAD-R1's matching reads "No" out of it
    ("<answer>not sure</answer>", "failed", None),
    ("<answer></answer>", "failed", None),  # ... and "Yes" out of nothing
    ("Yes", "failed", None),  # no tags
    ("<answer>Yes", "truncated", True),
]


@pytest.mark.parametrize(("text", "status", "anomalous"), VERDICTS)
def test_structured_verdicts(text: str, status: str, anomalous: bool | None) -> None:
    if text.startswith("<answer>"):
        text = f"<think>x</think>{text}"
    answer = parse(text, "structured")
    assert (answer.status, answer.is_anomalous) == (status, anomalous)


def test_direct_takes_the_bare_word_only() -> None:
    assert parse("Yes", "direct").is_anomalous is True
    assert parse("No", "direct").is_anomalous is False
    assert parse("Yes and no", "direct").status == "failed"
