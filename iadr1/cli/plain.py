"""Text of others as one line for the terminal."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

_LABELS = 5
"""Most labels named of a photo; the report names all."""


def plain(text: str) -> str:
    """Without line breaks and control characters: a file's name or a model's words shall not steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def named(labels: Collection[str]) -> list[str]:
    """Each label once, the first few of them, and how many more there are."""
    different = dict.fromkeys(map(plain, labels))
    more = len(different) - _LABELS
    return [*islice(different, _LABELS), *([f"{more} more"] if more > 0 else [])]
