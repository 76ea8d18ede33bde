from __future__ import annotations

import hashlib
import os
from pathlib import Path
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


def test_new_names_go_before_those_that_have_to_be_checked_again(tmp_path: Path) -> None:
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", number)
    once(config(tmp_path))
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", 100 + number)
    os.utime(photo(tmp_path / "in" / "new.png"))
    once(config(tmp_path, batch_size=1), FakeEngine())
    assert names(tmp_path)[5] == "new.png"
