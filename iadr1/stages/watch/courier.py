"""Sends messages in the background, each until it has arrived, so that a receiver never holds up the inspection."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from iadr1.errors import DataError, OutputError
from iadr1.stages.watch.outbox import Counts, Entry, Outbox
from iadr1.stages.watch.sinks import PassingError, RefusedError, Sink

FIRST_PAUSE_S = 1.0
"""Pause after the first fault; it doubles with each further one."""
LONGEST_PAUSE_S = 60.0
"""Longest pause between two tries, unless the receiver asks for a longer one."""


class Courier:
    """One sink's thread: messages in order, one at a time, with growing pauses after faults.

    Args:
        sink: Where they go.
        outbox: Where they come from.
        timeout_s: Seconds until a try counts as failed.
        note: Takes one line when deliveries begin to fail, work again, or one is refused. Called from the thread.

    Attributes:
        trouble: Why nothing arrives at the moment; empty where all is well.
    """

    def __init__(
        self,
        sink: Sink,
        outbox: Outbox,
        *,
        timeout_s: float,
        note: Callable[[str], None],
    ) -> None:
        self.sink, self.trouble = sink, ""
        self._outbox, self._timeout_s, self._note = outbox, timeout_s, note
        self._deadline: float | None = None
        # A hanging receiver must not keep the process alive: what is not confirmed is sent again by the next one.
        self._thread = threading.Thread(target=self._run, name=f"iadr1-{sink.kind}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> Counts:
        """How much has been sent and is waiting."""
        return self._outbox.counts(self.sink.kind)

    def finish(self, deadline: float) -> None:
        """From now on try only until the deadline, by `time.monotonic`; does not wait for it."""
        with self._outbox.changed:
            self._deadline = deadline
            self._outbox.changed.notify_all()

    def join(self) -> None:
        """Wait until it has ended, or the deadline of `finish` has passed."""
        self._thread.join(max(0.0, (self._deadline or 0.0) - time.monotonic()) + 1.0)

    def _run(self) -> None:
        faults = 0
        while (entry := self._next()) is not None:
            try:
                self._send(entry)
            except PassingError as error:
                faults += 1
                self._tell(error.reason)
                if not self._pause(self._pause_s(faults, error.wait)):
                    break
            else:
                faults = 0
                self._tell("")
        self.sink.close()

    def _next(self) -> Entry | None:
        """The next message, as soon as there is one; None where it is time to end."""
        kind = self.sink.kind
        while True:
            try:
                entry = self._outbox.next(kind)
            except DataError as error:
                self.trouble = str(error)
                self._note(f"{kind}: {error}; nothing more is sent until the next start")
                return None
            with self._outbox.changed:
                if self._deadline is not None and (entry is None or time.monotonic() >= self._deadline):
                    return None
                if entry is not None:
                    return entry
                if not self._outbox.has_news(kind):
                    self._outbox.changed.wait()

    def _send(self, entry: Entry) -> None:
        kind = self.sink.kind
        try:
            try:
                self.sink.send(entry.message, timeout_s=self._left())
            except RefusedError as error:
                self._note(f"{kind}: refused for good, kept in {self._outbox.refusals.name}: {error}")
                self._outbox.refuse(kind, entry, str(error))
            else:
                self._outbox.deliver(kind, entry)
        except OutputError as error:
            raise PassingError(str(error)) from error

    def _left(self) -> float:
        if self._deadline is None:
            return self._timeout_s
        return max(0.1, min(self._timeout_s, self._deadline - time.monotonic()))

    def _pause_s(self, faults: int, wanted: float | None) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(faults - 1, 20))
        # Many that failed together shall not come back together.
        return max(longest * random.uniform(0.5, 1.0), wanted or 0.0)

    def _pause(self, seconds: float) -> bool:
        """Wait; False where the deadline comes before the pause is over."""
        until = time.monotonic() + seconds
        with self._outbox.changed:
            while (now := time.monotonic()) < until:
                if self._deadline is not None and until >= self._deadline:
                    return False
                self._outbox.changed.wait(until - now)
        return True

    def _tell(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            self._note(f"{self.sink.kind}: {trouble}; tried again" if trouble else f"{self.sink.kind}: works again")
        self.trouble = trouble
