"""The process: a socket, uvicorn, and an end that answers everybody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from iadr1.config import ServeConfig
from iadr1.errors import UsageError
from iadr1.stages.serve.app import create_app
from iadr1.stages.serve.bench import Bench
from iadr1.stages.serve.desk import Desk
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.request_log import RequestLog
from iadr1.stages.serve.settings import Limits

_BACKLOG = 1024
_LAST_ANSWERS_S = 5
"""Seconds that clients have to take the answers that are ready when the server ends."""


class _Server(uvicorn.Server):
    """Uvicorn, with another end: it goes on listening (and refuses with 503) until the queue is empty.

    Args:
        config: Uvicorn's.
        desk: The queue.
        drain_s: Longest wait for it to be empty.
        announce: Told what happens.
    """

    def __init__(self, config: uvicorn.Config, desk: Desk, drain_s: float, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._desk, self._drain_s, self._announce = desk, drain_s, announce
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None
        self._signals = 0
        self.finished = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._signals:  # one that came before there was a loop
            self._begin_to_end()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal finishes what is queued, the second one refuses it.

        Uvicorn would raise the signal again at the end, so that the process died of it with an exit code that is not 0.
        """
        self._signals += 1
        if self._signals > 1:
            self._drain_s = 0
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_to_end)

    def fail(self) -> None:
        """End, since there is nothing to serve."""
        self.should_exit = True

    def _begin_to_end(self) -> None:
        if self._ending is not None and self._drain_s > 0:
            return
        if self._ending is None:
            self._announce(f"stopping: {self._desk.inside} requests in the house, at most {self._drain_s:g} s")
        else:
            self._ending.cancel()
        self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        self.finished = await self._desk.drain(self._drain_s)
        self.should_exit = True


def serve(
    config: ServeConfig,
    limits: Limits,
    load: Callable[[], Bench],
    *,
    token: str | None,
    announce: Callable[[str], None],
) -> tuple[bool, bool]:
    """Serve until a signal comes.

    Args:
        config: The stage's settings.
        limits: Those of the config.
        load: Loads the model; called on its thread.
        token: What requests have to bring; None for nothing.
        announce: Told what happens, a line at a time.

    Returns:
        Whether everything was finished, and whether the engine's thread ended.

    Raises:
        UsageError: The address cannot be listened on.
        OutputError: The request log cannot be written to.
        Iadr1Error: What the model could not be loaded for.
    """
    listening = _listen(config)
    log = RequestLog(config.log) if config.log is not None else None
    metrics = Metrics()
    desk = Desk(load, limits, metrics)
    app = create_app(desk, metrics, token=token, log=log)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
    )
    server = _Server(settings, desk, config.drain_s, announce)
    address = f"http://{_named(listening)}"
    desk.on_fail = server.fail
    desk.on_ready = lambda: announce(f"ready: {desk.bench.facts['model'] if desk.bench else ''}")
    announce(f"listening on {address} (POST /v1/detect, GET /health, /metrics, /docs)")
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        idle = desk.end(wait_s=1.0)
        if log is not None:
            log.close()
    if desk.load_error is not None:
        raise desk.load_error
    return server.finished, idle


def _listen(config: ServeConfig) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot listen on {config.host}:{config.port}: {told}", hint="choose another --port or --host"
        ) from error


def _named(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
