"""One run at a time writes into a folder, what it replaces is replaced late, and what cannot be is refused early."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iadr1.config import DetectConfig
from iadr1.errors import DataError, ModelError, OutputError, UsageError
from iadr1.locks import lock
from iadr1.models.base import Request
from iadr1.records import Detection, read_records
from iadr1.stages import detect
from iadr1.stages.detect.photos import told_passed_by
from iadr1.stages.inspection import setup
from tests.stages.fake_engine import FakeEngine


class _Down(FakeEngine):
    """A server that nobody answers at."""

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        raise ModelError("no connection")


class _Calls(FakeEngine):
    """Does something at the first question."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self._act = act

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        act, self._act = self._act, lambda: None
        act()
        return super().probabilities(requests, words)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (40, 30), (number, 90, 90)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> FakeEngine:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(setup, "load_engine", load)


def _config(images: Path, **values: Any) -> DetectConfig:
    return DetectConfig(**{"images": images, "out": images.parent / "out", "batch_size": 2, **values})


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("[!.]*")) if path.is_file()}


def _records(out: Path) -> dict[str, str | None]:
    """Photo -> error; a photo with two records is no dictionary's entry twice."""
    records = list(read_records(out / "detections.jsonl", Detection))
    assert len({record.image for record in records}) == len(records)
    return {record.image: record.error for record in records}


@pytest.mark.usefixtures("unloaded")
def test_a_second_run_into_the_folder_is_refused_before_it_loads_a_model(images: Path) -> None:
    refused: list[str] = []

    def second() -> None:
        with pytest.raises(UsageError) as caught:
            detect.run(_config(images))
        refused.append(str(caught.value))

    summary = detect.run(_config(images), engine=_Calls(second))
    told = "another run is writing into this folder (wait for it, or name another folder with --out)"
    assert refused == [f"{images.parent / 'out'}: {told}"]
    assert len(_records(summary.out)) == 4
    assert detect.run(_config(images), engine=FakeEngine()).skipped == 4  # the lock is let go of


def test_shards_do_not_shut_each_other_out_and_a_run_in_the_whole_shuts_out_a_join(images: Path) -> None:
    def other() -> None:
        detect.run(_config(images, shard="2/2"), engine=FakeEngine())

    detect.run(_config(images, shard="1/2"), engine=_Calls(other))
    held = lock(images.parent / "out", busy="", busy_hint="")
    assert held is not None
    with held, pytest.raises(UsageError, match="another run is writing into this folder"):
        detect.run(_config(images, join=True, batch_size=DetectConfig.batch_size))
    assert detect.run(_config(images, join=True, batch_size=DetectConfig.batch_size)).joined == 2


def test_a_model_that_cannot_be_asked_replaces_nothing(images: Path) -> None:
    detect.run(_config(images), engine=FakeEngine())
    before = _files(images.parent / "out")
    (images / "0.png").write_bytes(b"")  # fails without a question, and is no answer
    for batch_size in (1, 4):
        with pytest.raises(ModelError, match="no connection"):
            detect.run(_config(images, overwrite=True, batch_size=batch_size), engine=_Down())
        assert _files(images.parent / "out") == before


def test_what_is_replaced_goes_when_the_first_photo_is_answered(images: Path) -> None:
    out = images.parent / "out"
    detect.run(_config(images), engine=FakeEngine())
    (images / "0.png").write_bytes(b"")
    (images / "3.png").unlink()
    seen: list[int] = []
    engine = _Calls(lambda: seen.append(len(_records(out))))
    summary = detect.run(_config(images, overwrite=True, mode="direct", batch_size=1), engine=engine)
    assert (seen, summary.skipped, summary.errors) == ([4], 0, 1)
    found = _records(out)
    assert list(found) == ["0.png", "1.png", "2.png"]
    assert "0 bytes" in str(found["0.png"])
    assert sorted(path.name for path in (out / "overlays").iterdir()) == ["1.png", "2.png"]


def test_a_run_in_which_every_photo_fails_replaces_nothing(images: Path) -> None:
    detect.run(_config(images), engine=FakeEngine())
    before = {path.name: path.read_bytes() for path in (images.parent / "out").iterdir() if path.is_file()}
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 4 photos could be looked at, so that nothing is replaced"):
        detect.run(_config(images, overwrite=True), engine=FakeEngine())
    assert {path.name: path.read_bytes() for path in (images.parent / "out").iterdir() if path.is_file()} == before


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"threshold": 0.25}, r"\(threshold none there, 0\.25 now\)"),
        ({"masks": True}, r"masks False there, True now"),
        ({"references": True}, r"\(references none there, .*good now\)"),
    ],
)
def test_what_differs_from_the_run_in_the_folder_is_told_before_a_model_is_loaded(
    images: Path, values: dict[str, Any], told: str
) -> None:
    good = images.parent / "good"
    good.mkdir()
    Image.new("RGB", (40, 30)).save(good / "0.png")
    detect.run(_config(images), engine=FakeEngine())
    with pytest.raises(UsageError, match=f"holds the results of another run .*{told}"):
        detect.run(_config(images, **{**values, **({"references": good} if "references" in values else {})}))


