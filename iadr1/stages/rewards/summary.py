"""What stands out among scored completions: the histogram, and the rows worth a look before training on a reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iadr1.prompts import ParseStatus

_BINS = 10


@dataclass(frozen=True)
class Scored:
    """One line's result.

    Attributes:
        number: The line in the file, from 1.
        value: The reward; None where none applies.
        status: How the completion could be read.
        right: Whether its answer is the true one; None where that cannot be said.
        completion: The whole text.
    """

    number: int
    value: float | None
    status: ParseStatus
    right: bool | None
    completion: str


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram: values from `low` to `high`, which are equal where the bar is a single value."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Strange:
    """Lines that are odd in one way, the oddest first; `repeats` counts the lines a text stands on."""

    title: str
    rows: tuple[Scored, ...]
    repeats: tuple[int, ...] = ()


def histogram(values: Sequence[float]) -> list[Bar]:
    """One bar for each value where there are at most ten different ones, else ten bars of equal width."""
    counts = Counter(values)
    if len(counts) <= _BINS:
        return [Bar(value, value, count) for value, count in sorted(counts.items())]
    low, high = min(values), max(values)
    width = (high - low) / _BINS
    places = Counter(min(_BINS - 1, int((value - low) / width)) for value in values)
    return [Bar(low + place * width, low + (place + 1) * width, places[place]) for place in range(_BINS)]


def strangest(rows: Sequence[Scored]) -> list[Strange]:
    """Groups of odd lines; a group without lines is left out.

    Above and below mean the middle between the lowest and the highest reward of the file; where all rewards are equal
    nothing is above or below.
    """
    valued = [(row, row.value) for row in rows if row.value is not None]
    low, high = min((v for _, v in valued), default=0.0), max((v for _, v in valued), default=0.0)
    middle = (low + high) / 2
    above = [row for row, value in sorted(valued, key=lambda pair: -pair[1]) if value > middle]
    below = [row for row, value in sorted(valued, key=lambda pair: pair[1]) if value < middle]
    found = [
        Strange("unreadable, yet rewarded", _of(row for row in above if row.status == "failed")),
        Strange("wrong, yet rewarded", _of(row for row in above if row.right is False and row.status != "failed")),
        Strange("right, yet hardly rewarded", _of(row for row in below if row.right)),
        _repeated(rows),
    ]
    return [group for group in found if group.rows]


def _of(rows: Iterable[Scored]) -> tuple[Scored, ...]:
    return tuple(rows)


def _repeated(rows: Sequence[Scored]) -> Strange:
    """Texts that stand on several lines, most frequent first, each by its first line."""
    counts = Counter(row.completion for row in rows)
    first = {row.completion: row for row in reversed(rows)}
    often = [(text, count) for text, count in counts.most_common() if count > 1]
    return Strange(
        "the same completion again",
        tuple(first[text] for text, _ in often),
        tuple(count for _, count in often),
    )
