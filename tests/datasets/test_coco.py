from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadr1 import rle
from iadr1.datasets.coco import SOURCE
from iadr1.errors import DataError

Photo = Callable[..., None]

PIXELS = np.zeros((60, 60), dtype=bool)
PIXELS[40:50, 5:15] = True


def content() -> dict[str, Any]:
    """Three images: a scratch with polygons in two parts and a crowd of dust, a box only, nothing."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 60, "height": 60},
            {"id": 8, "file_name": "sub/b.png", "width": 60, "height": 60},
            {"id": 9, "file_name": "c.png"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10.0, 10.0, 30.5, 20.0], "iscrowd": 0,
             "segmentation": [[10, 10, 20, 10, 20, 30, 10, 30], [30, 10, 40, 10, 40, 20, 30, 20]], "area": 300},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [5, 40, 10, 10], "iscrowd": 1,
             "segmentation": {"size": [60, 60], "counts": rle.encode(PIXELS)["counts"]}},
            {"id": 3, "image_id": 8, "category_id": 3, "bbox": [50, 50, 20, 20], "segmentation": []},
        ],
        "categories": [{"id": 3, "name": "deep_scratch"}, {"id": 4, "name": "dust", "supercategory": "dirt"}],
    }  # fmt: skip


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def part(tmp_path: Path, photo: Photo) -> Path:
    root = tmp_path / "part"
    for name in ("images/a.png", "images/sub/b.png", "images/c.png"):
        photo(root / name)
    write(root / "annotations/instances_train2017.json", content())
    return root


def test_annotations_become_defects(part: Path) -> None:
    first, second, third = SOURCE.read(part)
    assert (first.id, first.dataset, first.category, first.split) == ("images/a.png", "part", "part", "train")
    scratch, dust = first.defects
    assert (scratch.type, scratch.box, scratch.location) == ("deep scratch", (10, 10, 40.5, 30), "center")
    mask = rle.decode(rle.parse(scratch.mask_rle))
    assert mask.sum() == 10 * 20 + 10 * 10
    assert mask[15, 35]
    assert not mask[25, 35]
    assert (dust.box, dust.attributes) == ((5, 40, 15, 50), {"iscrowd": "1"})
    assert dust.mask_rle == rle.encode(PIXELS)
    # Over the edge: cut there. No segmentation: no mask.
    assert [(d.box, d.mask_rle) for d in second.defects] == [((50, 50, 60, 60), None)]
    assert (third.answer, third.defects) == ("No", ())
    assert [s.references for s in (first, second, third)] == [("images/c.png",), ("images/c.png",), ()]


def test_compressed_rle_gives_the_same_defect(part: Path) -> None:
    value = content()
    # pycocotools 2.0.11's text for PIXELS.
    value["annotations"][1]["segmentation"]["counts"] = "d::b100000000000000000Tc2"
    write(part / "annotations/instances_train2017.json", value)
    assert next(SOURCE.read(part)).defects[1].mask_rle == rle.encode(PIXELS)


def test_without_a_box_the_mask_gives_one(part: Path) -> None:
    value = content()
    del value["annotations"][0]["bbox"]
    value["annotations"][1]["bbox"] = []
    write(part / "annotations/instances_train2017.json", value)
    assert [d.box for d in next(SOURCE.read(part)).defects] == [(10, 10, 40, 30), (5, 40, 15, 50)]


def test_a_category_named_good_is_no_defect(part: Path) -> None:
    value = content()
    value["categories"][0]["name"] = "Good"
    write(part / "annotations/instances_train2017.json", value)
    assert [[d.type for d in s.defects] for s in SOURCE.read(part)] == [["dust"], [], []]


@pytest.mark.parametrize(
    ("index", "images", "split"),
    [
        ("labels.json", "", "all"),
        ("labels.json", "images/", "all"),
        ("annotations/instances_val2017.json", "val2017/", "val"),
        ("annotations/instances_val2017.json", "images/val2017/", "val"),
        ("annotations/test.json", "test/", "test"),
        ("valid/_annotations.coco.json", "valid/", "val"),
    ],
)
def test_images_are_found_where_tools_put_them(
    tmp_path: Path, photo: Photo, index: str, images: str, split: str
) -> None:
    write(tmp_path / index, content())
    for name in ("a.png", "sub/b.png", "c.png"):
        photo(tmp_path / images / name)
    assert [(s.id, s.split) for s in SOURCE.read(tmp_path)] == [
        (f"{images}{name}", split) for name in ("a.png", "sub/b.png", "c.png")
    ]


def test_one_file_for_each_split_is_read(tmp_path: Path, photo: Photo) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split / "_annotations.coco.json", content())
        for name in ("a.png", "sub/b.png", "c.png"):
            photo(tmp_path / split / name)
    found = list(SOURCE.read(tmp_path))
    assert [s.split for s in found] == ["train"] * 3 + ["val"] * 3
    assert {s.references for s in found if s.split == "val"} == {("train/c.png",)}


def test_several_files_need_a_choice(part: Path) -> None:
    write(part / "annotations/captions_train2017.json", {"images": [], "annotations": []})
    with pytest.raises(DataError, match=r"several JSON files, .*captions_train2017\.json, .*choose one with --annot"):
        next(SOURCE.read(part))
    chosen = part / "annotations/instances_train2017.json"
    assert len(list(SOURCE.read(part, annotations=chosen))) == 3


def test_the_chosen_file_may_lie_elsewhere(part: Path, tmp_path: Path) -> None:
    write(tmp_path / "truth_test.json", content())
    first = next(SOURCE.read(part, annotations=tmp_path / "truth_test.json"))
    assert (first.id, first.split) == ("images/a.png", "test")


def test_images_may_be_absent(part: Path) -> None:
    for path in (part / "images").rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"3 of 3 files are missing: annotations/a\.png"):
        next(SOURCE.read(part))
    assert list(SOURCE.read(part, missing="skip")) == []
    kept = list(SOURCE.read(part, missing="keep"))
    assert [(s.missing, len(s.defects)) for s in kept] == [(True, 2), (True, 1), (True, 0)]
    assert kept[0].defects[1].mask_rle == rle.encode(PIXELS)


def changed(**lists: dict[str, Any]) -> dict[str, Any]:
    """The content with members changed in the first entry of each named list."""
    value = content()
    for name, members in lists.items():
        value[name][0].update(members)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not COCO instances: the lists images, annotations, categories"),
        ({"images": [], "annotations": []}, "not COCO instances"),
        (
            changed(annotations={"bbox": [10, 10, 0, 5]}),
            r"annotations\[0\], id 1: the box \[10, 10, 0, 5\] has no",
        ),
        (changed(annotations={"bbox": [10, 10, 5, -5]}), r"id 1: the box .* has no area"),
        (changed(annotations={"bbox": [70, 10, 5, 5]}), r"id 1: no area inside the 60x60 px image: 70, 10, 75, 15"),
        (changed(annotations={"bbox": [1, 2, 3]}), r"id 1: bbox is not four numbers"),
        (changed(annotations={"bbox": [1, 2, float("nan"), 3]}), r"id 1: bbox is not four numbers"),
        (changed(annotations={"segmentation": [[1, 2, 3, 4]]}), r"id 1: not a polygon of at least three corners"),
        (changed(annotations={"segmentation": "abc"}), "id 1: segmentation is neither polygons nor RLE"),
        (changed(annotations={"segmentation": {"size": [60, 60], "counts": [5]}}), "id 1: segmentation: the runs add"),
        (changed(annotations={"segmentation": {"size": [30, 60], "counts": [900, 900]}}), "the mask is 60x30 px"),
        (changed(annotations={"segmentation": {"size": [60, 60], "counts": [3600]}}), "id 1: the mask is empty"),
        (changed(annotations={"bbox": None, "segmentation": None}), "needs 'bbox' or 'segmentation'"),
        (changed(annotations={"image_id": 99}), "id 1: no image has the id 99"),
        (changed(annotations={"image_id": [7]}), r"id 1: no image has the id \[7\]"),
        (changed(annotations={"category_id": None}), "id 1: no category has the id None"),
        (changed(annotations={"id": 2}), r"annotations\[1\], id 2: the id 2 is there twice"),
        (changed(images={"id": 8}), r"images\[1\], id 8: the id 8 is there twice"),
        (changed(images={"id": True}), r"images\[0\]: an entry needs an 'id'"),
        (changed(images={"file_name": "c.png"}), r"images\[2\], id 9: the image 'images/c\.png' is there twice"),
        (changed(images={"file_name": "./sub/../c.png"}), "is there twice"),
        (changed(images={"width": 50}), r"id 7: the annotation was made on \(50, 60\) px"),
        (changed(images={"width": "60"}), "id 7: width and height are '60' and 60"),
        (changed(images={"file_name": "../../x.png"}), r"id 7: the path '\.\./\.\./x\.png' leads out of"),
        (changed(images={"file_name": "/etc/x.png"}), "id 7: the path '/etc/x.png' leads out of"),
        (changed(images={"file_name": "C:\\x.png"}), "id 7: the path .* leads out of"),
        (changed(images={"file_name": 5}), "id 7: the image's path is 5"),
        (changed(categories={"name": " "}), r"categories\[0\], id 3: the category's name is ' '"),
    ],
)
def test_a_bad_entry_names_its_place(part: Path, value: object, message: str) -> None:
    write(part / "annotations/instances_train2017.json", value)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part))


def test_a_link_out_of_the_root_is_refused(part: Path, tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "elsewhere.png")
    (part / "images/a.png").unlink()
    (part / "images/a.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match=r"leads out of .* through a link"):
        next(SOURCE.read(part))


def test_an_absolute_path_inside_the_root_is_taken(part: Path) -> None:
    value = changed(images={"file_name": str((part / "images/a.png").resolve())})
    write(part / "annotations/instances_train2017.json", value)
    assert next(SOURCE.read(part)).id == "images/a.png"


def test_a_folder_without_json_is_another_layout(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"not the expected layout; found: a\.png"):
        next(SOURCE.read(tmp_path))
