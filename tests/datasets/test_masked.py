from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.files import Files
from iadr1.datasets.masked import Photo, mask_defects, other_than, yes_no
from iadr1.errors import DataError, ImageError
from iadr1.records import Sample

Write = Callable[..., None]

LAYOUT: dict[str, Any] = {"dataset": "Set", "licence": "CC0-1.0", "source": "A set", "tree": "bolt/bent/0.png"}


def opened(root: Path, *paths: str, missing: Any = "error") -> Files:
    files = Files(root, missing=missing)
    for path in paths:
        files.add(path, where="test")
    return files


def read(root: Path, *photos: Photo, missing: Any = "error") -> list[Sample]:
    return list(yes_no(Files(root, missing=missing), photos, **LAYOUT))


def bolt(number: int, **fields: Any) -> Photo:
    return Photo(f"bolt/{number}.png", "bolt", "test", **{"kind": None, **fields})


def test_every_region_becomes_a_typed_placed_defect(tmp_path: Path, photo: Write, mask: Write) -> None:
    photo(tmp_path / "a.png")
    mask(tmp_path / "m.png", [(0, 0, 10, 10), (50, 25, 60, 35)], value=2)
    found = mask_defects(opened(tmp_path, "a.png", "m.png"), ["m.png"], "color", image="a.png")
    assert [(d.type, d.box, d.location, d.mask, d.mask_threshold) for d in found] == [
        ("color", (0, 0, 10, 10), "top left", "m.png", 0),
        ("color", (50, 25, 60, 35), "middle right", "m.png", 0),
    ]


def test_a_defect_with_an_empty_mask_is_known_but_nowhere(tmp_path: Path, photo: Write, mask: Write) -> None:
    photo(tmp_path / "a.png")
    mask(tmp_path / "m.png")
    (found,) = mask_defects(opened(tmp_path, "a.png", "m.png"), ["m.png"], "color", image="a.png")
    assert (found.type, found.box, found.location, found.mask) == ("color", None, None, "m.png")


def test_several_masks_give_the_defects_of_each(tmp_path: Path, photo: Write, mask: Write) -> None:
    photo(tmp_path / "a.png")
    mask(tmp_path / "0.png", [(0, 0, 10, 10)], value=255)
    mask(tmp_path / "1.png", [(5, 5, 20, 20)], value=254)
    mask(tmp_path / "2.png")
    files = opened(tmp_path, "a.png", "0.png", "1.png", "2.png")
    found = mask_defects(files, ["0.png", "1.png", "2.png"], "logical anomalies", image="a.png")
    # They overlap and stay apart; the empty one adds nothing where others say the place.
    assert [(d.box, d.mask) for d in found] == [((0, 0, 10, 10), "0.png"), ((5, 5, 20, 20), "1.png")]


def test_a_mask_is_defective_above_its_threshold(tmp_path: Path, photo: Write, mask: Write) -> None:
    photo(tmp_path / "a.png")
    mask(tmp_path / "m.png", [(0, 0, 30, 30)], value=128)
    files = opened(tmp_path, "a.png", "m.png")
    (found,) = mask_defects(files, ["m.png"], "hole", image="a.png", threshold=127)
    assert (found.box, found.mask_threshold) == ((0, 0, 30, 30), 127)
    (found,) = mask_defects(files, ["m.png"], "hole", image="a.png", threshold=128)
    assert (found.box, found.mask_threshold) == (None, 128)


def test_a_mask_of_another_size_is_refused(tmp_path: Path, photo: Write, mask: Write) -> None:
    photo(tmp_path / "a.png", size=(60, 40))
    mask(tmp_path / "m.png", [(0, 0, 10, 10)])
    with pytest.raises(DataError, match=r"m\.png: the mask is 60x60 px, its image 'a\.png' is 60x40 px"):
        mask_defects(opened(tmp_path, "a.png", "m.png"), ["m.png"], "color", image="a.png")


