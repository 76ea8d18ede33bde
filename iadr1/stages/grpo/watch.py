"""A watchdog over a GRPO run: says when it goes wrong, by what sign, and what to try."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from iadr1.provenance import write_run
from iadr1.stages.grpo.log import StepLog, step_log
from iadr1.stages.training.processes import is_first

SPAN = 10
"""Steps over which means are taken, and for which a fault must be gone before it is told again."""

_Fault = Callable[["Watchdog"], bool]


class Watchdog:
    """Looks at each step and names what goes wrong: once when it begins, again only after it was gone for a while.

    Attributes:
        told: Every warning so far, as `step N: ...`.
    """

    def __init__(self) -> None:
        self.told: list[str] = []
        self._last: deque[StepLog] = deque(maxlen=SPAN)
        self._best = -math.inf
        self._seen: dict[str, int] = {}

    def look(self, entry: StepLog) -> list[str]:
        """The warnings that begin with this step."""
        self._last.append(entry)
        new = []
        for text, fault in _FAULTS.items():
            if fault(self):
                before = self._seen.get(text)
                if before is None or entry.step - before > SPAN:
                    new.append(f"step {entry.step}: {text}")
                self._seen[text] = entry.step
        if self._full and math.isfinite(self._mean("reward")):
            self._best = max(self._best, self._mean("reward"))
        self.told += new
        return new

    @property
    def _full(self) -> bool:
        return len(self._last) == SPAN

    def _mean(self, field: str) -> float:
        return fmean(getattr(entry, field) for entry in self._last)

    def not_a_number(self) -> bool:
        """A figure of the last step that moves the weights is NaN or infinite."""
        entry = self._last[-1]
        return not all(map(math.isfinite, (entry.loss, entry.grad_norm, entry.reward, entry.kl or 0.0)))

    def flat(self) -> bool:
        """Nearly all groups have had one reward for all their answers."""
        return self._full and self._mean("flat_groups") > 0.9

    def collapsed(self) -> bool:
        """The mean reward has lost half of its best value.

        Half of nothing is nothing: with a best at or below 0 it has to lose more than the answers of a group differ.
        """
        if not self._full or not math.isfinite(self._best):
            return False
        margin = self._best / 2 if self._best > 0 else max(-self._best / 2, self._mean("reward_std"))
        return self._best - self._mean("reward") > margin

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
    "loss, gradient, reward or KL is not a finite number, and the weights are most likely lost: go back to a "
    "checkpoint from before this step, lower learning_rate, train in bf16 or float32, check the reward for extreme "
    "values": Watchdog.not_a_number,
    f"in the last {SPAN} steps over 90 % of the groups had one and the same reward, so nothing is learned from them: "
    "raise temperature or generations, leave out what is always right or wrong (difficulty=8), or use a reward with "
    "more levels": Watchdog.flat,
    f"the reward of the last {SPAN} steps has collapsed, to less than half of its best: lower learning_rate, raise "
    "beta, or go back to an earlier checkpoint": Watchdog.collapsed,
    f"in the last {SPAN} steps fewer than half of the answers could be read: look at them (iadr1 completions), "
    "fine-tune on the format first (iadr1 sft), or add format=0.1 to the reward": Watchdog.unreadable,
    f"in the last {SPAN} steps over 30 % of the answers were cut off: raise max_new_tokens, or set "
    "mask_truncated=true": Watchdog.cut_off,
    f"the KL divergence stood above 1 for {SPAN} steps, the policy has left the base model: lower learning_rate or "
    "raise beta": Watchdog.far_away,
}
"""What is said, and when."""


class StepWatch:
    """What happens at each step besides its line in the log.

    The watchdog looks at it, its warnings reach the user and `run.json` at once (a run that is killed has told them),
    `on_step` is called, and the user's own function also learns how many steps there will be.

    Args:
        out: The run's folder.
        info: What `run.json` holds.
        steps: Steps of the whole run.
        note: Called with lines for the user.
        on_log: Called with each step's figures.

    Attributes:
        on_step: Called at each step before the watchdog looks.
    """

    def __init__(
        self,
        out: Path,
        info: dict[str, Any],
        steps: int,
        *,
        note: Callable[[str], None],
        on_log: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self._out, self._info, self._steps, self._note, self._on_log = out, info, steps, note, on_log
        self._watchdog = Watchdog()
        self.on_step: Callable[[], None] = lambda: None

    @property
    def told(self) -> list[str]:
        """Every warning so far, also of earlier calls."""
        return list(self._watchdog.told)

    def replay(self, entries: Iterable[StepLog]) -> None:
        """Show the watchdog what an earlier call has logged; nothing is told again."""
        for entry in entries:
            self._watchdog.look(entry)

    def entry(self, step: int, logs: dict[str, Any]) -> StepLog | None:
        """The line of a step; None for the trainer's closing summary."""
        line = step_log(step, logs)
        if line is None:
            return None
        self.on_step()
        if warnings := self._watchdog.look(line):
            self._tell(warnings)
        return line

    def weights_lost(self, step: int) -> None:
        """Tell that a step has made weights that nothing can be computed with."""
        warning = f"step {step}: the weights are NaN or beyond bounds"
        self._watchdog.told.append(warning)
        self._tell([warning])

    def _tell(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self._note(f"Warning: {warning}")
        self._info["warnings"] = self.told
        if is_first():
            write_run(self._out, self._info)

    def on_log(self, figures: dict[str, float]) -> None:
        """Pass a step's figures on."""
        if self._on_log is not None:
            self._on_log(figures | {"steps": float(self._steps)})
