"""A samples file is read once, in full, and a broken one is told by its line before anything is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iadr1.errors import DataError
from iadr1.records import Defect, Sample, read_records, write_records
from iadr1.stages.pretrain.scenes import Scenes
from tests.pretrain.world import FORMATS, verdict


def choice(image: str, **changes: Any) -> Sample:
    own: dict[str, Any] = {"id": f"{image}#1", "task": "choice", "options": {"A": "x", "B": "y"}, "answer": "A"}
    return verdict(image, **(own | changes))


def test_every_sample_is_found_where_it_stands(world: Path) -> None:
    scenes = Scenes(world, FORMATS)
    samples = list(read_records(world, Sample))
    assert [scene.image for scene in scenes.items] == list(dict.fromkeys(sample.image for sample in samples))
    found = [scenes.sample(at) for scene in scenes.items for lines in scene.lines.values() for at in lines]
    assert sorted(sample.id for sample in found) == sorted(sample.id for sample in samples)
    for scene in scenes.items:
        assert scenes.verdict(scene).task == "anomaly"
        for task, lines in scene.lines.items():
            assert {(scenes.sample(at).task, scenes.sample(at).image) for at in lines} == {(task, scene.image)}


def test_a_file_that_is_replaced_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write_records(path, [verdict("a.png"), verdict("b.png", reasoning="It is fine.")])
    scenes = Scenes(path, FORMATS)
    write_records(path, [verdict("c.png", question="?")])
    assert scenes.verdict(scenes.items[1]).reasoning == "It is fine."


def test_a_photo_of_a_good_product_is_shown_where_all_samples_of_an_image_have_one(tmp_path: Path) -> None:
    good = {"references": ("g.png", "h.png")}
    write_records(
        tmp_path / "s.jsonl",
        [
            verdict("a.png", **good), choice("a.png", **good),
            verdict("b.png", **good), choice("b.png"), choice("b.png", **good),
            verdict("c.png"), choice("c.png", **good),
        ],
    )  # fmt: skip
    scenes = Scenes(tmp_path / "s.jsonl", FORMATS)
    assert [scene.reference for scene in scenes.items] == ["g.png", None, None]


HOLE = Defect(type="hole")
BAD: dict[str, Any] = {"answer": "Yes", "is_anomalous": True}


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (verdict("b.png", **BAD, defects=(HOLE,)), r"defect without a box \('hole'\) .*leave boxes out of formats"),
        (verdict("b.png", **BAD), "is anomalous and names no defect"),
        (verdict("b.png", is_anomalous=None), "does not say whether it is anomalous"),
        (verdict("b.png", task="grounding", answer="", defects=(HOLE,)), "defect without a box"),
        (verdict("b.png", task="grounding", answer=""), "asks for a box and names none"),
    ],
)
def test_a_sample_that_lacks_what_its_answer_needs_is_told_by_its_line(
    tmp_path: Path, second: Sample, says: str
) -> None:
    path = tmp_path / "s.jsonl"
    write_records(path, [verdict("a.png"), second])
    with pytest.raises(DataError, match=says) as caught:
        Scenes(path, FORMATS)
    assert caught.value.where == f"{path}:2"


def test_a_box_is_needed_where_it_is_written_only(tmp_path: Path) -> None:
    write_records(tmp_path / "s.jsonl", [verdict("a.png", **BAD, defects=(HOLE,))])
    assert len(Scenes(tmp_path / "s.jsonl", ("structured", "direct"))) == 1


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("{}\n", "id: Field required", 1),
        ("\n", "Invalid JSON", 1),
        (verdict("a.png").model_dump_json() + "\n{", "Invalid JSON", 2),
        (verdict("a.png").model_dump_json().replace('"No"', '"Perhaps"'), "neither 'Yes' nor 'No'", 1),
    ],
)
def test_a_broken_line_is_told(tmp_path: Path, text: str, says: str, line: int) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        Scenes(path, FORMATS)
    assert caught.value.where == f"{path}:{line}"


def test_a_file_of_nothing_and_an_image_without_a_verdict_are_told(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.touch()
    with pytest.raises(DataError, match="the file holds no sample"):
        Scenes(path, FORMATS)
    write_records(path, [verdict("a.png"), choice("b.png")])
    with pytest.raises(DataError, match=r"the image 'b.png' has no yes/no sample.*prepare --variety"):
        Scenes(path, FORMATS)
