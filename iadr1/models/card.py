"""What a model's card, the README.md in its folder, says of licences: the hub's form, and the lines iadr1 writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CLEARED = "The licences of base and data permit commercial use."
_BLOCKED = "Not cleared for commercial use: "
_BASE = re.compile(r"^\| base \| .* \(licence: (.*)\) \|$", re.MULTILINE)
_CARDS = ("README.md", "MODEL_CARD.md")


class Stated(NamedTuple):
    """A licence and the name of the file that states it."""

    licence: str
    card: str


class Trained(NamedTuple):
    """What the card of a model that iadr1 trained says: the licence of its base, and whether products may use it."""

    base_licence: str
    use: str
    cleared: bool
    card: str


def stated_licence(folder: Path) -> Stated | None:
    """The licence that the front matter of a model's card names; None where there is none.

    Args:
        folder: The model's folder.
    """
    for name, text in _cards(folder):
        licence = _front(text).get("license")
        if isinstance(licence, str):
            named = _front(text).get("license_name") if licence == "other" else None
            return Stated(str(named or licence), name)
    return None


def trained_card(folder: Path) -> Trained | None:
    """What the card that `iadr1 train` and its like wrote says; None where there is none.

    Args:
        folder: The model's folder.
    """
    for name, text in _cards(folder):
        base = _BASE.search(text)
        use = next((line for line in text.splitlines() if line == CLEARED or line.startswith(_BLOCKED)), None)
        if base is not None and use is not None:
            return Trained(_read(base[1]), _read(use), use == CLEARED, name)
    return None


def base_line(base: str, licence: str) -> str:
    """The line of the card's table about the model that the training began with."""
    return f"| base | {plain(base)} (licence: {plain(licence)}) |"


def use_line(blocked: list[str]) -> str:
    """The line of the card about products.

    Args:
        blocked: Licences of base and data that do not permit commercial use, or do not say.
    """
    return f"{_BLOCKED}{plain(', '.join(blocked))}." if blocked else CLEARED


def plain(text: str) -> str:
    """Text of others as one line of Markdown: no line break, table border, link or tag of theirs takes effect."""
    line = " ".join(text.split())
    for mark in "\\`*_|[]<>#":
        line = line.replace(mark, f"\\{mark}")
    return line


def _read(text: str) -> str:
    """The text that `plain` was given."""
    return re.sub(r"\\(.)", r"\1", text)


def _cards(folder: Path) -> Iterator[tuple[str, str]]:
    for name in _CARDS:
        if (folder / name).is_file():
            yield name, (folder / name).read_text(encoding="utf-8", errors="replace")


def _front(text: str) -> dict[str, Any]:
    """The YAML front matter of a card; empty where there is none."""
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        front = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}  # somebody else's card; it says nothing that can be read
    return front if isinstance(front, dict) else {}
