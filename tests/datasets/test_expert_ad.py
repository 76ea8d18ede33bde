from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.expert_ad import SOURCE, build
from iadr1.datasets.mvtec import SOURCE as MVTEC
from iadr1.errors import DataError
from iadr1.geometry import LOCATIONS
from iadr1.prompts import parse, render_target
from iadr1.prompts.rendering import unique
from iadr1.records import Defect, Sample

Photo = Callable[[Path], None]
Mask = Callable[..., None]

QUESTION = "Are there any defects in the query image?"
YES = "<think>A scratch.</think><location>top left</location><type>scratch</type><answer>Yes</answer>"
NO = "<think>Nothing.</think><answer>No</answer>"


def turns(user: str, assistant: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


@pytest.fixture
def sft() -> list[dict[str, Any]]:
    shots = f"This is a normal sample: <image>\nThis is the query: <image>\n{QUESTION}"
    return [
        {"images": "bottle/a.png", "messages": turns(f"<image>\n{QUESTION}", YES)},
        {"images": ["bottle/b.png"], "messages": turns(f"<image>\n{QUESTION}", NO)},
        {"images": ["bottle/b.png", "bottle/a.png"], "messages": turns(shots, YES)},
    ]


@pytest.fixture
def grpo() -> list[dict[str, Any]]:
    no, yes = NO.partition("</think>")[2], YES.partition("</think>")[2]
    return [
        {"id": "x", "image": "bottle/a.png", "problem": QUESTION, "solution": yes},
        {"id": "x", "image": [{"path": "bottle/b.png"}], "problem": QUESTION, "solution": no},
        {"id": "x", "image": ["bottle/b.png", "bottle/a.png"], "problem": QUESTION, "solution": yes},
        {"id": "x", "image": {"path": "b.png"}, "problem": QUESTION, "solution": no},
    ]


def read(root: Path, value: Any, *, name: str = "Expert_AD_Stage_1.json") -> list[Sample]:
    (root / name).write_text(json.dumps(value), encoding="utf-8")
    return list(SOURCE.read(root, missing="keep"))


def test_both_kinds_of_file_are_read(tmp_path: Path, sft: list[Any], grpo: list[Any]) -> None:
    for value, stem in ((sft, "sft"), (grpo, "grpo")):
        found = read(tmp_path, value, name=f"{stem}.json")
        assert [s.id for s in found] == [f"{stem}#{number}" for number in range(len(value))]
        assert [(s.image, s.references, s.answer) for s in found[:3]] == [
            ("bottle/a.png", (), "Yes"),
            ("bottle/b.png", (), "No"),
            ("bottle/a.png", ("bottle/b.png",), "Yes"),
        ]
        assert {(s.task, s.question, s.dataset, s.split) for s in found} == {
            ("anomaly", QUESTION, "Expert-AD", "train"),
        }
        assert [(d.type, d.location, d.box) for d in found[0].defects] == [("scratch", "top left", None)]
        assert (found[1].defects, found[1].is_anomalous, found[1].category) == ((), False, "bottle")
        (tmp_path / f"{stem}.json").unlink()


def test_only_sft_has_reasoning(tmp_path: Path, sft: list[Any], grpo: list[Any]) -> None:
    assert {(s.reasoning, s.reasoning_source) for s in read(tmp_path, sft)} == {
        ("A scratch.", "Expert-AD"), ("Nothing.", "Expert-AD"),
    }  # fmt: skip
    assert {(s.reasoning, s.reasoning_source) for s in read(tmp_path, grpo)} == {(None, None)}


def test_what_was_read_renders_to_what_was_written(tmp_path: Path, sft: list[Any]) -> None:
    sft += [
        {"images": "a.png", "messages": turns(f"<image>{QUESTION}", text)}
        for text in (
            YES.replace("scratch<", "scratch, hole<"),
            YES.replace("top left<", "top left, center<"),
            YES.replace("top left<", "top left, center<").replace("scratch<", "scratch, hole, dent<"),
            "<think>Broken.</think><answer>Yes</answer>",
        )
    ]
    found = read(tmp_path, sft)
    assert [render_target(s, "structured") for s in found] == [item["messages"][1]["content"] for item in sft]
    assert [(d.type, d.location) for d in found[5].defects] == [
        ("scratch", "top left"), ("hole", "center"), ("dent", "center"),
    ]  # fmt: skip
    assert (found[6].is_anomalous, found[6].defects) == (True, ())


def test_the_only_json_is_taken_and_several_are_refused(tmp_path: Path, sft: list[Any], grpo: list[Any]) -> None:
    with pytest.raises(DataError, match=r"found: nothing \(expected NAME\.json"):
        list(SOURCE.read(tmp_path))
    assert len(read(tmp_path, sft)) == 3
    with pytest.raises(DataError, match=r"2 JSON files: Expert_AD_Stage_1\.json, grpo\.json \(name one with --anno"):
        read(tmp_path, grpo, name="grpo.json")
    assert len(list(SOURCE.read(tmp_path, missing="keep", annotations=tmp_path / "grpo.json"))) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": turns(QUESTION, YES)}, "the question has 0 marks <image> for 1 images"),
        ({"messages": turns("What? <image>", YES)}, "no question after the last <image>"),
        ({"messages": turns(f"<image>{QUESTION}", YES)[:1]}, "not a user's and an assistant's turn"),
        ({"messages": turns(f"<image>{QUESTION}", "It is broken.")}, "no verdict in 'It is broken.'"),
        ({"messages": turns(f"<image>{QUESTION}", "<answer>Maybe</answer>")}, "no verdict in '<answer>Maybe"),
        ({"messages": turns(f"<image>{QUESTION}", "<answer>Yes")}, "no verdict in '<answer>Yes'"),
        ({"messages": turns(f"<image>{QUESTION}", YES.replace("Yes", "No"))}, "the answer is No, but a defect"),
        ({"messages": turns(f"<image>{QUESTION}", YES.replace(">scratch", ">"))}, "a location without a type"),
        ({"images": []}, r"'images' is neither a path nor a list of paths: \[\]"),
        ({"images": [{"file": "a.png"}]}, "'images' is neither a path"),
        ({"images": "/data/a.png"}, "'/data/a.png' is not relative to the root"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, sft: list[Any], change: dict[str, Any], message: str) -> None:
    sft[1].update(change)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, sft)
    assert caught.value.where == f"{tmp_path / 'Expert_AD_Stage_1.json'}: entry 1"


