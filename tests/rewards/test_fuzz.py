"""100,000 odd completions at every reward: no exception, a finite number in the declared range, or None.

They come in 20 parts, so that several test processes can share them; IADR1_FUZZ=10000 in the environment throws fewer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import Format, parse
from iadr1.records import Defect, Sample
from iadr1.rewards import TABLE, Reward
from iadr1.rewards.reasoning import RoamEmbedding
from tests.rewards.odd import odd_completions
from tests.rewards.samples import CHOICE, anomaly, choice, sample, with_boxes

PARTS = 20
PER_PART = int(os.environ.get("IADR1_FUZZ", "100000")) // PARTS
NEEDS: Mapping[Format, set[str]] = {
    "choice": {"options", "answer", "any"},
    "structured": {"verdict", "answer"},
    "boxes": {"boxes"},
    "grounding": {"boxes"},
}
"""Format -> what the rewards that apply to it need."""
FRAME = BoxFrame(BoxSpace.INPUT_PX, (100, 80), (56, 84))
BOXED = Defect(type="hole", box=(0, 0, 9, 9), location="top left")
SITUATIONS: Mapping[Format, tuple[Sample, ...]] = {
    "choice": (CHOICE, choice("A", reasoning="A crack is visible at the rim.")),
    "structured": (
        anomaly("No"),
        anomaly("Yes", BOXED, Defect(type="scratch, stain", location="edge"), image_size=(100, 80)),
    ),
    "boxes": (with_boxes(), with_boxes((0, 0, 9, 9), (20, 20, 40, 40))),
    "grounding": (sample(task="grounding", defects=(BOXED,)),),
}


def by_length(texts: Sequence[str]) -> Any:
    """Stands in for an embedding model: unit vectors at an angle that depends on the text, all around the circle."""
    angles = np.array([len(text) for text in texts], dtype=float)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def function_of(name: str) -> Reward:
    return RoamEmbedding(encode=by_length) if name == "roam-embedding" else TABLE[name].function


def situations(turn: int) -> Iterator[tuple[Format, Sample]]:
    """A truth of each kind that a reward can apply to, another one each turn."""
    formats: tuple[Format, ...] = ("choice", "structured", "boxes" if turn % 3 else "grounding")
    for fmt in formats:
        yield fmt, SITUATIONS[fmt][turn % len(SITUATIONS[fmt])]


@pytest.mark.parametrize("part", range(PARTS))
def test_odd_completions_get_a_number_in_the_declared_range(part: int) -> None:
    rows = {
        fmt: [(name, function_of(name), row.low, row.high) for name, row in TABLE.items() if row.needs in needs]
        for fmt, needs in NEEDS.items()
    }
    for turn, text in enumerate(odd_completions(PER_PART, seed=part)):
        for fmt, truth in situations(turn):
            answer = parse(text, fmt, options=truth.options, frame=FRAME)
            for name, function, low, high in rows[fmt]:
                value = function(answer, truth)
                assert value is None or (math.isfinite(value) and low <= value <= high), (name, value, truth, text)


def test_the_odd_completions_move_every_reward() -> None:
    """Guards the fuzz itself: completions that nobody can read would show nothing. Here all meet all."""
    seen: dict[str, set[float]] = {name: set() for name in TABLE}
    for turn, text in enumerate(odd_completions(3_000, seed=99)):
        for fmt, truth in situations(turn):
            answer = parse(text, fmt, options=truth.options, frame=FRAME)
            values = ((name, function_of(name)(answer, truth)) for name in TABLE)
            for name, value in values:
                seen[name] |= set() if value is None else {value}
    assert not {name: values for name, values in seen.items() if len(values) < 2}
