"""The page of samples: what it shows, that it is one file, and that no text of a data set becomes markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from iadr1 import rle
from iadr1.errors import OutputError
from iadr1.records import Defect, Sample
from iadr1.reports.samples import PICTURE_WH, Shown, write_samples_page
from tests.reports.parsed_page import Page

HOSTILE = "<script>alert('x')</script>\"><img src=https://evil.example onerror=alert(1)>&quot;'{{ 7 * 7 }}"
SAMPLE = Sample(
    id="c", dataset="Set", category="bolt", split="train", image="a.png", references=("ref.png",), task="choice",
    question="Which defect?", options={"A": "dent", "B": "scratch"}, answer="B", question_type="Defect Classification",
    is_anomalous=True, reasoning="It is long.", reasoning_source="template", licence="CC0-1.0",
    defects=(Defect(type="scratch", box=(100, 60, 200, 160), location="center"),),
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "a.png")
    Image.new("RGB", (300, 200), (90, 160, 90)).save(tmp_path / "ref.png")
    return tmp_path


def page(root: Path, *samples: Sample) -> Page:
    shown = [Shown(line, sample) for line, sample in enumerate(samples, start=1)]
    write_samples_page(root / "page.html", shown, root=root, info={"File": "data/a.jsonl"})
    return Page((root / "page.html").read_text(encoding="utf-8"))


def drawn(root: Path, *defects: Defect) -> NDArray[np.float64]:
    """How much each pixel of the picture differs from the plain photo, (H, W)."""
    (found_picture, *_) = page(root, SAMPLE.model_copy(update={"defects": defects, "references": ()})).pictures()
    found = np.asarray(found_picture)
    change: NDArray[np.float64] = np.abs(found.astype(np.float64) - 90).max(axis=2)
    return change


def test_a_sample_is_shown_with_its_truth(root: Path) -> None:
    found = page(root, SAMPLE)
    flat = " ".join(found.text.split())
    for text in ("File data/a.jsonl", "Which defect?", "A dent B scratch", "It is long.", "Reasoning (template)",
                 "1 scratch 100, 60, 200, 160 center", "line 1 · c · a.png · 300 \u00d7 200 px · licence CC0-1.0",
                 "Anomalous"):  # fmt: skip
        assert text in flat
    right = [attributes for attributes in found.all("li") if attributes.get("class") == "right"]
    assert len(found.all("li")) == 2
    assert len(right) == 1
    assert [image["alt"] for image in found.all("img")] == ["a.png with its defects drawn", "ref.png"]


def test_the_right_answer_is_marked_and_no_other(root: Path) -> None:
    text = (root / "page.html", page(root, SAMPLE))[0].read_text(encoding="utf-8")
    assert '<li class="right"><b>B</b><span>scratch</span></li>' in text
    assert "<li><b>A</b><span>dent</span></li>" in text
    page(root, SAMPLE.model_copy(update={"task": "anomaly", "options": {}, "answer": "No", "is_anomalous": False}))
    text = (root / "page.html").read_text(encoding="utf-8")
    assert '<li><span>Yes</span></li><li class="right"><span>No</span></li>' in text


def test_a_box_is_drawn_where_it_is(root: Path) -> None:
    change = drawn(root, Defect(type="x", box=(150, 100, 270, 180)))
    scale = change.shape[1] / 300
    edge = change[int(100 * scale) : int(180 * scale), int(150 * scale) - 2 : int(150 * scale) + 6]
    assert edge.max(axis=1).min() > 40
    assert change[:, : int(140 * scale)].max() < 20


def test_a_mask_is_drawn_inside_its_own_box_only(root: Path) -> None:
    mask = np.zeros((200, 300), dtype=np.uint8)
    mask[120:160, 40:80] = mask[120:160, 200:240] = 255
    Image.fromarray(mask).save(root / "mask.png")
    box = (30.0, 110.0, 90.0, 170.0)
    inside, other = (slice(130, 150), slice(50, 70)), (slice(130, 150), slice(210, 230))
    runs = dict(rle.encode(mask > 0))
    for defect in (Defect(type="x", box=box, mask="mask.png"), Defect(type="x", box=box, mask_rle=runs)):
        change = drawn(root, defect)
        scale = change.shape[1] / 300
        rows, columns = inside
        assert change[int(rows.start * scale) : int(rows.stop * scale), int(columns.start * scale) :
                      int(columns.stop * scale)].min() > 15  # fmt: skip
        rows, columns = other
        assert change[int(rows.start * scale) : int(rows.stop * scale), int(columns.start * scale) :
                      int(columns.stop * scale)].max() < 15  # fmt: skip
    assert drawn(root, Defect(type="x", box=box)).max() > 15


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        (Defect(type="x", box=(1, 1, 9, 9), mask="none.png"), "cannot read the mask"),
        (Defect(type="x", box=(1, 1, 9, 9), mask="a2.png"), "the mask is 30x20 px, its image 300x200"),
        (Defect(type="x", box=(1, 1, 9, 9), mask_rle={"size": [2, 2], "counts": [9]}), "the runs add up to 9 px"),
        (Defect(type="x", box=(400, 1, 500, 9)), "lies outside the image"),
    ],
)
def test_what_cannot_be_drawn_is_told(root: Path, defect: Defect, told: str) -> None:
    Image.new("L", (30, 20)).save(root / "a2.png")
    found = page(root, SAMPLE.model_copy(update={"defects": (defect,)}))
    assert told in found.text
    assert len(found.all("img")) == 2


def test_a_missing_image_or_reference_is_told(root: Path) -> None:
    found = page(root, SAMPLE.model_copy(update={"image": "none.png", "references": ("gone.png", *["ref.png"] * 5)}))
    assert "No picture: cannot read the image" in found.text
    assert "no picture" in found.text
    assert "and 2 more" in found.text
    assert len(found.all("img")) == 3


def test_no_text_of_the_data_becomes_markup(root: Path) -> None:
    names = ("id", "dataset", "category", "split", "question", "question_type", "subtask", "reasoning",
             "reasoning_source", "licence", "source")  # fmt: skip
    sample = SAMPLE.model_copy(
        update=dict.fromkeys(names, HOSTILE)
        | {"options": {"A": HOSTILE, "<b>": HOSTILE}, "answer": "A", "references": (HOSTILE,)}
        | {"defects": (Defect(type=HOSTILE, box=(1, 1, 50, 50), location=HOSTILE, mask=HOSTILE),)}
    )
    missing = sample.model_copy(update={"image": HOSTILE})
    write_samples_page(root / "page.html", [Shown(1, sample), Shown(2, missing)], root=root, info={HOSTILE: HOSTILE})
    found = Page((root / "page.html").read_text(encoding="utf-8"))
    assert len(found.all("script")) == 1
    assert len(found.all("img")) == 1
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in found.text
    plain = page(root, SAMPLE)
    assert [name for name, _ in found.elements if name == "article"] == ["article"] * 2
    assert {name for name, _ in found.elements} <= {name for name, _ in plain.elements} | {"p", "span"}


def test_the_page_needs_nothing_else(root: Path) -> None:
    found = page(root, SAMPLE)
    (policy,) = [tag["content"] for tag in found.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in found.all("img"))
    assert not found.all("link")
    assert not [tag for tag in found.all("script") if "src" in tag]


def test_cards_carry_what_the_filters_need(root: Path) -> None:
    other = SAMPLE.model_copy(update={"category": "nut", "is_anomalous": None, "question_type": "Where"})
    articles = page(root, SAMPLE, other).all("article")
    assert [(a["data-category"], a["data-type"], a["data-state"]) for a in articles] == [
        ("bolt", "Defect Classification", "Anomalous"), ("nut", "Where", "Not stated"),
    ]  # fmt: skip
    assert [select["data-by"] for select in page(root, SAMPLE).all("select")] == ["category", "type", "state"]


def test_a_large_photo_is_made_small(root: Path) -> None:
    Image.new("RGB", (3000, 1000)).save(root / "a.png")
    picture = np.asarray(page(root, SAMPLE).pictures()[0])
    assert (picture.shape[1], picture.shape[0]) == (PICTURE_WH[0], 186)


def test_half_a_surrogate_pair_does_not_stop_the_page(root: Path) -> None:
    assert "?" in page(root, SAMPLE.model_copy(update={"question": "What \ud800"})).text


def test_a_page_that_cannot_be_written_is_an_error(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_samples_page(root / "file/page.html", [], root=root, info={})


def test_progress_counts_cards(root: Path) -> None:
    steps: list[Any] = []
    shown = [Shown(1, SAMPLE), Shown(2, SAMPLE)]
    write_samples_page(root / "page.html", shown, root=root, info={}, on_card=steps.append)
    assert steps == [1, 2]
