"""The calibration that lies at `--out` already: it stays, unless with `--overwrite`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from iadr1.config import CalibrateConfig
from iadr1.errors import UsageError
from iadr1.stages.inspection.calibrated import Calibration, Way, parse_calibration, read_calibration

_ELSE = "name another --out, or replace it with --overwrite"
_OTHERS = "of other photos, to judge by their scores"
_REPEATED = 1e-6
"""How far the scores of one photo may lie apart: batches of another size are computed in another order."""


@dataclass(frozen=True)
class Earlier:
    """The calibration that `out` holds and that is not to be replaced; None where there is none."""

    config: CalibrateConfig
    found: Calibration | None

    @classmethod
    def of(cls, config: CalibrateConfig) -> Earlier:
        """What there is.

        Raises:
            UsageError: It cannot be read, so that nobody knows what would be replaced.
        """
        if config.overwrite or not config.out.exists():
            return cls(config, None)
        try:
            return cls(config, parse_calibration(config.out))
        except UsageError as error:
            raise UsageError(f"--out is there already: {error.message}", where=str(config.out), hint=_ELSE) from error

    def check(self, normals: int, anomalies: int) -> None:
        """Refuse, before a model is loaded, what is sure to end in another calibration.

        Args:
            normals: How many good photos there are.
            anomalies: How many bad ones.

        Raises:
            UsageError: The budget is another one, or there are too few photos for the calibration that is there.
        """
        if self.found is None:
            return
        if self.found.fpr_budget != self.config.fpr:
            self._refuse(f"for --fpr {self.found.fpr_budget:g}, here {self.config.fpr:g}")
        # What cannot be scored is not counted there, and may be one of these.
        if normals < self.found.normals or anomalies < self.found.anomalies:
            there = f"{self.found.normals} normal and {self.found.anomalies} bad photos"
            self._refuse(f"of {there}, here are {normals} and {anomalies}")

    def check_way(self, way: Way) -> None:
        """Refuse another way of scoring.

        Raises:
            UsageError: What is otherwise.
        """
        if self.found is not None:
            try:
                read_calibration(self.config.out, way)
            except UsageError as error:
                self._refuse(error.message)

    def check_score(self, score: float) -> None:
        """Refuse at the first photo whose score is none of those that the calibration was made from.

        Raises:
            UsageError: It is none of them.
        """
        if self.found is not None and not any(abs(score - known) <= _REPEATED for known in self._scores):
            self._refuse(_OTHERS)

    def same(self, found: Calibration, errors: Sequence[str]) -> Calibration | None:
        """The earlier one where it was made from the same scores; None where there is none.

        Args:
            found: The new one, of the same way and budget (`check`, `check_way`).
            errors: Why photos have no score here.

        Raises:
            UsageError: It says something else.
        """
        if self.found is None:
            return None
        pairs = (
            (found.scores.normals, self.found.scores.normals),
            (found.scores.anomalies, self.found.scores.anomalies),
        )
        for here, there in pairs:
            if len(here) != len(there) or any(abs(a - b) > _REPEATED for a, b in zip(here, there, strict=True)):
                unscored = f"; {len(errors)} here could not be scored, the first: {errors[0]}" if errors else ""
                self._refuse(f"{_OTHERS}{unscored}")
        return self.found

    @cached_property
    def _scores(self) -> frozenset[float]:
        return frozenset((*self.found.scores.normals, *self.found.scores.anomalies)) if self.found else frozenset()

    def _refuse(self, why: str) -> NoReturn:
        raise UsageError(f"--out {str(self.config.out)!r} holds another calibration: {why}", hint=_ELSE)
