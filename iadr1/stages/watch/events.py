"""What a watcher tells while it runs, and how it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iadr1.records import Detection
from iadr1.stages.watch.outbox import Counts

_SLICE_S = 0.1


class Stop:
    """A wish to end, made by a signal handler or another thread.

    Plain attributes and short sleeps: a lock that a signal handler takes may be held by the code it interrupts.
    """

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """End after the photos that are being looked at."""
        self.requested = True

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond a request."""
        until = time.monotonic() + seconds
        while not self.requested and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_S))


@dataclass(frozen=True)
class Status:
    """How a watcher stands.

    Attributes:
        counts: Photos looked at in this run, by verdict.
        errors: Of these, files that could not be looked at.
        waiting: Files in the folder with which something is still to be done.
        trouble: What keeps the watcher from working at the moment; empty where nothing does.
        sinks: For each sink its counts, and why nothing arrives at the moment.
    """

    counts: Mapping[str, int]
    errors: int = 0
    waiting: int = 0
    trouble: str = ""
    sinks: Mapping[str, tuple[Counts, str]] = field(default_factory=dict)


def _ignore(value: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Listener:
    """Who is told.

    Attributes:
        photo: Takes each record, once it is written through to the disk.
        note: Takes a line about something out of the ordinary; also called from the threads of the sinks.
        status: Takes how the watcher stands, several times a second at most.
    """

    photo: Callable[[Detection], None] = _ignore
    note: Callable[[str], None] = _ignore
    status: Callable[[Status], None] = _ignore


@dataclass(frozen=True)
class WatchSummary:
    """What a run of the watcher did.

    Attributes:
        status: How it stood at the end.
        out: The folder of the results.
        earlier: Photos that earlier runs had looked at.
        unanswered: Photos left for the next run, since the model gave no answer (with `once`).
        unread: Sub-folders that could not be read at the last look, and why; what is in them was not seen.
    """

    status: Status
    out: Path
    earlier: int = 0
    unanswered: int = 0
    unread: Mapping[str, str] = field(default_factory=dict)
