from __future__ import annotations

import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import OutputError
from iadr1.records import DetectedDefect, Detection
from iadr1.reports.html import CSV_COLUMNS, STATES, write_csv, write_report

HOSTILE = "<script>alert('x')</script>\"><img src=https://evil.example onerror=alert(1)>&quot;'"
INFO = {"Model": "tiny", "Date": "2026-01-31 10:00", "Settings": "0123456789abcdef", "Masks": "grabcut"}


class _Page(HTMLParser):
    """Collects the elements of a page with their attributes, and the text of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _defect(**values: object) -> DetectedDefect:
    return DetectedDefect(**({"label": "scratch", "box": (10, 20, 30.4, 40.6)} | values))


def _report(folder: Path, *records: Detection, info: dict[str, str] | None = None) -> _Page:
    write_report(folder / "report.html", records, images=folder, info=info or INFO)
    return _Page((folder / "report.html").read_text(encoding="utf-8"))


def test_counts_states_and_head_are_shown(tmp_path: Path) -> None:
    page = _report(
        tmp_path,
        Detection(image="ok.png", verdict="normal", parse="ok", score=0.1),
        Detection(image="ng1.png", verdict="anomalous", parse="ok", score=0.2),
        Detection(image="ng2.png", verdict="anomalous", parse="ok", score=0.9),
        Detection(image="what.png", verdict="undecided", parse="failed: no <answer> block"),
        Detection(image="broken.png", verdict="undecided", error="broken.png: the file is empty (0 bytes)"),
    )
    flat = " ".join(page.text.split())
    assert "5 All photos 2 NG 1 Undecided 1 Error 1 OK" in re.sub(r"(\d)([A-Z])", r"\1 \2", flat)
    for name, value in INFO.items():
        assert name in flat
        assert value in flat
    assert "no <answer> block" in flat
    assert "the file is empty (0 bytes)" in flat
    # The most suspicious first; errors and open questions before what is fine.
    assert [card["data-name"] for card in page.all("article")] == [
        "ng2.png",
        "ng1.png",
        "what.png",
        "broken.png",
        "ok.png",
    ]
    assert [button["data-filter"] for button in page.all("button")] == ["", *STATES]
    assert {card["data-state"] for card in page.all("article")} == set(STATES)


def test_a_card_shows_reasoning_defects_score_and_answer(tmp_path: Path) -> None:
    page = _report(
        tmp_path,
        Detection(
            image="tiles/a.png",
            width=200,
            height=100,
            verdict="anomalous",
            score=0.8125,
            reasoning="A dark line.",
            raw="<think>A dark line.</think>",
            parse="repaired: no <answer> block",
            references=("good/1.png",),
            defects=(
                _defect(area_px=400, mask_score=0.456, mask_source="grabcut"),
                _defect(label="dent", area_px=600, mask_score=0.0, mask_source="box"),
            ),
        ),
    )
    flat = " ".join(page.text.split())
    for part in (
        "anomaly score 0.812",
        "200 \u00d7 100 px",
        "good/1.png",
        "A dark line.",
        "10, 20, 30, 41",
        "400 px",
        "2 %",
        "0.46",
        "2 dent",
        "box only",
        "<think>A dark line.</think>",
        "repaired: no <answer> block",
    ):
        assert part in flat, part
    assert len(page.all("details")) == 1


def test_hostile_text_stays_text_everywhere(tmp_path: Path) -> None:
    clean = _report(
        tmp_path,
        Detection(
            image="a.png",
            verdict="anomalous",
            parse="ok",
            raw="x",
            reasoning="x",
            error=None,
            references=("x",),
            defects=(_defect(),),
        ),
    )
    record = Detection(
        image=HOSTILE,
        verdict="anomalous",
        parse=f"repaired: {HOSTILE}",
        raw=f"</pre>{HOSTILE}",
        reasoning=HOSTILE,
        references=(HOSTILE,),
        defects=(_defect(label=HOSTILE),),
    )
    page = _report(tmp_path, record, info={HOSTILE: HOSTILE})
    assert len(page.all("script")) == len(clean.all("script")) == 1
    assert page.all("img") == []
    (card,) = page.all("article")
    assert card["data-name"] == HOSTILE
    assert set(card) == {"class", "data-state", "data-score", "data-name"}
    assert page.text.count(HOSTILE) >= 6
    failed = _report(tmp_path, Detection(image="a", verdict="undecided", error=HOSTILE))
    assert HOSTILE in failed.text
    assert len(failed.all("script")) == 1


def test_the_file_is_self_contained(tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), (200, 30, 30)).save(tmp_path / "photo.png")
    (tmp_path / "overlays").mkdir()
    Image.new("RGB", (900, 600), (30, 30, 200)).save(tmp_path / "overlays" / "photo.png")
    page = _report(tmp_path, Detection(image="photo.png", verdict="normal", parse="ok", overlay="overlays/photo.png"))
    (image,) = page.all("img")
    head, _, data = str(image["src"]).partition(",")
    assert head == "data:image/jpeg;base64"
    thumbnail = Image.open(io.BytesIO(base64.b64decode(data)))
    assert thumbnail.size == (480, 320)
    red, _, blue = np.asarray(thumbnail)[5, 5]
    assert blue > 150 > red, "the overlay is shown, not the photo"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link", text.replace(data, ""))
    assert "default-src 'none'" in text


def test_without_an_overlay_the_photo_is_drawn_on_and_a_lost_one_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (600, 600), (128, 128, 128)).save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (600, 600), 255).save(tmp_path / "masks" / "a_0.png")
    defect = _defect(label="scratch", mask="masks/a_0.png", area_px=360000, mask_score=0.5, mask_source="sam2")
    page = _report(
        tmp_path,
        Detection(image="a.png", width=600, height=600, verdict="anomalous", parse="ok", defects=(defect,)),
        Detection(image="gone.png", verdict="normal", parse="ok"),
    )
    (image,) = page.all("img")
    data = base64.b64decode(str(image["src"]).partition(",")[2])
    pixel = np.asarray(Image.open(io.BytesIO(data)))[400, 400]
    assert int(pixel.max()) - int(pixel.min()) > 20, "the mask is not drawn"
    assert "no picture" in page.text


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "nowhere").touch()
    with pytest.raises(OutputError, match=r"report\.html: cannot write"):
        write_report(tmp_path / "nowhere" / "report.html", [], images=tmp_path, info=INFO)


def test_csv_has_a_line_for_each_photo(tmp_path: Path) -> None:
    defects = (_defect(area_px=40), _defect(label='a "quoted", label', area_px=2))
    write_csv(
        tmp_path / "summary.csv",
        [
            Detection(image="ä b.png", verdict="anomalous", score=0.5, defects=defects, width=9, height=8, parse="ok"),
            Detection(image="c.png", verdict="undecided", error="empty"),
        ],
    )
    rows = list(csv.reader((tmp_path / "summary.csv").open(encoding="utf-8", newline="")))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[1] == ["ä b.png", "anomalous", "0.5000", "2", 'scratch; a "quoted", label', "42", "9", "8", "ok", ""]
    assert rows[2] == ["c.png", "undecided", "", "0", "", "", "0", "0", "", "empty"]
