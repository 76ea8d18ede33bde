"""Length and repetition: by hand, and equal to TRL's for the same tokens."""

from __future__ import annotations

import random

import pytest

from iadr1.errors import UsageError
from iadr1.rewards.shaping import Length, Repetition, length_of, tokens
from tests.rewards.samples import CHOICE, raw


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Yes, it's a nut.", ["Yes", ",", "it", "'", "s", "a", "nut", "."]),
        ("<answer>B", ["<", "answer", ">", "B"]),
        ("裂纹ok,ねじ", ["裂", "纹", "ok", ",", "ね", "じ"]),
        ("naïve snake_case", ["naïve", "snake_case"]),
    ],
)
def test_tokens(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@pytest.mark.parametrize(("count", "value"), [(0, 0.0), (8, 0.0), (9, -0.5), (10, -1.0), (11, -1.0), (500, -1.0)])
def test_length_by_hand(count: int, value: float) -> None:
    assert Length(10, 2)(raw("word " * count), CHOICE) == value


def test_length_by_default_begins_at_three_quarters_of_256_tokens() -> None:
    values = [Length()(raw("word " * count), CHOICE) for count in (192, 224, 256)]
    assert values == [0.0, -0.5, -1.0]
    assert [length_of("8")(raw("word " * count), CHOICE) for count in (6, 7, 8)] == [0.0, -0.5, -1.0]
    # A limit too small for a stretch before it.
    assert [length_of("1")(raw("word " * count), CHOICE) for count in (1, 2)] == [0.0, -1.0]


@pytest.mark.parametrize("text", ["0", "-5", "many", "1.5", "²"])
def test_a_limit_is_a_whole_number(text: str) -> None:
    with pytest.raises(UsageError, match="is not a whole number above 0"):
        length_of(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0.0),
        ("a b", 0.0),
        ("a b c", 0.0),
        ("a b c d e", 0.0),
        # abc bca cab abc: 3 of 4 differ.
        ("a b c a b c", -0.25),
        ("a a a a a a", -0.75),
    ],
)
def test_repetition_by_hand(text: str, value: float) -> None:
    assert Repetition()(raw(text), CHOICE) == value


def test_both_are_trls_for_the_same_tokens() -> None:
    trl = pytest.importorskip("trl.rewards")
    overlong, repetition = trl.get_soft_overlong_punishment(40, 15), trl.get_repetition_penalty_reward(4, -1.0)
    rng = random.Random(0)
    ids = [[rng.randrange(6) for _ in range(rng.randrange(60))] for _ in range(300)]
    ours = [raw(" ".join(f"w{number}" for number in row)) for row in ids]
    assert [Length(40, 15)(answer, CHOICE) for answer in ours] == overlong(completion_ids=ids)
    theirs = repetition(completion_ids=ids)
    assert [Repetition(4)(answer, CHOICE) for answer in ours] == pytest.approx(theirs)
    assert len(set(theirs)) > 20
