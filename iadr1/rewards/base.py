"""What a reward is, and what the table of rewards says of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iadr1.prompts import Answer
from iadr1.records import Sample

Reward = Callable[[Answer, Sample], float | None]
"""What one completion is worth: a finite number, or None where the reward does not apply to the sample."""


@dataclass(frozen=True)
class RewardInfo:
    """One row of the table of rewards.

    Attributes:
        function: The reward itself.
        low: The lowest value it can give.
        high: The highest value it can give.
        what: One line on what is rewarded.
        source: Paper section or published file.
        needs: What a sample must have for the reward to apply: `options`, `verdict`, `answer` (either of these two),
            `boxes` or `any`.
        make: Builds the reward from the text after `@`, for a reward that takes one.
        argument: What that text is.
        extra: The package it needs and the extra of iadr1 that installs it.
    """

    function: Reward
    low: float
    high: float
    what: str
    source: str
    needs: str
    make: Callable[[str], Reward] | None = None
    argument: str = ""
    extra: tuple[str, str] | None = None
