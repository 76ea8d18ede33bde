"""One way to work on many items at once: threads, results in order, never more than a window in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered(function: Callable[[T], R], items: Iterable[T], *, workers: int | None = None) -> Iterator[R]:
    """`map(function, items)` on threads, lazily and in order; memory is bounded by a window of items.

    Meant for reading, decoding and hashing files, which release Python's lock. The first error is raised where its
    item's result would have come; what has not begun by then is dropped.

    Args:
        function: Called from several threads at once.
        items: Taken one by one, on the caller's thread.
        workers: Number of threads; by default one for each core, at most 16.
    """
    count = workers or min(16, os.cpu_count() or 1)
    window: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                window.append(pool.submit(function, item))
                if len(window) >= 8 * count:
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()