@pytest.mark.usefixtures("unloaded")
def test_a_folder_that_cannot_be_taken_is_told_before_a_model_is_loaded(images: Path) -> None:
    out = images.parent / "out"
    (out / ".lock").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"out: cannot write: .* \(name another folder with --out\)"):
        detect.run(_config(images))
    (out / ".lock").rmdir()
    (out / "detections.jsonl").touch()
    with pytest.raises(UsageError, match=r"holds a detections\.jsonl without a run\.json"):
        detect.run(_config(images))


def test_the_default_threshold_is_the_same_written_out_or_not(images: Path) -> None:
    detect.run(_config(images), engine=FakeEngine())
    assert detect.run(_config(images, threshold=0.5), engine=FakeEngine()).skipped == 4
    detect.run(_config(images, threshold=0.5, out=images.parent / "other"), engine=FakeEngine())
    assert detect.run(_config(images, out=images.parent / "other"), engine=FakeEngine()).skipped == 4
    with pytest.raises(UsageError, match=r"\(threshold none there, 0\.4 now\)"):
        detect.run(_config(images, threshold=0.4, out=images.parent / "other"), engine=FakeEngine())


def test_what_is_not_opened_is_told(images: Path) -> None:
    other = images.parent / "other"
    other.mkdir()
    Image.new("RGB", (40, 30)).save(other / "x.png")
    (images / "deep").mkdir()
    (images / "linked.png").symlink_to(other / "x.png")  # a link to a photo is one
    (images / "deep" / "elsewhere").symlink_to(other)
    (images / "loop").symlink_to(images)
    (images / "gone.png").symlink_to(other / "gone.png")
    (images / "self.heic").symlink_to("self.heic")
    os.mkfifo(images / "pipe.png")
    (images / ".hidden").symlink_to(other)
    summary = detect.run(_config(images), engine=FakeEngine())
    assert list(_records(summary.out)) == ["0.png", "1.png", "2.png", "3.png", "linked.png"]
    assert summary.passed_by == {
        "links to folders": ["deep/elsewhere", "loop"],
        "broken links": ["gone.png", "self.heic"],
        "pipes and devices": ["pipe.png"],
    }
    assert summary.left_out == {}, "it is told once"
    assert (
        told_passed_by(summary.passed_by)
        == "not opened: 2 links to folders (deep/elsewhere, loop); 2 broken links (gone.png, self.heic); "
        "1 pipe or device (pipe.png)"
    )
    summary = detect.run(_config(images, glob="[01].*"), engine=FakeEngine())
    assert summary.passed_by == {"links to folders": ["deep/elsewhere", "loop"]}
    assert detect.run(_config(images / "0.png", out=images.parent / "one"), engine=FakeEngine()).passed_by == {}


def test_the_results_of_another_run_among_the_photos_are_no_photos(images: Path) -> None:
    detect.run(_config(images, out=images / "deep" / "res"), engine=FakeEngine())
    (images / "mine").mkdir()
    (images / "mine" / "run.json").write_text('{"command": "start.sh"}')  # of another program
    Image.new("RGB", (40, 30)).save(images / "mine" / "x.png")
    (images / "deep" / "res" / "line").mkdir()  # a run may be written beside photos that others take later
    Image.new("RGB", (40, 30)).save(images / "deep" / "res" / "line" / "y.png")
    Image.new("RGB", (40, 30)).save(images / "deep" / "res" / "curve.png")
    summary = detect.run(_config(images), engine=FakeEngine())
    assert list(_records(summary.out)) == ["0.png", "1.png", "2.png", "3.png", "deep/res/line/y.png", "mine/x.png"]
    assert summary.passed_by == {"folders with results of other runs": ["deep/res"]}
    assert told_passed_by(summary.passed_by) == "not opened: 1 folder with results of another run (deep/res)"
    (images / "deep" / "res" / "line" / "y.png").unlink()
    with pytest.raises(UsageError, match=r"all 5 images in '.*deep' are results of other runs of iadr1 \(name the"):
        detect.run(_config(images / "deep", out=images.parent / "out2"), engine=FakeEngine())
    pictures = images / "deep" / "res" / "overlays"
    assert detect.run(_config(pictures, out=images.parent / "out3"), engine=FakeEngine()).counts["anomalous"] == 4
