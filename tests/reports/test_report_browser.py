"""The report of a detection run in a real browser: what a reader clicks, types, ticks, exports and prints."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from iadr1.records import DetectedDefect, Detection
from iadr1.reports import html
from iadr1.reports.html import write_report
from iadr1.reports.words import words
from iadr1.spreadsheet import guard
from tests.reports.parsed_page import AWKWARD
from tests.reports.parsed_page import HOSTILE as HOSTILE_HTML

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the dev extra has it)")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("no Chromium or Chrome on the PATH", allow_module_level=True)

HOSTILE = f"{HOSTILE_HTML}\u2028\u202e=1+1{{n}}"
INFO = {"Model": "tiny", "Date": "2026-01-31", "Threshold": "0.6", "Undecided between": "0.4 and 0.6"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


class Reader:
    """A page with short names for what tests look at; `faults` collects errors, refused content and dialogs."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", self._dialog)
        page.set_default_timeout(20_000)

    def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(dialog.message)
        dialog.dismiss()

    def open(self, path: Path) -> Reader:
        self.page.goto(path.as_uri())
        return self

    def names(self) -> list[str]:
        return self.page.locator("article h2 > bdi").all_text_contents()

    def card(self, name: str) -> Any:
        return self.page.locator("article", has=self.page.locator("h2 > bdi", has_text=name))

    def until(self, expression: str) -> None:
        """Wait until an expression is true; the page's own policy forbids the library's way."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def text(self, selector: str) -> str:
        return " ".join(self.page.locator(selector).inner_text().split())


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    context = browser.new_context(viewport={"width": 1300, "height": 900}, locale="en-US")
    yield Reader(context.new_page())
    context.close()


def _defect(label: str, **values: object) -> DetectedDefect:
    return DetectedDefect(**({"label": label, "box": (1, 2, 30, 40), "area_px": 50, "mask_source": "sam2"} | values))


def _records() -> list[Detection]:
    base = Detection(image="x", width=90, height=60, verdict="normal", parse="ok")
    rows: list[tuple[str, dict[str, object]]] = [
        ("left/ng10.png", {"verdict": "anomalous", "score": 0.8, "defects": (_defect("scratch"), _defect("dent"))}),
        ("left/ng2.png", {"verdict": "anomalous", "score": 0.95, "defects": (_defect("dent", area_px=900),)}),
        ("right/odd.png", {"verdict": "undecided", "score": 0.5, "parse": "failed: no answer"}),
        ("gone.png", {"verdict": "undecided", "error": "gone.png: the file is empty"}),
        ("right/ok.png", {"score": 0.1, "reasoning": "A clean surface."}),
    ]
    return [base.model_copy(update={"image": name, "image_sha256": name[::-1], **row}) for name, row in rows]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    (tmp_path / "overlays").mkdir()
    records = []
    for place, record in enumerate(_records()):
        photo = tmp_path / "photos" / record.image
        photo.parent.mkdir(parents=True, exist_ok=True)
        overlay = None
        if record.error is None:
            overlay = f"overlays/{place}.png"
            Image.new("RGB", (90, 60), (200, 40, 40)).save(photo)
            Image.new("RGB", (90, 60), (40, 40, 200)).save(tmp_path / overlay)
        records.append(record.model_copy(update={"overlay": overlay}))
    write_report(tmp_path / "report.html", records, images=tmp_path / "photos", info=INFO)
    return tmp_path / "report.html"


def test_tiles_choices_and_search_filter(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    assert reader.names() == ["ng2.png", "ng10.png", "odd.png", "gone.png", "ok.png"]
    page.click("[data-filter=anomalous]")
    assert reader.names() == ["ng2.png", "ng10.png"]
    assert reader.text("#count") == "2 of 5 photos"
    assert page.get_attribute("[data-filter=anomalous]", "aria-pressed") == "true"
    page.select_option("#label", label="scratch")
    assert reader.names() == ["ng10.png"]
    page.select_option("#folder", label="right")
    assert reader.names() == []
    page.click("#clear")
    assert len(reader.names()) == 5
    page.select_option("#folder", label="(top folder)")
    assert reader.names() == ["gone.png"]
    page.select_option("#folder", "")
    page.fill("#text", "CLEAN surf")
    reader.until("document.querySelectorAll('article').length === 1")
    assert reader.names() == ["ok.png"]
    assert reader.faults == []


def test_orders_and_their_reverse(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    wanted = {
        "name": ["gone.png", "ng2.png", "ng10.png", "odd.png", "ok.png"],
        "score": ["ng2.png", "ng10.png", "odd.png", "ok.png", "gone.png"],
        "area": ["ng2.png", "ng10.png", "odd.png", "gone.png", "ok.png"],
        "verdict": ["ng2.png", "ng10.png", "odd.png", "gone.png", "ok.png"],
    }
    for key, names in wanted.items():
        page.select_option("#sort", key)
        assert reader.names() == names, key
    page.select_option("#sort", "name")
    page.click("#reverse")
    assert reader.names() == wanted["name"][::-1]


def test_a_card_shows_score_threshold_and_defects(reader: Reader, report: Path) -> None:
    reader.open(report)
    card = " ".join(reader.card("ng2.png").inner_text().split())
    for part in (
        "NG",
        "left/",
        "90 \u00d7 60 px",
        "anomaly score 0.950 · threshold 0.6",
        "1 dent",
        "1, 2, 30, 40",
        "900 px",
    ):
        assert part in card, part
    assert not reader.page.is_visible("#clean")
    assert "no answer" in reader.card("odd.png").inner_text()
    assert "no picture" in reader.card("gone.png").inner_text()
    assert reader.card("ng2.png").locator("svg .tick").get_attribute("x") == "597"
    assert reader.card("ng2.png").locator("svg .band").get_attribute("width") == "200.00"


def test_references_stand_beside_the_photo(reader: Reader, tmp_path: Path) -> None:
    names = ["bolts/1.png", f"{HOSTILE_HTML.replace('/', '')}.png"]
    for name in names:
        (tmp_path / "good" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 200), (0, 120, 0)).save(tmp_path / "good" / name)
    record = Detection(image="a.png", verdict="anomalous", score=0.9, references=(names[0], "gone.png", names[1]))
    write_report(tmp_path / "report.html", [record], images=tmp_path, info=INFO, references=tmp_path / "good")
    page = reader.open(tmp_path / "report.html").page
    shown = reader.card("a.png").locator(".references img")
    assert shown.evaluate_all("all => all.map(one => one.alt)") == [f"Reference {name}" for name in names]
    assert shown.evaluate_all("all => all.map(one => one.naturalWidth)") == [160, 160]
    assert "Reference bolts/1.png, gone.png" in reader.card("a.png").inner_text()
    reader.card("a.png").locator("button.frame").click()
    assert page.locator("dialog .references img").count() == 2
    page.keyboard.press("Escape")
    page.evaluate("window.print = () => {}")
    page.click("#print")
    reader.until("document.querySelectorAll('#paper .references img').length === 2")
    # The photo itself is not there.
    assert [fault for fault in reader.faults if "ERR_FILE_NOT_FOUND" not in fault] == []


def test_a_picture_opens_large_with_and_without_findings(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    reader.card("ng2.png").locator("button.frame").click()
    source = page.get_attribute("dialog img", "src")
    page.click("dialog button.toggle")
    plain = page.get_attribute("dialog img", "src")
    assert str(source).startswith("data:image/jpeg")
    assert str(plain).startswith("data:image/jpeg")
    assert plain != source
    assert reader.text("dialog .toggle") == "With findings"
    page.keyboard.press("ArrowRight")
    assert reader.text("dialog h2 > bdi") == "ng10.png"
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog")
    assert page.evaluate("document.activeElement.querySelector('h2').innerText").endswith("ng10.png")
    assert reader.card("ng10.png").locator("button.reject").get_attribute("aria-pressed") == "true"
    assert reader.faults == []


def test_decisions_are_kept_exported_and_imported(reader: Reader, report: Path, browser: Browser) -> None:
    page = reader.open(report).page
    page.fill("#reviewer", "=Jo, Doe")
    reader.card("ng2.png").locator("button.accept").click()
    reader.card("ok.png").locator("button.reject").click()
    reader.card("ok.png").locator("fieldset input").fill('=cmd("x"), sagt Zoë')
    reader.card("odd.png").locator("button.unsure").click()
    reader.card("odd.png").locator("button.unsure").click()  # taken back
    assert reader.text("#progress") == "2 of 5 reviewed"
    assert reader.text("#overruled") == "1 NG accepted, 1 OK rejected"
    page.reload()
    assert reader.text("#progress") == "2 of 5 reviewed"
    page.select_option("#reviewed", "open")
    assert reader.names() == ["ng10.png", "odd.png", "gone.png"]
    page.select_option("#reviewed", "disagreed")
    assert reader.names() == ["ng2.png", "ok.png"]
    files = {}
    for kind in ("csv", "json"):
        with page.expect_download() as download:
            page.click(f"#export-{kind}")
        files[kind] = report.parent / download.value.suggested_filename
        download.value.save_as(files[kind])
    written = json.loads(files["json"].read_text("utf-8"))
    first, second = written["decisions"]
    assert (written["format"], written["photos"], written["reviewer"]) == ("iadr1-review", 5, "=Jo, Doe")
    assert (first["image"], first["sha256"], first["verdict"]) == ("left/ng2.png", "gnp.2gn/tfel", "anomalous")
    assert (first["score"], first["decision"], first["remark"], first["reviewer"]) == (0.95, "accept", "", "=Jo, Doe")
    assert (second["decision"], second["remark"]) == ("reject", '=cmd("x"), sagt Zoë')
    rows = list(csv.DictReader(files["csv"].read_text("utf-8-sig").splitlines()))
    assert [row["image"] for row in rows] == ["left/ng2.png", "right/ok.png"]
    assert rows[1]["remark"] == '\'=cmd("x"), sagt Zoë', "a spreadsheet must not run it"
    for file in files.values():
        other = Reader(browser.new_context().new_page()).open(report)
        assert other.text("#progress") == "0 of 5 reviewed"
        other.page.set_input_files("#file", file)
        other.page.wait_for_selector("#notice:not([hidden])")
        assert other.text("#notice").startswith("Taken over: 2. ")
        assert other.card("ok.png").locator("fieldset input").input_value() == '=cmd("x"), sagt Zoë'
        kept = json.loads(other.page.evaluate("localStorage.getItem(Object.keys(localStorage)[0])"))
        assert kept["decisions"]["left/ng2.png"]["reviewer"] == "=Jo, Doe"
        assert other.faults == []
        other.page.context.close()


def test_cells_of_the_exported_review_are_as_those_of_the_summary(browser: Browser, tmp_path: Path) -> None:
    records = [Detection(image=f"{n}.png", image_sha256=str(n), verdict="normal") for n in range(len(AWKWARD))]
    write_report(tmp_path / "report.html", records, images=tmp_path, info=INFO)
    row = {"verdict": "normal", "score": None, "decision": "accept", "reviewer": "", "time": "2030-01-01T00:00:00Z"}
    rows = [{**row, "image": f"{n}.png", "sha256": str(n), "remark": text} for n, text in enumerate(AWKWARD)]
    review = tmp_path / "review.json"
    review.write_text(json.dumps({"format": "iadr1-review", "decisions": rows}))
    for _ in range(2):  # the second time what was exported is taken in
        reader = Reader(browser.new_context().new_page()).open(tmp_path / "report.html")
        reader.page.set_input_files("#file", review)
        reader.until(f"document.getElementById('notice').textContent.startsWith('Taken over: {len(AWKWARD)}. ')")
        with reader.page.expect_download() as download:
            reader.page.click("#export-csv")
        review = tmp_path / "review.csv"
        download.value.save_as(review)
        text = review.read_bytes().decode("utf-8-sig")
        found = {line["image"]: line["remark"] for line in csv.DictReader(io.StringIO(text, newline=""))}
        assert found == {f"{n}.png": guard(remark) for n, remark in enumerate(AWKWARD)}
        cells = [cell for line in csv.reader(io.StringIO(text, newline=""), delimiter=";") for cell in line]
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))] == []
        reader.page.context.close()


def test_what_is_no_review_and_what_is_old_or_foreign_is_not_taken_over(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    reader.card("ng2.png").locator("button.accept").click()
    row = {"verdict": "anomalous", "score": 1, "decision": "reject", "remark": "", "reviewer": "x"}
    rows = [
        {**row, "image": "left/ng2.png", "sha256": "gnp.2gn/tfel", "time": "2001-01-01T00:00:00Z"},
        {**row, "image": "right/ok.png", "sha256": "another file", "time": "2030-01-01T00:00:00Z"},
        {**row, "image": "moved/ng10.png", "sha256": "gnp.01gn/tfel", "time": "2030-01-01T00:00:00Z"},
    ]
    whole = json.dumps({"format": "iadr1-review", "decisions": rows})
    for text, said in (
        ("nonsense", "holds no review"),
        ("{}", "holds no review"),
        (whole.replace("reject", "<b>"), "holds no review"),
        (whole, "Taken over: 1. Belong to no photo of this report: 1. Older than what is here: 1."),
    ):
        page.set_input_files("#file", {"name": "a.json", "mimeType": "text/plain", "buffer": text.encode()})
        reader.until(f"document.getElementById('notice').textContent.includes({json.dumps(said)})")
    assert reader.card("ng2.png").get_attribute("data-decision") == "accept"
    assert reader.card("ng10.png").get_attribute("data-decision") == "reject"
    assert reader.card("ok.png").get_attribute("data-decision") == ""


def test_keys_work_on_the_focused_card_and_not_while_typing(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    reader.card("ng2.png").focus()
    page.keyboard.press("a")
    page.keyboard.press("j")
    page.keyboard.press("u")
    assert reader.card("ng2.png").get_attribute("data-decision") == "accept"
    assert reader.card("ng10.png").get_attribute("data-decision") == "unsure"
    page.keyboard.press("/")
    page.keyboard.type("gone/a")
    assert page.input_value("#text") == "gone/a"
    page.click("#clear")
    reader.card("ok.png").locator("fieldset input").focus()
    page.keyboard.type("r")
    assert reader.card("ok.png").get_attribute("data-decision") == ""
    reader.card("ng2.png").focus()
    page.keyboard.press("Enter")
    assert page.is_visible("dialog")


def test_hostile_text_runs_nothing_loads_nothing_and_is_shown(reader: Reader, tmp_path: Path) -> None:
    record = Detection(
        image=HOSTILE,
        verdict="anomalous",
        parse=f"repaired: {HOSTILE}",
        raw=HOSTILE,
        reasoning=HOSTILE,
        references=(HOSTILE,),
        defects=(_defect(HOSTILE, mask_source=HOSTILE),),
    )
    proto = record.model_copy(update={"image": "__proto__", "reasoning": "x"})
    write_report(tmp_path / "a.html", [record, proto], images=tmp_path, info={HOSTILE: HOSTILE}, title=HOSTILE)
    asked: list[str] = []
    reader.page.on("request", lambda request: asked.append(request.url))
    reader.open(tmp_path / "a.html")
    assert reader.page.locator("article .reason").first.text_content() == HOSTILE
    assert HOSTILE in str(reader.page.locator("td bdi").first.text_content())
    assert reader.page.locator("article script, article a, iframe, dl img").count() == 0
    reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert reader.page.locator("#paper .decided").all_text_contents() == ["Review: not reviewed"] * 2
    reader.page.evaluate("dispatchEvent(new Event('afterprint'))")
    reader.page.locator("article button.accept").first.click()
    reader.page.locator("article button.reject").last.click()
    reader.page.reload()
    assert reader.text("#progress") == "2 of 2 reviewed"
    reader.page.locator("article button.frame").first.click()
    link = reader.page.get_attribute("dialog a", "href")
    assert str(link).startswith("./%3Cscript%3E")
    assert {address.partition(":")[0] for address in asked} <= {"file", "data"}
    assert all(tmp_path.as_uri() in address for address in asked if address.startswith("file"))
    assert [fault for fault in reader.faults if "ERR_FILE_NOT_FOUND" not in fault] == []


def test_labels_change_language_and_the_models_text_does_not(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    for code in ("de", "zh", "en"):
        page.click(f"[data-language={code}]")
        table = words(code)
        assert page.get_attribute("html", "lang") == code
        assert page.title() == reader.text("h1") == table["title"]
        assert table["accept"] in reader.card("ok.png").inner_text()
        assert "A clean surface." in reader.card("ok.png").inner_text()
        assert page.get_attribute("#text", "placeholder") == table["search"]
    write_report(report, _records(), images=report.parent, info=INFO, language="de")
    assert reader.open(report).text("h1") == "Prüfbericht"
    assert "Anomaliewert 0,950 · Schwelle 0,6" in reader.text("article >> nth=0")


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "No photo was looked at."),
        (_records()[4:], "No defect found in 1 photo"),
        (_records()[2:], "No defect found. Photos: 3; a person must still look at: 2"),
    ],
)
def test_nothing_found_is_said(reader: Reader, tmp_path: Path, records: list[Detection], said: str) -> None:
    write_report(tmp_path / "a.html", records, images=tmp_path, info=INFO)
    assert reader.open(tmp_path / "a.html").text("#clean") == said
    assert reader.page.is_visible("#clean")
    assert "Pictures inside this file: 0 of" in reader.text("#embedded")


def test_paper_has_a_summary_to_sign_then_what_needs_attention_then_the_rest(reader: Reader, report: Path) -> None:
    page = reader.open(report).page
    page.click("[data-filter=normal]")  # the paper is always about the whole run
    reader.card("ok.png").locator("button.reject").click()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    summary, attention, fine = (" ".join(text.split()) for text in page.locator("#paper > section").all_inner_texts())
    for part in ("NG 2 40.0 %", "OK 1 20.0 %", "1 of 5 reviewed", "Signature", "Quality manager", "tiny", "Threshold"):
        assert part in summary, part
    assert page.locator("#paper article").count() == 4
    assert "gone.png: the file is empty" in attention
    assert "right/ok.png OK 0.100 Reject" in fine
    assert not page.is_visible("header")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#paper > *").count() == 0


def test_cards_of_a_large_run_are_made_as_they_are_scrolled_to(
    reader: Reader, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "PAGE_BYTES", 0)
    photo = Detection(image="photos/right/ok.png", verdict="normal", overlay="overlays/4.png", score=0.1)
    many = [photo.model_copy(update={"image_sha256": str(number)}) for number in range(2000)]
    write_report(report, many, images=report.parent, info=INFO)
    page = reader.open(report).page
    assert reader.text("#count") == "2,000 of 2,000 photos"
    first = page.locator("article").count()
    assert first <= 200
    # Linked pictures are shown, since the policy allows files beside the report.
    reader.until("document.querySelector('article img').naturalWidth === 90")
    page.locator("footer").scroll_into_view_if_needed()
    reader.until(f"document.querySelectorAll('article').length > {first}")
    assert reader.faults == []


def test_the_paper_of_a_large_run_has_pictures_of_the_worst_only(reader: Reader, tmp_path: Path) -> None:
    bad = Detection(image="a.png", verdict="anomalous", score=0.7, defects=(_defect("dent"),))
    write_report(
        tmp_path / "a.html",
        [bad.model_copy(update={"image": f"{number:03}.png"}) for number in range(303)],
        images=tmp_path,
        info=INFO,
    )
    page = reader.open(tmp_path / "a.html").page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#paper article").count() == 300
    assert page.locator("#paper > section:last-child h2").text_content() == words("en")["attention_more"]
    assert (
        page.locator("#paper > section:last-child tbody tr").all_text_contents()[0] == "300.pngNG0.700dentnot reviewed"
    )
    assert page.locator("#paper > section:last-child tbody tr").count() == 3


def test_a_narrow_screen_needs_no_sideways_scrolling(reader: Reader, report: Path) -> None:
    reader.page.set_viewport_size({"width": 400, "height": 800})
    reader.open(report)
    assert reader.page.evaluate("document.documentElement.scrollWidth") == 400
    reader.card("ng2.png").locator("button.frame").click()
    assert reader.page.evaluate("document.querySelector('dialog').scrollWidth") <= 400
