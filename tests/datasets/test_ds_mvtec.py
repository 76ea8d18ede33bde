from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest
from PIL import Image

from iadr1.datasets.ds_mvtec import LABELS, SOURCE
from iadr1.errors import DataError
from tests.datasets.label_masks import write_labels

Photo = Callable[..., None]

PHOTOS = (
    "bottle/image/good/000.png",
    "bottle/image/broken_large/000.png",
    "capsule/image/good/000.png",
    "capsule/image/poke/000.png",
    "metal_nut/image/good/000.png",
    "metal_nut/image/good/001.png",
    "metal_nut/image/flip/000.png",
    "pill/image/good/000.png",
    "pill/image/good/001.png",
    "pill/image/good/002.png",
    "pill/image/combined/000.png",
    "toothbrush/image/defective/000.png",
    "zipper/image/rough/000.png",
)


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    """Capsule and zipper have colour renderings only, in a folder of either name; the others have label ids."""
    for grey, name in enumerate(PHOTOS):
        photo(tmp_path / name, grey=grey)
    write_labels(tmp_path / "bottle/mask/broken_large/000_mask.png", {1: (0, 0, 9, 9), 3: (50, 50, 60, 60)})
    colour(tmp_path / "bottle/rbg_mask/broken_large/000_rbg_mask.png")
    colour(tmp_path / "capsule/rbg_mask/poke/000_rbg_mask.png")
    write_labels(tmp_path / "metal_nut/mask/bent/000_mask.png", {2: (0, 0, 9, 9)})
    write_labels(tmp_path / "pill/mask/combined/000_mask.png", {6: (0, 0, 9, 9), 1: (9, 0, 18, 9), 7: (50, 50, 60, 60)})
    write_labels(tmp_path / "toothbrush/mask/defective/000_mask.png", {3: (20, 20, 40, 40)})
    colour(tmp_path / "zipper/rgb_mask/rough/000_rgb_mask.png")
    (tmp_path / "captions.xlsx").touch()
    return tmp_path


def colour(path: Path) -> None:
    picture = Image.new("RGB", (60, 60))
    picture.paste((255, 0, 0), (0, 50, 9, 60))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def test_only_test_images_are_there_and_have_no_references(root: Path) -> None:
    found = list(SOURCE.read(root))
    assert sorted(s.id for s in found) == sorted(PHOTOS)
    assert {(s.split, s.references) for s in found} == {("test", ())}
    assert [s.id for s in found if s.answer == "No"] == [name for name in PHOTOS if "/good/" in name]


def test_label_ids_name_the_defects(root: Path) -> None:
    found = {s.id: s.defects for s in SOURCE.read(root)}
    assert [(d.type, d.location, d.attributes) for d in found["bottle/image/broken_large/000.png"]] == [
        ("broken large", "top left", {"label": "1"}),
        ("contamination", "bottom right", {"label": "3", "folder": "broken large"}),
    ]
    assert [(d.type, d.box, d.attributes) for d in found["pill/image/combined/000.png"]] == [
        ("color", (9, 0, 18, 9), {"label": "1", "folder": "combined"}),
        ("pill type", (0, 0, 9, 9), {"label": "6", "folder": "combined"}),
        ("combined", (50, 50, 60, 60), {"label": "7"}),
    ]
    assert [d.type for d in found["toothbrush/image/defective/000.png"]] == ["messy"]


def test_the_label_table_is_the_published_one() -> None:
    pairs = list(itertools.chain.from_iterable(LABELS.values()))
    assert (len(LABELS), len(pairs), max(map(len, LABELS.values()))) == (15, 71, 8)


def test_colour_renderings_are_taken_where_there_is_nothing_else(root: Path) -> None:
    found = {s.id: s.defects for s in SOURCE.read(root)}
    for name, kind, mask in (
        ("capsule/image/poke/000.png", "poke", "capsule/rbg_mask/poke/000_rbg_mask.png"),
        ("zipper/image/rough/000.png", "rough", "zipper/rgb_mask/rough/000_rgb_mask.png"),
    ):
        assert [(d.type, d.location, d.mask) for d in found[name]] == [(kind, "bottom left", mask)]


def test_a_kind_that_is_not_annotated_has_no_place(root: Path) -> None:
    found = {s.id: s for s in SOURCE.read(root)}["metal_nut/image/flip/000.png"]
    assert (found.answer, [(d.type, d.mask) for d in found.defects]) == ("Yes", [("flip", None)])


