"""Odd completions, as many as wanted, the same for the same seed: what models write when they go wrong, and worse."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

_TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<location>", "</location>", "<type>", "</type>"]
_WORDS = [
    *(
        "A",
        "B",
        "b",
        "E",
        "A crack",
        "BAD",
        "The answer is B.",
        "not B",
        "(C)",
        "答案是B",
        "是",
        "ANSWER",
        "Yes",
        "no",
        "No.",
    ),
    *(
        "top left",
        "flower",
        "upright",
        "scratch",
        "!",
        "s",
        "surface anomalies",
        "through-hole",
        "é",
        "ß",
        "İ",
        "\ud800",
    ),
    *(
        "\x00",
        "\u2028",
        "\u200b",
        "🙂",
        "\n",
        "\t",
        "  ",
        ",",
        ".",
        "'",
        '"',
        "\\",
        "```json",
        "```",
        "%s",
        "{}",
        "nan",
    ),
    *(
        "[1, 2, 3, 4]",
        "[[1, 2, 3, 4]]",
        '{"bbox_2d": [0, 0, 9, 9], "label": "hole"}',
        '{"bbox_2d": ',
        "[]",
        "{",
        "}",
        "null",
    ),
    *('{"bbox_2d": [9, 9, 0, 0]}', '{"bbox_2d": [1e999, NaN, -5, Infinity]}', "[" * 40, '{"label": "x", "bbox": [1]}'),
    '{"bbox_2d": [' + "9" * 400 + ", 1, 2, 3]}",
]
_ANSWERS = [
    "B",
    "b",
    "E",
    "",
    "Yes",
    "No",
    "no.",
    "[]",
    '[{"bbox_2d": [1, 2, 30, 40], "label": "x"}]',
    "Broken edge",
    "A or B",
]


def _words(rng: random.Random, most: int) -> str:
    return rng.choice(["", " "]).join(rng.choice(_WORDS) for _ in range(rng.randrange(most)))


def _soup(rng: random.Random) -> str:
    return "".join(rng.choice(_TAGS) if rng.random() < 0.5 else _words(rng, 3) for _ in range(rng.randrange(14)))


def _blocks(rng: random.Random) -> str:
    """Nearly what was asked for."""
    gap = rng.choice(["", "", "\n", " ", "x"])
    middle = rng.choice(["", f"<location>{_words(rng, 3)}</location>{gap}<type>{_words(rng, 3)}</type>{gap}"])
    end = rng.choice(["</answer>", "</answer>", "</answer>", "", "</answer><answer>B</answer>", "</answer>so"])
    answer = rng.choice([*_ANSWERS, _words(rng, 4)])
    return f"<think>{_words(rng, 8)}</think>{gap}{middle}<answer>{answer}{end}"


def _loop(rng: random.Random) -> str:
    return rng.choice([*_TAGS, *_WORDS]) * rng.randrange(1, 60)


def _noise(rng: random.Random) -> str:
    return "".join(
        chr(rng.choice((rng.randrange(128), rng.randrange(0x3000), 0x4E00))) for _ in range(rng.randrange(40))
    )


def odd_completions(number: int, *, seed: int) -> Iterator[str]:
    """So many completions: tag soup, nearly right ones, endless repetition, and characters of any kind."""
    rng = random.Random(seed)
    kinds: list[Callable[[random.Random], str]] = [_soup, _blocks, _blocks, _loop, _noise]
    for _ in range(number):
        yield rng.choice(kinds)(rng)
