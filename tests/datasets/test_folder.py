from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from iadr1.datasets.folder import SOURCE
from iadr1.errors import DataError

Photo = Callable[..., None]
Mask = Callable[..., None]


@pytest.fixture
def pump(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    """One product, straight in the root."""
    root = tmp_path / "pump"
    for name in ("good/001.png", "good/002.JPG", "scratch_deep/003.jpg", "scratch_deep/004.png", "dent/005.png"):
        photo(root / name)
    mask(root / "ground_truth/scratch_deep/003_mask.png", [(20, 20, 40, 40)])
    mask(root / "ground_truth/scratch_deep/004.png", [(0, 0, 5, 5), (50, 50, 60, 60)])
    (root / "notes.txt").touch()
    return root


def test_folders_say_what_photos_show(pump: Path) -> None:
    found = list(SOURCE.read(pump))
    assert [(s.id, s.dataset, s.category, s.split, s.answer) for s in found] == [
        ("dent/005.png", "pump", "pump", "all", "Yes"),
        ("good/001.png", "pump", "pump", "all", "No"),
        ("good/002.JPG", "pump", "pump", "all", "No"),
        ("scratch_deep/003.jpg", "pump", "pump", "all", "Yes"),
        ("scratch_deep/004.png", "pump", "pump", "all", "Yes"),
    ]
    assert [s.references for s in found] == [("good/001.png",), ("good/002.JPG",)] + [("good/001.png",)] * 3


def test_masks_are_found_under_both_names(pump: Path) -> None:
    dent, _, _, one, two = SOURCE.read(pump)
    # A type without a mask folder: the defect is known, its place is not.
    assert [(d.type, d.box, d.mask) for d in dent.defects] == [("dent", None, None)]
    assert [(d.type, d.box) for d in one.defects] == [("scratch deep", (20, 20, 40, 40))]
    assert [(d.location, d.mask) for d in two.defects] == [
        ("top left", "ground_truth/scratch_deep/004.png"),
        ("bottom right", "ground_truth/scratch_deep/004.png"),
    ]


@pytest.mark.parametrize("normal", ["good", "OK", "Normal"])
def test_products_and_splits_may_have_folders(tmp_path: Path, photo: Photo, mask: Mask, normal: str) -> None:
    for name in (f"pump/train/{normal}/1.png", f"pump/test/{normal}/1.png", "pump/test/dent/1.png",
                 f"valve/{normal}/1.png", f"valve/val/{normal}/2.png"):  # fmt: skip
        photo(tmp_path / name)
    mask(tmp_path / "pump/Masks/dent/1_mask.png", [(1, 1, 9, 9)])
    found = {s.id: (s.category, s.split, s.is_anomalous, s.references) for s in SOURCE.read(tmp_path)}
    template = (f"pump/train/{normal}/1.png",)
    assert found == {
        f"pump/train/{normal}/1.png": ("pump", "train", False, ()),
        f"pump/test/{normal}/1.png": ("pump", "test", False, template),
        "pump/test/dent/1.png": ("pump", "test", True, template),
        f"valve/{normal}/1.png": ("valve", "all", False, ()),
        f"valve/val/{normal}/2.png": ("valve", "val", False, (f"valve/{normal}/1.png",)),
    }


def test_no_defect_folder_is_fine(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "ok/1.png")
    assert [s.answer for s in SOURCE.read(tmp_path)] == ["No"]


def test_masks_of_normal_photos_are_not_looked_at(pump: Path, mask: Mask) -> None:
    mask(pump / "ground_truth/good/001_mask.png")
    assert [s.id for s in SOURCE.read(pump) if s.answer == "No"] == ["good/001.png", "good/002.JPG"]


def test_a_mask_of_jpeg_counts_from_the_middle(pump: Path) -> None:
    (pump / "ground_truth/scratch_deep/003_mask.png").unlink()
    blurred = Image.new("L", (60, 60), 90)
    blurred.paste(255, (20, 20, 40, 40))
    blurred.save(pump / "ground_truth/scratch_deep/003_mask.jpg", quality=95)
    (defect,) = list(SOURCE.read(pump))[3].defects
    assert (defect.box, defect.mask_threshold) == ((20, 20, 40, 40), 127)


def test_a_missing_mask_counts_where_the_type_has_masks(pump: Path) -> None:
    (pump / "ground_truth/scratch_deep/003_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 of 7 files are missing: ground_truth/scratch_deep/003_mask\.png"):
        next(SOURCE.read(pump))
    assert [s.id for s in SOURCE.read(pump, missing="skip")][-1] == "scratch_deep/004.png"
    assert len(list(SOURCE.read(pump, missing="skip"))) == 4
    assert len(list(SOURCE.read(pump, missing="keep"))) == 5


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("ground_truth/scratch_deep/003.png", r"003\.jpg: several masks: 003_mask\.png, 003\.png"),
        ("ground_truth/scratch_deep/009.png", r"scratch_deep: 1 masks have no photo, such as 009\.png"),
        ("ground_truth/crack/001.png", r"crack: masks of a type that has no folder of photos \(the product has dent"),
        ("masks/dent/005.png", "several folders of masks: ground_truth, masks"),
        ("006.png", r"pump: 1 images lie in no folder that says what they show, such as 006\.png"),
        ("train/006.png", r"train: 1 images lie in no folder"),
        ("dent/rgb/001.png", r"dent: a folder of photos holds folders: rgb"),
        ("test/ground_truth/dent/001.png", "masks lie beside the splits"),
        ("test/scratch_deep/003.png", r"the mask 003_mask\.png belongs to .*scratch_deep/003\.jpg as well"),
    ],
)
def test_what_belongs_nowhere_is_refused(pump: Path, photo: Photo, added: str, message: str) -> None:
    photo(pump / added)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(pump))


def test_a_mask_of_another_size_is_refused(pump: Path) -> None:
    Image.new("L", (50, 60)).save(pump / "ground_truth/scratch_deep/003_mask.png")
    with pytest.raises(DataError, match=r"003_mask\.png: the mask is 50x60 px, its image .* is 60x60 px"):
        list(SOURCE.read(pump))


def test_a_folder_without_a_normal_one_names_what_it_has(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "pump/good/1.png")
    photo(tmp_path / "valve/dent/1.png")
    with pytest.raises(DataError, match="valve: no folder good, ok or normal; found: dent"):
        list(SOURCE.read(tmp_path))


def test_without_any_normal_folder_the_root_is_named(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "dent/1.png")
    photo(tmp_path / "scratch/1.png")
    with pytest.raises(DataError, match=rf"{tmp_path}: no folder good, ok or normal in it, nor in dent, scratch"):
        list(SOURCE.read(tmp_path))


@pytest.mark.parametrize("name", ["photo.png", "good/notes.txt", None])
def test_a_folder_without_photos_in_folders_is_another_layout(tmp_path: Path, photo: Photo, name: str | None) -> None:
    if name is not None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo(tmp_path / name) if name.endswith("png") else (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"not the expected layout; found: .*expected \[PRODUCT/\]"):
        list(SOURCE.read(tmp_path))


def test_a_link_out_of_the_root_is_refused(pump: Path, tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "elsewhere/x.png")
    (pump / "dent/link.png").symlink_to(tmp_path / "elsewhere/x.png")
    with pytest.raises(DataError, match=r"leads out of .* through a link"):
        list(SOURCE.read(pump))
