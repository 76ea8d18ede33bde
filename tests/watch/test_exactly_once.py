"""Each photo once, whatever ends the watcher: killed with signal 9 at random times and at every step of its work."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.records import RecordWriter
from iadr1.stages.inspection import artefacts, load_batches
from iadr1.stages.watch import journal, outbox, quarantine, watcher
from iadr1.stages.watch.arrivals import read_whole
from iadr1.stages.watch.folder import locked
from iadr1.stages.watch.suspects import IN_HAND
from tests.stages.fake_engine import FakeEngine
from tests.watch.world import (
    SlowEngine,
    config,
    in_process,
    kill_9,
    names,
    once,
    photo,
    records,
    until,
    watching,
)


def test_a_second_run_looks_at_nothing_again(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / "in" / f"{number}.png", number)
    once(config(tmp_path))
    engine = FakeEngine()
    summary = once(config(tmp_path), engine)
    assert not engine.weighed
    assert (summary.earlier, sum(summary.status.counts.values())) == (3, 0)
    assert len(records(tmp_path)) == 3


def test_an_overwritten_file_is_a_new_photo_and_so_is_a_copy(tmp_path: Path) -> None:
    first = photo(tmp_path / "in" / "a.png", 1)
    once(config(tmp_path, overlays=True))
    photo(tmp_path / "in" / "copy.png", 1)
    photo(first, 2)
    once(config(tmp_path, overlays=True))
    photo(first, 1)  # the first bytes are back: they have a record
    once(config(tmp_path, overlays=True))
    found = records(tmp_path)
    assert sorted(record.image for record in found) == ["a.png", "a.png", "copy.png"]
    assert len({(record.image, record.image_sha256) for record in found}) == 3
    # No overlay was written over another.
    assert len({record.overlay for record in found}) == 3
    assert all((tmp_path / "out" / str(record.overlay)).exists() for record in found)


def test_overwritten_while_watched(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "current.png", 1)
    with watching(config(tmp_path)) as running:
        for number in range(1, 5):
            until(lambda number=number: len(running.notes.photos) == number)  # type: ignore[misc]
            photo(tmp_path / "in" / "current.png", number + 1)
        until(lambda: len(running.notes.photos) == 5)
        running.end()
    assert len({record.image_sha256 for record in records(tmp_path)}) == 5


def test_a_file_that_changes_while_it_is_looked_at_gets_one_record_for_each_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record's hash is that of the pixels the model saw."""
    path = photo(tmp_path / "in" / "a.png", 1)

    def overwritten(*args: Any) -> Any:
        if args[0]:
            monkeypatch.undo()
            photo(path, 2)
        return load_batches(*args)

    monkeypatch.setattr(watcher, "load_batches", overwritten)
    once(config(tmp_path))
    assert [record.image_sha256 for record in records(tmp_path)] == [file_sha256(path)]


