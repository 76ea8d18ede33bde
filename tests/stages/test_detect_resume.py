"""A run that is stopped anywhere, by whatever, and goes on: what it leaves is what an undisturbed run leaves."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from iadr1.config import DetectConfig
from iadr1.errors import OutputError
from iadr1.geometry import Box, box_mask
from iadr1.masks import MaskResult
from iadr1.models import Completion, Request
from iadr1.records import Detection, read_records
from iadr1.stages import detect
from tests.stages.fake_engine import BAD, NORMAL, FakeEngine

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

PHOTOS = 7
DONE, FULL, INTERRUPTED = 0, 3, 130
PATIENCE_S = 20.0


class _Dark:
    """Marks the dark pixels of a box: a segmenter without a network, whose threads would not survive a fork."""

    name = "dark"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        dark = np.asarray(image.convert("L")) < 100
        return [MaskResult(dark & box_mask(box, image.size), 0.9, self.name) for box in boxes]


class _Slow(FakeEngine):
    """Takes its time for each batch."""

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        time.sleep(0.5)
        return super().generate(requests, max_new_tokens=max_new_tokens)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "load_segmenter", lambda name, **values: _Dark())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(PHOTOS):
        picture = Image.new("RGB", (112, 112), (150, 150, 100 + number))
        ImageDraw.Draw(picture).line((35, 35, 50, 75), fill=(20, 20, 20), width=4)
        picture.save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


def _config(images: Path, out: str = "out") -> DetectConfig:
    return DetectConfig(images=images, out=images.parent / out, mode="think", masks=True, batch_size=2)


def _engine(kind: type[FakeEngine] = FakeEngine) -> FakeEngine:
    return kind({"1.png": NORMAL, "4.png": "hm"}, default=BAD)


def _start(images: Path, before: Callable[[], None], engine: FakeEngine) -> int:
    """A run in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # Where the tests run in the background of a shell, Ctrl-C is ignored from the start.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            before()
            detect.run(_config(images), engine=engine)
            code = DONE
        except OutputError:
            code = FULL
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            os._exit(code)
    return child


def _end(child: int) -> int:
    """The exit code; below 0 the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _forked(images: Path, before: Callable[[], None]) -> int:
    return _end(_start(images, before, _engine()))


def _at(place: int, folder: Path, act: Callable[[], None]) -> Callable[[], None]:
    """Act when the run opens a file of the folder for writing, or renames one, for the `place`-th time."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.rename") or str(folder) not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        seen += 1
        if seen == place:
            act()

    return lambda: sys.addaudithook(hook)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _check(images: Path) -> None:
    """Go on undisturbed, and compare with a run of its own."""
    out, whole = images.parent / "out", images.parent / "whole"
    detect.run(_config(images), engine=_engine())
    detect.run(_config(images, "whole"), engine=_engine())
    found, expected = (
        [record.model_copy(update={"seconds": 0.0}) for record in read_records(place / "detections.jsonl", Detection)]
        for place in (out, whole)
    )
    assert found == expected
    for name in sorted(path.relative_to(whole) for path in whole.rglob("*.png")):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert len(list(out.rglob("*.png"))) == len(list(whole.rglob("*.png")))
    assert (out / "summary.csv").read_text() == (whole / "summary.csv").read_text()
    counts = [json.loads((place / "run.json").read_text())["counts"] for place in (out, whole)]
    assert counts[0] == counts[1] == {"anomalous": 5, "normal": 1, "undecided": 1}


@pytest.mark.parametrize(
    ("act", "code", "seed"), [(_kill, -signal.SIGKILL, 0), (_kill, -signal.SIGKILL, 1), (_interrupt, INTERRUPTED, 2)]
)
def test_killed_again_and_again_nothing_is_lost_or_doubled(
    images: Path, act: Callable[[], None], code: int, seed: int
) -> None:
    rng = random.Random(seed)
    stopped = 0
    for _ in range(20):
        ended = _forked(images, _at(rng.randint(1, 40), images.parent / "out", act))
        assert ended in (code, DONE)
        stopped += ended == code
        if ended == DONE and stopped:
            break
        if ended == DONE:  # it was over before that file, or an interrupt fell into a clean-up: once more
            shutil.rmtree(images.parent / "out")
    else:
        pytest.fail("it never comes to its end")
    _check(images)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, INTERRUPTED)])
def test_stopped_when_a_record_is_there_it_goes_on_with_the_rest(images: Path, number: int, code: int) -> None:
    records = images.parent / "out" / "detections.jsonl"
    child = _start(images, lambda: None, _engine(_Slow))
    end = time.monotonic() + PATIENCE_S
    while not (records.exists() and records.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(child, number)
    assert _end(child) == code
    done = [record.image for record in read_records(records, Detection)]
    assert 0 < len(done) < PHOTOS
    engine = _engine()
    detect.run(_config(images), engine=engine)
    assert {request.id for request in engine.asked} == {f"{place}.png" for place in range(PHOTOS)} - set(done)
    _check(images)


def test_a_disk_that_is_full_at_any_file_is_one_clear_error(images: Path) -> None:
    codes = [_forked(images, _at(place, images.parent / "out", _full)) for place in (1, 2, 5, 9, 14, 22)]
    assert set(codes) <= {FULL, DONE}
    assert codes.count(FULL) >= 4
    _check(images)


@pytest.mark.parametrize("bytes_", [0, 100, 600, 1_000, 20_000])
def test_a_file_that_cannot_be_written_to_its_end_is_one_clear_error(images: Path, bytes_: int) -> None:
    resource = pytest.importorskip("resource")

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, resource.RLIM_INFINITY))

    assert _forked(images, bound) == FULL
    _check(images)
