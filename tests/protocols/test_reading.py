"""Answers in the sample's own letters, whatever order and letters were shown; the protocol's resize."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from PIL import Image

from iadr1 import protocols
from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.metrics.mmad import LETTERS as MMAD_LETTERS
from iadr1.prompts import LETTERS
from iadr1.protocols import Turn, own_letter, read
from iadr1.records import Sample
from tests.protocols.examples import FOUR, make

MMAD = protocols.load("mmad")
FRAME = BoxFrame(BoxSpace.INPUT_PX, (100, 100), (100, 100))


def shown_as(sample: Sample, order: str) -> Turn:
    """A turn that shows the sample's options in an order."""
    options = {chr(65 + place): sample.options[letter] for place, letter in enumerate(order)}
    return Turn(sample.id, 0, "" if order == "".join(options) else order, [], None, (), "", options)


@pytest.mark.parametrize("own", ["AB", "ABC", "ABCD", "ABCDE", "AC", "BDE", "XYZ"])
def test_every_permutation_maps_back(own: str) -> None:
    sample = make(options={letter: f"text {letter}" for letter in own}, answer=own[0])
    for order in itertools.permutations(own):
        turn = shown_as(sample, "".join(order))
        assert protocols.letters(turn) == tuple("ABCDE"[: len(own)])
        for letter, text in turn.options.items():
            reading = read(letter, sample, turn, MMAD)
            assert reading.answer is not None
            assert sample.options[reading.answer] == text
            assert (reading.parse, reading.answer_object.letter) == ("ok", reading.answer)
        for letter in sorted(set(LETTERS) - set(turn.options)):
            reading = read(letter, sample, turn, MMAD)
            assert reading.answer in set(LETTERS) - set(own)  # wrong, and still one that MMAD's script counts
            assert reading.parse == f"failed: {letter!r} is not among the options"
            assert reading.answer_object.letter is None


@pytest.mark.parametrize("name", ["mmad", "anomalyr1", "anomalyr1-repo"])
@pytest.mark.parametrize("order", ["none", "seeded", "circular"])
def test_a_right_answer_is_right_in_every_order(name: str, order: str) -> None:
    protocol = protocols.vary(protocols.load(name), option_order=order)
    samples = [
        make(id=f"s{number}", options={"A": "a hole", "C": "a scratch", "D": "a dent"}, answer="C")
        for number in range(9)
    ]
    turns = protocols.turns(samples, protocol)
    assert len(turns) == len(samples) * (3 if order == "circular" else 1)
    for turn in turns:
        (shown,) = [letter for letter, text in turn.options.items() if text == "a scratch"]
        text = shown if name == "mmad" else f"<think>x</think><answer>{shown}</answer>"
        assert read(text, samples[0], turn, protocol).answer == "C"
        assert own_letter(shown, turn) == "C"


def test_a_spelled_out_option_is_the_one_shown() -> None:
    sample, protocol = make(), protocols.load("anomalyr1")
    turn = shown_as(sample, "DCBA")
    reading = read("<think>x</think><answer>a dent</answer>", sample, turn, protocol)
    assert reading.answer == reading.answer_object.letter == "C"
    assert reading.parse == "repaired: the answer is not a single letter"
    assert reading.answer_object.think == "x"
    assert read("nothing", sample, turn, protocol).answer is None


def test_the_scripts_marks_are_kept() -> None:
    repo = protocols.load("anomalyr1-repo")
    assert read("?", make(), shown_as(make(), "BADC"), repo).answer == "X"
    sample = make("anomaly")
    reading = read("?", sample, shown_as(sample, ""), protocols.load("iadr1-repo"))
    assert (reading.answer, reading.parse) == ("E", "failed: no answer block on one line")
    # The mark stays no answer where the sample has an option of that letter.
    odd = make(options={"X": "a", "Y": "b"}, answer="X")
    reading = read("?", odd, shown_as(odd, "YX"), repo)
    assert (reading.answer, reading.parse.split(":")[0]) == ("X", "failed")


@pytest.mark.parametrize(
    ("name", "task", "text", "answer"),
    [
        ("iadr1", "anomaly", "<think>x</think><answer>No</answer>", "No"),
        ("iadr1-repo", "anomaly", "<answer>yes.</answer>", "Yes"),
        ("detection", "anomaly", "<think>x</think><answer>[]</answer>", "No"),
        ("grounding", "grounding", '<think>x</think><answer>[{"bbox_2d": [1, 2, 30, 40]}]</answer>', "box"),
        ("grounding", "grounding", "<think>x</think><answer>left</answer>", None),
    ],
)
def test_answers_without_letters(name: str, task: str, text: str, answer: str | None) -> None:
    protocol, sample = protocols.load(name), make(task)
    (turn,) = protocols.turns([sample], protocol)
    assert read(text, sample, turn, protocol, frame=FRAME).answer == answer


def test_boxes_come_in_the_frame_s_pixels() -> None:
    protocol, sample = protocols.load("grounding"), make("grounding")
    (turn,) = protocols.turns([sample], protocol)
    frame = BoxFrame(BoxSpace.INPUT_PX, (200, 200), (100, 100))
    reading = read('<answer>[{"bbox_2d": [1, 2, 30, 40]}]</answer>', sample, turn, protocol, frame=frame)
    assert reading.answer_object.boxes is not None
    assert [item.box for item in reading.answer_object.boxes] == [(2, 4, 60, 80)]


def test_the_letters_are_those_of_mmad_s_script() -> None:
    assert set(LETTERS) == MMAD_LETTERS


@pytest.mark.parametrize(
    ("size", "mmad", "repo"),
    [
        ((1024, 512), (512, 256), (1000, 500)),
        ((100, 50), (512, 256), (100, 50)),  # mmad enlarges
        ((512, 512), (512, 512), (512, 512)),
        ((1000, 900), (512, 460), (888, 800)),
        ((3000, 2), (512, 1), (1000, 1)),
    ],
)
def test_the_resize_is_the_protocol_s(size: tuple[int, int], mmad: tuple[int, int], repo: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    assert protocols.fit(image, MMAD).size == mmad
    assert protocols.fit(image, protocols.load("anomalyr1-repo")).size == repo
    assert protocols.fit(image, protocols.load("anomalyr1")) is image
    assert protocols.fit(image, replace(MMAD, enlarge=False)).size == tuple(map(min, size, mmad))


def test_options_are_those_of_the_turn() -> None:
    (turn,) = protocols.turns([make()], protocols.load("anomalyr1"))
    assert turn.options == FOUR
