from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iadr1.errors import DataError, ModelError, OutputError, UsageError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Profile
from iadr1.records import Detection, RecordWriter, read_records
from iadr1.stages.inspection import load_batches
from iadr1.stages.watch import journal, watcher
from iadr1.stages.watch.arrivals import Arrivals, read_whole, stamp_of
from iadr1.stages.watch.quarantine import Quarantine
from tests.stages.fake_engine import FakeEngine
from tests.watch.world import Notes, config, names, once, photo, records, until, watching


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "FIRST_PAUSE_S", 0.05)


def _bad(path: Path, data: bytes = b"no photo") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_bad_files_are_recorded_and_moved_aside_with_the_reason(tmp_path: Path) -> None:
    _bad(tmp_path / "in" / "cat" / "a.png")
    _bad(tmp_path / "in" / "empty.jpg", b"")
    _bad(tmp_path / "in" / "half.png", photo(tmp_path / "x.png").read_bytes()[:-40])
    photo(tmp_path / "in" / "good.png")
    notes = Notes()
    summary = once(config(tmp_path), notes=notes)
    assert (summary.status.errors, summary.status.counts["undecided"]) == (3, 3)
    assert {record.image: record.verdict for record in records(tmp_path) if record.error} == dict.fromkeys(
        ("cat/a.png", "empty.jpg", "half.png"), "undecided"
    )
    assert all(record.image_sha256 for record in records(tmp_path))
    aside = tmp_path / "in" / "quarantine"
    assert (aside / "cat" / "a.png").read_bytes() == b"no photo"
    assert "not an image" in (told := (aside / "cat" / "a.png.reason.txt").read_text())
    assert "\nfile: cat/a.png\n" in told
    assert "empty" in (aside / "empty.jpg.reason.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "in").iterdir() if path.is_file()) == ["good.png"]
    assert notes.told("cat/a.png: moved to")


def test_files_that_no_model_is_shown_are_moved_aside_too(tmp_path: Path) -> None:
    """They cannot be answered, however often they are tried."""
    (tmp_path / "in").mkdir()
    pages = [Image.new("RGB", (60, 40), (shade, 0, 0)) for shade in (0, 90)]
    pages[0].save(tmp_path / "in" / "pages.tif", save_all=True, append_images=pages[1:])
    Image.new("RGB", (1, 1)).save(tmp_path / "in" / "one.png")
    photo(tmp_path / "in" / "good.png")
    notes = Notes()
    summary = once(config(tmp_path), notes=notes)
    assert (summary.status.errors, summary.unanswered) == (2, 0)
    aside = tmp_path / "in" / "quarantine"
    assert "more than one frame or page" in (aside / "pages.tif.reason.txt").read_text()
    assert "the photo is 1 x 1 px" in (aside / "one.png.reason.txt").read_text()
    assert not notes.told("no answer")
    assert not notes.told("answered again")


def test_such_files_are_moved_at_the_next_start_where_a_kill_came_before_that(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (1, 1)).save(tmp_path / "in" / "one.png")
    once(config(tmp_path, keep=True))
    assert (tmp_path / "in" / "one.png").exists()
    once(config(tmp_path))
    assert (tmp_path / "in" / "quarantine" / "one.png").exists()
    assert len(records(tmp_path)) == 1


def test_taken_names_in_the_quarantine_get_a_number(tmp_path: Path) -> None:
    for number in range(3):
        _bad(tmp_path / "in" / "a.png", b"bad %d" % number)
        once(config(tmp_path))
    aside = tmp_path / "in" / "quarantine"
    assert [(aside / name).read_bytes() for name in ("a.png", "a-1.png", "a-2.png")] == [b"bad 0", b"bad 1", b"bad 2"]
    assert (aside / "a-2.png.reason.txt").exists()
    assert len(records(tmp_path)) == 3


def test_keep_leaves_bad_files_where_they_are_and_does_not_ask_again(tmp_path: Path) -> None:
    bad = _bad(tmp_path / "in" / "a.png")
    for _ in range(2):
        once(config(tmp_path, keep=True))
    assert bad.exists()
    assert not (tmp_path / "in" / "quarantine").exists()
    assert len(records(tmp_path)) == 1


def test_the_same_bad_bytes_again_are_moved_without_a_second_record(tmp_path: Path) -> None:
    for _ in range(2):
        _bad(tmp_path / "in" / "a.png")
        once(config(tmp_path))
    assert len(records(tmp_path)) == 1
    assert (tmp_path / "in" / "quarantine" / "a-1.png").exists()


def test_a_file_is_tried_as_often_as_said_and_mended_meanwhile_it_counts_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tries = _bad(tmp_path / "in" / "a.png"), []

    def counted(*args: Any) -> Iterator[Any]:
        tries.append(1)
        if len(tries) == 3:
            photo(path)
        return load_batches(*args)

    monkeypatch.setattr(watcher, "load_batches", lambda photos, *rest: counted(photos, *rest) if photos else iter(()))
    once(config(tmp_path, attempts=3))
    assert [record.error for record in records(tmp_path)] == [None]
    tries.clear()
    tries += [1] * 10
    _bad(tmp_path / "in" / "b.png")
    once(config(tmp_path, attempts=4))
    assert len(tries) == 14


def test_a_file_without_permission_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "in" / "a.png")

    def refused(path: Path, stamp: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(watcher, "read_whole", refused)
    once(config(tmp_path))
    assert [record.error for record in records(tmp_path)] == ["cannot read the file: Permission denied"]
    assert (tmp_path / "in" / "quarantine" / "a.png").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_an_unreadable_file_gets_one_record_however_often_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    photo(tmp_path / "in" / "a.png")

    def refused(*args: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(watcher, "read_whole", refused)
    with monkeypatch.context() as patch:
        patch.setattr(Quarantine, "take", refused)
        for _ in range(3):
            notes = Notes()
            once(config(tmp_path, keep=keep), notes=notes)
            assert notes.told("cannot be moved aside") is not keep
    once(config(tmp_path, keep=keep))
    assert [record.error for record in records(tmp_path)] == ["cannot read the file: Read-only file system"]
    assert (tmp_path / "in" / "quarantine" / "a.png").exists() is not keep


def test_a_file_that_has_been_unreadable_is_tried_as_often_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written under the name later may be locked for a moment only."""
    photo(tmp_path / "in" / "a.png")
    failing = [1, 2, 3]

    def locked(path: Path, stamp: Any) -> str | None:
        if failing:
            failing.pop()
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_whole(path, stamp)

    monkeypatch.setattr(watcher, "read_whole", locked)
    once(config(tmp_path, attempts=2, keep=True))
    once(config(tmp_path, attempts=2, keep=True))
    assert [bool(record.error) for record in records(tmp_path)] == [True, False]


def test_a_file_is_not_bad_because_the_share_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(tmp_path / "in" / "a.png")
    away, tried = [True], []
    scandir = os.scandir

    def stale(path: Path, stamp: Any) -> str | None:
        if away:
            tried.append(path)
            raise OSError(errno.ESTALE, "Stale file handle")
        return read_whole(path, stamp)

    def gone(path: Any) -> Any:
        # From the first file that could not be read the folder cannot be listed either.
        if away and tried and not isinstance(path, str):
            raise OSError(errno.ESTALE, "Stale file handle")
        return scandir(path)

    monkeypatch.setattr(watcher, "read_whole", stale)
    monkeypatch.setattr(os, "scandir", gone)
    with watching(config(tmp_path, attempts=1)) as running:
        until(lambda: running.notes.told("waiting for it"))
        away.clear()
        until(lambda: len(running.notes.photos) == 1)
        running.end()
    assert [record.error for record in records(tmp_path)] == [None]


def test_a_quarantine_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "quarantine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="not a folder of its own"):
        once(config(tmp_path))
    once(config(tmp_path, keep=True))


@pytest.mark.parametrize("name", ["cat/a.png", "cat/sub/deep/a.png"])
def test_nothing_is_moved_through_a_link_in_the_quarantine(tmp_path: Path, name: str) -> None:
    _bad(tmp_path / "in" / name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in" / "quarantine").mkdir()
    (tmp_path / "in" / "quarantine" / "cat").symlink_to(tmp_path / "elsewhere")
    notes = Notes()
    once(config(tmp_path), notes=notes)
    assert notes.told("cannot be moved aside")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "in" / name).exists()
    assert len(records(tmp_path)) == 1


def test_a_file_replaced_in_the_last_moment_is_not_moved(tmp_path: Path) -> None:
    bad = _bad(tmp_path / "a.png")
    judged = stamp_of(bad.stat())
    photo(bad)
    assert Quarantine(tmp_path).take("a.png", judged, "no photo") is None
    assert bad.exists()
    assert list((tmp_path / "quarantine").iterdir()) == []


# not the file's fault


def test_a_bad_reference_puts_no_photo_into_quarantine(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    _bad(tmp_path / "good" / "a.png")
    once(config(tmp_path, references=tmp_path / "good"))
    assert [bool(record.error) for record in records(tmp_path)] == [True]
    assert (tmp_path / "in" / "a.png").exists()
    once(config(tmp_path, references=tmp_path / "good"))
    assert len(records(tmp_path)) == 1


def test_a_photo_the_model_cannot_take_stays_and_has_its_record(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4000, 16)).save(tmp_path / "in" / "sliver.png")
    engine = FakeEngine()
    engine.profile = Profile("qwen2_5_vl", BoxSpace.INPUT_PX, 28, 28 * 28, 112 * 112)
    once(config(tmp_path), engine)
    assert "aspect" in str(records(tmp_path)[0].error)
    assert (tmp_path / "in" / "sliver.png").exists()


def test_a_model_that_cannot_be_used_stops_the_watcher(tmp_path: Path) -> None:
    for number in range(4):
        photo(tmp_path / "in" / f"{number}.png", number)
    with pytest.raises(ModelError, match="no logprobs"):
        once(config(tmp_path), FakeEngine(no_probabilities="no logprobs"))
    once(config(tmp_path))
    assert len(records(tmp_path)) == 4


_SERVER = {"engine": "server", "base_url": "http://localhost:1/v1", "family": "qwen2_5_vl"}


def test_a_server_that_goes_away_is_waited_for_and_no_photo_is_given_up(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", 1)
    engine = FakeEngine()
    with watching(config(tmp_path, **_SERVER), engine) as running:
        until(lambda: len(running.notes.photos) == 1)
        engine.no_probabilities = "nobody answers"
        photo(tmp_path / "in" / "b.png", 2)
        photo(tmp_path / "in" / "c.png", 3)
        until(lambda: engine.refused > 12)  # many more than attempts
        assert running.notes.told("no answer, tried again later")
        assert "nobody answers" in running.notes.statuses[-1].trouble
        assert len(running.notes.photos) == 1
        engine.no_probabilities = ""
        until(lambda: len(running.notes.photos) == 3)
        assert running.notes.told("answered again")
        running.end()
    assert [record.error for record in records(tmp_path)] == [None] * 3


def test_a_photo_that_the_server_alone_refuses_gets_its_record_and_stays(tmp_path: Path) -> None:
    engine = FakeEngine(unweighable=["b.png"])
    photo(tmp_path / "in" / "b.png", 2)
    photo(tmp_path / "in" / "a.png", 1)
    with watching(config(tmp_path, **_SERVER), engine) as running:
        until(lambda: names(tmp_path) == ["a.png"])
        photo(tmp_path / "in" / "c.png", 3)
        until(lambda: len(running.notes.photos) == 3)
        running.end()
    assert {record.image: bool(record.error) for record in records(tmp_path)} == {
        "a.png": False,
        "b.png": True,
        "c.png": False,
    }
    assert (tmp_path / "in" / "b.png").exists()


def test_once_ends_without_a_record_where_the_server_is_away(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png", 1)
    photo(tmp_path / "in" / "b.png", 2)
    engine = FakeEngine(unweighable=["b.png"])
    summary = once(config(tmp_path, batch_size=8, **{**_SERVER, "concurrency": 1}), engine)
    assert summary.unanswered == 1
    assert names(tmp_path) == ["a.png"]
    once(config(tmp_path))
    assert names(tmp_path) == ["a.png", "b.png"]


def test_once_refuses_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no folder"):
        once(config(tmp_path))
    (tmp_path / "in").mkdir()

    def gone(self: Arrivals) -> None:
        raise OSError(errno.EHOSTDOWN, "Host is down")

    monkeypatch.setattr(Arrivals, "look", gone)
    with pytest.raises(DataError, match="Host is down"):
        once(config(tmp_path))


# a full disk


@pytest.mark.parametrize("step", ["picture", "record", "flush", "table"])
def test_a_full_disk_stops_it_and_nothing_is_lost_or_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for number in range(6):
        photo(tmp_path / "in" / f"{number}.png", number)
    settings, calls = config(tmp_path, batch_size=2, overlays=True), []
    place, name = {
        "picture": (Image.Image, "save"),
        "record": (RecordWriter, "write"),
        "flush": (os, "fsync"),
        "table": (journal, "append_csv"),
    }[step]
    original = getattr(place, name)

    def full(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            error = OSError(errno.ENOSPC, "No space left on device")
            if step in ("record", "table"):
                raise OutputError("cannot write: No space left on device")
            raise error
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, full)
        with pytest.raises(OutputError, match="No space left on device"):
            once(settings)
    once(settings)
    assert sorted(names(tmp_path)) == [f"{number}.png" for number in range(6)]
    assert all((tmp_path / "out" / str(record.overlay)).exists() for record in records(tmp_path))
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert len((tmp_path / "out" / "summary.csv").read_text(encoding="utf-8").splitlines()) == 7


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        for number in range(40):
            photo(tmp_path / "in" / f"{number:02d}.png", number)
        settings = config(tmp_path, out=small / "out", overlays=True, batch_size=4)
        ballast = small / "ballast"
        ballast.write_bytes(b"x" * 100_000)
        with pytest.raises(OutputError, match="No space left on device"):
            once(settings)
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        once(settings)
        found = list(read_records(small / "out" / "detections.jsonl", Detection))
        assert sorted(record.image for record in found) == [f"{number:02d}.png" for number in range(40)]
        assert all((small / "out" / str(record.overlay)).exists() for record in found)
    finally:
        subprocess.run(["umount", str(small)], check=True)
