"""What `detect` says of files that it does not look at, of photos that have gone, and of settings that changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from iadr1.cli.app import app
from iadr1.cli.detect import _digits
from iadr1.config import DetectConfig
from iadr1.errors import UsageError
from iadr1.stages import detect
from iadr1.stages.inspection import setup
from iadr1.stages.inspection.photos import find_photos, left_out, told_left_out
from tests.stages.fake_engine import FakeEngine


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "deep/c.png")):
        Image.new("RGB", (40, 30), (number, 90, 90)).save(folder / name)
    return folder


def _run(images: Path, **values: Any) -> detect.DetectSummary:
    config = DetectConfig(images=images, out=images.parent / "out", **{"mode": "direct", "report": False, **values})
    return detect.run(config, engine=FakeEngine())


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_files_that_are_no_image_that_is_read_are_counted_by_suffix(images: Path) -> None:
    _touch(images, "x.heic", "deep/y.HEIC", "z.raw", "noname")
    _touch(images, "notes.txt", "boxes.json", ".hidden.heic", ".git/z.heic", "table.CSV")
    assert left_out(images) == {".heic": 2, ".raw": 1, "": 1}
    assert left_out(images, glob="*.raw") == {".raw": 1}
    assert left_out(images / "a.png") == {}
    assert _run(images).left_out == {".heic": 2, ".raw": 1, "": 1}
    run = json.loads((images.parent / "out" / "run.json").read_text())
    assert run["left_out"] == {".heic": 2, ".raw": 1, "": 1}


def test_how_they_are_told() -> None:
    assert told_left_out({}) == ""
    assert told_left_out({".heic": 1}) == "1 file left out: .heic"
    assert told_left_out({".heic": 2}) == "2 files left out: .heic"
    assert told_left_out({".heic": 2, "": 1}) == "3 files left out: 2 .heic, 1 without a suffix"


def test_the_command_says_what_is_left_out_and_what_has_gone(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "load_engine", lambda *_: FakeEngine())
    words = ["detect", str(images), "--out", str(images.parent / "out"), "--no-report", "--mode", "direct"]
    assert "left out" not in CliRunner().invoke(app, words).output
    (images / "a.png").rename(images / "a.heic")
    lines = CliRunner().invoke(app, words).output.splitlines()
    assert "3 photos: 3 anomalous, 0 normal, 0 undecided" in lines
    assert "1 photo of an earlier run is not in the folder any more; what was found in it is kept" in lines
    assert "1 file left out: .heic" in lines


def test_a_photo_that_has_gone_is_counted_and_one_that_was_not_asked_for_is_not(images: Path) -> None:
    assert _run(images).gone == 0
    assert _run(images, glob="a*").gone == 0
    (images / "b.png").unlink()
    summary = _run(images)
    assert (summary.gone, sum(summary.counts.values())) == (1, 3)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mode": "think"}, r"another run \(mode direct there, think now\)"),
        ({"tiles": "2x2", "mode": "two-pass"}, r"\(tiles off there, 2x2 now, mode direct there, two-pass now\)"),
        ({"threshold": 0.25}, r"\(threshold none there, 0\.25 now\)"),
        ({"references": "images"}, r"references none there, .*images now\)"),
    ],
)
def test_the_settings_that_changed_are_named(images: Path, values: dict[str, Any], told: str) -> None:
    _run(images)
    if "references" in values:
        values = {"references": images}
    with pytest.raises(UsageError, match=told):
        _run(images, **values)


def test_a_calibration_of_another_way_is_refused_before_the_model_is_loaded(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.serve.test_process import _calibrated

    def load(*_: object) -> FakeEngine:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(setup, "load_engine", load)
    config = DetectConfig(images=images, out=images.parent / "out", calibration=_calibrated(images.parent), tiles="2x2")
    with pytest.raises(UsageError, match="made with --tiles off, here 2x2"):
        detect.run(config)


def test_the_folder_of_one_photo_that_cannot_be_listed(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def iterdir(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(UsageError, match=r"cannot look for images in '.*images': Permission denied \(make the folder"):
        find_photos(images / "a.png", images.parent / "out")


def test_the_terminal_tells_a_score_from_a_threshold_near_1() -> None:
    assert [_digits(score) for score in (0.9, 0.99990512, 0.99992, 1.0)] == ["0.90", "0.999905", "0.99992", "1.00"]