def test_a_mask_that_is_no_image_is_refused(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "a.png")
    (tmp_path / "m.png").write_text("not a picture", encoding="utf-8")
    with pytest.raises(ImageError, match=r"m\.png: not an image that Pillow can read"):
        mask_defects(opened(tmp_path, "a.png", "m.png"), ["m.png"], "color", image="a.png")


def test_without_a_mask_the_type_is_known(tmp_path: Path) -> None:
    (found,) = mask_defects(Files(tmp_path), [], "color", image="a.png")
    assert (found.type, found.mask, found.box) == ("color", None, None)


def test_the_folder_s_word_makes_yes_and_no(tmp_path: Path, photo: Write, mask: Write) -> None:
    for number in range(2):
        photo(tmp_path / f"bolt/{number}.png")
    mask(tmp_path / "bolt/m.png", [(0, 0, 10, 10)])
    normal, bent = read(
        tmp_path, bolt(0), bolt(1, kind="bent", masks=("bolt/m.png",), references=("bolt/0.png",), threshold=3)
    )
    assert (normal.id, normal.answer, normal.is_anomalous, normal.defects) == ("bolt/0.png", "No", False, ())
    assert (bent.id, bent.answer, bent.is_anomalous, bent.references) == ("bolt/1.png", "Yes", True, ("bolt/0.png",))
    assert [(d.type, d.mask_threshold) for d in bent.defects] == [("bent", 3)]
    assert {(s.dataset, s.category, s.split, s.licence, s.source, s.task) for s in (normal, bent)} == {
        ("Set", "bolt", "test", "CC0-1.0", "A set", "anomaly")
    }


def test_missing_files_are_counted_before_the_first_sample(tmp_path: Path, photo: Write) -> None:
    photo(tmp_path / "bolt/0.png")
    with pytest.raises(DataError, match=r"2 of 3 files are missing: bolt/1\.png, bolt/m\.png \(expected bolt/bent/0"):
        read(tmp_path, bolt(0), bolt(1, kind="bent", masks=("bolt/m.png",)))


def test_skip_leaves_out_what_has_no_image_or_no_mask(tmp_path: Path, photo: Write, mask: Write) -> None:
    for number in (0, 1, 3):
        photo(tmp_path / f"bolt/{number}.png")
    mask(tmp_path / "bolt/m3.png", [(0, 0, 10, 10)])
    found = read(
        tmp_path,
        bolt(0, references=("bolt/2.png", "bolt/3.png")),
        bolt(1, kind="bent", masks=("bolt/m1.png",)),
        bolt(2),
        bolt(3, kind="bent", masks=("bolt/m3.png",)),
        missing="skip",
    )
    assert [sample.id for sample in found] == ["bolt/0.png", "bolt/3.png"]
    assert found[0].references == ("bolt/3.png",)


def test_keep_marks_what_is_missing(tmp_path: Path, photo: Write, mask: Write) -> None:
    photo(tmp_path / "bolt/0.png")
    mask(tmp_path / "bolt/m1.png", [(0, 0, 10, 10)])
    found = read(
        tmp_path,
        bolt(0, kind="bent", masks=("bolt/m0.png",), references=("bolt/9.png",)),
        bolt(1, kind="bent", masks=("bolt/m1.png",)),
        missing="keep",
    )
    assert [(s.missing, s.references, [(d.mask, d.box) for d in s.defects]) for s in found] == [
        (False, ("bolt/9.png",), [("bolt/m0.png", None)]),
        (True, (), [("bolt/m1.png", (0, 0, 10, 10))]),
    ]


def test_the_first_other_templates_are_taken() -> None:
    assert other_than("a", ["a", "b", "c"]) == ("b",)
    assert other_than("x", ["a", "b", "c"], count=2) == ("a", "b")
    assert other_than("b", ["a", "b", "c"], count=2) == ("a", "c")
    assert other_than("a", ["a"]) == ()
