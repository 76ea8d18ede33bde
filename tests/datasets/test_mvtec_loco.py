from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.mvtec_loco import SOURCE
from iadr1.errors import DataError
from tests.datasets.label_masks import write_labels

Photo = Callable[..., None]

CONFIG = "pushpins/defects_config.json"
LOGICAL = "pushpins/test/logical_anomalies/000.png"


def entry(name: str, value: object) -> dict[str, object]:
    return {"defect_name": name, "pixel_value": value, "saturation_threshold": 6300, "relative_saturation": False}


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    for name in ("pushpins/train/good/000.png", "pushpins/train/good/001.png", "pushpins/validation/good/000.png",
                 "pushpins/test/good/000.png", LOGICAL, "pushpins/test/structural_anomalies/000.png",
                 "screw_bag/train/good/000.png", "screw_bag/test/structural_anomalies/000.png"):  # fmt: skip
        photo(tmp_path / name)
    truth = tmp_path / "pushpins/ground_truth"
    write_labels(truth / "logical_anomalies/000/000.png", {255: (0, 0, 20, 20)})
    write_labels(truth / "logical_anomalies/000/001.png", {254: (10, 10, 60, 60)})
    write_labels(truth / "structural_anomalies/000/000.png", {253: (50, 0, 60, 9)})
    write_labels(tmp_path / "screw_bag/ground_truth/structural_anomalies/000/000.png", {250: (0, 50, 9, 60)})
    config = [entry("1_additional_pushpin", 255), entry("missing_pushpin", 254), entry("front_bent", 253)]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    (tmp_path / "license.txt").touch()
    return tmp_path


def test_three_splits_are_read_in_order(root: Path) -> None:
    found = list(SOURCE.read(root))
    assert [(s.id, s.split, s.answer) for s in found] == [
        ("pushpins/train/good/000.png", "train", "No"),
        ("pushpins/train/good/001.png", "train", "No"),
        ("pushpins/validation/good/000.png", "validation", "No"),
        ("pushpins/test/good/000.png", "test", "No"),
        (LOGICAL, "test", "Yes"),
        ("pushpins/test/structural_anomalies/000.png", "test", "Yes"),
        ("screw_bag/train/good/000.png", "train", "No"),
        ("screw_bag/test/structural_anomalies/000.png", "test", "Yes"),
    ]
    assert [s.references for s in found[1:4]] == [("pushpins/train/good/000.png",)] * 3


def test_every_mask_of_an_image_is_a_defect_of_its_value_s_kind(root: Path) -> None:
    found = {s.id: s.defects for s in SOURCE.read(root)}
    assert [(d.type, d.box, d.mask, d.attributes) for d in found[LOGICAL]] == [
        (
            "1 additional pushpin",
            (0, 0, 20, 20),
            "pushpins/ground_truth/logical_anomalies/000/000.png",
            {"label": "255", "folder": "logical anomalies"},
        ),
        (
            "missing pushpin",
            (10, 10, 60, 60),
            "pushpins/ground_truth/logical_anomalies/000/001.png",
            {"label": "254", "folder": "logical anomalies"},
        ),
    ]
    assert [d.type for d in found["pushpins/test/structural_anomalies/000.png"]] == ["front bent"]


def test_without_a_config_the_type_is_the_folder_s(root: Path) -> None:
    found = {s.id: s.defects for s in SOURCE.read(root)}
    assert [(d.type, d.box) for d in found["screw_bag/test/structural_anomalies/000.png"]] == [
        ("structural anomalies", (0, 50, 9, 60))
    ]


def test_a_value_the_config_does_not_name_is_refused(root: Path) -> None:
    write_labels(root / "pushpins/ground_truth/structural_anomalies/000/000.png", {127: (0, 0, 9, 9)})
    with pytest.raises(DataError, match=r"structural_anomalies/000/000\.png: the mask has the value 127, .* 255, 254,"):
        list(SOURCE.read(root))


def test_missing_mask_folders_are_counted_skipped_or_kept(root: Path) -> None:
    (root / "pushpins/ground_truth/structural_anomalies/000/000.png").unlink()
    with pytest.raises(DataError, match=r"missing: pushpins/ground_truth/structural_anomalies/000/000\.png"):
        list(SOURCE.read(root))
    assert len(list(SOURCE.read(root, missing="skip"))) == 7
    kept = {s.id: s.defects for s in SOURCE.read(root, missing="keep")}
    assert [(d.type, d.box) for d in kept["pushpins/test/structural_anomalies/000.png"]] == [
        ("structural anomalies", None)
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"defects_config\.json: not a JSON list of defects: \{\}"),
        ([3], r"entry 1: not a JSON object: 3"),
        ([entry("", 255)], r"entry 1: 'defect_name' is '', not a name"),
        ([entry("a", "255")], r"entry 1: 'pixel_value' is '255', not a whole number above 0"),
        ([entry("a", True)], r"'pixel_value' is True"),
        ([entry("a", 0)], r"'pixel_value' is 0"),
        ([entry("a", 255), entry("b_b", 255)], r"entry 2: the 'pixel_value' 255 stands for 'a' and 'b b'"),
    ],
)
def test_a_malformed_config_is_refused(root: Path, config: object, message: str) -> None:
    (root / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(root))


def test_another_layout_is_shown_beside_the_expected_one(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"found: defects_config\.json, ground_truth/, test/, train/, validation/ \(exp"
    ):
        list(SOURCE.read(root / "pushpins"))