def test_half_a_line_is_cut_off_and_its_photo_looked_at_again(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / "in" / f"{number}.png", number)
    once(config(tmp_path))
    path = tmp_path / "out" / "detections.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    once(config(tmp_path))
    assert sorted(names(tmp_path)) == ["0.png", "1.png", "2.png"]
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row[0] for row in csv.reader(file)) == ["0.png", "1.png", "2.png", "image"]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    once(config(tmp_path))
    path = tmp_path / "out" / "detections.jsonl"
    path.write_text("nonsense\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DataError, match=r"detections\.jsonl:1"):
        once(config(tmp_path))


def _feed(root: Path, start: int, count: int) -> None:
    for number in range(start, start + count):
        photo(root / "in" / f"c{number % 3}" / f"{number}.png", number)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Photos keep coming, the watcher is killed again and again; in the end each has one record and its overlay."""
    monkeypatch.setattr(watcher, "FIRST_PAUSE_S", 0.05)
    chance = random.Random(seed)
    # More attempts than kills: none is given up as the one that ends the watcher.
    settings = config(tmp_path, overlays=True, batch_size=3, settle=0.02, attempts=5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no photo")
    for start in range(0, 40, 10):
        process = in_process(lambda: once(settings, SlowEngine(0.005)))
        _feed(tmp_path, start, 10)
        time.sleep(chance.uniform(0.02, 0.3))
        kill_9(process)
        assert process.exitcode in (-signal.SIGKILL, 0)
    once(settings)
    _check_all_once(tmp_path, 40)


def _check_all_once(root: Path, photos: int) -> None:
    found = records(root)
    assert len({(record.image, record.image_sha256) for record in found}) == len(found)
    good = [record for record in found if record.error is None]
    assert len(good) == photos
    assert [record.image for record in found if record.error] == ["bad.png"]
    assert all((root / "out" / str(record.overlay)).exists() for record in good)
    lines = (root / "out" / "summary.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + photos + 1
    assert sorted(path.name for path in (root / "in" / "quarantine").iterdir()) == ["bad.png", "bad.png.reason.txt"]
    assert not (root / "out" / IN_HAND).exists()


STEPS: list[tuple[Any, str]] = [
    (artefacts, "_save"),
    (journal.Journal, "write"),
    (RecordWriter, "flush"),
    (journal, "append_csv"),
    (outbox.Outbox, "announce"),
    (watcher.Watcher, "_set_aside"),
    (quarantine, "_free"),
    (Path, "rename"),
]
"""What is done for a photo, in this order."""


def _refused(path: Path, stamp: Any) -> str | None:
    if path.name == "bad.png":
        raise PermissionError(errno.EACCES, "Permission denied")
    return read_whole(path, stamp)


@pytest.mark.parametrize("readable", [True, False], ids=["broken", "unreadable"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("place", "step"), STEPS, ids=[step for _, step in STEPS])
def test_killed_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, step: str, when: str, readable: bool
) -> None:
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", number)
    (tmp_path / "in" / "bad.png").write_bytes(b"no photo")
    if not readable:
        monkeypatch.setattr(watcher, "read_whole", _refused)
    settings = config(tmp_path, overlays=True, batch_size=2, attempts=1)
    original: Callable[..., Any] = getattr(place, step)

    def deadly(*args: Any, **options: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(place, step, deadly)
        process = in_process(lambda: once(settings))
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
    once(settings)
    _check_all_once(tmp_path, 5)


def test_only_one_watcher_writes_into_a_folder(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    with watching(config(tmp_path)) as running:
        until(lambda: bool(running.notes.photos))
        with pytest.raises(UsageError, match="another process is watching into this folder"):
            once(config(tmp_path))
        running.end()
    once(config(tmp_path))  # the lock is let go of


def test_the_lock_of_a_killed_watcher_is_free(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    process = in_process(lambda: once(config(tmp_path), SlowEngine(30)))

    def is_locked() -> bool:
        try:
            with locked(tmp_path / "out"):
                return False
        except UsageError:
            return True

    # Not by looking at the lock, which takes it for a moment: the watcher might find it taken.
    until((tmp_path / "out" / "run.json").exists)
    assert is_locked()
    kill_9(process)
    assert not is_locked()
    once(config(tmp_path))
    assert names(tmp_path) == ["a.png"]


def test_results_of_others_are_not_written_into(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "other" / "a.png")
    once(config(tmp_path))
    with pytest.raises(UsageError, match="holds the results of the folder"):
        once(config(tmp_path, folder=tmp_path / "other"))
    run = tmp_path / "out" / "run.json"
    run.write_text(json.dumps({"command": "detect"}), encoding="utf-8")
    with pytest.raises(UsageError, match="another command"):
        once(config(tmp_path))
    for broken, told in (("{", "cannot read"), ("[]", "not an object")):
        run.write_text(broken, encoding="utf-8")
        with pytest.raises(UsageError, match=rf"run\.json: {told}.*name another folder"):
            once(config(tmp_path))
    run.unlink()
    with pytest.raises(UsageError, match="without a run"):
        once(config(tmp_path))


def test_settings_may_change_and_every_record_says_its_own(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", 1)
    once(config(tmp_path))
    photo(tmp_path / "in" / "b.png", 2)
    once(config(tmp_path, threshold=0.9))
    assert [(record.threshold, record.verdict) for record in records(tmp_path)] == [(0.5, "anomalous"), (0.9, "normal")]
