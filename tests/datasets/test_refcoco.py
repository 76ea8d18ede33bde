from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.refcoco import REFCOCO, REFCOCO_PLUS, REFCOCOG, SOURCE
from iadr1.errors import DataError

Photo = Callable[..., None]

LADY: dict[str, Any] = {
    "height": 640, "width": 427, "id": 0, "original_id": 1719310, "dataset_name": "refcoco", "area": 14863.6156,
    "iscrowd": 0, "image_id": 0, "category_id": 1, "bbox_list": [[103.93, 299.99, 237.15, 476.41]],
    "text_type": "caption", "image": "train2014/COCO_train2014_000000581857.jpg",
    "problem": "Please provide the bounding box coordinate of the region this sentence describes: the lady.",
    "normal_caption": "the lady", "solution": [103.93, 299.99, 238.15, 477.41],
    "normalized_solution": [243, 468, 557, 745],
}  # fmt: skip
TRUCK: dict[str, Any] = {**LADY, "image": "train2014/COCO_train2014_000000000009.jpg", "category_id": 8,
                         "normal_caption": "truck", "solution": [0, 10, 428.4, 100]}  # fmt: skip


def write(path: Path, entries: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries), encoding="utf-8")


@pytest.fixture
def coco(tmp_path: Path, photo: Photo) -> Path:
    photo(tmp_path / LADY["image"])
    photo(tmp_path / TRUCK["image"])
    return tmp_path


def test_expressions_become_grounding_samples(coco: Path) -> None:
    write(coco / "rec_jsons_processed/refcoco_val.json", [TRUCK])
    write(coco / "refcoco_train.json", [LADY, TRUCK])
    first, second, third = SOURCE.read(coco)
    # Sorted by path, so the folder comes first.
    assert (first.id, first.dataset, first.split) == ("refcoco_val#0", "refcoco", "val")
    assert (second.id, second.dataset, second.split, second.category) == ("refcoco_train#0", "refcoco", "train", "1")
    assert second.question == LADY["problem"]
    assert (second.task, second.is_anomalous, second.options, second.answer) == ("grounding", None, {}, "")
    (target,) = second.defects
    assert (target.type, target.box, target.location) == ("the lady", (103.93, 299.99, 238.15, 477.41), "center")
    assert third.id == "refcoco_train#1"


def test_each_source_takes_its_own_files(coco: Path) -> None:
    for name in ("refcoco_train", "refcocop_train", "refcocog_val", "lisa_test", "dataset_info"):
        write(coco / f"{name}.json", [{**TRUCK, "dataset_name": name}])
    assert [s.dataset for s in REFCOCO.read(coco)] == ["refcoco_train"]
    assert [s.dataset for s in REFCOCO_PLUS.read(coco)] == ["refcocop_train"]
    assert [s.dataset for s in REFCOCOG.read(coco)] == ["refcocog_val"]


def test_the_boxes_for_internvl_are_not_taken_for_pixels(coco: Path) -> None:
    write(coco / "refcoco_train.json", [{**LADY, "solution": LADY["normalized_solution"]}])
    with pytest.raises(DataError, match=r"entry 0: the box \[243, 468, 557, 745\] is in 0\.\.1000, not in pixels"):
        next(SOURCE.read(coco))


def test_images_may_be_absent(coco: Path) -> None:
    write(coco / "refcoco_train.json", [LADY, TRUCK])
    (coco / LADY["image"]).unlink()
    assert [s.id for s in SOURCE.read(coco, missing="skip")] == ["refcoco_train#1"]
    assert [s.missing for s in SOURCE.read(coco, missing="keep")] == [True, False]


def test_a_box_over_the_edge_is_cut_at_it(coco: Path) -> None:
    write(coco / "refcoco_train.json", [TRUCK])
    (sample,) = SOURCE.read(coco)
    assert sample.defects[0].box == (0, 10, 427, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solution": [500, 10, 600, 100]}, r"refcoco_train\.json: entry 1: the box .* outside the 427x640"),
        ({"solution": [10, 10, 10, 100]}, "is empty"),
        ({"solution": "A"}, "not all numbers"),
        ({"solution": [1, 2, 3]}, "not all numbers"),
        ({"width": "427"}, "not all numbers"),
        ({"image": "../x.jpg"}, "leaves it"),
        ({"image": 3}, "needs the members"),
    ],
)
def test_a_bad_entry_names_its_place(coco: Path, change: dict[str, Any], message: str) -> None:
    write(coco / "refcoco_train.json", [LADY, {**LADY, **change}])
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(coco))


def test_an_entry_without_its_fields_is_refused(coco: Path) -> None:
    write(coco / "refcoco_train.json", [{"image": "a.jpg"}])
    with pytest.raises(DataError, match=r"entry 0: an entry needs the members \['problem', 'normal_caption'"):
        list(SOURCE.read(coco))


@pytest.mark.parametrize("content", [{}, []])
def test_other_json_is_refused(coco: Path, content: object) -> None:
    write(coco / "refcoco_train.json", content)
    with pytest.raises(DataError, match="not a JSON list"):
        list(SOURCE.read(coco))


def test_missing_images_are_counted_once_each(coco: Path) -> None:
    write(coco / "refcoco_train.json", [LADY, LADY, TRUCK])
    (coco / LADY["image"]).unlink()
    with pytest.raises(DataError, match="1 of 2 files are missing: train2014/COCO_train2014_000000581857"):
        next(SOURCE.read(coco))


def test_a_folder_without_json_is_another_layout(coco: Path) -> None:
    with pytest.raises(DataError, match=r"found: train2014/ \(expected refcoco_train\.json"):
        next(SOURCE.read(coco))
