"""The queue before the model: who is let in, which photos are looked at together, and the end of the day."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from iadr1.records import Detection
from iadr1.stages.inspection.loading import BATCH_PIXELS
from iadr1.stages.serve.attempts import attempt
from iadr1.stages.serve.bench import Bench, Order
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.refusals import RefusedError, engine_failed, not_an_image, queue_full, stopping, unavailable
from iadr1.stages.serve.settings import Limits
from iadr1.stages.serve.thread import EngineThread
from iadr1.stages.serve.uploads import Upload

_LOG = logging.getLogger(__name__)
_GIVEN_UP_AFTER = 3
"""Photos in a row that the engine failed on until the server calls itself unready."""


@dataclass(eq=False)
class _Job:
    """A photo that waits: its upload, how many pixels it has, and where its result goes."""

    upload: Upload
    pixels: int
    answer: asyncio.Future[Detection]
    since: float = field(default_factory=time.monotonic)

    def refuse(self, why: RefusedError) -> None:
        if not self.answer.done():
            self.answer.set_exception(why)


class Visit:
    """One request in the house.

    Attributes:
        asked: Whether it has been read and waits for the model.
    """

    def __init__(self, until: asyncio.Timeout) -> None:
        self.until, self.asked = until, False


class Desk:
    """Takes uploads, hands them to the model in batches on its thread, and gives each its answer.

    A request has a place from its arrival to its answer, so that uploads under way count too and memory is bounded.

    Args:
        load: Loads the model; called on its thread.
        limits: Places, batch, waiting, deadline.
        metrics: Told what happens.

    Attributes:
        bench: The loaded model; None until it is.
        load_error: Why it could not be loaded.
        draining: Whether nobody is let in any more.
        on_ready: Called when the model is loaded.
        on_fail: Called where it cannot be.
    """

    def __init__(self, load: Callable[[], Bench], limits: Limits, metrics: Metrics) -> None:
        self._load, self.limits, self._metrics = load, limits, metrics
        self.on_ready: Callable[[], None] = lambda: None
        self.on_fail: Callable[[], None] = lambda: None
        self._thread = EngineThread()
        self._waiting: deque[_Job] = deque()
        self._working: list[_Job] = []
        self._visits: set[Visit] = set()
        self._arrived, self._left = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures, self._last_failure = 0, ""
        self._busy: tuple[str, float] | None = None
        self.bench: Bench | None = None
        self.load_error: BaseException | None = None
        self.draining = self._closed = False

    # its state

    @property
    def alive(self) -> bool:
        """Whether the queue is being worked on, or the model is being loaded."""
        return self._task is not None and not self._task.done()

    @property
    def state(self) -> tuple[str, str]:
        """`ready`, `loading`, `failing` or `stopping`, and why."""
        if self.draining:
            return "stopping", "the server is stopping"
        if self.load_error is not None or not self.alive:
            return "failing", str(self.load_error or "the queue is not worked on")
        if self.bench is None:
            return "loading", "the model is being loaded"
        what, since = self._busy or ("", math.inf)
        if (seconds := time.monotonic() - since) > 2 * self.limits.deadline_s:
            return "failing", f"one batch has been {what} for {seconds:.0f} s"
        if self._failures >= _GIVEN_UP_AFTER:
            return "failing", f"the model failed on the last {self._failures} photos: {self._last_failure}"
        return "ready", ""

    @property
    def queued(self) -> int:
        """Photos that wait for the model."""
        return len(self._waiting)

    @property
    def inside(self) -> int:
        """Requests in the house."""
        return len(self._visits)

    # a request

    @contextlib.asynccontextmanager
    async def visit(self) -> AsyncIterator[Visit]:
        """A place for one request, until it is answered or its time is over.

        Raises:
            RefusedError: There is no place, the server is loading or stopping, or the time is over.
        """
        if self.draining:
            raise stopping()
        if self.bench is None or not self.alive:
            raise unavailable("loading" if self.alive else "engine_failed", self.state[1])
        if len(self._visits) >= self.limits.places:
            raise queue_full(self.limits.places)
        visit = Visit(asyncio.timeout(self.limits.deadline_s))
        self._visits.add(visit)
        try:
            async with visit.until:
                yield visit
        except TimeoutError as error:
            raise self._late(visit) from error
        finally:
            self._visits.discard(visit)
            self._left.set()

    def _late(self, visit: Visit) -> RefusedError:
        if self._closed:
            return stopping()
        told = f"{self.limits.deadline_s:g} s are over"
        if not visit.asked:
            return RefusedError(408, "deadline", f"{told} and the body is not here", "send it faster, or smaller")
        return RefusedError(504, "deadline", f"{told}, the photo was not looked at in time", "send it again", retry_s=5)

    async def ask(self, visit: Visit, upload: Upload, pixels: int) -> Detection:
        """What the model finds; where the caller stops waiting, a photo that has not begun is not looked at.

        The upload is closed when nobody reads it any more.

        Raises:
            RefusedError: The photo is damaged, or the model failed on it.
        """
        assert self.bench is not None
        try:
            self.bench.check(upload)
        except RefusedError:
            upload.close()
            raise
        visit.asked = True
        pixels += self.bench.pixels_beside(upload)
        job = _Job(upload, pixels, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._arrived.set()
        try:
            return await job.answer
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
                upload.close()

    # the work

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Loads the model and works on the queue as long as the context lasts."""
        self._task = asyncio.create_task(self._work(), name="queue")
        self._task.add_done_callback(self._over)
        try:
            yield
        finally:
            self._task.cancel()

    async def _work(self) -> None:
        bench = await attempt(self._thread.run(self._load))
        if isinstance(bench, BaseException):
            self.load_error = bench
            self.on_fail()
            return
        self.bench = bench
        self.on_ready()
        while True:
            await self._fill()
            await self._serve(bench)
            for job in self._working:
                job.upload.close()
            self._working, self._busy = [], None

    def _over(self, task: asyncio.Task[None]) -> None:
        """The queue is not worked on any more: nobody shall wait for it."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _LOG.error("the queue broke", exc_info=error)
        for job in (*self._waiting, *self._working):
            job.refuse(stopping() if task.cancelled() else unavailable("engine_failed", "the queue is not worked on"))

    async def _fill(self) -> None:
        """Take the next photos to work: as many as fit, after at most `wait_s` from the oldest one's arrival."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        until = self._waiting[0].since + self.limits.wait_s
        while 0 < len(self._waiting) < self.limits.batch and (left := until - time.monotonic()) > 0:
            await _within(self._arrived, left)
        pixels = 0
        while self._waiting and len(self._working) < self.limits.batch:
            if self._working and pixels + self._waiting[0].pixels > BATCH_PIXELS:
                break
            self._working.append(self._waiting.popleft())
            pixels += self._working[-1].pixels

    async def _serve(self, bench: Bench) -> None:
        jobs = [job for job in self._working if not job.answer.done()]
        self._busy = ("decoded", time.monotonic())
        decoding = (attempt(asyncio.to_thread(bench.order, uuid.uuid4().hex, job.upload)) for job in jobs)
        ready: list[tuple[_Job, Order]] = []
        for job, order in zip(jobs, await asyncio.gather(*decoding), strict=True):
            if isinstance(order, RefusedError):
                job.refuse(order)
            elif isinstance(order, BaseException):
                told = f"the photo cannot be decoded: {type(order).__name__}: {order}"
                job.refuse(not_an_image(told, "write the file anew and send it whole", status=422))
            else:
                ready.append((job, order))
        if ready:
            self._metrics.batch.observe(len(ready))
            await self._inspect(bench, ready)

    async def _inspect(self, bench: Bench, ready: Sequence[tuple[_Job, Order]]) -> None:
        orders = [order for _, order in ready]
        self._busy = ("looked at by the model", time.monotonic())
        records = await attempt(self._thread.run(lambda: bench.inspect(orders)))
        if not isinstance(records, BaseException):
            for (job, _), record in zip(ready, records, strict=True):
                self._answer(job, record)
            return
        _LOG.error("the model failed on a batch of %d", len(ready), exc_info=records)
        bench.forget()
        if len(ready) == 1:
            self._failed(ready[0][0], records)
            return
        for one in ready:  # one photo shall not cost the others their result
            if not one[0].answer.done():
                await self._inspect(bench, [one])

    def _answer(self, job: _Job, record: Detection) -> None:
        if record.error is not None:
            self._failed(job, record.error)
            return
        self._failures = 0
        if not job.answer.done():
            job.answer.set_result(record)

    def _failed(self, job: _Job, error: BaseException | str) -> None:
        self._failures += 1
        self._last_failure = str(error)
        job.refuse(engine_failed(error))

    # the end

    async def drain(self, seconds: float) -> bool:
        """Let nobody in, finish what is in the house, then refuse what is left; whether nothing was left."""
        self.draining = True
        end = time.monotonic() + seconds
        while self._visits and (left := end - time.monotonic()) > 0:
            await _within(self._left, left)
        self._closed = True
        remaining = len(self._visits)
        for visit in self._visits:
            if not visit.until.expired():
                visit.until.reschedule(asyncio.get_running_loop().time())
        return remaining == 0

    def end(self, *, wait_s: float) -> bool:
        """End the model's thread; whether it was idle within `wait_s`."""
        return self._thread.end(wait_s=wait_s)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait until it happens once more, or the time is over."""
    event.clear()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
