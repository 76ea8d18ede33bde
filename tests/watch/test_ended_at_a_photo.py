"""Photos that end the watcher whenever they are looked at: the others go first, and in the end they are given up."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from iadr1 import images
from iadr1.errors import ModelError, OutputError
from iadr1.models.base import Request
from iadr1.stages.inspection import artefacts, loading
from iadr1.stages.watch import watcher
from iadr1.stages.watch.suspects import IN_HAND
from tests.stages.fake_engine import FakeEngine
from tests.watch.world import Notes, config, in_process, names, once, photo, records

BAD = "b.png"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(FakeEngine):
    """Kills the process at one photo, as a driver that crashes does."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        if any(request.id == BAD for request in requests):
            _die()
        return super().probabilities(requests, words)


class Failing(FakeEngine):
    """Cannot be used at one photo, as where the memory does not suffice for it."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        if any(request.id == BAD for request in requests):
            raise ModelError("does not fit into the memory")
        return super().probabilities(requests, words)


def _killed(root: Path, engine: FakeEngine, **values: object) -> bool:
    """Whether a run in a process of its own was killed; else it came to its end."""
    process = in_process(lambda: once(config(root, **values), engine))
    process.join(20)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("culprit", ["engine", "decoder"])
def test_a_photo_that_kills_the_watcher_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    opened = images.open_image

    def decode(path: Path, **options: bool) -> Image.Image:
        if path.name == BAD:
            _die()
        return opened(path, **options)

    engine: FakeEngine = Deadly()
    if culprit == "decoder":
        engine = FakeEngine()
        monkeypatch.setattr(loading, "open_image", decode)
        monkeypatch.setattr(watcher, "open_image", decode)
    for number, name in enumerate(("a.png", BAD, "c.png", "d.png")):
        os.utime(photo(tmp_path / "in" / name, number), (number, number))
    seen = []
    while _killed(tmp_path, engine, attempts=2, batch_size=4):
        seen.append(names(tmp_path))
        assert len(seen) < 6, "it is never given up"
    # Together with the others, then alone: once before the last of them, once after.
    assert seen == [[], ["a.png"], ["a.png", "c.png", "d.png"]]
    assert names(tmp_path) == ["a.png", "c.png", "d.png", BAD]
    found = records(tmp_path)[-1]
    assert "the watcher ended 2 times while it looked at this photo" in str(found.error)
    assert (found.verdict, found.image_sha256 is not None) == ("undecided", True)
    assert (tmp_path / "in" / BAD).exists()
    # Neither it nor what comes later is in danger from then on.
    photo(tmp_path / "in" / "e.png", 9)
    assert not _killed(tmp_path, engine, attempts=2, batch_size=4)
    assert names(tmp_path)[4:] == ["e.png"]


def test_where_it_alone_is_there_nothing_tells_that_it_is_to_blame(tmp_path: Path) -> None:
    photo(tmp_path / "in" / BAD)
    for _ in range(4):
        assert _killed(tmp_path, Deadly(), attempts=1)
    assert names(tmp_path) == []
    photo(tmp_path / "in" / "new.png", 1)
    assert _killed(tmp_path, Deadly(), attempts=1)
    assert names(tmp_path) == ["new.png"]  # the line does not stand still
    assert not _killed(tmp_path, Deadly(), attempts=1)
    assert names(tmp_path) == ["new.png", BAD]
    assert not _killed(tmp_path, FakeEngine(), attempts=1)  # nor is it opened again
    assert len(records(tmp_path)) == 2


def test_the_first_end_at_a_photo_does_not_tell_against_it(tmp_path: Path) -> None:
    """It may have been anybody's `kill -9`, and it was not known as a suspect."""
    for number, name in enumerate(("a.png", BAD)):
        os.utime(photo(tmp_path / "in" / name, number), (number, number))
    assert _killed(tmp_path, Deadly(), attempts=1, batch_size=1)
    assert names(tmp_path) == ["a.png"]
    assert not _killed(tmp_path, FakeEngine(), attempts=1)
    assert [record.error for record in records(tmp_path)] == [None, None]


def test_an_error_that_ends_the_watcher_at_one_photo_counts_as_well(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", BAD, "c.png")):
        photo(tmp_path / "in" / name, number)
    for _ in range(2):
        with pytest.raises(ModelError, match="does not fit"):
            once(config(tmp_path, attempts=1, batch_size=4), Failing())
    once(config(tmp_path, attempts=1, batch_size=4), Failing())
    assert names(tmp_path) == ["a.png", "c.png", BAD]
    assert [record.image for record in records(tmp_path) if record.error] == [BAD]


def test_a_photo_that_gets_its_answer_is_no_suspect_any_more(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", BAD)):
        photo(tmp_path / "in" / name, number)
    assert _killed(tmp_path, Deadly(), batch_size=4)
    assert (tmp_path / "out" / IN_HAND).exists()
    once(config(tmp_path))
    assert sorted(names(tmp_path)) == ["a.png", BAD]
    assert [record.error for record in records(tmp_path)] == [None, None]
    assert not (tmp_path / "out" / IN_HAND).exists()


def test_other_bytes_under_the_name_start_anew(tmp_path: Path) -> None:
    photo(tmp_path / "in" / BAD, 1)
    photo(tmp_path / "in" / "a.png", 2)
    for _ in range(4):
        _killed(tmp_path, Deadly(), attempts=1, batch_size=4)
    assert [record.image for record in records(tmp_path) if record.error] == [BAD]
    photo(tmp_path / "in" / BAD, 3)
    once(config(tmp_path, attempts=1))
    assert [(record.image, bool(record.error)) for record in records(tmp_path)[-1:]] == [(BAD, False)]


def test_a_full_disk_is_no_photos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("a.png", BAD)):
        photo(tmp_path / "in" / name, number)
    assert _killed(tmp_path, Deadly(), batch_size=4)
    write = artefacts.write

    def full(finding: object, *rest: object, **more: object) -> object:
        if finding.record.image == BAD:  # type: ignore[attr-defined] # a Finding
            raise OutputError("cannot write: No space left on device")
        return write(finding, *rest, **more)  # type: ignore[arg-type] # as it was called

    with monkeypatch.context() as patch:
        patch.setattr(artefacts, "write", full)
        for _ in range(4):
            with pytest.raises(OutputError):
                once(config(tmp_path, attempts=1))
    once(config(tmp_path, attempts=1))
    assert [record.error for record in records(tmp_path)] == [None, None]


def test_what_is_in_hand_may_be_unreadable_and_that_is_told(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / IN_HAND).write_text("")  # as a power failure may leave it
    notes = Notes()
    once(config(tmp_path), notes=notes)
    assert notes.told("looking.json: cannot be read and is removed")
    assert names(tmp_path) == ["a.png"]
