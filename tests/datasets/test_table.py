from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.table import SOURCE
from iadr1.errors import DataError

Photo = Callable[..., None]
Mask = Callable[..., None]

MASKS = """\
image,label,split,category,type,mask,operator
a.png,normal,test,pump,,,Ann
pump/1.png,normal,train,pump,,,Ann
pump/2.png,0,train,pump,good,masks/not_looked_at.png,Ann
pump/3.png,abnormal,test,pump,deep_scratch,masks/3.png,"Ann, Bob"

valve/4.png,dent,test,valve,,masks/4.png,Bob
"""
BOXES = """\
image_path;label_index;x1;y1;x2;y2;type
a.png;1;10;20;30;40;dent
b.png;0;;;;;
a.png;1;40;40;70.5;50;hole
"""


@pytest.fixture
def part(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    root = tmp_path / "part"
    for name in ("pump/1.png", "pump/2.png", "pump/3.png", "valve/4.png", "a.png", "b.png"):
        photo(root / name)
    mask(root / "masks/3.png", [(20, 20, 40, 40)])
    mask(root / "masks/4.png", [(0, 0, 9, 9)])
    return root


def write(part: Path, text: str, *, name: str = "table.csv", encoding: str = "utf-8") -> None:
    (part / name).write_bytes(text.encode(encoding))


def test_a_table_with_masks(part: Path) -> None:
    write(part, MASKS)
    found = list(SOURCE.read(part))
    assert [(s.id, s.dataset, s.category, s.split, s.answer, s.references) for s in found] == [
        ("a.png", "part", "pump", "test", "No", ("pump/1.png",)),
        ("pump/1.png", "part", "pump", "train", "No", ("pump/2.png",)),
        ("pump/2.png", "part", "pump", "train", "No", ("pump/1.png",)),
        ("pump/3.png", "part", "pump", "test", "Yes", ("pump/1.png",)),
        ("valve/4.png", "part", "valve", "test", "Yes", ()),
    ]
    assert [[(d.type, d.box, d.mask) for d in s.defects] for s in found[3:]] == [
        [("deep scratch", (20, 20, 40, 40), "masks/3.png")],
        [("dent", (0, 0, 9, 9), "masks/4.png")],
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_table_with_boxes(part: Path, separator: str, ending: str) -> None:
    write(part, BOXES.replace(";", separator).replace("\n", ending), encoding="utf-8-sig")
    a, b = SOURCE.read(part)
    assert [(d.type, d.box, d.location) for d in a.defects] == [
        ("dent", (10, 20, 30, 40), "center"),
        ("hole", (40, 40, 60, 50), "bottom right"),
    ]
    assert (a.category, a.split, a.references) == ("part", "all", ("b.png",))
    assert (b.answer, b.defects) == ("No", ())


@pytest.mark.parametrize(
    ("label", "index", "kind", "type_"),
    [
        ("Normal", "", None, ""), ("good", "", None, ""), ("OK", "0", None, ""), ("normal_test", "", None, ""),
        ("0", "", None, ""), ("", "0", None, ""), ("", "0.0", None, ""), ("normal", "", None, "Good"),
        ("abnormal", "", "defect", ""), ("1", "1.0", "defect", ""), ("", "1", "defect", ""), ("NG", "1", "defect", ""),
        ("broken_tooth", "", "broken tooth", ""), ("broken_tooth", "1", "broken tooth", ""),
        ("abnormal", "", "broken tooth", "broken_tooth"), ("dent", "", "deep dent", "deep dent"),
    ],
)  # fmt: skip
def test_labels_as_people_write_them(part: Path, label: str, index: str, kind: str | None, type_: str) -> None:
    write(part, f"Image, Label, label_index, type\na.png, {label}, {index}, {type_}\n")
    (sample,) = SOURCE.read(part)
    assert [d.type for d in sample.defects] == ([] if kind is None else [kind])
    assert sample.is_anomalous is (kind is not None)


@pytest.mark.parametrize(
    ("split", "read"), [("train", "train"), ("Valid", "val"), ("TEST", "test"), ("", "all"), ("line 3", "line 3")]
)
def test_splits_as_people_write_them(part: Path, split: str, read: str) -> None:
    write(part, f"image,label,split\na.png,good,{split}\n")
    assert next(SOURCE.read(part)).split == read


def test_windows_paths_and_those_inside_the_root_are_taken(part: Path) -> None:
    inside = (part / "pump/2.png").resolve()
    write(part, f"image,label\npump\\1.png,good\n{inside},good\n./pump/../pump/3.png,good\n")
    assert [s.id for s in SOURCE.read(part)] == ["pump/1.png", "pump/2.png", "pump/3.png"]


def test_images_may_be_absent(part: Path) -> None:
    write(part, BOXES)
    (part / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files are missing: a\.png"):
        next(SOURCE.read(part))
    assert [s.id for s in SOURCE.read(part, missing="skip")] == ["b.png"]
    kept = next(SOURCE.read(part, missing="keep"))
    assert (kept.missing, kept.defects[1].box) == (True, (40, 40, 70.5, 50))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,good,,,,,", r"table\.csv:3: 7 cells, but 8 columns"),
        ("a.png,good,,,,,,,", r"table\.csv:3: 9 cells, but 8 columns"),
        (",good,,,,,,", r"table\.csv:3: the image's path is ''"),
        ("a.png,,,,,,,", r"table\.csv:3: no label for 'a\.png': .* is empty \(say normal or abnormal, or take"),
        ("a.png,nan,,,,,,", "the label 'nan' does not say what it means"),
        ("a.png,True,,,,,,", "the label 'True' does not say"),
        ("a.png,2,,,,,,", "the label '2' does not say"),
        ("a.png,,2,,,,,", "label_index is '2'"),
        ("a.png,good,1,,,,,", "label 'good' and label_index 1 contradict each other"),
        ("a.png,dent,0,,,,,", "label 'dent' and label_index 0 contradict each other"),
        ("a.png,good,,dent,,,,", "a normal image has the type 'dent'"),
        ("a.png,good,,,1,2,3,4", "a normal image has a box"),
        ("a.png,dent,,,1,2,3,", "the box 1, 2, 3,  is not four numbers"),
        ("a.png,dent,,,1,2,3,x", "is not four numbers"),
        ("a.png,dent,,,30,2,3,40", "the box 30, 2, 3, 40 has no area"),
        ("a.png,dent,,,1,2,nan,4", "has no area"),
        ("a.png,dent,,,1,2,inf,4", "has no area"),
        ("a.png,dent,,,70,2,80,4", r"table\.csv:3: no area inside the 60x60 px image"),
        ("b.png,good,,,,,,", r"table\.csv:3: the image 'b\.png' is there twice; first in .*table\.csv:2"),
        ("b.png,dent,,,1,2,3,4", "is there twice"),
        ("../x.png,good,,,,,,", r"table\.csv:3: the path '\.\./x\.png' leads out of"),
        ("/etc/x.png,good,,,,,,", "leads out of"),
        ("C:\\x.png,good,,,,,,", "leads out of"),
    ],
)
def test_a_bad_row_names_file_and_line(part: Path, row: str, message: str) -> None:
    write(part, f"image,label,label_index,type,x1,y1,x2,y2\nb.png,good,,,,,,\n{row}\n")
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table\.csv:1: no column image, label or label_index in the header"),
        ("image,label\n", "the table has no rows"),
        ("a.png,good\n", "no column image, label or label_index in the header a.png,good"),
        ("image,kind\n", "no column label or label_index in the header image,kind"),
        ("image,image_path,label\n", "two columns for 'image'"),
        ("image,label,x1,y1\n", "a box needs x1, y1, x2, y2; there is only x1, y1"),
        ("image,label,mask_pth\n", r"unknown column 'mask_pth' \(did you mean 'mask_path'"),
        ('image,label\n"a.png,good\nb.png,good\n', "1 cells, but 2 columns"),
        ("image,label,mask,x1,y1,x2,y2\na.png,dent,,1,2,3,4\nb.png,dent,masks/3.png,,,,\n", "both masks and boxes"),
        (
            "image,label,mask\na.png,dent,masks/3.png\na.png,hole,masks/4.png\n",
            r":3: the image .* is there twice",
        ),
        ("image,label,split,x1,y1,x2,y2\na.png,d,test,1,2,3,4\na.png,d,val,1,2,3,4\n", "another split or category"),
        ("image,label,mask\na.png,dent,../m.png\n", "leads out of"),
    ],
)
def test_a_bad_table_is_refused(part: Path, text: str, message: str) -> None:
    write(part, text)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part))


def test_what_is_not_utf8_is_refused(part: Path) -> None:
    write(part, "image,label\na.png,gr\u00fcn\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"cannot read the table: .*byte 0xfc.*must be text in UTF-8 \(not \.xlsx\)"):
        next(SOURCE.read(part))


def test_several_tables_need_a_choice(part: Path) -> None:
    write(part, BOXES)
    write(part, BOXES, name="b.tsv")
    with pytest.raises(DataError, match=r"several tables: table\.csv, b\.tsv"):
        next(SOURCE.read(part))
    assert len(list(SOURCE.read(part, annotations=part / "b.tsv"))) == 2


def test_a_folder_without_table_is_another_layout(part: Path) -> None:
    with pytest.raises(DataError, match=r"not the expected layout; found: a\.png"):
        next(SOURCE.read(part))
