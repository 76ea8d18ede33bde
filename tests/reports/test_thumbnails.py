"""Thumbnails of references in the report: each once, bounded, and nothing but pictures of the references' folder."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.records import Detection
from iadr1.reports import thumbnails
from iadr1.reports.html import write_report
from tests.reports.parsed_page import HOSTILE, Page


def _photo(path: Path, colour: int = 128, size: tuple[int, int] = (320, 200)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 60, 60)).save(path)
    return path


def _record(name: str, *references: str, score: float = 0.5) -> Detection:
    return Detection(image=name, verdict="anomalous", score=score, references=references)


def _report(folder: Path, *records: Detection, references: Path | None) -> str:
    write_report(folder / "report.html", records, images=folder, info={"Model": "tiny"}, references=references)
    return (folder / "report.html").read_text(encoding="utf-8")


def _data(text: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def _size(uri: str) -> tuple[int, int]:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data))).size


def test_a_reference_of_many_photos_is_inside_once(tmp_path: Path) -> None:
    _photo(tmp_path / "good" / "bolts" / "1.png")
    _photo(tmp_path / "good" / "2.png", size=(40, 80))
    records = [
        _record("a.png", "bolts/1.png", "2.png", score=0.9),
        _record("b.png", "bolts/1.png", score=0.8),
        _record("c.png", "gone.png", score=0.7),
        _record("d.png", "gone.png", "2.png", score=0.6),
        _record("e.png", score=0.5),
    ]
    text = _report(tmp_path, *records, references=tmp_path / "good")
    pictures = _data(text, "thumbnails")
    assert [_size(uri) for uri in pictures] == [(160, 100), (40, 80)]
    assert [photo.get("thumbnails") for photo in _data(text, "photos")] == [[0, 1], [0], None, [None, 1], None]
    assert _data(text, "photos")[2]["references"] == ["gone.png"]


def test_without_the_folder_there_are_names_only(tmp_path: Path) -> None:
    text = _report(tmp_path, _record("a.png", "1.png"), references=None)
    assert _data(text, "thumbnails") == []
    assert "thumbnails" not in _data(text, "photos")[0]


def test_all_together_stay_small_and_the_worst_photos_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    for number in range(9):
        (tmp_path / "good").mkdir(exist_ok=True)
        pixels = noise.integers(0, 256, (200, 200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "good" / f"{number}.png")
    records = [_record(f"{number}.png", f"{number}.png", score=number / 10) for number in range(9)]
    one = len(_data(_report(tmp_path, records[0], references=tmp_path / "good"), "thumbnails")[0])
    monkeypatch.setattr(thumbnails, "MOST_BYTES", 3 * one)
    text = _report(tmp_path, *records, references=tmp_path / "good")
    pictures = _data(text, "thumbnails")
    assert 2 <= len(pictures) <= 3
    assert sum(map(len, pictures)) <= 3 * one
    shown = [photo["image"] for photo in _data(text, "photos") if "thumbnails" in photo]
    assert shown == ["8.png", "7.png", "6.png"][: len(pictures)]


def test_so_many_stand_beside_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MOST_BESIDE", 2)
    for number in range(4):
        _photo(tmp_path / "good" / f"{number}.png", number)
    text = _report(tmp_path, _record("a.png", "0.png", "1.png", "2.png", "3.png"), references=tmp_path / "good")
    (photo,) = _data(text, "photos")
    assert (photo["thumbnails"], len(photo["references"]), len(_data(text, "thumbnails"))) == ([0, 1], 4, 2)


@pytest.mark.parametrize("name", ["../secret.png", "{absolute}", HOSTILE, "a\0b.png", "text.png", "__proto__"])
def test_nothing_but_pictures_of_the_folder_comes_in(tmp_path: Path, name: str) -> None:
    (tmp_path / "good").mkdir()
    absolute = _photo(tmp_path / "secret.png")
    (tmp_path / "good" / "text.png").write_text("no picture")
    name = name.replace("{absolute}", str(absolute))
    text = _report(tmp_path, _record("a.png", name), references=tmp_path / "good")
    assert _data(text, "thumbnails") == []
    assert _data(text, "photos")[0]["references"] == [name]
    assert Page(text).all("img") == []
