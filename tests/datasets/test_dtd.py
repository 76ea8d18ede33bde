from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.dtd import SOURCE
from iadr1.errors import DataError

Photo = Callable[[Path], None]
Mask = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("Woven_001/train/good/000.png", "Woven_001/train/good/001.png", "Woven_001/test/good/000.png",
                 "Woven_001/test/bad/000.png", "Mesh_114/test/bad/000.png", "Mesh_114/test/good/007.png",
                 "Mesh_114/template/000.png"):  # fmt: skip
        photo(tmp_path / name)
    mask(tmp_path / "Woven_001/ground_truth/bad/000_mask.png", [(0, 0, 9, 9), (50, 0, 60, 9)], value=1)
    mask(tmp_path / "Mesh_114/ground_truth/bad/000.png", [(25, 50, 35, 60)])
    return tmp_path


def test_every_image_becomes_a_yes_no_sample(root: Path) -> None:
    assert [(s.id, s.category, s.split, s.answer, s.references) for s in SOURCE.read(root)] == [
        ("Mesh_114/test/bad/000.png", "Mesh_114", "test", "Yes", ("Mesh_114/template/000.png",)),
        ("Mesh_114/test/good/007.png", "Mesh_114", "test", "No", ("Mesh_114/template/000.png",)),
        ("Woven_001/train/good/000.png", "Woven_001", "train", "No", ("Woven_001/train/good/001.png",)),
        ("Woven_001/train/good/001.png", "Woven_001", "train", "No", ("Woven_001/train/good/000.png",)),
        ("Woven_001/test/bad/000.png", "Woven_001", "test", "Yes", ("Woven_001/train/good/000.png",)),
        ("Woven_001/test/good/000.png", "Woven_001", "test", "No", ("Woven_001/train/good/000.png",)),
    ]


def test_masks_are_found_under_both_names(root: Path) -> None:
    found = {s.id: [(d.type, d.box, d.location, d.mask) for d in s.defects] for s in SOURCE.read(root)}
    woven, mesh = "Woven_001/ground_truth/bad/000_mask.png", "Mesh_114/ground_truth/bad/000.png"
    assert found["Woven_001/test/bad/000.png"] == [
        ("bad", (0, 0, 9, 9), "top left", woven),
        ("bad", (50, 0, 60, 9), "top right", woven),
    ]
    assert found["Mesh_114/test/bad/000.png"] == [("bad", (25, 50, 35, 60), "bottom center", mesh)]


def test_a_missing_mask_is_an_error_and_two_for_one_image_too(root: Path, mask: Mask) -> None:
    mask(root / "Mesh_114/ground_truth/bad/000_mask.png")
    with pytest.raises(DataError, match=r"2 masks fit the image '000\.png'"):
        next(SOURCE.read(root))
    for path in (root / "Mesh_114/ground_truth/bad").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"1 of 9 files are missing: Mesh_114/ground_truth/bad/000_mask\.png"):
        next(SOURCE.read(root))


def test_published_annotations_replace_the_folders(root: Path) -> None:
    key, template = "DTD/Mesh_114/test/good/007.png", "DTD/Mesh_114/template/000.png"
    question = {"Question": "?", "Answer": "B", "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}
    value = {"image_path": key, "conversation": [question], "similar_templates": [template],
             "random_templates": [template]}  # fmt: skip
    path = root / "test_DTD_format.json"
    path.write_text(json.dumps({key: value}))
    (found,) = SOURCE.read(root, annotations=path)
    assert (found.dataset, found.image, found.references) == (
        "DTD-Synthetic", "Mesh_114/test/good/007.png", ("Mesh_114/template/000.png",),
    )  # fmt: skip


def test_another_layout_is_shown(root: Path) -> None:
    with pytest.raises(DataError, match=r"found: ground_truth/, test/, train/ \(expected TEXTURE/"):
        next(SOURCE.read(root / "Woven_001"))
