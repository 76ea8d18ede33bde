from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.mmad import SOURCE
from iadr1.errors import DataError

Photo = Callable[[Path], None]
Mask = Callable[..., None]

DETECTION = {"Question": "Is there any defect in the object?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."},
             "type": "Anomaly Detection", "annotation": True}  # fmt: skip
# Letters with a gap, and in another than alphabetic order.
KIND = {"Question": "What is the type of the defect?", "Answer": "C", "Options": {"D": "Bent.", "C": "Broken large."},
        "type": "Defect Classification", "annotation": True}  # fmt: skip
STRUCTURE = {"Question": "What is in the object?", "Answer": "B", "Options": {"A": "Air.", "B": "Pins.", "C": "Ink."},
             "type": "Object Structure", "annotation": False}  # fmt: skip

BOTTLE = "DS-MVTec/bottle/image/broken_large/000.png"
CANDLE = "VisA/candle/test/bad/002.JPG"
PUSHPIN = "MVTec-LOCO/pushpins/test/good/003.png"


def index() -> dict[str, Any]:
    return {
        BOTTLE: {
            "image_path": "image/broken_large/000.png",
            "mask_path": "rbg_mask/broken_large/000_rbg_mask.png",
            "conversation": [DETECTION, KIND],
            "similar_templates": ["MVTec-AD/bottle/train/good/026.png"],
            "random_templates": ["MVTec-AD/bottle/train/good/102.png", "MVTec-AD/bottle/train/good/026.png"],
        },
        CANDLE: {
            "image_path": "test/bad/002.JPG",
            "mask_path": "ground_truth/bad/002.png",
            "conversation_v2": [DETECTION],
            "similar_templates": ["VisA/candle/train/good/0001.JPG"],
            "random_templates": ["VisA/candle/train/good/0001.JPG"],
        },
        PUSHPIN: {
            "image_path": "test/good/003.png",
            # Never there for a normal product, whatever the file says.
            "mask_path": "ground_truth/good/003.png",
            "conversation": [{**DETECTION, "Answer": "B"}, STRUCTURE],
            "similar_templates": ["MVTec-LOCO/pushpins/train/good/000.png"],
            "random_templates": ["MVTec-LOCO/pushpins/train/good/000.png"],
        },
    }


@pytest.fixture
def mmad_root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for key, value in index().items():
        for path in (key, *value["similar_templates"], *value["random_templates"]):
            photo(tmp_path / path)
    mask(tmp_path / "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png", [(2, 40, 12, 55)], value=3)
    mask(tmp_path / "VisA/candle/ground_truth/bad/002.png", [(5, 5, 9, 9), (40, 20, 50, 30)], value=1)
    write(tmp_path, index())
    return tmp_path


def write(root: Path, value: object) -> None:
    (root / "mmad.json").write_text(json.dumps(value), encoding="utf-8")


def test_every_question_becomes_a_sample_in_file_order(mmad_root: Path) -> None:
    found = list(SOURCE.read(mmad_root))
    assert [s.id for s in found] == [f"{BOTTLE}#0", f"{BOTTLE}#1", f"{CANDLE}#0", f"{PUSHPIN}#0", f"{PUSHPIN}#1"]
    assert [s.dataset for s in found] == ["DS-MVTec", "DS-MVTec", "VisA", "MVTec-LOCO", "MVTec-LOCO"]
    assert [s.category for s in found] == ["bottle", "bottle", "candle", "pushpins", "pushpins"]
    assert [s.is_anomalous for s in found] == [True, True, True, False, False]
    assert found[4].question_type == "Object Structure"
    assert {s.task for s in found} == {"choice"}
    assert not any(s.held_out for s in found)


def test_options_keep_the_file_s_order_and_get_letters_by_position(mmad_root: Path) -> None:
    kind = list(SOURCE.read(mmad_root))[1]
    assert list(kind.options.items()) == [("A", "Bent."), ("B", "Broken large.")]
    assert kind.answer == "B"


def test_references_are_the_random_templates_in_order(mmad_root: Path) -> None:
    assert next(SOURCE.read(mmad_root)).references == (
        "MVTec-AD/bottle/train/good/102.png",
        "MVTec-AD/bottle/train/good/026.png",
    )


