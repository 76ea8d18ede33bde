"""Readings: the published scripts' rules with their surprises, worked out by hand; no text raises."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iadr1 import prompts
from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import FORMATS, LETTERS, READINGS, Found

FRAME = BoxFrame(BoxSpace.INPUT_PX, (224, 448), (112, 112))
TWO = {"A": "Yes.", "B": "No."}
FOUR = {"A": "a hole", "B": "a scratch", "C": "a dent", "D": "a stain"}


def read(name: str, text: str, options: Mapping[str, str] = FOUR) -> Found:
    return READINGS[name].read(text, options, FRAME)


def test_the_readings_are_the_formats_and_the_scripts() -> None:
    assert tuple(READINGS) == (*FORMATS, "mmad", "anomalyr1-repo", "iadr1-repo")
    tasks = {name: rule.task for name, rule in READINGS.items()}
    assert {name for name, task in tasks.items() if task == "choice"} == {"choice", "mmad", "anomalyr1-repo"}
    assert {name for name, task in tasks.items() if task == "grounding"} == {"grounding"}


MMAD = [
    ("B", "B", "ok"),
    (" (C). ", "C", "ok"),
    ("Answer: B", "B", "repaired"),
    ("B. a scratch", "B", "repaired"),
    ("I choose B, not C", "C", "repaired"),  # the last one
    ("A scratch is visible.", "A", "repaired"),  # the article
    ("The answer is D. A crack", "A", "repaired"),
    ("1. B\n2. D", "D", "repaired"),
    ("a scratch", None, "failed"),  # no capital; the script's callers do not pass the options
    ("b", None, "failed"),
    ("AB", None, "failed"),  # does not stand alone
    ("BAD", None, "failed"),
    ("Grade_B", None, "failed"),
    ("F", None, "failed"),  # only A to E
    ("", None, "failed"),
    ("<think>It is B.</think><answer>C</answer>", "C", "repaired"),
    ("It's A-grade", "A", "repaired"),
]


@pytest.mark.parametrize(("text", "word", "status"), MMAD)
def test_mmad(text: str, word: str | None, status: str) -> None:
    found = read("mmad", text)
    assert (found.word, found.answer.status, found.answer.letter) == (word, status, word)
    assert bool(found.answer.reason) == (status != "ok")
    assert found.answer.text == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mmad", "D"),
        ("mmad", "The defect is D."),
        ("anomalyr1-repo", "<answer>Defect</answer>"),
        ("anomalyr1-repo", "<answer>D</answer>"),
        ("choice", "<think>x</think><answer>D</answer>"),
        ("choice", "<think>x</think><answer>(d).</answer>"),
        ("choice", "<think>x</think><answer>D"),
        ("choice", "<answer>A</answer> or <answer>D</answer>"),
        ("choice", "<THINK>x</THINK>< ANSWER >D</ANSWER>"),
    ],
)
def test_a_letter_that_was_not_offered_is_kept_but_failed(name: str, text: str) -> None:
    found = read(name, text, TWO)
    assert (found.word, found.answer.letter, found.answer.status) == ("D", None, "failed")
    assert found.answer.reason == "'D' is not among the options"
    assert read(name, text, FOUR).word == "D"
    assert read(name, text, FOUR).answer.status != "failed"


@pytest.mark.parametrize("name", ["choice", "mmad", "anomalyr1-repo"])
def test_a_fifth_option_is_read_and_a_sixth_only_by_choice(name: str) -> None:
    six = {**FOUR, "E": "a crack", "F": "a burr"}
    assert LETTERS == "ABCDE"
    found = {letter: read(name, f"<think>x</think><answer>{letter}</answer>", six).word for letter in "EF"}
    assert found == {"E": "E", "F": {"choice": "F", "mmad": None, "anomalyr1-repo": "X"}[name]}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<think>x</think><answer>B</answer>", "B"),
        ("<think>x</think>The answer is B.", "B"),
        ("<think>x</think><answer>A or B</answer>", None),
        ("<think>x</think><answer>Defect</answer>", None),  # a word is no letter
        ("<think>x</think><answer>F</answer>", None),  # no script counts it
        ("D", None),  # never answered in the format
        ("<think>E</think>", None),
        ("<think>x</think><answer>?A?</answer>", None),  # offered: not read, but not told to be something else
    ],
)
def test_choice_reads_as_parse_does(text: str, word: str | None) -> None:
    found = read("choice", text, TWO)
    assert found.word == word
    assert found.answer == prompts.parse(text, "choice", options=TWO)


ANOMALYR1 = [
    ("<think>x</think><answer>B</answer>", "B", "ok"),
    ("<answer> C </answer>", "C", "ok"),
    ("<answer>B.</answer>", "B", "repaired"),
    ("<answer>Answer: B</answer>", "A", "repaired"),  # the A of Answer
    ("<answer>Defect: B</answer>", "D", "repaired"),  # inside a word
    ("<answer>B or C</answer>", "B", "repaired"),
    ("<answer>the option is b</answer>", "X", "failed"),  # no capital, no option's text
    ("<answer>it is a scratch</answer>", "B", "repaired"),
    ("<answer>a dent and a hole</answer>", "A", "repaired"),  # the first option, not the first in the text
    ("<answer>it is THIS KIND: a SCRATCH</answer>", "D", "repaired"),  # a capital goes before an option
    ("<answer>A</answer> then <answer>D</answer>", "D", "ok"),  # the last block
    ("<answer>A</answer> then <answer>D", "X", "failed"),  # the last opening is behind the last closing
    ("<answer>x <answer>C</answer>", "C", "ok"),
    ("<answer>B</answer></answer>", "B", "repaired"),  # up to the last closing
    ("<answer></answer>", "X", "failed"),
    ("<answer>B", "X", "failed"),
    ("B", "X", "failed"),
    ("", "X", "failed"),
]


@pytest.mark.parametrize(("text", "word", "status"), ANOMALYR1)
def test_anomalyr1_repo(text: str, word: str, status: str) -> None:
    found = read("anomalyr1-repo", text)
    assert (found.word, found.answer.status) == (word, status)
    assert found.answer.letter == (None if word == "X" else word)
    assert bool(found.answer.reason) == (status != "ok")


def test_anomalyr1_repo_matches_texts_only_without_capitals() -> None:
    options = {"A": "yes.", "B": "NO"}
    assert read("anomalyr1-repo", "<answer>so: yes.</answer>", options).word == "A"
    assert read("anomalyr1-repo", "<answer>there is no doubt</answer>", options).word == "B"
    assert read("anomalyr1-repo", "<answer>yes</answer>", options).word == "X"  # the dot is part of the option
    assert read("anomalyr1-repo", "<answer></answer>", {"A": "", "B": "x"}).word == "X"  # empty: never looked at


IADR1 = [
    ("<think>x</think><answer>Yes</answer>", "Yes", "ok"),
    ("<answer> NO </answer>", "No", "ok"),
    ("<answer>No.</answer>", "No", "repaired"),
    ("<answer></answer>", "Yes", "repaired"),  # the empty answer is contained in "yes"
    ("<answer>  </answer>", "Yes", "repaired"),
    ("<answer>e</answer>", "Yes", "repaired"),
    ("<answer>n</answer>", "No", "repaired"),
    ("<answer>I do not know</answer>", "No", "repaired"),
    ("<answer>know</answer>", "No", "repaired"),
    ("<answer>not sure</answer>", "No", "repaired"),
    ("<answer>unknown</answer>", "No", "repaired"),
    ("<answer>None</answer>", "No", "repaired"),
    ("<answer>no, yes</answer>", "Yes", "repaired"),  # options in order, not words in order
    ("<answer>eyes</answer>", "Yes", "repaired"),
    ("<answer>defect</answer>", "E", "failed"),
    ("<answer>B</answer>", "E", "failed"),  # no option's letter counts
    ("<answer>\nYes\n</answer>", "E", "failed"),  # not on one line
    ("<answer>\nYes</answer><answer>No</answer>", "No", "ok"),
    ("<answer>No</answer><answer>Yes</answer>", "No", "ok"),  # the first
    ("Yes", "E", "failed"),
    ("<answer>Yes", "E", "failed"),
    ("", "E", "failed"),
]


@pytest.mark.parametrize(("text", "word", "status"), IADR1)
def test_iadr1_repo(text: str, word: str, status: str) -> None:
    found = read("iadr1-repo", text, {})
    assert (found.word, found.answer.status) == (word, status)
    assert found.answer.is_anomalous == {"Yes": True, "No": False, "E": None}[word]
    assert bool(found.answer.reason) == (status != "ok")


def test_the_scripts_readings_keep_the_reasoning() -> None:
    text = "<think>It is bent.</think><answer>Yes</answer>"
    assert read("iadr1-repo", text).answer.think == "It is bent."
    assert read("anomalyr1-repo", text).answer.think == "It is bent."
    assert read("mmad", text).answer.think is None
    assert read("anomalyr1-repo", "<think>x</think><think>y").answer.think is None


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("structured", "<think>x</think><answer>Yes</answer>", "Yes"),
        ("structured", "<think>x</think><answer>perhaps</answer>", None),
        ("direct", "no", "No"),
        ("boxes", "<think>x</think><answer>[]</answer>", "No"),
        ("boxes", '<think>x</think><answer>[{"bbox_2d": [1, 1, 9, 9], "label": "hole"}]</answer>', "Yes"),
        ("boxes", "<think>x</think>", None),
        ("grounding", '<think>x</think><answer>[{"bbox_2d": [1, 1, 9, 9]}]</answer>', "box"),
        ("grounding", "<think>x</think><answer>[]</answer>", None),
    ],
)
def test_the_formats_without_letters(name: str, text: str, word: str | None) -> None:
    assert read(name, text, {}).word == word


TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<location>", "</location>", "<answer")
WORDS = ("A", "B", "e", "F", " ", "\n", "yes", "no", "Defect", "the answer is ", "\ud800", "é", "ß", ".")
JSON = ("[", "{", '"bbox_2d": [1, 2, 3, 4]', "}", "]")
PIECES = st.sampled_from((*TAGS, *WORDS, *JSON))


@settings(max_examples=150, deadline=None)
@given(text=st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60), name=st.sampled_from(sorted(READINGS)))
def test_no_text_raises_and_a_word_is_one_that_scoring_knows(text: str, name: str) -> None:
    found = read(name, text, TWO)
    known = {"choice": {*LETTERS, "X"}, "anomaly": {"Yes", "No", "E"}, "grounding": {"box"}}[READINGS[name].task]
    assert found.word is None or found.word in known
    if found.answer.status == "failed":
        assert found.answer.letter is None
        assert found.word is None or found.word not in {*TWO, "Yes", "No", "box"}
    else:
        assert found.word is not None
        assert found.answer.letter in (None, found.word)


@pytest.mark.parametrize("name", ["mmad", "anomalyr1-repo", "iadr1-repo"])
@pytest.mark.parametrize("piece", ["<answer>", "<answer>\n", "</answer>", "A ", "yes ", "_", "<think></think>"])
def test_the_scripts_readings_are_linear(name: str, piece: str) -> None:
    """300,000 characters; what is quadratic would take many seconds."""
    text = piece * (300_000 // len(piece))
    started = time.process_time()
    read(name, text)
    assert time.process_time() - started < 1.0
