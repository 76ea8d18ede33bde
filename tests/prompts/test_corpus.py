"""Every ugly completion of `corpus.jsonl` is read as a person would: found, repaired, truncated or failed, not guessed.

A line holds `format`, `text`, `expect` and `why`; `options` and `frame` where they are not those below. `expect` holds
the status, and what was read; a box is written as x1, y1, x2, y2 and label.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import FORMATS, Answer, Format, parse

FILE = Path(__file__).with_name("corpus.jsonl")
LINES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
OPTIONS = {"A": "a hole", "B": "a scratch", "C": "a dent", "D": "a stain"}
FRAME = {"space": "input_px", "image_wh": [100, 100], "input_wh": [100, 100]}
MAIN = {
    "choice": "letter",
    "structured": "is_anomalous",
    "direct": "is_anomalous",
    "boxes": "boxes",
    "grounding": "boxes",
}
"""What a line of each format has to say."""


def frame_of(spec: Mapping[str, Any]) -> BoxFrame:
    (image_width, image_height), (width, height) = spec["image_wh"], spec["input_wh"]
    return BoxFrame(BoxSpace(spec["space"]), (image_width, image_height), (width, height))


def read(text: str, fmt: Format, line: Mapping[str, Any]) -> Answer:
    return parse(text, fmt, options=line.get("options", OPTIONS), frame=frame_of(line.get("frame", FRAME)))


def told(answer: Answer, key: str) -> Any:
    value = getattr(answer, key)
    if key == "boxes":
        return None if value is None else [[*(round(side, 6) for side in item.box), item.label] for item in value]
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("line", LINES, ids=[f"{line['format']}-{n}" for n, line in enumerate(LINES, 1)])
def test_every_line_is_read_as_it_should_be(line: dict[str, Any]) -> None:
    expected = line["expect"]
    assert MAIN[line["format"]] in expected
    answer = read(line["text"], line["format"], line)
    assert {key: told(answer, key) for key in expected} == expected, line["why"]
    assert bool(answer.reason) == (answer.status != "ok")
    assert answer.text == line["text"]


def test_the_corpus_is_what_it_claims_to_be() -> None:
    assert len(LINES) >= 150
    assert all(set(line) <= {"format", "text", "options", "frame", "expect", "why"} and line["why"] for line in LINES)
    assert len({(line["format"], line["text"], str(line.get("options"))) for line in LINES}) == len(LINES)
    for fmt in FORMATS:
        found = {line["expect"]["status"] for line in LINES if line["format"] == fmt}
        assert found >= {"ok", "repaired", "failed"}


def test_the_reason_says_how_many_boxes_were_left_out() -> None:
    answer = read('<answer>[[1, 2, 3, 4], [1, 2], "x"]</answer>', "boxes", {})
    assert (answer.status, answer.reason) == ("repaired", "2 of 3 boxes are not usable")


PIECES = [
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<location>",
        "</type>",
        "< ANSWER >",
        "</answer",
        "&lt;answer&gt;",
    ),
    *(
        "A",
        "b",
        "E",
        "(C)",
        "**D**",
        "\\boxed{B}",
        "答案是B",
        "\uff22",
        "the answer is ",
        "or",
        "not",
        ", ",
        "/",
        ". ",
        "\n",
        "?",
    ),
    *(
        "a scratch",
        "Yes",
        "No",
        "no defect",
        "sorry",
        "{",
        "}",
        "[",
        "]",
        '"bbox_2d": ',
        "[1, 2, 30, 40]",
        "'",
        '"',
        "//",
    ),
    *("```json", "<|im_end|>", "<|box_start|>", "\u200b", "\x00", "\ud800", "🙂", "9" * 400, "1e999", "NaN", " " * 9),
]
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map("".join))


@settings(max_examples=300, deadline=None)
@given(texts, st.sampled_from(FORMATS), st.sets(st.sampled_from("ABCDEFZ")))
def test_any_text_is_read_and_no_letter_found_that_was_not_offered(text: str, fmt: Format, letters: set[str]) -> None:
    line = {"options": {letter: OPTIONS.get(letter, f"kind {letter}") for letter in sorted(letters)}}
    answer = read(text, fmt, line)
    assert answer.letter is None or answer.letter in letters
    assert answer.status != "failed" or (answer.letter, answer.is_anomalous) == (None, None)
    assert fmt != "choice" or (answer.letter is None) == (answer.status == "failed")
    assert fmt not in ("structured", "direct") or (answer.is_anomalous is None) == (answer.status == "failed")
    assert fmt != "boxes" or answer.is_anomalous is None or answer.is_anomalous == bool(answer.boxes)
    for item in answer.boxes or ():
        assert 0 <= item.box[0] < item.box[2] <= 100
        assert 0 <= item.box[1] < item.box[3] <= 100


LOOPS = [
    *PIECES,
    "answer ",
    "the answer is B, ",
    "answer: **",
    "/*",
    "#",
    "* ",
    "(",
    "<",
    "< ",
    "&lt;",
    "\\",
    '\\"',
    "\t\n",
    "1,",
]


@pytest.mark.parametrize("fmt", FORMATS)
def test_endless_loops_are_read_in_no_time(fmt: Format) -> None:
    """A model that loops up to a long limit: reading stays linear, whatever it repeats."""
    for piece in LOOPS:
        for text in (piece * (10_000 // len(piece)), f"<answer>{piece * (10_000 // len(piece))}"):
            begin = time.perf_counter()
            read(text, fmt, {})
            assert time.perf_counter() - begin < 1.0, (fmt, piece)
