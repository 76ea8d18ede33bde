"""What keeps the answers of a run from being complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iadr1.errors import DataError

_LISTED = 10


@dataclass(frozen=True)
class Gaps:
    """What keeps answers from being complete.

    Attributes:
        missing: Questions without an answer.
        doubled: Questions with several answers, of which the first counts.
        shards: Names of whole shards that are not there.
    """

    missing: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.doubled)

    def describe(self) -> str:
        """All in words, with the first ten of each."""
        parts = [
            f"{len(names)} {what}: {listed(names)}"
            for names, what in (
                (self.shards, "shards are not there"),
                (self.missing, "questions have no answer"),
                (self.doubled, "questions have more than one answer"),
            )
            if names
        ]
        return "; ".join(parts)


def listed(names: Sequence[str]) -> str:
    """The first ten of names, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def find_gaps(wanted: Sequence[str], given: Sequence[str], *, shards: Sequence[str] = ()) -> Gaps:
    """What of `wanted` is not in `given`, and what stands there more than once.

    Args:
        wanted: Keys of the answers there should be.
        given: Keys of the answers there are.
        shards: Names of the shards that are not there.
    """
    times = Counter(given)
    missing = tuple(name for name in wanted if name not in times)
    return Gaps(missing, tuple(name for name, number in times.items() if number > 1), tuple(shards))


def refuse_gaps(gaps: Gaps, path: Path, *, partial: bool) -> None:
    """Raise a DataError that lists what is missing and doubled, unless `partial`."""
    if gaps and not partial:
        raise DataError(
            gaps.describe(),
            where=str(path),
            hint="let the run finish, or score what is there with --partial, where the first of several answers counts",
        )
