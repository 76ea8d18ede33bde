"""A failure as a value, so that one request's failure never ends the loop that works for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def attempt(work: Awaitable[T]) -> T | BaseException:
    """The result of `work`, or what it raised; the caller decides what that means. A cancelled caller stays so."""
    (outcome,) = await asyncio.gather(work, return_exceptions=True)
    return outcome
