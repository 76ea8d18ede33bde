from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from iadr1.errors import UsageError
from iadr1.images import file_sha256
from iadr1.stages.watch.arrivals import Arrivals, Stamp, is_temporary, read_whole, stamp_of
from tests.stages.fake_engine import FakeEngine
from tests.watch.world import Notes, config, names, once, photo, records, until, watching


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_arrives_when_it_no_longer_grows(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "a.png"
    arrivals = Arrivals(tmp_path, settle=2.0, clock=clock)
    file.write_bytes(b"1")
    arrivals.look()
    clock.now += 1.9
    file.write_bytes(b"12")
    arrivals.look()
    clock.now += 1.9  # 3.8 s after it was first seen, 1.9 s after it grew
    arrivals.look()
    assert arrivals.arrived() == []
    assert arrivals.waiting == 1
    clock.now += 0.2
    assert [name for name, _ in arrivals.arrived()] == ["a.png"]


def test_a_file_whose_time_changes_waits_as_well(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "a.png"
    arrivals = Arrivals(tmp_path, settle=2.0, clock=clock)
    file.write_bytes(b"1")
    arrivals.look()
    clock.now += 1.5
    os.utime(file, (1, 1))
    arrivals.look()
    clock.now += 1.5
    assert arrivals.arrived() == []


def test_a_growing_photo_is_looked_at_once_and_whole(tmp_path: Path) -> None:
    whole = photo(tmp_path / "elsewhere" / "a.png").read_bytes()
    (tmp_path / "in").mkdir()
    with watching(config(tmp_path, settle=0.4)) as running, (tmp_path / "in" / "a.png").open("wb") as file:
        for place in range(0, len(whole), max(1, len(whole) // 6)):
            file.write(whole[place : place + max(1, len(whole) // 6)])
            file.flush()
            assert not running.notes.photos
            running.notes.statuses.clear()
            until(lambda: len(running.notes.statuses) > 3)
        file.close()
        until(lambda: bool(running.notes.photos))
        running.end()
    assert [(record.image, record.error) for record in records(tmp_path)] == [("a.png", None)]


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        *(
            (name, True)
            for name in (".a.png", "~a.png", "a.png~", "a.tmp.png", "a.part.png", "a.PNG.PART", "a.png.tmp")
        ),
        *((name, False) for name in ("a.png", "part.png", "a-tmp.png", "tmp/a.png")),
    ],
)
def test_temporary_names(name: str, temporary: bool) -> None:
    assert is_temporary(name) is temporary


def test_sub_folders_are_watched_and_what_is_no_photo_is_left_out(tmp_path: Path) -> None:
    for name in (
        "b.png",
        "cat/deep/a.PNG",
        ".hidden/a.png",
        "quarantine/a.png",
        "~x/a.png",
        "c.txt",
        "d.part.png",
        "png",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(tmp_path / "x.png").rename(path)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    once(config(tmp_path))
    assert sorted(names(tmp_path)) == ["b.png", "cat/deep/a.PNG"]


def test_glob_chooses_by_file_name(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "cat" / "a_test.png")
    photo(tmp_path / "in" / "a_temp.png")
    once(config(tmp_path, glob="*_test.png"))
    assert names(tmp_path) == ["cat/a_test.png"]


def test_links_are_told_and_not_followed(tmp_path: Path) -> None:
    photo(tmp_path / "secret" / "a.png")
    photo(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "secret" / "a.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "secret")
    notes = Notes()
    once(config(tmp_path), notes=notes)
    assert names(tmp_path) == ["b.png"]
    assert notes.told("a.png: a symbolic link, not followed")
    assert notes.told("folder: a symbolic link, not followed")


def test_a_file_replaced_by_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    secret = photo(tmp_path / "secret.png")
    stamp = stamp_of(secret.stat())
    (tmp_path / "a.png").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        read_whole(tmp_path / "a.png", stamp)
    os.mkfifo(tmp_path / "pipe.png")
    assert read_whole(tmp_path / "pipe.png", stamp) is None  # and does not block
    assert read_whole(secret, stamp) is not None
    assert read_whole(secret, Stamp(stamp.size + 1, stamp.mtime_ns)) is None


@pytest.mark.parametrize("how", ["grows", "was short"])
def test_a_file_that_changes_while_it_is_read_has_not_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = photo(tmp_path / "a.png")
    whole, status = path.read_bytes(), path.stat()

    def changing(file: BinaryIO, digest: str) -> Any:
        if how == "was short":
            path.write_bytes(whole[:20])
        found = hashlib.new(digest, file.read())
        path.write_bytes(whole + b"1" if how == "grows" else whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return found

    assert read_whole(path, stamp_of(status)) == file_sha256(path)
    monkeypatch.setattr(hashlib, "file_digest", changing)
    assert read_whole(path, stamp_of(status)) is None


def test_the_backlog_is_put_in_order_once_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        photo(tmp_path / "in" / f"{number:02d}.png", number)
    looks: list[int] = []
    orders: list[int] = []
    look, arrived = Arrivals.look, Arrivals.arrived

    def looking(self: Arrivals) -> None:
        looks.append(1)
        look(self)

    def ordered(self: Arrivals) -> Any:
        orders.append(1)
        return arrived(self)

    monkeypatch.setattr(Arrivals, "look", looking)
    monkeypatch.setattr(Arrivals, "arrived", ordered)
    once(config(tmp_path, batch_size=1, interval=0.2))
    assert names(tmp_path) == [f"{number:02d}.png" for number in range(12)]
    assert len(orders) == len(looks)


def test_results_in_the_watched_folder_are_not_watched(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    settings = config(tmp_path, out=tmp_path / "in" / "results", overlays=True)
    for _ in range(2):
        once(settings)
    overlays = list((tmp_path / "in" / "results" / "overlays").iterdir())
    assert len(overlays) == 1


@pytest.mark.parametrize("out", ["in", ".", "in/../in"])
def test_photos_never_lie_in_the_results(tmp_path: Path, out: str) -> None:
    photo(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError, match="is, or lies in, the folder of the results"):
        once(config(tmp_path, out=tmp_path / out))


@pytest.mark.parametrize("inside", ["", "deep/out"])
def test_an_out_that_is_a_file_is_wrong_usage(tmp_path: Path, inside: str) -> None:
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        UsageError, match=r"file: this is a file, not a folder for the results \(name another"
    ) as caught:
        once(config(tmp_path, out=tmp_path / "file" / inside))
    assert caught.value.exit_code == 2
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("what", ["in", "out"])
def test_a_place_that_may_not_be_looked_at_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    photo(tmp_path / "in" / "a.png")
    stat = os.stat

    def refused(path: Any, **options: Any) -> os.stat_result:
        if str(path) == str(tmp_path / what):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(UsageError, match=f"{what}: may not be looked at: Permission denied"):
        once(config(tmp_path))


def test_names_that_are_no_utf8_and_names_with_tricks_stay_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in (b"\xff.png", b"x\\..\\..\\up.png", b"c:x.png", b"a\nb.png"):
        photo(tmp_path / "x.png").rename(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name))
    once(config(tmp_path, overlays=True))
    once(config(tmp_path, overlays=True))
    assert len(records(tmp_path)) == 4
    assert all(record.error is None for record in records(tmp_path))
    overlays = list((tmp_path / "out").rglob("*.png"))
    assert len(overlays) == 4
    assert all((tmp_path / "out" / "overlays").resolve() in path.resolve().parents for path in overlays)


def test_a_folder_that_vanishes_is_waited_for(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    with watching(config(tmp_path)) as running:
        until(lambda: len(running.notes.photos) == 1)
        (tmp_path / "in").rename(tmp_path / "away")
        until(lambda: running.notes.told("waiting for it"))
        until(lambda: bool(running.notes.statuses[-1].trouble))
        photo(tmp_path / "away" / "b.png", 1)
        (tmp_path / "away").rename(tmp_path / "in")
        until(lambda: len(running.notes.photos) == 2)
        assert running.notes.told("the folder is back")
        assert not running.notes.statuses[-1].trouble
        running.end()
    assert names(tmp_path) == ["a.png", "b.png"]


# sub-folders that cannot be read


class _Closed:
    """Lists all folders but those of one name, which raise; with `entries` the files in them cannot be looked at."""

    def __init__(self, name: str, error: OSError, *, entries: bool = False) -> None:
        self.name, self.error, self.entries = name, error, entries
        self.scandir, self.closed = os.scandir, True

    def __call__(self, path: Any) -> Any:
        if not self.closed or Path(path).name != self.name:
            return self.scandir(path)
        if not self.entries:
            raise self.error
        with self.scandir(path) as listing:
            found = [self._entry(entry) for entry in listing]
        return contextlib.nullcontext(found)

    def _entry(self, entry: os.DirEntry[str]) -> Any:
        def refused(**options: Any) -> Any:
            raise self.error

        return SimpleNamespace(name=entry.name, is_symlink=entry.is_symlink, is_dir=refused, is_file=refused)


@pytest.mark.parametrize("entries", [False, True], ids=["not listed", "listed"])
def test_a_sub_folder_that_cannot_be_read_is_told_once_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: bool
) -> None:
    photo(tmp_path / "in" / "locked" / "a.png", 1)
    photo(tmp_path / "in" / "b.png", 2)
    closed = _Closed("locked", PermissionError(errno.EACCES, "Permission denied"), entries=entries)
    monkeypatch.setattr(os, "scandir", closed)
    with watching(config(tmp_path)) as running:
        until(lambda: len(running.notes.photos) == 1)
        assert running.notes.lines == ["locked/: cannot be read (Permission denied), photos in it are not seen"]
        running.notes.statuses.clear()
        until(lambda: len(running.notes.statuses) > 5)
        assert len(running.notes.lines) == 1
        assert running.notes.statuses[-1].trouble == "1 folder cannot be read"
        closed.closed = False
        until(lambda: len(running.notes.photos) == 2)
        assert not running.notes.statuses[-1].trouble
        assert running.end().unread == {}
    assert names(tmp_path) == ["b.png", "locked/a.png"]


def test_once_says_which_folders_it_could_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("", "locked", "stale"):
        photo(tmp_path / "in" / folder / "a.png", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", _Closed("locked", PermissionError(errno.EACCES, "Permission denied")))
        patch.setattr(os, "scandir", _Closed("stale", OSError(errno.ESTALE, "Stale file handle")))
        summary = once(config(tmp_path))
    assert summary.unread == {"locked/": "Permission denied", "stale/": "Stale file handle"}
    assert names(tmp_path) == ["a.png"]
    assert once(config(tmp_path)).unread == {}
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("error", [FileNotFoundError, NotADirectoryError])
@pytest.mark.parametrize("entries", [False, True])
def test_a_sub_folder_that_goes_away_meanwhile_is_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError], entries: bool
) -> None:
    photo(tmp_path / "locked" / "a.png", 1)
    monkeypatch.setattr(os, "scandir", _Closed("locked", error(errno.ENOENT, "gone"), entries=entries))
    arrivals = Arrivals(tmp_path, settle=1.0)
    arrivals.look()
    assert (arrivals.unread, arrivals.waiting) == ({}, 0)


def test_files_of_the_folder_itself_that_cannot_be_looked_at_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(tmp_path / "in" / "a.png", 1)
    monkeypatch.setattr(os, "scandir", _Closed("in", PermissionError(errno.EACCES, "Permission denied"), entries=True))
    notes = Notes()
    assert once(config(tmp_path), notes=notes).unread == {str(tmp_path / "in"): "Permission denied"}
    assert notes.told(f"{tmp_path / 'in'}: cannot be read (Permission denied)")


def test_new_names_go_before_those_that_have_to_be_checked_again(tmp_path: Path) -> None:
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", number)
    once(config(tmp_path))
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", 100 + number)
    os.utime(photo(tmp_path / "in" / "new.png"))
    once(config(tmp_path, batch_size=1), FakeEngine())
    assert names(tmp_path)[5] == "new.png"
