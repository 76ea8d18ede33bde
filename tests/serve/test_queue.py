"""Limits, overload, a failing engine and the end: every request is answered or refused with a reason."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from iadr1.errors import ModelError, OutputError
from iadr1.records import read_records
from iadr1.stages.inspection import loading
from iadr1.stages.serve import desk as room
from iadr1.stages.serve import pictures, request_log
from iadr1.stages.serve.desk import Desk
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.request_log import Entry
from iadr1.stages.serve.settings import Limits
from iadr1.stages.serve.uploads import Upload
from tests.serve.house import BrokenEngine, HeldEngine, House, house, png
from tests.serve.tiffs import tiled_tiff
from tests.stages.fake_engine import FakeEngine


def errors(answers: list[httpx.Response]) -> list[tuple[int, str]]:
    return [(answer.status_code, answer.json().get("error") or "") for answer in answers]


def test_a_full_queue_answers_429_at_once() -> None:
    engine = HeldEngine()

    async def go() -> tuple[httpx.Response, float, list[httpx.Response], str]:
        async with house(engine, limits=Limits(queue=2, batch=1, deadline_s=10)) as there:
            inside = [asyncio.create_task(there.detect()) for _ in range(3)]
            await there.begun(engine)
            while there.desk.inside < 3:
                await asyncio.sleep(0.01)
            started = time.perf_counter()
            refused = await there.detect()
            seconds = time.perf_counter() - started
            engine.let_go()
            return refused, seconds, await asyncio.gather(*inside), (await there.client.get("/metrics")).text

    refused, seconds, answers, figures = asyncio.run(go())
    assert (refused.status_code, refused.json()["error"]) == (429, "all 3 places are taken")
    assert int(refused.headers["retry-after"]) > 0
    assert seconds < 2
    assert [answer.status_code for answer in answers] == [200] * 3
    assert 'outcome="queue_full"} 1.0' in figures


def test_photos_that_come_together_are_looked_at_together() -> None:
    engine = HeldEngine()

    async def go() -> None:
        async with house(engine, limits=Limits(batch=4, deadline_s=10, wait_s=0)) as there:
            first = asyncio.create_task(there.detect())
            await there.begun(engine)
            others = [asyncio.create_task(there.detect()) for _ in range(6)]
            while there.desk.queued < 6:
                await asyncio.sleep(0.01)
            engine.let_go()
            await asyncio.gather(first, *others)

    asyncio.run(go())
    assert engine.sizes == [1, 4, 2]


def test_a_batch_waits_a_little_for_more() -> None:
    engine = FakeEngine()

    async def go() -> float:
        async with house(engine, limits=Limits(batch=2, wait_s=5)) as there:
            started = time.perf_counter()
            first = asyncio.create_task(there.detect())
            await asyncio.sleep(0.2)
            await asyncio.gather(first, there.detect())
            return time.perf_counter() - started

    assert asyncio.run(go()) < 4  # a full batch does not wait on
    assert len(engine.weighed) == 2


def test_a_batch_holds_no_more_pixels_than_memory_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH_PIXELS", 3 * 112 * 112)
    engine = HeldEngine()
    assert loading.BATCH_PIXELS > 1_000_000

    async def go() -> None:
        async with house(engine, limits=Limits(batch=8, wait_s=0.5)) as there:
            tasks = [asyncio.create_task(there.detect()) for _ in range(4)]
            tasks.append(asyncio.create_task(there.detect(png((400, 400)))))
            await there.begun(engine)
            engine.let_go()
            await asyncio.gather(*tasks)

    asyncio.run(go())
    assert engine.sizes == [3, 1, 1]


async def _sizes_of_batches(there: House, engine: HeldEngine, photos: int, **options: Any) -> list[int]:
    tasks = [asyncio.create_task(there.detect(**options)) for _ in range(photos)]
    await there.begun(engine)
    engine.let_go()
    assert {answer.status_code for answer in await asyncio.gather(*tasks)} == {200}
    return engine.sizes


def test_references_count_as_pixels_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH_PIXELS", 3 * 112 * 112)
    for name in ("small", "good"):
        (tmp_path / f"{name}.png").write_bytes(png((50, 50) if name == "small" else (112, 112)))
    sent = {"files": [("image", ("a.png", png())), ("reference", ("g.png", png((98, 128))))]}

    async def go(references: Path | None, **options: Any) -> list[int]:
        engine = HeldEngine()
        async with house(engine, limits=Limits(batch=8, wait_s=0.5), references=references) as there:
            return await _sizes_of_batches(there, engine, 3, **options)

    assert asyncio.run(go(None)) == [3]
    assert asyncio.run(go(None, **sent)) == [1, 1, 1]
    assert asyncio.run(go(tmp_path)) == [1, 1, 1]  # the server's own
    assert asyncio.run(go(tmp_path / "small.png")) == [2, 1]
    assert asyncio.run(go(tmp_path / "small.png", **sent)) == [1, 1, 1]  # in place of the server's


async def _request(there: House, gone: asyncio.Event) -> list[dict[str, Any]]:
    """What is sent to a client that sends a photo and then goes away."""
    parts: list[dict[str, Any]] = [{"type": "http.request", "body": png(), "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if parts:
            return parts.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/detect", "raw_path": b"/v1/detect", "query_string": b""}
    scope |= {"headers": [(b"content-type", b"image/png")], "http_version": "1.1", "scheme": "http", "root_path": ""}
    await there.app(scope, receive, send)
    return sent


def test_a_client_that_goes_away_takes_its_photo_out_of_the_queue(tmp_path: Path) -> None:
    engine, log = HeldEngine(), tmp_path / "requests.jsonl"

    async def go() -> list[tuple[int, int]]:
        async with house(engine, limits=Limits(batch=1, deadline_s=10, wait_s=0), log=log) as there:
            first = asyncio.create_task(there.detect())
            await there.begun(engine)
            gone = asyncio.Event()
            leaving = asyncio.create_task(_request(there, gone))
            while there.desk.queued < 1:
                await asyncio.sleep(0.01)
            seen = [(there.desk.queued, there.desk.inside)]
            gone.set()
            await asyncio.wait_for(leaving, 5)
            seen.append((there.desk.queued, there.desk.inside))
            engine.let_go()
            assert (await first).status_code == 200
            return seen

    assert asyncio.run(go()) == [(1, 2), (0, 1)]
    assert engine.sizes == [1]  # it was never looked at
    assert [entry.outcome for entry in read_records(log, Entry)] == ["gone", "answered"]


def test_an_upload_that_is_refused_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Upload] = []

    def close(self: Upload) -> None:
        closed.append(self)

    monkeypatch.setattr(Upload, "close", close)

    async def go() -> int:
        async with house() as there:
            return (await there.detect(data={"masks": "true"})).status_code

    assert asyncio.run(go()) == 422  # this server draws none
    assert len(closed) == 1


def test_after_the_deadline_the_photo_is_not_looked_at() -> None:
    engine = HeldEngine()

    async def go() -> list[httpx.Response]:
        async with house(engine, limits=Limits(batch=1, deadline_s=0.4, wait_s=0)) as there:
            first = asyncio.create_task(there.detect())
            await there.begun(engine)
            second = await there.detect()
            await asyncio.sleep(0.05)
            assert there.desk.queued == 0
            engine.let_go()
            answers = [await first, second]
            answers.append(await there.detect())  # the server goes on
            return answers

    answers = asyncio.run(go())
    assert errors(answers)[:2] == [(504, "0.4 s are over, the photo was not looked at in time")] * 2
    assert answers[2].status_code == 200
    assert engine.sizes == [1, 1]  # the one in work, and the last


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"\x89PNG"
        await asyncio.sleep(5)
        yield b"never"

    async def go() -> httpx.Response:
        async with house(limits=Limits(deadline_s=0.3)) as there:
            answer = await there.client.post("/v1/detect", content=slowly(), headers={"content-type": "image/png"})
            assert there.desk.inside == 0
            return answer

    answer = asyncio.run(go())
    assert (answer.status_code, answer.json()["error"]) == (408, "0.3 s are over and the body is not here")


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_too_many_bytes_are_refused_without_being_read(kind: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        while sent < 2_000_000_000:
            sent += 100_000
            yield bytes(100_000)

    async def go(**headers: str) -> httpx.Response:
        async with house(limits=Limits(max_bytes=1_000_000)) as there:
            return await there.client.post("/v1/detect", content=endless(), headers={"content-type": kind, **headers})

    chunked = asyncio.run(go())
    assert (chunked.status_code, chunked.json()["error"]) == (413, "the request is longer than 1 MB")
    assert sent <= 1_100_000
    sent = 0
    lying = asyncio.run(go(**{"content-length": "10"}))
    assert lying.status_code == 413
    assert sent <= 1_100_000
    sent = 0
    honest = asyncio.run(go(**{"content-length": "2000000000"}))
    assert honest.status_code == 413
    assert sent == 0


def test_the_token_is_asked_for() -> None:
    async def go() -> tuple[list[int], httpx.Response, int]:
        async with house(token="s3cret") as there:
            given = ["Bearer s3cret", "bearer s3cret", "Bearer s3cre", "Basic s3cret", "Bearer", "s3cret", "Bearer ü"]
            answers = [await there.detect(headers={"authorization": one.encode()}) for one in given]
            figures = [
                (await there.client.get("/metrics")).status_code,
                (await there.client.get("/health")).status_code,
            ]
            return [answer.status_code for answer in answers] + figures, await there.detect(), there.desk.inside

    codes, refused, inside = asyncio.run(go())
    assert codes == [200, 200, 401, 401, 401, 401, 401, 401, 200]
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert inside == 0


def test_an_engine_that_breaks_answers_502_and_the_server_goes_unready_until_it_works_again() -> None:
    engine = BrokenEngine()

    async def go() -> tuple[list[tuple[int, str]], list[dict[str, Any]], httpx.Response]:
        async with house(engine, limits=Limits(batch=2, wait_s=0)) as there:
            states = [(await there.client.get("/health")).json()]
            broken = [await there.detect() for _ in range(3)]
            health = await there.client.get("/health")
            states.append(health.json())
            assert health.status_code == 503
            assert (await there.client.get("/live")).status_code == 200
            engine.broken = False
            answer = await there.detect()
            states.append((await there.client.get("/health")).json())
            return errors(broken), states, answer

    broken, states, answer = asyncio.run(go())
    assert (
        broken == [(502, "the model could not look at it: RuntimeError: CUDA error: device-side assert triggered")] * 3
    )
    assert [(state["status"], state["ready"]) for state in states] == [
        ("ready", True),
        ("failing", False),
        ("ready", True),
    ]
    assert states[1]["reason"].startswith("the model failed on the last 3 photos: CUDA error")
    assert answer.status_code == 200


class Allergic(FakeEngine):
    """Breaks at photos 140 px wide."""

    def probabilities(self, requests: Any, words: Any) -> list[dict[str, float]]:
        if any(request.images[-1].width == 140 for request in requests):
            raise ModelError("does not fit into the memory", hint="a smaller photo")
        return super().probabilities(requests, words)

    def generate(self, requests: Any, *, max_new_tokens: int) -> Any:
        if any(request.images[-1].width == 150 for request in requests):
            raise RuntimeError("shape mismatch")
        return super().generate(requests, max_new_tokens=max_new_tokens)


def test_a_failed_photo_costs_the_others_nothing() -> None:
    widths = [112, 140, 112, 150, 112]

    async def go() -> list[httpx.Response]:
        async with house(Allergic(), limits=Limits(wait_s=0.5)) as there:
            return await asyncio.gather(*(there.detect(png((width, 112))) for width in widths))

    answers = asyncio.run(go())
    assert [answer.status_code for answer in answers] == [200, 502, 200, 502, 200]
    assert "does not fit into the memory" in answers[1].json()["error"]
    assert "shape mismatch" in answers[3].json()["error"]


async def _health(there: House) -> tuple[int, str, str]:
    answer = await there.client.get("/health")
    return answer.status_code, answer.json()["status"], answer.json()["reason"]


async def _while_busy(there: House, let_go: Callable[[], None]) -> list[tuple[int, str, str]]:
    """The health at first, after twice the deadline, and when it goes on."""
    seen = [await _health(there)]
    assert (await there.detect()).status_code == 504
    await asyncio.sleep(2 * there.desk.limits.deadline_s)
    seen.append(await _health(there))
    let_go()
    async with asyncio.timeout(10):
        while (last := await _health(there))[1] != "ready":
            await asyncio.sleep(0.01)
    return [*seen, last]


def test_a_model_that_hangs_makes_the_server_unready_until_it_goes_on() -> None:
    engine = HeldEngine()

    async def go() -> list[tuple[int, str, str]]:
        async with house(engine, limits=Limits(deadline_s=0.5, wait_s=0)) as there:
            return await _while_busy(there, engine.let_go)

    before, busy, after = asyncio.run(go())
    assert before == after == (200, "ready", "")
    assert busy[:2] == (503, "failing")
    assert busy[2].startswith("one batch has been looked at by the model for ")


def test_photos_that_take_long_to_decode_make_it_unready_too(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, decode = threading.Event(), pictures.decode

    def slow(file: IO[bytes], *, what: str) -> Image.Image:
        assert go_on.wait(10)
        return decode(file, what=what)

    monkeypatch.setattr(pictures, "decode", slow)

    async def go() -> list[tuple[int, str, str]]:
        async with house(limits=Limits(deadline_s=0.5, wait_s=0)) as there:
            return await _while_busy(there, go_on.set)

    before, busy, after = asyncio.run(go())
    assert before == after == (200, "ready", "")
    assert busy[:2] == (503, "failing")
    assert busy[2].startswith("one batch has been decoded for ")


def test_large_tiles_count_as_pixels_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BATCH_PIXELS", 3 * 128 * 128)
    engine, tile = HeldEngine(), tiled_tiff(128, pixels=True)

    async def go() -> list[int]:
        async with house(engine, limits=Limits(batch=8, wait_s=0.5)) as there:
            return await _sizes_of_batches(there, engine, 4, photo=tile)

    assert asyncio.run(go()) == [3, 1]


def test_damaged_photos_do_not_make_the_server_unready() -> None:
    async def go() -> tuple[list[int], str]:
        async with house() as there:
            cut = png((600, 600))[:-40]
            answers = [(await there.detect(cut)).status_code for _ in range(4)]
            return answers, (await there.client.get("/health")).json()["status"]

    assert asyncio.run(go()) == ([422] * 4, "ready")


async def drained(there: House, engine: HeldEngine, seconds: float, *, release: bool) -> list[httpx.Response]:
    """Three photos inside, then the end; another one comes while it lasts."""
    inside = [asyncio.create_task(there.detect()) for _ in range(3)]
    await there.begun(engine)
    while there.desk.inside < 3:
        await asyncio.sleep(0.01)
    end = asyncio.create_task(there.desk.drain(seconds))
    await asyncio.sleep(0)
    late = await there.detect()
    health = await there.client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "stopping")
    if release:
        engine.let_go()
    answers = await asyncio.gather(*inside)
    assert await end is release
    return [*answers, late]


def test_the_end_finishes_what_is_inside_and_lets_nobody_in(tmp_path: Path) -> None:
    engine, log = HeldEngine(), tmp_path / "requests.jsonl"

    async def go() -> list[httpx.Response]:
        async with house(engine, limits=Limits(batch=1, deadline_s=10), log=log) as there:
            return await drained(there, engine, 10, release=True)

    answers = asyncio.run(go())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503]
    assert answers[3].json()["error"] == "the server is stopping"
    assert answers[3].headers["retry-after"]
    assert sorted(entry.outcome for entry in read_records(log, Entry)) == ["answered"] * 3 + ["stopping"]


def test_the_end_comes_as_soon_as_nothing_is_left() -> None:
    engine = HeldEngine()

    async def go() -> tuple[bool, float]:
        async with house(engine, limits=Limits(deadline_s=10)) as there:
            inside = asyncio.create_task(there.detect())
            await there.begun(engine)
            end = asyncio.create_task(there.desk.drain(5))
            await asyncio.sleep(0.05)
            assert not end.done()
            engine.let_go()
            assert (await inside).status_code == 200
            started = time.perf_counter()
            return await end, time.perf_counter() - started

    finished, seconds = asyncio.run(go())
    assert finished
    assert seconds < 3


def test_what_is_left_at_the_end_is_refused_too() -> None:
    engine = HeldEngine()

    async def go() -> list[httpx.Response]:
        async with house(engine, limits=Limits(batch=1, deadline_s=20)) as there:
            answers = await drained(there, engine, 0.3, release=False)
            engine.let_go()
            return answers

    assert errors(asyncio.run(go())) == [(503, "the server is stopping")] * 4


def test_a_model_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise ModelError("no weights")

    async def go() -> tuple[BaseException | None, tuple[str, str], bool]:
        desk = Desk(fail, Limits(), Metrics())
        failed = asyncio.Event()
        desk.on_fail = failed.set
        async with desk.open():
            await failed.wait()
            await asyncio.sleep(0)
            state = desk.state, desk.alive
        desk.end(wait_s=1)
        return desk.load_error, *state

    error, state, alive = asyncio.run(go())
    assert isinstance(error, ModelError)
    assert state == ("failing", "no weights")
    assert not alive


def test_a_queue_that_dies_refuses_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, bench: object) -> Any:
        raise RuntimeError("a bug")

    async def go() -> tuple[list[tuple[int, str]], int, int]:
        async with house() as there:
            monkeypatch.setattr(Desk, "_serve", broken)
            answers = [await asyncio.wait_for(there.detect(), 5) for _ in range(2)]
            live, health = await there.client.get("/live"), await there.client.get("/health")
            return errors(answers), live.status_code, health.status_code

    answers, live, health = asyncio.run(go())
    assert [status for status, _ in answers] == [503, 503]
    assert (live, health) == (503, 503)


def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, line: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def go() -> tuple[int, str]:
        async with house(log=tmp_path / "requests.jsonl") as there:
            with monkeypatch.context() as patched:
                patched.setattr("os.write", full)
                task = asyncio.create_task(there.detect())
                answer = await task
            return answer.status_code, (await there.client.get("/metrics")).text

    status, figures = asyncio.run(go())
    assert status == 200
    assert "iadr1_log_failures_total 1.0" in figures


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "requests.jsonl"
    log = request_log.RequestLog(path)
    entry = Entry(id="a", outcome="answered", status=200, ms=1.0)
    log.write(entry)
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr("os.write", lambda file, line: write(file, line[:20]))
        with pytest.raises(OutputError, match="the disk is full"):
            log.write(entry)
    log.write(entry)
    log.close()
    assert list(read_records(path, Entry)) == [entry, entry]
