from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.datasets.files import Facts, Files
from iadr1.datasets.sdd import SOURCE
from iadr1.errors import DataError
from iadr1.images import open_mask

Photo = Callable[[Path], None]
Mask = Callable[..., None]


@pytest.fixture
def kolektor1(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("kos01/Part0", "kos01/Part5", "kos50/Part1"):
        photo(tmp_path / f"{name}.jpg")
        mask(tmp_path / f"{name}_label.bmp", [(20, 50, 40, 55)] if name == "kos01/Part5" else [], value=1)
    return tmp_path


@pytest.fixture
def kolektor2(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("train/10000", "train/10301", "test/20000", "test/20001"):
        photo(tmp_path / f"{name}.png")
        mask(tmp_path / f"{name}_GT.png", [(0, 0, 9, 9)] if name in ("train/10000", "test/20001") else [])
    # As in the archive.
    photo(tmp_path / "train/10301 (copy).png")
    mask(tmp_path / "train/10301_GT (copy).png")
    return tmp_path


@pytest.fixture
def tiles(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for name in ("train/good/kos02_Part0_0", "test/good/kos01_Part1_2", "test/defect/kos50_Part4_1"):
        photo(tmp_path / f"{name}.png")
    mask(tmp_path / "ground_truth/defect/kos50_Part4_1_mask.png", [(0, 0, 9, 9)])
    return tmp_path


def test_kolektorsdd_is_judged_by_its_masks(kolektor1: Path) -> None:
    found = list(SOURCE.read(kolektor1))
    assert [(s.id, s.answer, s.split, s.references) for s in found] == [
        ("kos01/Part0.jpg", "No", "all", ("kos50/Part1.jpg",)),
        ("kos01/Part5.jpg", "Yes", "all", ("kos01/Part0.jpg",)),
        ("kos50/Part1.jpg", "No", "all", ("kos01/Part0.jpg",)),
    ]
    assert {(s.dataset, s.category) for s in found} == {("KolektorSDD", "KolektorSDD")}
    (defect,) = found[1].defects
    assert (defect.type, defect.box, defect.location) == ("defect", (20, 50, 40, 55), "bottom center")
    assert (found[0].defects, defect.mask) == ((), "kos01/Part5_label.bmp")


def test_a_single_pixel_makes_a_defect(kolektor1: Path) -> None:
    pixels = np.zeros((60, 60), dtype=np.uint8)
    pixels[3, 3] = 1
    Image.fromarray(pixels).save(kolektor1 / "kos50/Part1_label.bmp")
    found = list(SOURCE.read(kolektor1))[2]
    assert (found.answer, [(d.type, d.box) for d in found.defects]) == ("Yes", [("defect", None)])


def test_masks_are_decoded_once_and_not_again(kolektor1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def watched(path: Path, *, threshold: int = 0) -> object:
        seen.append(path.name)
        return open_mask(path, threshold=threshold)

    monkeypatch.setattr("iadr1.datasets.files.open_mask", watched)
    for _ in range(2):
        facts = Facts(kolektor1 / "facts.json")
        assert len(list(SOURCE.scan(Files(kolektor1, facts=facts)))) == 3
        facts.save()
        assert sorted(seen) == ["Part0_label.bmp", "Part1_label.bmp", "Part5_label.bmp"]


def test_kolektorsdd2_is_told_apart_and_its_copies_left_out(kolektor2: Path) -> None:
    found = list(SOURCE.read(kolektor2))
    assert [(s.id, s.answer, s.split, s.references) for s in found] == [
        ("train/10000.png", "Yes", "train", ("train/10301.png",)),
        ("train/10301.png", "No", "train", ()),
        ("test/20000.png", "No", "test", ("train/10301.png",)),
        ("test/20001.png", "Yes", "test", ("train/10301.png",)),
    ]
    assert {s.dataset for s in found} == {"KolektorSDD2"}
    assert [d.mask for d in found[3].defects] == ["test/20001_GT.png"]


def test_the_tiles_are_told_apart(tiles: Path) -> None:
    found = list(SOURCE.read(tiles))
    template = ("train/good/kos02_Part0_0.png",)
    assert [(s.id, s.answer, s.split, s.references) for s in found] == [
        ("train/good/kos02_Part0_0.png", "No", "train", ()),
        ("test/defect/kos50_Part4_1.png", "Yes", "test", template),
        ("test/good/kos01_Part1_2.png", "No", "test", template),
    ]
    assert [(d.box, d.mask) for d in found[1].defects] == [((0, 0, 9, 9), "ground_truth/defect/kos50_Part4_1_mask.png")]
    assert {(s.dataset, s.category) for s in found} == {("SDD", "SDD")}


def test_tiles_without_any_masks_give_verdicts(tiles: Path) -> None:
    (tiles / "ground_truth/defect/kos50_Part4_1_mask.png").unlink()
    with pytest.raises(DataError, match="1 of 4 files are missing: ground_truth/defect/kos50_Part4_1_mask"):
        next(SOURCE.read(tiles))
    (tiles / "ground_truth/defect").rmdir()
    assert [(s.answer, [d.box for d in s.defects]) for s in SOURCE.read(tiles)] == [
        ("No", []),
        ("Yes", [None]),
        ("No", []),
    ]


def test_an_image_without_its_mask_has_no_verdict(kolektor2: Path) -> None:
    (kolektor2 / "test/20000_GT.png").unlink()
    with pytest.raises(DataError, match=r"1 of 4 files are missing: test/20000_GT\.png; whether .* in its mask only"):
        next(SOURCE.read(kolektor2))
    with pytest.raises(DataError, match="in its mask only"):
        next(SOURCE.read(kolektor2, missing="keep"))
    assert [s.id for s in SOURCE.read(kolektor2, missing="skip")] == [
        "train/10000.png", "train/10301.png", "test/20001.png",
    ]  # fmt: skip


def test_several_sets_in_one_folder_are_refused(kolektor2: Path, photo: Photo) -> None:
    photo(kolektor2 / "kos01/Part0.jpg")
    with pytest.raises(DataError, match=r"the folder holds KolektorSDD and KolektorSDD2 \(prepare one at a time\)"):
        next(SOURCE.read(kolektor2))


def test_published_annotations_replace_the_folders(tiles: Path) -> None:
    key = "SDD/test/defect/kos50_Part4_1.png"
    question = {"Question": "?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}
    value = {"image_path": key, "conversation": [question], "similar_templates": [], "random_templates": []}
    path = tiles / "test_SDD_format.json"
    path.write_text(json.dumps({key: value}))
    (found,) = SOURCE.read(tiles, annotations=path)
    assert (found.id, found.dataset, found.category, found.image) == (key, "SDD", "SDD", key.removeprefix("SDD/"))


def test_another_layout_is_shown(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "part01/Part0.jpg")
    with pytest.raises(DataError, match=r"found: part01/ \(expected kos01/"):
        next(SOURCE.read(tmp_path))