def test_entries_of_no_kind_are_refused(tmp_path: Path) -> None:
    others: list[tuple[Any, str]] = [
        ({}, "not a JSON list of entries"), ([], "or an empty one"), (["a"], "not a JSON object: 'a'"),
        ([{"image": "a"}], r"neither 'messages' nor 'problem' is among \['image'\]"),
        ([{"image": "a", "problem": "?", "solution": 1}], "'solution' is 1, not a text"),
    ]  # fmt: skip
    for value, message in others:
        with pytest.raises(DataError, match=message):
            read(tmp_path, value)


def test_absent_images_are_counted(tmp_path: Path, sft: list[Any]) -> None:
    read(tmp_path, sft)
    with pytest.raises(DataError, match=r"2 of 2 files are missing: bottle/a\.png, bottle/b\.png"):
        list(SOURCE.read(tmp_path))


# build


def sample(number: int = 0, *defects: Defect, **fields: Any) -> Sample:
    anomalous = bool(defects)
    values: dict[str, Any] = {
        "id": f"a/{number}.png", "dataset": "set", "category": "metal_nut", "split": "test", "image": "a.png",
        "task": "anomaly", "question": QUESTION, "answer": "Yes" if anomalous else "No", "is_anomalous": anomalous,
        "question_type": "Anomaly Detection", "defects": defects, "image_size": (60, 60),
    }  # fmt: skip
    return Sample(**{**values, **fields})


def one(item: Sample, *, seed: int = 0) -> Sample:
    (found,) = build([item], seed=seed)
    return found


