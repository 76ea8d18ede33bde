"""How the published scripts read a completion: every row is a value of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from iadr1.prompts.published import (
    Solution,
    Tagged,
    extract_choice,
    in_defect_shape,
    in_normal_shape,
    last_blocks,
    read_solution,
    read_tagged,
    tagged_truth,
)
from iadr1.records import Defect
from tests.rewards.samples import anomaly


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("", None),
        # One or two characters: the first that is no punctuation, whatever it is.
        ("A", "A"),
        ("b", "b"),
        (" B", " "),
        ("E", "E"),
        ("1", "1"),
        ("B.", "B"),
        (".", None),
        # Longer: lone capitals.
        (". B", "B"),
        ("A crack is visible", "A"),
        ("A scratch is visible on the left, so the answer is B.", "B"),
        ("BAD", "B"),
        ("None", None),
        ("Carpet", None),
        ("The object is Damaged", None),
        ("the option is C) because A is wrong", "A"),
        ("答案是B", "B"),
        ("the answer is E", None),
        # Points: 1 a keyword around it (an English one in capitals only), 1 before a full stop, 2 near the end.
        ("CORRECT: C. Nothing else is as plain as that, least of all D maybe, I say", "C"),
        ("correct: C. Nothing else is as plain as that, least of all D maybe, I say", "D"),
        ("C or else, with a good many words between the two of them, D", "D"),
        ("CORRECT CHOOSE SELECT C or else, with a good many words between the two of them, D", "C"),
        # The place looked at is the letter's last in the text, even inside a word.
        ("D, or C with a good many words between the two of them and then C", "C"),
        ("D, or C and then many more words that tell nothing at all of the Carpet", "C"),
        ("D, or C and then many more words that tell nothing at all of the carpet", "D"),
        # Equal points: the one seen first; a letter seen twice has them twice.
        ("B, or A, with a good many words after that and before the end of this one text", "B"),
        ("B, or A, A, with a good many words after that and before the end of this one text", "A"),
    ],
)
def test_the_option_anomalyr1_reads(text: str, letter: str | None) -> None:
    assert extract_choice(text) == letter


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("<think> x </think> \n <answer> B </answer>", ("x", "B")),
        ("noise <think>x</think><answer>B</answer> noise", ("x", "B")),
        ("<think>x</think><answer>A</answer><think>y</think>, <answer>B</answer>", ("y", "B")),
        # The pair that opens the gate need not be what is read.
        ("<think>x</think><answer>A</answer><answer>C</answer>", ("x", "C")),
        ("<answer>A</answer><think>x</think><answer>B</answer>", ("x", "B")),
        ("<think>x</think><answer>B</answer><answer>C", ("x", "B")),
        ("<think>a<think>x</think><answer>B</answer>", ("a<think>x", "B")),
        ("<think>x</think>, <answer>B</answer>", None),
        ("<answer>B</answer><think>x</think>", None),
        ("<think>x</think><answer>B", None),
        ("x</think><answer>B</answer>", None),
        ("", None),
    ],
)
def test_the_gate_of_anomalyr1(text: str, blocks: tuple[str, str] | None) -> None:
    assert last_blocks(text) == blocks


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer> Yes </answer><answer>No</answer>", "Yes"),
        ("<answer>\nYes</answer><answer>No</answer>", "No"),
        ("<answer>Yes\n</answer>", None),
        ("<answer>x\n<answer>Yes</answer>", "Yes"),
        ("<answer>x<answer>Yes</answer>", "x<answer>Yes"),
        ("<answer></answer>", ""),
        ("</answer><answer>", None),
        ("Yes", None),
    ],
)
def test_the_blocks_iad_r1_reads_hold_no_line_break(text: str, answer: str | None) -> None:
    assert read_tagged(text) == Tagged(answer, None, None)


@pytest.mark.parametrize(
    ("text", "of_defect", "of_normal"),
    [
        ("<think>t</think><location>l</location><type>k</type><answer>Yes</answer>", True, False),
        ("x<think>t\n</think><location>l\n</location><type>k</type><answer>Yes</answer>x", True, False),
        ("<think>t</think> <location>l</location><type>k</type><answer>Yes</answer>", False, False),
        ("<think>t</think><location>l</location>\n<type>k</type><answer>Yes</answer>", False, False),
        ("<think>t</think><type>k</type><location>l</location><answer>Yes</answer>", False, False),
        ("<think>t</think><answer>No</answer>", False, True),
        ("x\n<think>t</think><answer>anything</answer>\nx", False, True),
        ("<think>t</think>\n<answer>No</answer>", False, False),
        ("<think>t</think><answer>No</answer><type>", False, False),
        ("<think>t</think><answer>No</answer></type>", False, True),
        ("<think>t</think><answer>No", False, False),
        ("", False, False),
    ],
)
def test_the_shapes_of_iad_r1(text: str, of_defect: bool, of_normal: bool) -> None:
    assert (in_defect_shape(text), in_normal_shape(text)) == (of_defect, of_normal)


def test_the_truth_of_a_sample_is_what_its_solution_text_holds() -> None:
    assert tagged_truth(anomaly("No")) == Tagged("No", None, None)
    defects = (Defect(type="hole", location="top left"), Defect(type="hole", location="center"))
    assert tagged_truth(anomaly("Yes", *defects)) == Tagged("Yes", "top left, center", "hole")
    assert tagged_truth(anomaly("Yes", Defect(type="hole"))) == Tagged("Yes", None, "hole")
    # As the script would find it: a block with a line break is not there.
    assert tagged_truth(anomaly("Yes", Defect(type="a\nb", location=""))) == Tagged("Yes", "", None)


@pytest.mark.parametrize(
    ("text", "solution"),
    [
        (" B ", Solution("B", None, None)),
        ("<answer> B </answer>", Solution("B", None, None)),
        ("<answer>no</answer>", Solution("No", None, None)),
        ("YES", Solution("Yes", None, None)),
        ("<location>top</location><type>Hole </type><answer>Yes</answer>", Solution("Yes", "top", "Hole")),
    ],
)
def test_solutions_are_read_tagged_or_bare(text: str, solution: Solution) -> None:
    assert read_solution(text) == solution


@pytest.mark.parametrize(
    "function", [last_blocks, read_tagged, in_defect_shape, in_normal_shape, extract_choice], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("unit", ["<answer>", "<think>", "<think></think> ", "A ", "<type>\n", "</think><answer>"])
def test_hostile_texts_take_no_longer_than_their_length(function: Callable[[str], object], unit: str) -> None:
    text = "<think></think><answer></answer>" + unit * 30_000
    begin = time.process_time()
    function(text)
    # The scripts' regular expressions take minutes for some of these.
    assert time.process_time() - begin < 0.5
