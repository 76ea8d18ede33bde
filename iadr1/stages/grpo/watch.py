"""A watchdog over a GRPO run: says when the reward is flat or collapses, and what to try."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from iadr1.stages.grpo.log import StepLog

SPAN = 10
"""Steps a fault must last, and over which means are taken."""

_Fault = Callable[["Watchdog"], bool]


class Watchdog:
    """Looks at each step and names what went wrong, once until it has gone away again.

    Attributes:
        told: Every warning so far, as `step N: ...`.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self._last: deque[StepLog] = deque(maxlen=SPAN)
        self._best = -math.inf
        self._active: set[str] = set()

    def look(self, entry: StepLog) -> list[str]:
        """The warnings that begin with this step."""
        self._last.append(entry)
        new = []
        for text, fault in _FAULTS.items():
            present = fault(self)
            if present and text not in self._active:
                new.append(f"step {entry.step}: {text}")
            self._active = self._active | {text} if present else self._active - {text}
        if len(self._last) == SPAN:
            self._best = max(self._best, self._mean("reward"))
        self.told += new
        return new

    @property
    def _full(self) -> bool:
        return len(self._last) == SPAN

    def _mean(self, field: str) -> float:
        return float(sum(getattr(entry, field) for entry in self._last)) / len(self._last)

    def not_a_number(self) -> bool:
        """The last step's loss or gradient is NaN or infinite."""
        entry = self._last[-1]
        return not (math.isfinite(entry.loss) and math.isfinite(entry.grad_norm))

    def flat(self) -> bool:
        """Nearly all groups have had one reward for all their answers."""
        return self._full and self._mean("flat_groups") > 0.9

    def collapsed(self) -> bool:
        """The mean reward has lost half of its best value."""
        return self._full and self._best > 0 and self._mean("reward") < 0.5 * self._best

    def unreadable(self) -> bool:
        """Most answers cannot be parsed."""
        return self._full and self._mean("parse_rate") < 0.5

    def cut_off(self) -> bool:
        """Many answers run into the length limit."""
        return self._full and self._mean("clipped") > 0.3

    def far_away(self) -> bool:
        """The policy has moved far from the model it started from."""
        return self._full and all(entry.kl is not None and entry.kl > 1.0 for entry in self._last)


_FAULTS: dict[str, _Fault] = {
    "loss or gradient is not a number; the weights are lost: go back to the last checkpoint, lower learning_rate, "
    "train in bf16 or float32, check the reward for extreme values": Watchdog.not_a_number,
    f"in the last {SPAN} steps over 90 % of the groups had one and the same reward, so nothing is learned from them: "
    "raise temperature or generations, leave out what is always right or wrong (difficulty=8), or use a reward with "
    "more levels": Watchdog.flat,
    f"the reward of the last {SPAN} steps is below half of its best: lower learning_rate, raise beta, or go back to an "
    "earlier checkpoint": Watchdog.collapsed,
    f"in the last {SPAN} steps fewer than half of the answers could be read: look at completions/, fine-tune on the "
    "format first (iadr1 sft), or add format=0.1 to the reward": Watchdog.unreadable,
    f"in the last {SPAN} steps over 30 % of the answers were cut off: raise max_new_tokens, or mask_truncated=true": (
        Watchdog.cut_off
    ),
    f"the KL divergence stood above 1 for {SPAN} steps: the policy has left the base model; lower learning_rate or "
    "raise beta": Watchdog.far_away,
}
"""What is said, and when."""
