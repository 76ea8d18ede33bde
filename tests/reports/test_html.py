from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import OutputError, UsageError
from iadr1.records import DetectedDefect, Detection
from iadr1.reports import html
from iadr1.reports.html import CSV_COLUMNS, SCRIPTS, STATES, append_csv, write_csv, write_report
from iadr1.reports.words import LANGUAGES, words
from iadr1.spreadsheet import unguard
from tests.reports.parsed_page import AWKWARD, Page
from tests.reports.parsed_page import HOSTILE as HOSTILE_HTML

HOSTILE = f"{HOSTILE_HTML}\u2028<!--<script>\x00\ud800"
INFO = {"Model": "tiny", "Date": "2026-01-31 10:00", "Settings": "0123456789abcdef", "Masks": "grabcut"}
PARTS = Path(html.__file__).parent / "templates"


def _defect(**values: object) -> DetectedDefect:
    return DetectedDefect(**({"label": "scratch", "box": (10, 20, 30.4, 40.6)} | values))


def _report(folder: Path, *records: Detection, **values: Any) -> str:
    arguments: dict[str, Any] = {"images": folder, "info": INFO} | values
    write_report(folder / "report.html", records, **arguments)
    return (folder / "report.html").read_text(encoding="utf-8")


def _data(text: str, name: str = "photos") -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def _picture(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_counts_states_and_head_stand_in_the_page_itself(tmp_path: Path) -> None:
    text = _report(
        tmp_path,
        Detection(image="ok.png", verdict="normal", parse="ok", score=0.1),
        Detection(image="ng1.png", verdict="anomalous", parse="ok", score=0.2),
        Detection(image="ng2.png", verdict="anomalous", parse="ok", score=0.9),
        Detection(image="ng3.png", verdict="anomalous", parse="ok", score=float("nan")),
        Detection(image="what.png", verdict="undecided", parse="failed: no <answer> block"),
        Detection(image="broken.png", verdict="undecided", error="broken.png: the file is empty (0 bytes)"),
    )
    page = Page(text)
    assert "6 All photos 3 NG 1 Undecided 1 Error 1 OK" in page.flat
    for name, value in INFO.items():
        assert name in page.flat
        assert value in page.flat
    # The most suspicious first; errors and open questions before what is fine.
    photos = _data(text)
    assert [photo["image"] for photo in photos] == [
        "ng2.png",
        "ng1.png",
        "ng3.png",
        "what.png",
        "broken.png",
        "ok.png",
    ]
    assert {photo["state"] for photo in photos} == set(STATES)
    assert "score" not in photos[2]
    filters = [button["data-filter"] for button in page.all("button") if "data-filter" in button]
    assert filters == ["", *STATES]


def test_a_photo_carries_all_that_its_card_shows(tmp_path: Path) -> None:
    defects = (
        _defect(area_px=400, mask_score=0.456, mask_source="grabcut", agreement=0.75),
        _defect(label="dent", area_px=600, mask_score=0.0, mask_source="box"),
    )
    record = Detection(
        image="tiles/a.png",
        image_sha256="ab",
        width=200,
        height=100,
        verdict="anomalous",
        score=0.0,
        reasoning="A dark line.",
        raw="<think>A dark line.</think>",
        parse="repaired: no <answer> block",
        references=("good/1.png",),
        defects=defects,
        mode="direct",
        threshold=0.0,
        tiles=5,
    )
    (photo,) = _data(_report(tmp_path, record))
    first, second = photo.pop("defects")
    assert photo == {
        "image": "tiles/a.png",
        "sha256": "ab",
        "state": "anomalous",
        "score": 0.0,
        "size": [200, 100],
        "reasoning": "A dark line.",
        "raw": "<think>A dark line.</think>",
        "parse": "repaired: no <answer> block",
        "references": ["good/1.png"],
        "area": 1000,
        "photo": "./tiles/a.png",
        "mode": "direct",
        "threshold": 0.0,
        "looks": 5,
    }
    assert (first["label"], first["box"], first["area"], first["share"]) == ("scratch", [10, 20, 30, 41], 400, 0.02)
    assert (first["score"], first["source"], first["agreement"]) == (0.456, "grabcut", 0.75)
    assert (second["label"], second["source"], second["score"], second["agreement"]) == ("dent", "box", 0.0, None)
    assert first["colour"] != second["colour"]


def test_hostile_text_stays_text_everywhere(tmp_path: Path) -> None:
    clean = Page(_report(tmp_path, Detection(image="a.png", verdict="anomalous", defects=(_defect(),))))
    record = Detection(
        image=HOSTILE,
        verdict="anomalous",
        parse=f"repaired: {HOSTILE}",
        raw=HOSTILE,
        reasoning=HOSTILE,
        references=(HOSTILE,),
        error=HOSTILE,
        defects=(_defect(label=HOSTILE, mask_source=HOSTILE),),
    )
    text = _report(tmp_path, record, info=INFO | {HOSTILE: HOSTILE}, title=HOSTILE)
    page = Page(text)
    added = page.elements[len(clean.elements) :]
    assert [tag for tag, _ in page.elements if tag != "div"].count("script") == len(clean.all("script")) == 5
    assert len(added) <= 3, "a name and a value of the head, nothing else"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.all("img") == page.all("iframe") == []
    readable = HOSTILE.replace("\ud800", "?")
    (photo,) = _data(text)
    for name in ("image", "raw", "reasoning", "error"):
        assert photo[name] == readable, name
    assert photo["defects"][0]["label"] == photo["defects"][0]["source"] == readable
    assert _data(text, "run")["title"] == readable


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("https://evil.example/a?b#c", "./https%3A/evil.example/a%3Fb%23c"),
        ("//evil.example/a.png", ".///evil.example/a.png"),
        ("data:text/html,<b>", "./data%3Atext/html%2C%3Cb%3E"),
        ("a b/ä%20.png", "./a%20b/%C3%A4%2520.png"),
    ],
)
def test_a_link_leads_to_a_file_whatever_its_name(tmp_path: Path, name: str, link: str) -> None:
    (photo,) = _data(_report(tmp_path, Detection(image=name, verdict="normal")))
    assert photo["photo"] == link


