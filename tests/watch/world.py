"""What the tests of `watch` share: photos, a quick engine, a watcher in a thread or in a process to be killed."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from PIL import Image

from iadr1.config import WatchConfig
from iadr1.models.base import Request
from iadr1.records import Detection, read_records
from iadr1.stages import watch
from iadr1.stages.watch import Listener, Stop, WatchSummary
from tests.stages.fake_engine import FakeEngine

PATIENCE_S = 20.0
"""How long a test waits for what should come at once."""


def photo(path: Path, grey: int = 150) -> Path:
    """A photo; each grey is another one. It appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    Image.new("RGB", (112, 56), (grey, 150, 150)).save(temporary, format="PNG")
    temporary.replace(path)
    return path


def config(root: Path, **values: Any) -> WatchConfig:
    """Of a watcher over `root/in` into `root/out` that is quick and goes by what the engine scores."""
    quick: dict[str, Any] = {"mode": "direct", "overlays": False, "interval": 0.02, "settle": 0.05, "attempts": 2}
    if {"webhook", "mqtt"} & values.keys():
        quick["drain_s"] = 0.0
    return WatchConfig(**{"folder": root / "in", "out": root / "out", **quick, **values})


def records(root: Path) -> list[Detection]:
    path = root / "out" / "detections.jsonl"
    return list(read_records(path, Detection)) if path.exists() else []


def names(root: Path) -> list[str]:
    return [record.image for record in records(root)]


def until(true: Callable[[], bool], *, what: str = "") -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, what or "it did not happen in time"
        time.sleep(0.01)


class SlowEngine(FakeEngine):
    """Takes its time for each photo."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        time.sleep(self._seconds * len(requests))
        return super().probabilities(requests, words)


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.photos: list[Detection] = []
        self.statuses: list[watch.Status] = []

    @property
    def listener(self) -> Listener:
        return Listener(self.photos.append, self.lines.append, self.statuses.append)

    def told(self, text: str) -> bool:
        return any(text in line for line in self.lines)


class Running:
    """A watcher in a thread."""

    def __init__(self, config: WatchConfig, engine: FakeEngine) -> None:
        self.notes, self.engine, self._stop = Notes(), engine, Stop()
        self.summary: WatchSummary | None = None
        self.error: Exception | None = None
        self._config = config
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.summary = watch.run(self._config, listener=self.notes.listener, stop=self._stop, engine=self.engine)
        except Exception as error:  # noqa: BLE001 - shown by the test that waits for it
            self.error = error

    def end(self) -> WatchSummary:
        self._stop.request()
        self._thread.join(PATIENCE_S)
        if self.error is not None:
            raise self.error
        assert self.summary is not None, "the watcher did not end"
        return self.summary

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


@contextmanager
def watching(config: WatchConfig, engine: FakeEngine | None = None) -> Iterator[Running]:
    running = Running(config, engine or FakeEngine())
    try:
        yield running
    finally:
        if running.alive or running.error is not None:
            running.end()


def once(config: WatchConfig, engine: FakeEngine | None = None, notes: Notes | None = None) -> WatchSummary:
    listener = (notes or Notes()).listener
    return watch.run(dataclasses.replace(config, once=True), listener=listener, engine=engine or FakeEngine())


def in_process(work: Callable[[], object]) -> BaseProcess:
    """Start a process of its own that does something and may be killed."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def kill_9(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE_S)
