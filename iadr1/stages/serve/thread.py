"""The one thread that owns the model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class EngineThread:
    """Runs one call at a time, always on the same thread, for callers in an event loop.

    A model in this process is not shared by threads. The thread ends with the process, so that a call that hangs in
    the engine keeps nobody from stopping the server.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result, or what it raised; calls begin in the order they came."""

        async def on_the_thread() -> T:
            return call()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(on_the_thread(), self._loop))

    def end(self, *, wait_s: float) -> bool:
        """End it behind the call under way; whether that ended within `wait_s`."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(wait_s)
        return not self._thread.is_alive()
