"""When the next request to a server may begin: its rate limit, and pauses that all requests share."""

from __future__ import annotations

import asyncio
import random
import time

_LONGEST_S = 30.0
"""The longest a failed request waits by itself."""
_FIRST_GAP_S = 0.02
_EASE = 0.9
_SMALL_S = 0.001


class Pace:
    """Holds back requests so that a server's limits are kept.

    Where the server says "too many requests", all requests pause for the time it asks for and then begin at a growing
    distance, which shrinks again with every answer: one worker that waits alone would leave the others to be refused.

    Args:
        per_minute: Most requests begun in a minute; 0 for no limit.
        base_s: Seconds that a request waits before its second try; doubled for each further one.
    """

    def __init__(self, per_minute: int, *, base_s: float) -> None:
        self._least_gap = 60.0 / per_minute if per_minute else 0.0
        self._gap = self._least_gap
        self._base = base_s
        self._next = 0.0  # the earliest moment at which a request may begin; moments are those of `time.monotonic`
        self._slowed = 0.0

    async def turn(self) -> float:
        """Wait until a request may begin; gives the moment at which it does."""
        while (wait := self._next - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        # No other task runs between the look and this, so each moment is given once.
        now = time.monotonic()
        self._next = now + self._gap
        return now

    def answered(self) -> None:
        """The server has answered: it may be asked a little faster."""
        gap = self._gap * _EASE
        self._gap = max(self._least_gap, gap if gap > _SMALL_S else 0.0)

    def refused(self, began: float, wait: float) -> None:
        """The server is asked too often: pause for `wait` seconds, then go on at double the distance.

        Requests that were under way together are one reason to slow down, not many.

        Args:
            began: The moment at which the refused request began.
            wait: Seconds.
        """
        now = time.monotonic()
        self._next = max(self._next, now + wait)
        if began > self._slowed:
            self._slowed = now
            self._gap = max(2 * self._gap, _FIRST_GAP_S)

    def backoff(self, tries: int) -> float:
        """Seconds to wait after so many failed tries (from 1): exponential, with jitter."""
        return float(min(_LONGEST_S, self._base * 2 ** min(tries - 1, 20)) * random.uniform(0.75, 1.25))