def test_photos_elsewhere_are_linked_from_the_reports_folder(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    record = Detection(image="x/1.png", verdict="normal", overlay="overlays/x/1.png")
    (photo,) = _data(_report(tmp_path / "runs" / "a", record, images=tmp_path / "photos"))
    assert (photo["photo"], photo["overlay"]) == ("./../../photos/x/1.png", "./overlays/x/1.png")


def test_the_policy_allows_this_script_and_style_only_and_nothing_from_outside(tmp_path: Path) -> None:
    text = _report(tmp_path, Detection(image="a.png", verdict="normal"))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy[1].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        found = re.search(rf'<{tag}(?: type="module")?>(.*?)</{tag}>', text, re.S)
        assert found
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert " style=" not in text, "the policy would refuse it"
    assert not re.search(r"https?:|@import|url\(|<link|srcset", text.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)


def test_pictures_with_and_without_findings_are_inside(tmp_path: Path) -> None:
    Image.new("RGB", (1800, 1200), (200, 30, 30)).save(tmp_path / "photo.png")
    (tmp_path / "overlays").mkdir()
    Image.new("RGB", (1800, 1200), (30, 30, 200)).save(tmp_path / "overlays" / "photo.png")
    record = Detection(image="photo.png", verdict="anomalous", overlay="overlays/photo.png", defects=(_defect(),))
    clean = record.model_copy(update={"defects": (), "verdict": "normal"})
    one, other, bare = _data(_report(tmp_path, record, clean, clean.model_copy(update={"overlay": None})))
    overlay, plain = (np.asarray(_picture(uri))[5, 5] for uri in one["pictures"])
    assert _picture(one["pictures"][0]).size == (1280, 853)
    assert overlay[2] > 150 > overlay[0]
    assert plain[0] > 150 > plain[2]
    assert len(other["pictures"]) == len(bare["pictures"]) == 1, "the same with and without"


def test_without_an_overlay_the_photo_is_drawn_on_and_a_lost_one_is_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (600, 600), (128, 128, 128)).save(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    Image.new("L", (600, 600), 255).save(tmp_path / "masks" / "a_0.png")
    defect = _defect(mask="masks/a_0.png", area_px=360000, mask_score=0.5, mask_source="sam2")
    drawn, gone = _data(
        _report(
            tmp_path,
            Detection(image="a.png", width=600, height=600, verdict="anomalous", parse="ok", defects=(defect,)),
            Detection(image="gone.png", verdict="normal", parse="ok"),
        )
    )
    pixel = np.asarray(_picture(drawn["pictures"][0]))[400, 400]
    assert int(pixel.max()) - int(pixel.min()) > 20, "the mask is not drawn"
    assert "pictures" not in gone


def test_a_full_file_links_the_less_suspicious_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    for number in range(6):
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    records = [Detection(image=f"{number}.png", verdict="normal", score=number / 10) for number in range(6)]
    size = len(_data(_report(tmp_path, *records))[0]["pictures"][0])
    monkeypatch.setattr(html, "PAGE_BYTES", 3 * size + 2000)
    photos = _data(_report(tmp_path, *records))
    assert ["pictures" in photo for photo in photos] == [True] * 3 + [False] * 3
    assert [photo["image"] for photo in photos] == [f"{number}.png" for number in range(5, -1, -1)]


def test_long_texts_and_hundreds_of_boxes_are_cut_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "TEXT_BYTES", 1000)
    record = Detection(image="a", verdict="anomalous", reasoning="ä" * 300, raw="b" * 400, defects=(_defect(),) * 103)
    long, short = _data(_report(tmp_path, record, record.model_copy(update={"reasoning": "c" * 500, "defects": ()})))
    assert (long["reasoning"], long["cut"]) == ("ä" * 250, ["reasoning"])
    assert (len(long["defects"]), long["more"]) == (100, 3)
    assert "cut" not in short
    assert "more" not in short


