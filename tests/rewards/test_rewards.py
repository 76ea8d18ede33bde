"""Hand tables for every reward, through the real parser, and the reading of `--reward`."""

from __future__ import annotations

from pathlib import Path

import pytest

from iadr1.errors import UsageError
from iadr1.geometry import Box
from iadr1.prompts import Answer, LabelledBox, parse
from iadr1.records import Defect, Sample
from iadr1.rewards import REWARDS, resolve_reward
from iadr1.rewards.boxes import boxes
from iadr1.rewards.classical import accuracy, format_reward
from iadr1.rewards.roam import outcome_synergy, process_alignment, roam

OPTIONS = {"A": "Scratch.", "B": "Broken edge.", "C": "No defect.", "D": "Stain."}
CHOICE = Sample(
    id="c1",
    dataset="t",
    category="c",
    split="train",
    image="a.png",
    task="choice",
    question="What kind of defect is it?",
    options=OPTIONS,
    answer="B",
    question_type="Defect Classification",
)


def anomaly(answer: str, *found: Box | None) -> Sample:
    return Sample(
        id="a1",
        dataset="t",
        category="c",
        split="train",
        image="a.png",
        task="anomaly",
        question="Are there any defects in the query image?",
        answer=answer,
        question_type="anomaly",
        is_anomalous=answer == "Yes",
        defects=tuple(Defect(type="hole", box=box) for box in found),
    )


# Completion, ROAM, accuracy, format; the truth is B.
TABLE = [
    # right answer
    ("<think>The edge is broken off, so the answer is B.</think><answer>B</answer>", 1.0, 1.0, 1.0),
    ("<think>Chips at the rim. This is a broken edge.</think>\n<answer>B</answer>", 1.0, 1.0, 1.0),
    ("<think>I look at the rim.</think><answer>B</answer>", 0.8, 1.0, 1.0),
    ("<think>The answer is D.</think><answer>B</answer>", 0.0, 1.0, 1.0),
    # The article "A" is no conclusion.
    ("<think>A mark is seen at the rim.</think><answer>B</answer>", 0.8, 1.0, 1.0),
    # wrong answer
    ("<think>The answer is D.</think><answer>D</answer>", 0.1, 0.0, 1.0),
    ("<think>A mark is seen at the rim.</think><answer>A</answer>", 0.05, 0.0, 1.0),
    ("<think>The answer is B.</think><answer>D</answer>", 0.0, 0.0, 1.0),
    ("<think>The answer is A.</think><answer>D</answer>", 0.0, 0.0, 1.0),
    # not in the format
    ("<answer>B</answer>", 0.0, 1.0, 0.0),
    ("<think> </think><answer>B</answer>", 0.0, 1.0, 0.0),
    ("<think>The answer is B.</think><answer>Broken edge</answer>", 0.0, 1.0, 0.0),
    ("<think>The answer is B.</think><answer>B", 0.0, 1.0, 0.0),
    ("<think>The answer is B.</think>", 0.0, 0.0, 0.0),
    ("<think>The answer is B.</think><answer>E</answer>", 0.0, 0.0, 0.0),
    ("", 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "of_roam", "of_accuracy", "of_format"), TABLE)
def test_choice_rewards_follow_the_table(text: str, of_roam: float, of_accuracy: float, of_format: float) -> None:
    answer = parse(text, "choice", options=OPTIONS)
    assert roam(answer, CHOICE) == pytest.approx(of_roam, abs=1e-12)
    assert accuracy(answer, CHOICE) == of_accuracy
    assert format_reward(answer, CHOICE) == of_format


def test_roam_is_the_sum_of_its_two_functions() -> None:
    phi = [process_alignment(concluded, "B") for concluded in (None, "A", "B")]
    psi = [outcome_synergy(letter, "B") for letter in ("A", "B")]
    assert phi == [0.0, 0.05, 0.2]
    assert psi == [0.05, 0.8]
    assert phi[2] + psi[1] == 1.0


def test_roam_applies_to_multiple_choice_only() -> None:
    assert roam(Answer("ok", think="The answer is Yes.", is_anomalous=True), anomaly("Yes")) is None


