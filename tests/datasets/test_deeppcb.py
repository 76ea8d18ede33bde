from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.deeppcb import SOURCE, TYPES
from iadr1.errors import DataError

Photo = Callable[[Path], None]

SHARED = Path(__file__).parents[3] / "shared" / "data" / "deeppcb"
GROUP = "group20085/20085"


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    """The official layout: lists in PCBData without a last line break, one template without a board."""
    base = tmp_path / "PCBData"
    for number in ("20085000", "20085001", "20085002"):
        photo(base / f"{GROUP}/{number}_test.jpg")
        photo(base / f"{GROUP}/{number}_temp.jpg")
    photo(base / f"{GROUP}/90100034_temp.jpg")
    boxes = {
        "20085000": "466 441 493 470 3\n10 10 40 40 1\n",
        "20085001": "0,0,639,20,6\n",
        "20085002": "1 2 3 4 2\n",
    }
    for number, text in boxes.items():
        path = base / f"{GROUP}_not/{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (base / "trainval.txt").write_text("\n".join(line(number) for number in ("20085000", "20085002")))
    (base / "test.txt").write_text(line("20085001"))
    return tmp_path


def line(number: str) -> str:
    return f"{GROUP}/{number}.jpg {GROUP}_not/{number}.txt"


def test_every_pair_becomes_two_samples(root: Path) -> None:
    assert [(s.id, s.split, s.answer, s.references) for s in SOURCE.read(root)] == [
        (f"PCBData/{GROUP}/20085000_test.jpg", "trainval", "Yes", (f"PCBData/{GROUP}/20085000_temp.jpg",)),
        (f"PCBData/{GROUP}/20085000_temp.jpg", "trainval", "No", ()),
        (f"PCBData/{GROUP}/20085002_test.jpg", "trainval", "Yes", (f"PCBData/{GROUP}/20085002_temp.jpg",)),
        (f"PCBData/{GROUP}/20085002_temp.jpg", "trainval", "No", ()),
        (f"PCBData/{GROUP}/20085001_test.jpg", "test", "Yes", (f"PCBData/{GROUP}/20085001_temp.jpg",)),
        (f"PCBData/{GROUP}/20085001_temp.jpg", "test", "No", ()),
    ]


def test_boxes_and_types_are_read(root: Path) -> None:
    found = {s.id.rpartition("/")[2]: [(d.type, d.box, d.location) for d in s.defects] for s in SOURCE.read(root)}
    assert found["20085000_test.jpg"] == [
        ("mousebite", (466, 441, 493, 470), "bottom right"),
        ("open", (10, 10, 40, 40), "top left"),
    ]
    assert found["20085001_test.jpg"] == [("pin-hole", (0, 0, 639, 20), "top center")]
    assert found["20085000_temp.jpg"] == []


def test_the_lists_may_lie_one_folder_higher_and_the_root_one_lower(root: Path) -> None:
    official = [s.id for s in SOURCE.read(root)]
    assert [f"PCBData/{s.id}" for s in SOURCE.read(root / "PCBData")] == official
    for name in ("trainval.txt", "test.txt"):
        (root / "PCBData" / name).rename(root / name)
    assert [s.id for s in SOURCE.read(root)] == official


def test_the_same_list_may_be_there_twice_but_not_another(root: Path) -> None:
    (root / "test.txt").write_text(line("20085001") + "\n")
    assert len(list(SOURCE.read(root))) == 6
    (root / "test.txt").write_text(line("20085002"))
    with pytest.raises(DataError, match=r"test\.txt is there twice, with other lines"):
        next(SOURCE.read(root))


def test_a_pair_listed_twice_is_refused(root: Path) -> None:
    (root / "PCBData/test.txt").write_text(line("20085000"))
    with pytest.raises(DataError, match=r"2 images are listed twice, the first is .*20085000_test\.jpg"):
        next(SOURCE.read(root))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 4 0", r"'1 2 3 4 0' is not 'x1 y1 x2 y2 type' with a type from 1 to 6"),
        ("1 2 3 4 7", "type from 1 to 6"),
        ("1 2 3 4", "type from 1 to 6"),
        ("30 2 20 4 1", r"the box \(30, 2, 20, 4\) is empty"),
        ("1 2 3 641 1", "leaves the image of 640x640 px"),
        ("", "no box"),
    ],
)
def test_a_broken_box_is_named(root: Path, text: str, message: str) -> None:
    path = root / f"PCBData/{GROUP}_not/20085001.txt"
    path.write_text(f"\n{text}\n")
    with pytest.raises(DataError, match=message) as caught:
        list(SOURCE.read(root))
    assert caught.value.where == (f"{path}:2" if text else str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GROUP}/20085001.jpg", r"is not '<image>\.jpg <boxes>\.txt'"),
        (f"{GROUP}/20085001.jpg ../20085001.txt", "not relative to the set's folder"),
        (f"{GROUP}/20085001.jpg {GROUP}_not/nothing.txt", "cannot read the file"),
    ],
)
def test_a_broken_line_is_named(root: Path, text: str, message: str) -> None:
    (root / "PCBData/test.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(root))


def test_missing_images_are_counted_skipped_or_kept(root: Path) -> None:
    (root / f"PCBData/{GROUP}/20085000_test.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 6 files are missing: PCBData/.*20085000_test\.jpg"):
        list(SOURCE.read(root))
    assert len(list(SOURCE.read(root, missing="skip"))) == 5
    kept = list(SOURCE.read(root, missing="keep"))
    assert [s.missing for s in kept] == [True] + [False] * 5
    assert len(kept[0].defects) == 2


def test_another_layout_is_shown(tmp_path: Path) -> None:
    (tmp_path / "PCBData").mkdir()
    with pytest.raises(DataError, match=r"found: PCBData/ \(expected PCBData/trainval\.txt"):
        next(SOURCE.read(tmp_path))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs DeepPCB in ../shared/data")
def test_all_of_the_real_part_is_read() -> None:
    found = list(SOURCE.read(SHARED))
    assert (len(found), sum(s.is_anomalous is True for s in found)) == (360, 180)
    boxes = Counter(d.type for s in found for d in s.defects)
    assert boxes == dict(zip(TYPES, (218, 150, 201, 176, 177, 182), strict=True))
    assert not any(s.missing for s in found)
