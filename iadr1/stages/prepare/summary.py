"""What every way to prepare samples gives back, and what it is told while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Called with what is being made, how much of it is done, and of how much (0 where that is not known before)."""


@dataclass(frozen=True)
class PrepareSummary:
    """What a run did.

    Attributes:
        lines: The same in words, for the terminal.
        records: JSONL file -> number of samples in it.
        written: Files written.
        unchanged: Files found as they should be.
        broken: File of the set -> why it cannot be read; its samples are left out.
    """

    lines: list[str]
    records: dict[Path, int] = field(default_factory=dict)
    written: int = 0
    unchanged: int = 0
    broken: dict[str, str] = field(default_factory=dict)
