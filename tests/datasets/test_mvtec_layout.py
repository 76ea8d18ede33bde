from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from iadr1.datasets import btad, goodsad, mpdd, mvtec, visa
from iadr1.datasets.base import Source
from iadr1.errors import DataError
from iadr1.records import Sample

Photo = Callable[..., None]
Mask = Callable[..., None]


def verdicts(samples: list[Sample]) -> dict[str, tuple[str, str, str]]:
    """id -> split, answer, types of the defects."""
    return {s.id: (s.split, s.answer, ", ".join(d.type for d in s.defects)) for s in samples}


@pytest.fixture
def mpdd_root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    root = tmp_path / "MPDD"
    for name in ("bracket_black/train/good/000.png", "bracket_black/test/good/000.png",
                 "bracket_black/test/hole/000.png", "tubes/train/good/000.png",
                 "tubes/test/anomalous/000.png"):  # fmt: skip
        photo(root / name)
    mask(root / "bracket_black/ground_truth/hole/000_mask.png", [(0, 0, 9, 9)])
    mask(root / "tubes/ground_truth/anomalous/000_mask.png", [(50, 0, 60, 9), (0, 50, 9, 60)])
    return root


def test_mpdd_is_read_as_mvtec(mpdd_root: Path) -> None:
    found = list(mpdd.SOURCE.read(mpdd_root))
    assert verdicts(found) == {
        "bracket_black/train/good/000.png": ("train", "No", ""),
        "bracket_black/test/good/000.png": ("test", "No", ""),
        "bracket_black/test/hole/000.png": ("test", "Yes", "hole"),
        "tubes/train/good/000.png": ("train", "No", ""),
        "tubes/test/anomalous/000.png": ("test", "Yes", "anomalous, anomalous"),
    }
    assert {(s.dataset, s.licence) for s in found} == {("MPDD", "CC-BY-NC-SA-4.0")}
    assert [d.location for d in found[-1].defects] == ["top right", "bottom left"]


PUBLISHED = Path(__file__).parents[3] / "shared/data/annotations/iad-r1/test_MPDD_format.json"


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs IAD-R1's test_MPDD_format.json in ../shared/data")
def test_mpdd_s_published_test_file_is_read_whole_without_images(tmp_path: Path) -> None:
    found = list(mpdd.SOURCE.read(tmp_path, missing="keep", annotations=PUBLISHED))
    assert (len(found), sum(s.answer == "Yes" for s in found)) == (458, 282)
    assert {s.category for s in found} == {
        "bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"
    }  # fmt: skip
    assert all(s.missing and s.dataset == "MPDD" for s in found)


@pytest.mark.parametrize("module", [mvtec, mpdd, visa], ids=lambda module: module.DATASET)
def test_annotations_go_to_the_published_reader(tmp_path: Path, module: ModuleType) -> None:
    entry = (
        '{"image_path": "S/hat/test/dent/0.png", "similar_templates": [], "random_templates": [], "conversation": '
        '[{"Question": "Are there any defects?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."}, '
        '"type": "Anomaly Detection"}]}'
    )
    path = tmp_path / "test_format.json"
    path.write_text(f'{{"S/hat/test/dent/0.png": {entry}}}')
    (found,) = module.SOURCE.read(tmp_path, missing="keep", annotations=path)
    assert (found.id, found.dataset, found.licence) == (
        "S/hat/test/dent/0.png",
        module.DATASET,
        module.SOURCE.licence,
    )


@pytest.fixture
def goodsad_root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("drink_can/train/good/001000.jpg", "drink_can/train/good/002000.jpg",
                 "drink_can/test/good/001001.jpg", "drink_can/test/straw_missing/001002.jpg",
                 "cigarette_box/train/good/001000.jpg", "cigarette_box/test/opened/001000.jpg",
                 "cigarette_box/test/opened/001001.jpg"):  # fmt: skip
        photo(tmp_path / name)
    mask(tmp_path / "drink_can/ground_truth/straw_missing/001002.png", [(0, 0, 9, 9)], value=1)
    mask(tmp_path / "cigarette_box/ground_truth/opened/001000_mask.png", [(20, 20, 40, 40)])
    mask(tmp_path / "cigarette_box/ground_truth/opened/001001.png", [(50, 50, 60, 60)])
    return tmp_path


def test_goodsad_masks_are_found_with_and_without_a_suffix(goodsad_root: Path) -> None:
    found = {s.id: s for s in goodsad.SOURCE.read(goodsad_root)}
    assert len(found) == 7
    (straw,) = found["drink_can/test/straw_missing/001002.jpg"].defects
    assert (straw.type, straw.box) == ("straw missing", (0, 0, 9, 9))
    first, second = (found[f"cigarette_box/test/opened/00100{i}.jpg"].defects[0] for i in (0, 1))
    assert (first.mask, first.location) == ("cigarette_box/ground_truth/opened/001000_mask.png", "center")
    assert (second.mask, second.location) == ("cigarette_box/ground_truth/opened/001001.png", "bottom right")
    assert found["drink_can/test/good/001001.jpg"].references == ("drink_can/train/good/001000.jpg",)
    assert {s.licence for s in found.values()} == {"none stated"}