@pytest.mark.parametrize(
    ("said", "truth", "value"), [(True, "Yes", 1.0), (False, "Yes", 0.0), (False, "No", 1.0), (None, "No", 0.0)]
)
def test_accuracy_of_verdicts(said: bool | None, truth: str, value: float) -> None:
    assert accuracy(Answer("failed" if said is None else "ok", is_anomalous=said), anomaly(truth)) == value


def found(*items: Box) -> Answer:
    return Answer("ok", boxes=tuple(LabelledBox(item, "x") for item in items))


LEFT: Box = (0, 0, 10, 10)
RIGHT: Box = (20, 0, 30, 10)
HALF: Box = (0, 0, 10, 5)  # IoU with LEFT: 50 / 100
WIDE: Box = (0, 0, 20, 10)  # IoU with LEFT: 100 / 200


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        (found(LEFT), (LEFT,), 1.0),
        (found(HALF), (LEFT,), 0.5),
        (found(RIGHT), (LEFT,), 0.0),
        (found(RIGHT, LEFT), (LEFT, RIGHT), 1.0),
        (found(LEFT), (LEFT, RIGHT), 0.5),
        (found(LEFT, RIGHT), (LEFT,), 0.5),
        (found(HALF, LEFT), (LEFT, RIGHT), 0.5),
        # Greedy in the written order would give HALF the box LEFT (0.5) and leave LEFT without: 0.25.
        (found((0, 0, 10, 4), LEFT), ((0, 0, 10, 4), (0, 0, 10, 6)), 0.8),
        (found(WIDE, LEFT), (LEFT, (10, 0, 20, 10)), 0.75),
        (found(), (), 1.0),
        (found(LEFT), (), 0.0),
        (found(), (LEFT,), 0.0),
        (Answer("failed", "no JSON"), (), 0.0),
        (Answer("ok", is_anomalous=True), (LEFT,), None),
    ],
)
def test_boxes_by_hand(answer: Answer, truth: tuple[Box, ...], value: float | None) -> None:
    sample = anomaly("Yes" if truth else "No", *truth)
    result = boxes(answer, sample)
    assert result is None if value is None else result == pytest.approx(value)


def test_boxes_needs_boxes_in_the_truth() -> None:
    assert boxes(found(LEFT), anomaly("Yes", LEFT, None)) is None
    assert boxes(found(LEFT), CHOICE) is None


def test_reward_text_gives_names_functions_and_weights() -> None:
    assert resolve_reward("roam") == [("roam", roam, 1.0)]
    assert resolve_reward(" roam=1, format=0.1") == [("roam", roam, 1.0), ("format", format_reward, 0.1)]
    assert resolve_reward("classical=0.5,boxes=2") == [
        ("accuracy", accuracy, 0.5),
        ("format", format_reward, 0.5),
        ("boxes", boxes, 2.0),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raom", "no reward 'raom'; known rewards: roam, accuracy, format, boxes, classical"),
        ("", "no reward ''"),
        ("roam=", "weight of 'roam='"),
        ("roam=much", "weight of 'roam=much'"),
        ("roam=nan", "weight of 'roam=nan'"),
        ("roam,classical,accuracy", "'accuracy' is named twice"),
        ("no_such_module:fn", "cannot import the reward 'no_such_module:fn'"),
        ("json:no_such_function", "no function 'no_such_function'"),
        ("json:", "no reward 'json:'"),
    ],
)
def test_wrong_reward_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_reward(text)
    assert says in str(caught.value)


def test_own_reward_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_reward_for_test.py").write_text("def two(answer, sample):\n    return 2\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [(name, function, weight)] = resolve_reward("own_reward_for_test:two=0.5")
    assert (name, function(Answer("ok"), CHOICE), weight) == ("two", 2, 0.5)


def test_the_example_reward_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2] / "examples")
    [(_, brief, _)] = resolve_reward("my_reward:brief")
    values = [brief(Answer("ok", think=think), CHOICE) for think in ("word " * 20, "word " * 40, None)]
    assert values == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("name", list(REWARDS))
def test_every_reward_states_its_range_first(name: str) -> None:
    first_line = (REWARDS[name].__doc__ or "").splitlines()[0]
    assert first_line[0].isdigit(), first_line