def test_a_masked_set_becomes_such_a_set(tmp_path: Path, photo: Photo, mask: Mask) -> None:
    for name in ("train/good/000", "train/good/001", "test/good/000", "test/broken_large/000", "test/combined/000"):
        photo(tmp_path / f"bottle/{name}.png")
    mask(tmp_path / "bottle/ground_truth/broken_large/000_mask.png", [(20, 20, 40, 40)])
    mask(tmp_path / "bottle/ground_truth/combined/000_mask.png", [(0, 0, 9, 9), (50, 50, 59, 59)])
    before = list(MVTEC.read(tmp_path))
    after = list(build(iter(before), seed=1))
    assert [s.id for s in after] == [s.id for s in before]
    assert {s.reasoning_source for s in after} == {"template"}
    for item in after:
        answer = parse(render_target(item, "structured"), "structured")
        assert (answer.status, answer.think) == ("ok", item.reasoning)
        assert answer.is_anomalous == item.is_anomalous
        assert list(answer.types) == unique(d.type for d in item.defects)
        assert list(answer.locations) == unique(d.location or "" for d in item.defects)


def test_the_text_names_what_the_sample_says_and_no_other_place() -> None:
    for number in range(40):
        text = one(sample(number, Defect(type="bent lead", location="middle left"))).reasoning or ""
        finding = text.partition(". ")[2] or text
        assert "metal nut" in text
        assert "bent lead" in finding
        assert [place for place in LOCATIONS if place in finding] == ["middle left"]
        normal = one(sample(number)).reasoning or ""
        assert "bent lead" not in normal
        assert "defective" not in normal


def test_several_defects_are_counted_and_listed() -> None:
    spots = [Defect(type="spot", location=place) for place in ("top left", "center", "center")]
    text = one(sample(1, *spots, Defect(type="dent", location="bottom right"))).reasoning or ""
    assert "Defects of the kind 'spot' are in the top left and in the center." in text
    assert "dent" in text
    assert "in the bottom right" in text
    assert "4 defects" in text


def test_words_that_tell_no_kind_and_unknown_places_are_left_out() -> None:
    for number in range(40):
        text = one(sample(number, Defect(type="bad"))).reasoning or ""
        assert "bad" not in text
        assert "{" not in text
        several = one(sample(number, Defect(type="bad"), Defect(type="bad"))).reasoning or ""
        assert "There are defects in the image." in several
        nowhere = one(sample(number, is_anomalous=True, answer="Yes")).reasoning or ""
        assert "defect" in nowhere


def test_the_wording_varies_and_depends_on_seed_and_id_alone() -> None:
    items = [sample(number, Defect(type="dent", location="center")) for number in range(60)]
    texts = [s.reasoning for s in build(items, seed=0)]
    assert [s.reasoning for s in build(reversed(items), seed=0)] == texts[::-1]
    assert [s.reasoning for s in build(items, seed=1)] != texts
    assert len(set(texts)) > 20
    assert len({s.reasoning for s in build([sample(number) for number in range(60)], seed=0)}) == 16
    # The same in every process and on every machine.
    assert texts[0] == (
        "I go through this metal nut image from the top left to the bottom right. I find a defect of the kind 'dent' "
        "in the center. This alone makes the image defective, so the answer is yes."
    )


def test_a_box_gives_the_location() -> None:
    found = one(sample(0, Defect(type="dent", box=(45.0, 0.0, 60.0, 10.0))))
    assert found.defects[0].location == "top right"
    assert "in the top right" in (found.reasoning or "")
    kept = one(sample(0, Defect(type="dent", box=(45.0, 0.0, 60.0, 10.0), location="center")))
    assert kept.defects[0].location == "center"
    with pytest.raises(DataError, match=r"a/0\.png: the defect 'dent' has a box but no location"):
        one(sample(0, Defect(type="dent", box=(45.0, 0.0, 60.0, 10.0)), image_size=None))


def test_reasoning_of_others_stays_and_templates_are_made_anew() -> None:
    written = one(sample(0, reasoning="I saw it.", reasoning_source="person"))
    assert (written.reasoning, written.reasoning_source) == ("I saw it.", "person")
    again = one(sample(0, reasoning="Old words.", reasoning_source="template"))
    assert again.reasoning == one(sample(0)).reasoning


@pytest.mark.parametrize(
    "fields",
    [{"task": "choice", "options": {"A": "Yes."}, "answer": "A"}, {"is_anomalous": None, "answer": "No"}],
)
def test_other_questions_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"a/0\.png: the task is '\w+', not a yes/no question with a known answer"):
        one(sample(0, **fields))
