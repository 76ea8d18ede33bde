"""The page of answers: what it shows of which answers, that it is one file, and that nothing a model writes runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import OutputError
from iadr1.records import Defect, PredictedBox, Prediction, Sample
from iadr1.reports import answers
from iadr1.reports.answers import MOST, PICTURE_WH, Card, Header, Status, write_report
from tests.reports.parsed_page import HOSTILE, Page

SAMPLE = Sample(
    id="a.png#0", dataset="VisA", category="candle", split="test", image="a.png", task="choice",
    question="Which defect?", options={"A": "dent", "B": "scratch", "C": "hole"}, answer="B",
    question_type="Defect Classification", is_anomalous=True, held_out=True,
    defects=(Defect(type="scratch", box=(30, 60, 90, 160)),),
)  # fmt: skip
PREDICTION = Prediction(
    sample_id="a.png#0", protocol="f00d", model="tiny@1", engine="local", raw="I say A.", answer="A",
    parse="repaired: no answer block", seconds=0.25, completion_tokens=7,
)  # fmt: skip
WRONG = Card(SAMPLE, PREDICTION, "wrong", "It is round.", ("ref.png",))
HEADER = Header("mmad", "tiny", "anomalyr1", "f00dcafe", "ab12", 97.5, 61.234, {"Shots": "1"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "a.png")
    Image.new("RGB", (300, 200), (90, 160, 90)).save(tmp_path / "ref.png")
    return tmp_path


def page(root: Path, *cards: Card, header: Header = HEADER, **options: Any) -> Page:
    write_report(root / "report.html", cards, header, root=root, **options)
    return Page((root / "report.html").read_text(encoding="utf-8"))


def card(status: Status = "wrong", *, sample: dict[str, Any] | None = None, **changes: Any) -> Card:
    return Card(SAMPLE.model_copy(update=sample or {}), PREDICTION.model_copy(update=changes), status)


def options(found: Page) -> list[str]:
    """Each line of the options: letter, text, marks."""
    text = re.sub(r"\s+", " ", (found.text.split("Which defect?")[1]).split("Reading the answer")[0])
    return [line.strip() for line in re.split(r" (?=[A-E] [a-z])", text) if line.strip()]


def test_the_head_says_what_was_measured(root: Path) -> None:
    found = page(root, WRONG)
    for text in (
        "mmad: answers of tiny", "Model tiny", "Protocol anomalyr1 f00dcafe",
        "Strict accuracy, mean of the subtasks 61.23 %",
        "Answers read 97.50 %", "Data (SHA-256) ab12", "Shots 1", "1 All answers 1 Wrong 0 Unread 0 Right",
    ):  # fmt: skip
        assert text in found.flat, text
    bare = page(root, WRONG, header=Header("mmad", "tiny", "", "", "", 0.0, None))
    assert "Protocol not stated" in bare.flat
    assert "Strict" not in bare.flat
    assert "SHA-256" not in bare.flat


def test_an_answer_is_shown_with_all_that_is_known_of_it(root: Path) -> None:
    found = page(root, WRONG)
    for text in (
        "VisA / candle · Defect Classification · anomalous image · held out", "Which defect?", "Reasoning It is round.",
        "Reading the answer: repaired: no answer block", "true: scratch (30, 60, 90, 160)",
        "Whole completion I say A.", "a.png#0 · a.png · 300 \u00d7 200 px · 7 tokens, 0.25 s",
    ):  # fmt: skip
        assert text in found.flat, text
    assert options(found)[:3] == ["A dent ✗ given", "B scratch ✓ right", "C hole true: scratch (30, 60, 90, 160)"]
    assert [image["alt"] for image in found.all("img")] == ["a.png", "ref.png"]
    assert len(found.all("details")) == 1
    (photo, reference) = found.pictures()
    assert np.asarray(photo).mean() == pytest.approx(90, abs=2)
    assert np.asarray(reference)[..., 1].mean() > 140


def test_options_stand_in_the_order_they_were_shown(root: Path) -> None:
    found = page(root, card("right", answer="B", order="CAB", probabilities={"A": 0.05, "B": 0.9, "C": 0.05}))
    lines = options(found)
    assert lines[:2] == ["A hole 5.0 %", "B dent 5.0 %"]
    assert lines[2].startswith("C scratch 90.0 % ✓ given, right")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"answer": None, "parse": "failed: no answer"}, ["Nothing could be read.", "failed: no answer"]),
        ({"answer": "E", "parse": "failed: 'E' is not among the options"}, ["Given: E, which was not offered."]),
        ({"answer": None, "error": "HTTP 500", "parse": ""}, ["No answer: HTTP 500"]),
        ({"answer": "A", "finished": False}, ["Cut off at the token limit."]),
    ],
)
def test_what_was_not_as_it_should_be_is_said(root: Path, changes: dict[str, Any], told: list[str]) -> None:
    found = page(root, card("unread", **changes))
    assert all(text in found.flat for text in told), found.flat
    assert ("Nothing could be read" in found.flat) == ("Nothing could be read." in told)


def test_yes_no_and_boxes(root: Path) -> None:
    yes_no = card(sample={"task": "anomaly", "options": {}, "answer": "No", "defects": ()}, answer="Yes")
    flat = page(root, yes_no).flat
    assert "Yes ✗ given No ✓ right" in flat
    named = (PredictedBox(box=(10, 20, 60, 80), label="dent"),)
    boxes = card(sample={"task": "grounding", "options": {}, "answer": ""}, answer="box", boxes=named)
    found = page(root, boxes)
    assert "named: dent (10, 20, 60, 80)" in found.flat
    assert "not offered" not in found.flat
    assert [(box["class"], box["x"], box["y"], box["width"], box["height"]) for box in found.all("rect")] == [
        ("true", "30.0", "60.0", "60.0", "100.0"), ("named", "10.0", "20.0", "50.0", "60.0"),
    ]  # fmt: skip
    assert found.all("svg")[0]["viewbox"] == "0 0 300 200"


def test_cards_carry_what_the_filters_need(root: Path) -> None:
    found = page(root, WRONG, card("right", sample={"category": "nut", "subtask": "Object Analysis"}), card("unread"))
    assert [
        (a["data-status"], a["data-dataset"], a["data-category"], a["data-subtask"]) for a in found.all("article")
    ] == [
        ("wrong", "VisA", "candle", "Defect Classification"),
        ("right", "VisA", "nut", "Object Analysis"),
        ("unread", "VisA", "candle", "Defect Classification"),
    ]
    assert [select["data-by"] for select in found.all("select")] == ["dataset", "category", "subtask"]
    assert [button["data-status"] for button in found.all("button")] == ["", "wrong", "unread", "right"]
    assert found.all("div", "tiles")[0]["data-first"] == "wrong"
    assert page(root, card("right")).all("div", "tiles")[0]["data-first"] == ""


def test_nothing_that_is_written_runs(root: Path) -> None:
    fields = ("id", "dataset", "category", "split", "question", "question_type", "subtask", "image")
    sample: dict[str, Any] = dict.fromkeys(fields, HOSTILE) | {"options": {"A": HOSTILE, HOSTILE: HOSTILE}}
    sample |= {"defects": (Defect(type=HOSTILE, box=(1, 1, 5, 5)),)}
    written: dict[str, Any] = dict.fromkeys(("raw", "parse", "error", "answer"), HOSTILE)
    boxes = (PredictedBox(box=(1, 1, 5, 5), label=HOSTILE),)
    there = card(sample={**sample, "image": "a.png"}, **written, boxes=boxes, probabilities={HOSTILE: 1.0})
    cards = [replace(one, reasoning=HOSTILE, references=(HOSTILE, "ref.png")) for one in (there, card(sample=sample))]
    header = Header(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1.0, 1.0, {HOSTILE: HOSTILE})
    found = page(root, *cards, header=header)
    plain = page(root, *[replace(WRONG, references=("none.png",))] * 2, card(sample={"image": "none.png"}, answer="E"))
    assert not found.problems()
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in plain.elements}
    known = {name for _, attributes in plain.elements for name in attributes}
    assert {name for _, attributes in found.elements for name in attributes} <= known
    assert found.text.count(HOSTILE) >= 20


def test_the_page_needs_nothing_else(root: Path) -> None:
    found = page(root, WRONG)
    assert not found.problems()
    (policy,) = [tag["content"] for tag in found.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    text = re.sub(r"base64,[\w+/=]+", "", (root / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)


def many(counts: dict[Status, int]) -> list[Card]:
    """Cards of two categories, one with nine tenths of them."""
    return [
        card(status, sample={"id": f"{status}{place}", "category": "rare" if place % 10 == 9 else "common"},
             sample_id=f"{status}{place}")
        for status, number in counts.items() for place in range(number)
    ]  # fmt: skip


def shown(found: Page) -> list[tuple[str, str]]:
    return [(str(a["data-status"]), str(a["data-category"])) for a in found.all("article")]


@pytest.mark.parametrize(
    ("counts", "there"),
    [
        ({"wrong": 40, "unread": 40, "right": 40}, {"wrong": 10, "unread": 5, "right": 5}),
        ({"wrong": 4, "unread": 0, "right": 90}, {"wrong": 4, "unread": 0, "right": 16}),
        ({"wrong": 90, "unread": 2, "right": 1}, {"wrong": 17, "unread": 2, "right": 1}),
        ({"wrong": 5, "unread": 5, "right": 5}, {"wrong": 5, "unread": 5, "right": 5}),
    ],
)
def test_places_are_divided_over_the_statuses(root: Path, counts: dict[Status, int], there: dict[str, int]) -> None:
    found = page(root, *many(counts), most=20)
    assert {status: [s for s, _ in shown(found)].count(status) for status in counts} == there
    left = sum(counts.values()) - sum(there.values())
    assert (f"{left} are left out" in found.flat) == (left > 0)
    told = [f"{there[status]} of {number} {status}" for status, number in counts.items() if number]
    assert (f"On this page: {', '.join(told)} answers" in found.flat) == (left > 0)


def test_places_are_spread_over_the_categories_in_the_order_of_the_samples(root: Path) -> None:
    found = page(root, *many({"wrong": 40}), most=6)
    assert [category for _, category in shown(found)].count("rare") == 3
    keys = [int(str(key)) for key in re.findall(r"wrong(\d+) ·", found.flat)]
    assert keys == sorted(keys) == [0, 1, 2, 9, 19, 29]


def test_the_page_stays_small(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "a.png")
    (picture,) = page(root, card()).pictures()
    assert picture.size == (420, 315)
    assert picture.width <= PICTURE_WH[0]
    one = (root / "report.html").stat().st_size
    monkeypatch.setattr(answers, "PAGE_BYTES", 5 * one)
    found = page(root, *many({"wrong": 20, "right": 20}))
    assert 2 <= len(found.all("article")) < 20
    assert {status for status, _ in shown(found)} == {"wrong"}
    assert f"{40 - len(found.all('article'))} are left out" in found.flat
    assert (root / "report.html").stat().st_size < 6 * one
    assert MOST * one > answers.PAGE_BYTES


def test_a_completion_that_never_ends_is_cut(root: Path) -> None:
    found = page(root, replace(card(raw="word " * 10_000), reasoning="and " * 10_000))
    assert found.flat.count("[30,000 more characters]") == 1
    assert found.flat.count("[20,000 more characters]") == 1
    assert (root / "report.html").stat().st_size < 100_000


def test_a_missing_picture_or_reference_is_told(root: Path) -> None:
    one = card(sample={"image": "none.png"})
    found = page(root, replace(one, references=("gone.png", *["ref.png"] * 5)))
    assert "No picture: cannot read the image" in found.flat
    assert "References no picture and 3 more" in found.flat
    assert not found.all("svg")


def test_half_a_surrogate_pair_does_not_stop_the_page(root: Path) -> None:
    assert "I say ?" in page(root, card(raw="I say \ud800")).flat


def test_progress_counts_answers(root: Path) -> None:
    done: list[int] = []
    page(root, WRONG, WRONG, on_card=done.append)
    assert done == [1, 2]


def test_no_answer_is_a_page_as_well(root: Path) -> None:
    assert "0 All answers" in page(root).flat


def test_a_page_that_cannot_be_written_is_an_error(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_report(root / "file/report.html", [WRONG], HEADER, root=root)
    assert not list(root.glob(".*tmp"))