def test_an_id_without_a_name_takes_the_folder_s(root: Path) -> None:
    write_labels(root / "toothbrush/mask/defective/000_mask.png", {4: (20, 20, 40, 40)})
    found = {s.id: s.defects for s in SOURCE.read(root)}["toothbrush/image/defective/000.png"]
    assert [(d.type, d.attributes) for d in found] == [("defective", {"label": "4"})]


def test_a_kind_that_is_annotated_needs_its_masks(root: Path) -> None:
    shutil.rmtree(root / "toothbrush/mask/defective")
    with pytest.raises(DataError, match=r"missing: toothbrush/mask/defective/000_mask\.png"):
        list(SOURCE.read(root))


def test_other_missing_masks_are_counted_skipped_or_kept(root: Path) -> None:
    (root / "zipper/rgb_mask/rough/000_rgb_mask.png").unlink()
    with pytest.raises(DataError, match=r"1 of 18 files are missing: zipper/rgb_mask/rough/000_rgb_mask\.png"):
        list(SOURCE.read(root))
    assert len(list(SOURCE.read(root, missing="skip"))) == len(PHOTOS) - 1
    kept = {s.id: s for s in SOURCE.read(root, missing="keep")}["zipper/image/rough/000.png"]
    assert [(d.type, d.box) for d in kept.defects] == [("rough", None)]


def test_beside_mvtec_ad_its_training_images_are_the_references(
    root: Path, tmp_path_factory: pytest.TempPathFactory, photo: Photo
) -> None:
    mmad = tmp_path_factory.mktemp("MMAD")
    root.rename(mmad / "DS-MVTec")
    photo(mmad / "MVTec-AD/bottle/train/good/000.png")
    photo(mmad / "MVTec-AD/bottle/test/good/000.png")
    found = {s.id: s for s in SOURCE.read(mmad)}
    assert len(found) == len(PHOTOS)
    bottle = found["DS-MVTec/bottle/image/good/000.png"]
    assert (bottle.category, bottle.references) == ("bottle", ("MVTec-AD/bottle/train/good/000.png",))
    assert found["DS-MVTec/capsule/image/good/000.png"].references == ()
    assert found["DS-MVTec/bottle/image/broken_large/000.png"].defects[0].type == "broken large"


def test_pills_that_are_a_metal_nut_s_file_are_refused_or_left_out(root: Path) -> None:
    for name in ("000", "001"):
        content = (root / f"metal_nut/image/good/{name}.png").read_bytes()
        (root / f"pill/image/good/{name}.png").write_bytes(content)
    with pytest.raises(
        DataError, match=r"2 images of normal pills show a metal nut, pill/image/good/000\.png to .*001"
    ):
        list(SOURCE.read(root))
    left = {s.id for s in SOURCE.read(root, missing="skip")}
    assert set(PHOTOS) - left == {"pill/image/good/000.png", "pill/image/good/001.png"}


def test_pills_of_a_metal_nut_s_size_are_refused_too(root: Path, photo: Photo) -> None:
    for name in (name for name in PHOTOS if name.startswith("metal_nut/image/good")):
        photo(root / name, size=(50, 50))
    assert len(list(SOURCE.read(root))) == len(PHOTOS)
    photo(root / "pill/image/good/002.png", grey=200, size=(50, 50))
    with pytest.raises(DataError, match=r"1 images of normal pills show a metal nut, pill/image/good/002\.png"):
        list(SOURCE.read(root))
    # Without defective pills nothing says which size is a pill's.
    (root / "pill/image/combined/000.png").unlink()
    assert len(list(SOURCE.read(root))) == len(PHOTOS) - 1


@pytest.mark.parametrize(
    ("file", "fetched"),
    [
        ("DS-MVTec/bottle/image/good/000.png", True),
        ("DS-MVTec/metal_nut/mask/bent/000_mask.png", True),
        ("DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png", False),
        ("DS-VISION/Cable/image/good/000.png", False),
    ],
)
def test_the_hub_s_images_and_label_masks_are_fetched(file: str, fetched: bool) -> None:
    assert SOURCE.hub is not None
    assert any(fnmatch(file, pattern) for pattern in SOURCE.hub.files) == fetched


def test_another_layout_is_shown_beside_the_expected_one(root: Path) -> None:
    with pytest.raises(DataError, match=r"found: image/, mask/, rbg_mask/ \(expected CATEGORY/image/"):
        list(SOURCE.read(root / "bottle"))