def test_threshold_and_band_come_from_the_head(tmp_path: Path) -> None:
    info = INFO | {"Threshold": "0.62", "Undecided between": "0.41 and 0.62", "Calibration": "abc"}
    text = _report(tmp_path, info=info)
    run = _data(text, "run")
    assert (run["threshold"], run["band"], run["calibrated"]) == (0.62, [0.41, 0.62], True)
    assert 'data-t="note_uncalibrated"' not in text
    assert 'data-t="note_uncalibrated"' in _report(tmp_path)
    plain = _data(_report(tmp_path), "run")
    assert (plain["threshold"], plain["band"], plain["calibrated"]) == (None, None, False)
    own = Detection(image="a", verdict="normal", calibration="abc")
    assert _data(_report(tmp_path, own), "run")["calibrated"] is True
    for wrong in ({"Threshold": "1.2"}, {"Threshold": "high"}, {"Undecided between": "0.4"}, {"Threshold": "nan"}):
        with pytest.raises(ValueError, match=r"0\.4|1\.2|high|nan"):
            _report(tmp_path, info=wrong)


def test_the_review_belongs_to_the_run_not_to_the_hour(tmp_path: Path) -> None:
    def key(**values: str) -> str:
        return str(_data(_report(tmp_path, info=INFO | values), "run")["key"])

    assert key() == key(Date="2026-02-01 11:00")
    assert key() != key(Settings="other")


