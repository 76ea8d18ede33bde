from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.mvtec import SOURCE
from iadr1.errors import DataError

Photo = Callable[[Path], None]
Mask = Callable[..., None]


@pytest.fixture
def mvtec_root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("bottle/train/good/000.png", "bottle/train/good/001.png", "bottle/test/good/000.png",
                 "bottle/test/broken_large/000.png", "bottle/test/broken_large/001.png",
                 "wood/train/good/000.png", "wood/test/combined/000.png"):  # fmt: skip
        photo(tmp_path / name)
    mask(tmp_path / "bottle/ground_truth/broken_large/000_mask.png", [(20, 20, 40, 40)])
    mask(tmp_path / "bottle/ground_truth/broken_large/001_mask.png", [(0, 0, 5, 5)])
    mask(tmp_path / "wood/ground_truth/combined/000_mask.png", [(0, 0, 5, 5), (50, 50, 60, 60)])
    (tmp_path / "license.txt").touch()
    (tmp_path / "bottle/readme.txt").touch()
    (tmp_path / "bottle/test/good/Thumbs.db").touch()
    return tmp_path


def test_every_image_becomes_a_yes_no_sample(mvtec_root: Path) -> None:
    found = list(SOURCE.read(mvtec_root))
    assert [(s.id, s.split, s.answer, s.is_anomalous) for s in found] == [
        ("bottle/train/good/000.png", "train", "No", False),
        ("bottle/train/good/001.png", "train", "No", False),
        ("bottle/test/broken_large/000.png", "test", "Yes", True),
        ("bottle/test/broken_large/001.png", "test", "Yes", True),
        ("bottle/test/good/000.png", "test", "No", False),
        ("wood/train/good/000.png", "train", "No", False),
        ("wood/test/combined/000.png", "test", "Yes", True),
    ]
    assert {s.task for s in found} == {"anomaly"}
    assert [s.category for s in found] == ["bottle"] * 5 + ["wood"] * 2


def test_the_reference_is_another_normal_training_image(mvtec_root: Path) -> None:
    assert [s.references for s in SOURCE.read(mvtec_root)] == [
        ("bottle/train/good/001.png",),
        ("bottle/train/good/000.png",),
        ("bottle/train/good/000.png",),
        ("bottle/train/good/000.png",),
        ("bottle/train/good/000.png",),
        (),
        ("wood/train/good/000.png",),
    ]


def test_defects_come_from_folder_and_mask(mvtec_root: Path) -> None:
    found = {s.id: s.defects for s in SOURCE.read(mvtec_root)}
    (broken,) = found["bottle/test/broken_large/000.png"]
    assert (broken.type, broken.box, broken.location) == ("broken large", (20, 20, 40, 40), "center")
    assert broken.mask == "bottle/ground_truth/broken_large/000_mask.png"
    assert [(d.type, d.location) for d in found["wood/test/combined/000.png"]] == [
        ("combined", "top left"),
        ("combined", "bottom right"),
    ]
    assert found["bottle/test/good/000.png"] == ()


def test_all_missing_masks_are_counted(mvtec_root: Path) -> None:
    for number in ("000", "001"):
        (mvtec_root / f"bottle/ground_truth/broken_large/{number}_mask.png").unlink()
    with pytest.raises(DataError, match=r"2 of 10 files are missing: bottle/ground_truth/broken_large/000_mask\.png, "):
        next(SOURCE.read(mvtec_root))


def test_one_category_s_own_folder_is_not_the_set(mvtec_root: Path) -> None:
    with pytest.raises(DataError, match=r"found: ground_truth/, readme\.txt, test/, train/ \(expected CATEGORY/"):
        next(SOURCE.read(mvtec_root / "bottle"))


def test_the_3d_layout_is_told_apart(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "bagel/test/hole/rgb/000.png")
    with pytest.raises(DataError, match="not the expected layout"):
        next(SOURCE.read(tmp_path))
