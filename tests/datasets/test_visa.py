from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.visa import SOURCE
from iadr1.errors import DataError
from tests.datasets.label_masks import write_labels

Photo = Callable[..., None]

HEADER = "object,split,label,image,mask\n"
ROWS = """\
candle,train,normal,candle/Data/Images/Normal/0000.JPG,
candle,train,normal,candle/Data/Images/Normal/0001.JPG,
candle,test,normal,candle/Data/Images/Normal/0002.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png
candle,test,anomaly,candle/Data/Images/Anomaly/001.JPG,candle/Data/Masks/Anomaly/001.png
pcb1,test,normal,pcb1/Data/Images/Normal/0001.JPG,
pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,
pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png
"""
ANOMALY = "candle/Data/Images/Anomaly"


@pytest.fixture
def raw(tmp_path: Path, photo: Photo) -> Path:
    for row in ROWS.splitlines():
        photo(tmp_path / row.split(",")[3])
    write_labels(tmp_path / "candle/Data/Masks/Anomaly/000.png", {1: (0, 0, 9, 9)})
    write_labels(tmp_path / "candle/Data/Masks/Anomaly/001.png", {2: (9, 0, 18, 9), 5: (0, 0, 9, 9)})
    write_labels(tmp_path / "pcb1/Data/Masks/Anomaly/000.png", {3: (50, 50, 60, 60)})
    (tmp_path / "candle/image_anno.csv").write_text(
        "image,label,mask\n"
        "candle/Data/Images/Normal/0000.JPG,normal,\n"
        f"{ANOMALY}/000.JPG,chunk of wax missing,candle/Data/Masks/Anomaly/000.png\n"
        f'{ANOMALY}/001.JPG,"damaged corner,wax melded out",candle/Data/Masks/Anomaly/001.png\n'
    )
    table(tmp_path, HEADER + ROWS)
    (tmp_path / "split_csv/2cls_fewshot.csv").write_text(HEADER)
    return tmp_path


def table(root: Path, text: str) -> None:
    (root / "split_csv").mkdir(exist_ok=True)
    (root / "split_csv/1cls.csv").write_text(text)


def test_the_release_is_read_by_its_table(raw: Path) -> None:
    found = list(SOURCE.read(raw))
    assert [(s.category, s.split, s.answer, s.id) for s in found] == [
        (row[0], row[1], "Yes" if row[2] == "anomaly" else "No", row[3])
        for row in (line.split(",") for line in ROWS.splitlines())
    ]
    first, second = "candle/Data/Images/Normal/0000.JPG", "candle/Data/Images/Normal/0001.JPG"
    assert [s.references for s in found[:5]] == [(second,), (first,), (first,), (first,), (first,)]
    first = "pcb1/Data/Images/Normal/0000.JPG"
    assert [s.references for s in found[5:]] == [(first,), (), (first,)]


def test_label_ids_make_regions_and_the_object_s_table_their_kinds(raw: Path) -> None:
    found = {s.id: s.defects for s in SOURCE.read(raw)}
    assert [(d.type, d.box, d.attributes) for d in found[f"{ANOMALY}/000.JPG"]] == [
        ("chunk of wax missing", (0, 0, 9, 9), {"label": "1"})
    ]
    # Which of the two kinds is 2 and which 5 is said nowhere.
    assert [(d.type, d.box, d.attributes) for d in found[f"{ANOMALY}/001.JPG"]] == [
        ("damaged corner, wax melded out", (9, 0, 18, 9), {"label": "2"}),
        ("damaged corner, wax melded out", (0, 0, 9, 9), {"label": "5"}),
    ]
    assert [(d.type, d.box) for d in found["pcb1/Data/Images/Anomaly/000.JPG"]] == [("anomaly", (50, 50, 60, 60))]


def test_the_split_table_decides_what_is_normal(raw: Path) -> None:
    text = (raw / "candle/image_anno.csv").read_text()
    (raw / "candle/image_anno.csv").write_text(text.replace("0000.JPG,normal", "0000.JPG,scratch"))
    table(raw, HEADER + ROWS.replace("0000.JPG,", "0000.JPG,candle/Data/Masks/Normal/0000.png", 1))
    first = next(SOURCE.read(raw))
    assert (first.answer, first.defects) == ("No", ())