def test_every_text_is_there_in_every_language_and_used(tmp_path: Path) -> None:
    tables = {code: words(code) for code in LANGUAGES}
    for key, english in tables["en"].items():
        for code, table in tables.items():
            assert table[key].strip(), (code, key)
            assert sorted(re.findall(r"{\w+}", table[key])) == sorted(re.findall(r"{\w+}", english)), (code, key)
    template = (PARTS / "report.html.j2").read_text(encoding="utf-8")
    script = "".join((PARTS / "report" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    named = set(re.findall(r'words\.(\w+)|data-t(?:-\w+)?="(\w+)"|"(\w+)"|\b(\w+):', template + script))
    used = {name for groups in named for name in groups if name}
    said = set(re.findall(r'say\("(\w+)"', script)) | set(re.findall(r'data-t(?:-\w+)?="(\w+)"', template))
    assert said - set(tables["en"]) == set()
    assert {key for key in tables["en"] if not key.startswith("info.")} - used - set(STATES) == set()
    with pytest.raises(UsageError, match="'fr'"):
        _report(tmp_path, language="fr")


@pytest.mark.parametrize(("language", "title"), [("de", "Prüfbericht"), ("zh", "检测报告")])
def test_the_page_opens_in_a_language(tmp_path: Path, language: str, title: str) -> None:
    page = Page(_report(tmp_path, language=language))
    assert page.all("html")[0]["lang"] == language
    assert title in page.flat
    assert words(language)["info.Masks"] in page.flat
    assert "Settings" in page.flat, "a name without a translation stays"


def test_colours_have_contrast_in_light_and_dark() -> None:
    style = (PARTS / "report" / "screen.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#\w+)", block))
        for text in ("ink", "soft", "anomalous", "normal", "undecided", "error", "focus"):
            for ground in ("page", "card", "well"):
                assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "nowhere").touch()
    with pytest.raises(OutputError, match=r"report\.html: cannot write"):
        write_report(tmp_path / "nowhere" / "report.html", [], images=tmp_path, info=INFO)


def test_csv_holds_no_formula(tmp_path: Path) -> None:
    defects = (_defect(label="@SUM(A1)"), _defect(label="+1"))
    write_csv(
        tmp_path / "s.csv",
        [
            Detection(image="=HYPERLINK(A1).png", verdict="anomalous", score=0.5, defects=defects, parse="\t=1"),
            Detection(image="'-b.png", verdict="undecided", error="-x"),
        ],
    )
    append_csv(tmp_path / "s.csv", [Detection(image="+c.png", verdict="normal", score=1.0)])
    rows = list(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8", newline="")))
    assert [row["image"] for row in rows] == ["'=HYPERLINK(A1).png", "''-b.png", "'+c.png"]
    assert (rows[0]["labels"], rows[0]["parse"], rows[1]["error"]) == ("'@SUM(A1); +1", "'\t'=1", "'-x")
    assert (rows[0]["score"], rows[2]["score"], rows[2]["verdict"]) == ("0.5", "1", "normal")


def test_the_csv_tells_a_score_from_the_threshold(tmp_path: Path) -> None:
    scores = (0.99990512, 0.99990513, 0.9999)
    write_csv(tmp_path / "s.csv", [Detection(image="a.png", verdict="normal", score=score) for score in scores])
    rows = csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8", newline=""))
    assert [float(row["score"]) for row in rows] == list(scores)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_of_a_csv_is_a_formula_whatever_separates_them(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "s.csv"
    write_csv(path, [Detection(image=text or "x", verdict="normal", score=0.5, parse=text) for text in AWKWARD])
    append_csv(path, [Detection(image=text or "x", verdict="undecided", error=text) for text in AWKWARD])
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter=delimiter) for cell in row]
    assert len(cells) >= 2 * len(AWKWARD)
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))] == []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [unguard(row["parse"]) for row in rows[: len(AWKWARD)]] == list(AWKWARD)
    assert [unguard(row["error"]) for row in rows[len(AWKWARD) :]] == list(AWKWARD)


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
    assert rows[1] == ["ä b.png", "anomalous", "0.5", "2", 'scratch; a "quoted", label', "42", "9", "8", "ok", ""]
    assert rows[2] == ["c.png", "undecided", "", "0", "", "", "0", "0", "", "empty"]
