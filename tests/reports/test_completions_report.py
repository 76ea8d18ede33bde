"""The page of a run's answers: what it shows, that it is one file, and that nothing a model writes becomes markup."""

from __future__ import annotations

import dataclasses
import io
import math
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iadr1.errors import OutputError
from iadr1.reports.completions import PICTURE_WH, ScoredAnswer, is_flat, write_completions_page
from tests.reports.parsed_page import Page

HOSTILE = "<script>alert('x')</script>\"><img src=https://evil.example onerror=alert(1)>&quot;'{{ 7 * 7 }}</pre>"
ANSWER = ScoredAnswer(
    step=12, group=1, sample_id="bolt/1", image="a.png", prompt="[image]\nWhich defect?", completion="I say B.",
    truth="B", rewards={"roam": 0.8, "format": None}, reward=0.8, advantage=1.0, parse="repaired",
    parse_reason="no <answer> block", tokens=7,
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (900, 300), (90, 90, 90)).save(tmp_path / "a.png")
    return tmp_path


def page(root: Path, *groups: list[ScoredAnswer], info: dict[str, str] | None = None) -> Page:
    write_completions_page(root / "page.html", groups, root=root, info=info or {"Run": "runs/train"})
    return Page((root / "page.html").read_text(encoding="utf-8"))


def with_reward(reward: float, **changes: Any) -> ScoredAnswer:
    return dataclasses.replace(ANSWER, reward=reward, **changes)


def test_an_answer_is_shown_with_all_that_is_known_of_it(root: Path) -> None:
    found = page(root, [ANSWER, with_reward(0.0, advantage=-0.5, completion="")])
    flat = " ".join(found.text.split())
    for text in ("Run runs/train", "Step 12", "prompt 2", "reward 0.4 on average, 0 to 0.8", "[image] Which defect?",
                 "Right: B", "bolt/1 · a.png", "0.8 reward +1.00 advantage I say B.", "repaired no <answer> block",
                 "roam 0.8 format does not apply 7 tokens", "-0.50 advantage (empty)"):  # fmt: skip
        assert text in flat, text


def test_the_best_answer_of_a_group_stands_first(root: Path) -> None:
    found = page(root, [with_reward(0.1), with_reward(1.0), with_reward(-0.5), with_reward(1.0)])
    assert [row["data-reward"] for row in found.all("div", "answer")] == ["1.0", "1.0", "0.1", "-0.5"]


@pytest.mark.parametrize(
    ("advantage", "bars"),
    [(1.0, [("up", "--w:50.0%")]), (-0.5, [("down", "--w:25.0%")]), (9.0, [("up", "--w:100.0%")]), (0.0, [])],
)
def test_the_bar_is_as_long_as_the_advantage(root: Path, advantage: float, bars: list[tuple[str, str]]) -> None:
    found = page(root, [dataclasses.replace(ANSWER, advantage=advantage)])
    assert [(bar["class"], bar["style"]) for bar in found.all("i")] == bars


def test_answers_and_groups_carry_what_the_filters_need(root: Path) -> None:
    varied = [with_reward(0.5), with_reward(0.8, parse="failed")]
    same = [with_reward(0.3, step=13), with_reward(0.3 + 1e-12, step=13)]
    found = page(root, varied, same)
    assert [(card["data-step"], card["data-flat"]) for card in found.all("article")] == [
        ("12", "varied"),
        ("13", "flat"),
    ]
    assert [(row["data-reward"], row["data-parse"]) for row in found.all("div", "answer")][:2] == [
        ("0.8", "failed"), ("0.5", "repaired"),
    ]  # fmt: skip
    assert found.text.count("flat group: nothing is learned from it") == 1
    assert [one["id"] for one in [*found.all("select"), *found.all("input")]] == [
        "step",
        "parse",
        "flat",
        "low",
        "high",
    ]
    assert is_flat(same)
    assert not is_flat(varied)
    values = [option["value"] for option in found.all("option")]
    assert {"failed", "truncated", "repaired", "ok", "flat", "varied"} <= set(values)


def test_no_text_becomes_markup(root: Path) -> None:
    names = ("sample_id", "prompt", "completion", "truth", "parse", "parse_reason")
    changes: dict[str, Any] = dict.fromkeys(names, HOSTILE) | {"rewards": {HOSTILE: 1.0}}
    answer = dataclasses.replace(ANSWER, **changes)
    missing = dataclasses.replace(answer, image=HOSTILE)
    found = page(root, [answer], [missing], info={HOSTILE: HOSTILE})
    plain = page(root, [ANSWER], [ANSWER])
    assert len(found.all("script")) == 1
    assert len(found.all("img")) == 1
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in found.text
    assert {name for name, _ in found.elements} == {name for name, _ in plain.elements}
    assert len(found.all("article")) == 2
    assert len(found.all("div", "answer")) == 2


def test_the_page_needs_nothing_else(root: Path) -> None:
    found = page(root, [ANSWER])
    (policy,) = [tag["content"] for tag in found.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in found.all("img"))
    assert not found.all("link")
    assert not [tag for tag in found.all("script") if "src" in tag]


def test_pictures_are_small_and_a_missing_one_is_said(root: Path) -> None:
    found = page(root, [ANSWER], [dataclasses.replace(ANSWER, image="b.png")])
    (image,) = found.all("img")
    picture = Image.open(io.BytesIO(b64decode(str(image["src"]).partition("base64,")[2])))
    assert picture.size == (PICTURE_WH[0], 93)
    assert "No picture: cannot read the image: No such file or directory" in " ".join(found.text.split())


def test_values_that_are_no_numbers_do_not_stop_the_page(root: Path) -> None:
    found = page(root, [dataclasses.replace(ANSWER, advantage=math.nan, completion="half \ud800")])
    assert "half ?" in found.text
    assert not found.all("i")


def test_progress_counts_prompts(root: Path) -> None:
    done: list[int] = []
    write_completions_page(root / "p.html", [[ANSWER], [ANSWER]], root=root, info={}, on_card=done.append)
    assert done == [1, 2]


def test_a_page_that_cannot_be_written_is_an_error(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_completions_page(root / "file/page.html", [], root=root, info={})
    assert not list(root.glob(".*tmp"))