@pytest.fixture
def one_class(tmp_path: Path, photo: Photo) -> Path:
    for name in ("candle/train/good/0000.JPG", "candle/test/good/0005.JPG", "candle/test/bad/000.JPG",
                 "pcb1/train/good/0000.JPG", "pcb1/test/bad/001.JPG"):  # fmt: skip
        photo(tmp_path / name)
    write_labels(tmp_path / "candle/ground_truth/bad/000.png", {255: (0, 0, 9, 9)})
    write_labels(tmp_path / "pcb1/ground_truth/bad/001.png", {255: (50, 50, 60, 60)})
    return tmp_path


def test_the_one_class_layout_is_read_by_its_folders(one_class: Path) -> None:
    found = list(SOURCE.read(one_class))
    assert [(s.id, s.split, [(d.type, d.mask, d.location) for d in s.defects]) for s in found] == [
        ("candle/train/good/0000.JPG", "train", []),
        ("candle/test/bad/000.JPG", "test", [("bad", "candle/ground_truth/bad/000.png", "top left")]),
        ("candle/test/good/0005.JPG", "test", []),
        ("pcb1/train/good/0000.JPG", "train", []),
        ("pcb1/test/bad/001.JPG", "test", [("bad", "pcb1/ground_truth/bad/001.png", "bottom right")]),
    ]
    assert {s.answer for s in found if s.defects} == {"Yes"}
    assert found[2].references == ("candle/train/good/0000.JPG",)
    # The owners' script copies the tables beside.
    table(one_class, HEADER + ROWS)
    assert list(SOURCE.read(one_class)) == found


def test_both_layouts_or_neither_are_refused(raw: Path, tmp_path_factory: pytest.TempPathFactory, photo: Photo) -> None:
    other = tmp_path_factory.mktemp("other")
    photo(other / "1cls/candle/train/good/0000.JPG")
    with pytest.raises(DataError, match=r"not the expected layout; found: 1cls/ \(expected split_csv/1cls\.csv and"):
        list(SOURCE.read(other))
    photo(raw / "cashew/train/good/0000.JPG")
    with pytest.raises(DataError, match="two layouts at once: candle as released, cashew one-class"):
        list(SOURCE.read(raw))


def test_the_release_without_its_table_is_refused(raw: Path) -> None:
    (raw / "split_csv/1cls.csv").unlink()
    with pytest.raises(DataError, match=r"found: candle/, pcb1/, split_csv/ \(expected split_csv/1cls\.csv"):
        list(SOURCE.read(raw))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER, r"1cls\.csv: no images in the table"),
        ("", r"1cls\.csv:1: no column object, split, label, image, mask in the header"),
        ("object,split,image\n", r"1cls\.csv:1: no column label, mask in the header 'object,split,image'"),
        (HEADER + ROWS.replace("test,anomaly", "test,bad", 1), r"1cls\.csv:5: 'label' is 'bad', neither"),
        (HEADER + ROWS + ROWS, r"1cls\.csv:10: the image 'candle/Data/Images/Normal/0000\.JPG' stands in two rows"),
        (HEADER + ROWS.replace("candle/Data/Images/Normal", "..", 1), r"'\.\./0000\.JPG' is not relative to the root"),
        (HEADER + "candle,test\n", r"1cls\.csv:2: 'label' is ''"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(raw: Path, text: str, message: str) -> None:
    table(raw, text)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(raw))


def test_missing_images_are_counted_skipped_or_kept(raw: Path) -> None:
    (raw / "pcb1/Data/Images/Anomaly/000.JPG").rename(raw / "pcb1/Data/Images/Anomaly/000.jpg")
    (raw / "candle/Data/Images/Normal/0000.JPG").unlink()
    with pytest.raises(DataError, match=r"2 of 11 files are missing: candle.*there is '000\.jpg': the letter case"):
        list(SOURCE.read(raw))
    skipped = list(SOURCE.read(raw, missing="skip"))
    assert [s.references for s in skipped] == [(), (), (), (), ("pcb1/Data/Images/Normal/0000.JPG",), ()]
    kept = list(SOURCE.read(raw, missing="keep"))
    assert [s.missing for s in kept] == [True, False, False, False, False, False, False, True]


def test_a_table_alone_can_be_kept(tmp_path: Path) -> None:
    table(tmp_path, HEADER + ROWS)
    kept = list(SOURCE.read(tmp_path, missing="keep"))
    assert len(kept) == 8
    assert all(s.missing for s in kept)
    assert [(d.type, d.mask) for d in kept[-1].defects] == [("anomaly", "pcb1/Data/Masks/Anomaly/000.png")]
