from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.mvtec3d import SOURCE
from iadr1.errors import DataError
from iadr1.records import Sample

Photo = Callable[..., None]
Mask = Callable[..., None]

PLACES = {
    "bagel": {"crack": [(0, 0, 10, 10)], "hole": [(45, 45, 58, 58), (2, 2, 5, 5)], "combined": [(25, 25, 35, 35)]},
    "cable_gland": {"bent": [(0, 25, 10, 35)], "thread": [(25, 0, 35, 10)]},
    "tire": {"cut": [(0, 0, 60, 60)]},
}


@pytest.fixture
def root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for category, kinds in PLACES.items():
        for path in ("train/good/rgb/000.png", "train/good/rgb/001.png", "test/good/rgb/000.png"):
            photo(tmp_path / category / path)
        mask(tmp_path / category / "test/good/gt/000.png")
        (tmp_path / category / "test/good/xyz").mkdir()
        (tmp_path / category / "test/good/xyz/000.tiff").touch()
        photo(tmp_path / category / "validation/good/rgb/000.png")
        for kind, boxes in kinds.items():
            photo(tmp_path / category / f"test/{kind}/rgb/000.png")
            mask(tmp_path / category / f"test/{kind}/gt/000.png", boxes)
    return tmp_path


def asked(root: Path, image: str, *, seed: int = 0) -> dict[str, Sample]:
    return {s.question_type: s for s in SOURCE.read(root, seed=seed) if s.image == image}


def right(sample: Sample) -> str:
    return sample.options[sample.answer]


def test_a_defective_image_gets_four_questions(root: Path) -> None:
    found = asked(root, "cable_gland/test/bent/rgb/000.png")
    assert {kind: right(sample) for kind, sample in found.items()} == {
        "Anomaly Detection": "Yes.",
        "Object Classification": "cable gland",
        "Defect Classification": "bent",
        "Defect Localization": "middle left",
    }
    assert all(sample.is_anomalous for sample in found.values())
    assert found["Anomaly Detection"].references == ("cable_gland/train/good/rgb/000.png",)


def test_the_folder_says_normal_though_a_mask_is_there(root: Path) -> None:
    found = asked(root, "bagel/test/good/rgb/000.png")
    assert {kind: right(sample) for kind, sample in found.items()} == {
        "Anomaly Detection": "No.",
        "Object Classification": "bagel",
    }
    assert all(sample.is_anomalous is False and sample.defects == () for sample in found.values())


def test_combined_is_not_asked_for_its_kind(root: Path) -> None:
    found = asked(root, "bagel/test/combined/rgb/000.png")
    assert set(found) == {"Anomaly Detection", "Object Classification", "Defect Localization"}


def test_the_largest_region_is_asked_for_and_no_other_is_offered(root: Path) -> None:
    for seed in range(20):
        place = asked(root, "bagel/test/hole/rgb/000.png", seed=seed)["Defect Localization"]
        assert right(place) == "bottom right"
        assert "top left" not in place.options.values()


def test_a_mask_all_over_the_image_has_no_place(root: Path) -> None:
    assert "Defect Localization" not in asked(root, "tire/test/cut/rgb/000.png")


def test_wrong_options_are_the_set_s_own_words(root: Path) -> None:
    found = list(SOURCE.read(root))
    objects = {option for s in found if s.question_type == "Object Classification" for option in s.options.values()}
    kinds = {option for s in found if s.question_type == "Defect Classification" for option in s.options.values()}
    assert objects == {"bagel", "cable gland", "tire"}
    assert kinds == {"crack", "hole", "bent", "thread", "cut"}
    for sample in found:
        assert len(set(sample.options.values())) == len(sample.options)


def test_the_category_s_own_kinds_come_first(root: Path) -> None:
    for seed in range(10):
        assert (
            "thread"
            in asked(root, "cable_gland/test/bent/rgb/000.png", seed=seed)["Defect Classification"].options.values()
        )


def test_the_seed_decides_and_nothing_else(root: Path, photo: Photo) -> None:
    first = list(SOURCE.read(root, seed=3))
    assert first == list(SOURCE.read(root, seed=3))
    assert [s.options for s in first] != [s.options for s in SOURCE.read(root, seed=4)]
    photo(root / "bagel/test/good/rgb/001.png")
    assert [s for s in SOURCE.read(root, seed=3) if s.image != "bagel/test/good/rgb/001.png"] == first


def test_the_right_letter_varies(root: Path) -> None:
    letters = {
        s.answer
        for seed in range(8)
        for s in SOURCE.read(root, seed=seed)
        if s.question_type == "Defect Classification"
    }
    assert letters == {"A", "B", "C", "D"}


def test_each_image_has_its_own_draw(root: Path) -> None:
    def letters(seed: int) -> set[str]:
        kind = "Object Classification"
        return {s.answer for s in SOURCE.read(root, seed=seed) if s.question_type == kind and not s.is_anomalous}

    assert max(len(letters(seed)) for seed in range(5)) > 1


def test_only_test_images_are_asked_about_each_question_once(root: Path) -> None:
    found = list(SOURCE.read(root))
    assert {sample.image.split("/")[1] for sample in found} == {"test"}
    assert len({sample.id for sample in found}) == len(found)
    assert [s.id for s in found[:4]] == [f"bagel/test/combined/rgb/000.png#{n}" for n in range(3)] + [
        "bagel/test/crack/rgb/000.png#0"
    ]
    assert {(s.dataset, s.split, s.licence) for s in found} == {("MVTec3D-AD", "test", "CC-BY-NC-SA-4.0")}


def test_missing_masks_can_be_skipped_or_kept(root: Path) -> None:
    (root / "cable_gland/test/bent/gt/000.png").unlink()
    image = "cable_gland/test/bent/rgb/000.png"
    everything = {s.image for s in SOURCE.read(root, missing="keep")}
    assert {s.image for s in SOURCE.read(root, missing="skip")} == everything - {image}
    kept = {s.question_type: s for s in SOURCE.read(root, missing="keep") if s.image == image}
    # Its place is not known.
    assert set(kept) == {"Anomaly Detection", "Object Classification", "Defect Classification"}


def test_a_mask_of_another_size_is_refused(root: Path, mask: Mask) -> None:
    mask(root / "tire/test/cut/gt/000.png", [(0, 0, 9, 9)], size=(60, 30))
    with pytest.raises(DataError, match=r"gt/000\.png: the mask is 60x30 px"):
        list(SOURCE.read(root))


def test_missing_masks_are_counted(root: Path) -> None:
    (root / "tire/test/cut/gt/000.png").unlink()
    (root / "bagel/test/hole/gt/000.png").unlink()
    with pytest.raises(DataError, match="2 of 18 files are missing"):
        next(SOURCE.read(root))


def test_the_plain_mvtec_layout_is_told_apart(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "bottle/test/good/000.png")
    with pytest.raises(DataError, match=r"found: bottle/ \(expected CATEGORY/test/TYPE/rgb/"):
        next(SOURCE.read(tmp_path))
