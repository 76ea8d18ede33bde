"""A server in this process, with an engine that can be held up, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from PIL import Image

from iadr1.masks import Segmenter
from iadr1.models.base import Request
from iadr1.stages.inspection import InspectSettings, References
from iadr1.stages.serve.app import create_app
from iadr1.stages.serve.bench import Bench
from iadr1.stages.serve.desk import Desk
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.request_log import RequestLog
from iadr1.stages.serve.settings import Limits
from tests.stages.fake_engine import FakeEngine


class HeldEngine(FakeEngine):
    """Waits in every call until it is let go.

    Attributes:
        begun: Set while it works on a batch.
        sizes: How many photos each batch held.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun, self._go = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def let_go(self) -> None:
        self._go.set()

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        self.sizes.append(len(requests))
        self.begun.set()
        assert self._go.wait(10)
        return super().probabilities(requests, words)


class BrokenEngine(FakeEngine):
    """Fails as long as it is broken, not with an error of ours."""

    broken = True

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        if self.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().probabilities(requests, words)


@dataclass
class House:
    """A running application and a client of it."""

    app: FastAPI
    desk: Desk
    client: httpx.AsyncClient

    async def detect(self, photo: bytes | None = None, **options: Any) -> httpx.Response:
        """A form with a photo."""
        files = options.pop("files", None) or {"image": ("part.png", png() if photo is None else photo)}
        return await self.client.post("/v1/detect", files=files, **options)

    async def begun(self, engine: HeldEngine) -> None:
        """Wait until the engine works."""
        assert await asyncio.to_thread(engine.begun.wait, 10)


@contextlib.asynccontextmanager
async def house(
    engine: FakeEngine | None = None,
    *,
    limits: Limits | None = None,
    settings: InspectSettings | None = None,
    segmenter: Segmenter | None = None,
    references: Path | None = None,
    token: str | None = None,
    log: Path | None = None,
) -> AsyncIterator[House]:
    """A server without a socket."""
    settings = settings or InspectSettings(shots=1 if references else 0)

    def load() -> Bench:
        found = References(references, shots=settings.shots) if references else None
        return Bench(engine or FakeEngine(), settings, segmenter=segmenter, references=found)

    metrics = Metrics()
    desk = Desk(load, limits or Limits(deadline_s=10), metrics)
    request_log = RequestLog(log) if log else None
    app = create_app(desk, metrics, token=token, log=request_log)
    loaded = asyncio.Event()
    desk.on_ready = desk.on_fail = loaded.set
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with desk.open(), httpx.AsyncClient(transport=transport, base_url="http://house") as client:
        await loaded.wait()
        yield House(app, desk, client)
    desk.end(wait_s=5)
    if request_log:
        request_log.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine."""
    return lambda: asyncio.run(asyncio.wait_for(test(), 60))


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(size: tuple[int, int] = (112, 112), mode: str = "RGB") -> bytes:
    return encoded(Image.new(mode, size))
