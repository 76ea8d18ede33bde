"""An event loop on a thread of its own, so that a plain call can run many requests at a time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


class BackgroundLoop:
    """Runs coroutines for callers of any thread, also for those within an event loop of their own (notebooks).

    One loop for the life of an engine keeps its connections from one batch to the next.

    Args:
        at_end: Awaited when the loop ends, to close what lives in it.
    """

    def __init__(self, at_end: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        threading.Thread(target=_live, args=(self._loop, self._ended, at_end), daemon=True).start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it to its end; when the caller is interrupted, it is cancelled, and nothing of it goes on."""
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            done.result()
        finally:
            done.cancel()  # changes nothing where it is done

    def end(self) -> None:
        """End the loop without waiting; may be called from any thread, and more than once."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._ended.set)


def _live(loop: asyncio.AbstractEventLoop, ended: asyncio.Event, at_end: Callable[[], Awaitable[None]]) -> None:
    async def wait() -> None:
        await ended.wait()
        await at_end()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(wait())