def test_masks_lie_below_the_class_folder_and_give_boxes(mmad_root: Path) -> None:
    found = list(SOURCE.read(mmad_root))
    (broken,) = found[0].defects
    assert (broken.type, broken.box, broken.location) == ("broken large", (2, 40, 12, 55), "bottom left")
    assert broken.mask == "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png"
    assert [defect.box for defect in found[2].defects] == [(5, 5, 9, 9), (40, 20, 50, 30)]


def test_a_normal_image_needs_no_mask(mmad_root: Path) -> None:
    assert list(SOURCE.read(mmad_root))[3].defects == ()


def test_the_synthetic_world_s_additions_are_read(mmad_root: Path) -> None:
    value = index()
    value[CANDLE]["held_out"] = True
    value[CANDLE]["conversation_v2"] = [{**DETECTION, "Reasoning": "It is dark."}]
    write(mmad_root, value)
    candle = list(SOURCE.read(mmad_root))[2]
    assert (candle.held_out, candle.reasoning) == (True, "It is dark.")


def test_all_missing_files_are_counted_and_the_first_ten_named(mmad_root: Path, photo: Photo) -> None:
    value = index()
    for number in range(14):
        value[f"GoodsAD/can/test/good/{number:03d}.jpg"] = {"conversation": [DETECTION], "random_templates": []}
    photo(mmad_root / "GoodsAD/can/test/good/000.jpg")
    (mmad_root / CANDLE).rename(mmad_root / CANDLE.replace(".JPG", ".jpg"))
    write(mmad_root, value)
    with pytest.raises(DataError, match="14 of 23 files are missing") as caught:
        next(SOURCE.read(mmad_root))
    assert CANDLE in str(caught.value)
    assert "can/test/good/009.jpg" in str(caught.value)
    assert "can/test/good/010.jpg" not in str(caught.value)


def test_a_missing_template_is_an_error(mmad_root: Path) -> None:
    (mmad_root / "MVTec-AD/bottle/train/good/026.png").unlink()
    with pytest.raises(DataError, match=r"1 of 9 files.*026\.png"):
        next(SOURCE.read(mmad_root))


@pytest.mark.parametrize(
    "key", ["../x/test/good/000.png", "/etc/x/test/good/0.png", "C:/a/test/good/0.png", "VisA/a/../../../good/0.png"]
)
def test_a_path_that_leaves_the_root_is_refused(mmad_root: Path, key: str) -> None:
    write(mmad_root, {key: {"conversation": [DETECTION]}})
    with pytest.raises(DataError, match="leaves it"):
        next(SOURCE.read(mmad_root))


def test_a_link_out_of_the_root_is_refused(tmp_path: Path, mmad_root: Path, photo: Photo) -> None:
    inside = mmad_root / "sub"
    inside.mkdir()
    photo(mmad_root / "elsewhere/candle/test/good/000.png")
    (inside / "VisA").symlink_to(mmad_root / "elsewhere", target_is_directory=True)
    write(inside, {"VisA/candle/test/good/000.png": {"conversation": [DETECTION]}})
    with pytest.raises(DataError, match="through a link"):
        next(SOURCE.read(inside))


def test_another_layout_shows_what_is_expected_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "bottle").mkdir()
    (tmp_path / "license.txt").touch()
    with pytest.raises(DataError, match=r"found: bottle/, license\.txt \(expected mmad\.json beside DS-MVTec/"):
        next(SOURCE.read(tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        next(SOURCE.read(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n "a": ]', r"mmad\.json:2: not JSON.*column 7"),
        ("[]", "not a JSON object of images"),
        ("{}", "not a JSON object of images"),
        ('{"VisA/a/good/1.png": []}', "not a JSON object: "),
        ('{"VisA/a/good/1.png": {"question": []}}', "starts with 'conversation'"),
        ('{"1.png": {"conversation": []}}', "not <dataset>/<class>"),
        ('{"VisA/a/good/1.png": {"conversation": [], "random_templates": "x.png"}}', "not a list of paths"),
    ],
)
def test_broken_files_name_the_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mmad.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        next(SOURCE.read(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Answer": "E"}, r"000\.png, question 2: the answer 'E' is not among the options"),
        ({"Options": ["Yes", "No"]}, "no object 'Options'"),
        ({"Question": None}, "question 2: question: "),
    ],
)
def test_a_malformed_question_names_its_place(mmad_root: Path, change: dict[str, Any], message: str) -> None:
    value = index()
    value[BOTTLE]["conversation"][1] = {**KIND, **change}
    write(mmad_root, value)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(mmad_root))