def test_two_masks_of_one_image_are_refused(goodsad_root: Path, mask: Mask) -> None:
    mask(goodsad_root / "cigarette_box/ground_truth/opened/001000.png")
    with pytest.raises(DataError, match=r"2 masks fit the image '001000\.jpg': 001000\.png, 001000_mask\.png"):
        list(goodsad.SOURCE.read(goodsad_root))


def test_a_mask_belongs_to_the_image_with_the_longest_stem(goodsad_root: Path, photo: Photo, mask: Mask) -> None:
    photo(goodsad_root / "cigarette_box/test/opened/001000_2.jpg")
    mask(goodsad_root / "cigarette_box/ground_truth/opened/001000_2_mask.png", [(0, 20, 9, 40)])
    found = {s.id: s for s in goodsad.SOURCE.read(goodsad_root)}
    assert found["cigarette_box/test/opened/001000_2.jpg"].defects[0].location == "middle left"
    assert found["cigarette_box/test/opened/001000.jpg"].defects[0].location == "center"


def test_a_longer_number_is_another_image(goodsad_root: Path) -> None:
    folder = goodsad_root / "cigarette_box/ground_truth/opened"
    (folder / "001000_mask.png").rename(folder / "0010001.png")
    with pytest.raises(DataError, match=r"1 of 10 files are missing: cigarette_box/ground_truth/opened/001000\.png"):
        list(goodsad.SOURCE.read(goodsad_root))


def test_two_images_of_one_stem_are_refused(goodsad_root: Path, photo: Photo) -> None:
    photo(goodsad_root / "cigarette_box/test/opened/001000.png")
    with pytest.raises(DataError, match=r"'001000\.jpg' and '001000\.png' would have the same mask"):
        list(goodsad.SOURCE.read(goodsad_root))


@pytest.fixture
def btad_root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("01/train/ok/0000.bmp", "01/test/ok/0000.bmp", "01/test/ko/0000.bmp", "02/train/ok/0000.png",
                 "02/test/ko/0000.png", "03/train/ok/0000.bmp", "03/train/ok/0001.bmp",
                 "03/test/ko/0000.bmp"):  # fmt: skip
        photo(tmp_path / name)
    mask(tmp_path / "01/ground_truth/ko/0000.png", [(0, 0, 9, 9)])
    mask(tmp_path / "02/ground_truth/ko/0000.png", [(50, 0, 60, 9)])
    mask(tmp_path / "03/ground_truth/ko/0000.bmp", [(0, 50, 9, 60)])
    (tmp_path / "01/ground_truth/ok").mkdir()
    return tmp_path


def test_btad_is_ok_and_ko_with_masks_of_either_suffix(btad_root: Path) -> None:
    found = list(btad.SOURCE.read(btad_root))
    assert verdicts(found) == {
        "01/train/ok/0000.bmp": ("train", "No", ""),
        "01/test/ko/0000.bmp": ("test", "Yes", "defect"),
        "01/test/ok/0000.bmp": ("test", "No", ""),
        "02/train/ok/0000.png": ("train", "No", ""),
        "02/test/ko/0000.png": ("test", "Yes", "defect"),
        "03/train/ok/0000.bmp": ("train", "No", ""),
        "03/train/ok/0001.bmp": ("train", "No", ""),
        "03/test/ko/0000.bmp": ("test", "Yes", "defect"),
    }
    assert [(d.mask, d.location) for s in found for d in s.defects] == [
        ("01/ground_truth/ko/0000.png", "top left"),
        ("02/ground_truth/ko/0000.png", "top right"),
        ("03/ground_truth/ko/0000.bmp", "bottom left"),
    ]
    assert found[-2].references == found[-1].references == ("03/train/ok/0000.bmp",)


def test_btad_s_missing_masks_are_kept_or_skipped(btad_root: Path) -> None:
    (btad_root / "03/ground_truth/ko/0000.bmp").unlink()
    with pytest.raises(DataError, match=r"1 of 11 files are missing: 03/ground_truth/ko/0000\.png"):
        list(btad.SOURCE.read(btad_root))
    assert "03/test/ko/0000.bmp" not in {s.id for s in btad.SOURCE.read(btad_root, missing="skip")}
    kept = {s.id: s for s in btad.SOURCE.read(btad_root, missing="keep")}["03/test/ko/0000.bmp"]
    assert [(d.type, d.box, d.mask) for d in kept.defects] == [("defect", None, "03/ground_truth/ko/0000.png")]
    assert not kept.missing


@pytest.mark.parametrize("source", [btad.SOURCE, goodsad.SOURCE, mpdd.SOURCE], ids=lambda source: source.title)
def test_another_layout_is_shown_beside_the_expected_one(tmp_path: Path, photo: Photo, source: Source) -> None:
    photo(tmp_path / "train/0001.png")
    with pytest.raises(DataError, match=r"not the expected layout; found: train/ \(expected [A-Z]+/train/"):
        list(source.read(tmp_path))


def test_good_in_a_parent_folder_s_name_decides_nothing(tmp_path: Path, photo: Photo, mask: Mask) -> None:
    root = tmp_path / "good"
    photo(root / "good_can/test/dent/000.png")
    mask(root / "good_can/ground_truth/dent/000.png")
    (found,) = goodsad.SOURCE.read(root)
    # The mask is all zero: a defect without a place.
    assert (found.answer, [d.box for d in found.defects]) == ("Yes", [None])
