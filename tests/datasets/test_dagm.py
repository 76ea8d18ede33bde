from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1.datasets.dagm import SOURCE
from iadr1.errors import DataError

Photo = Callable[[Path], None]
Mask = Callable[..., None]

ROWS = {
    "Class1/Train": ["1", "575\t1\t0575.PNG\t0\t0575_label.PNG", "576\t0\t0576.PNG\t0\t0", "577\t0\t0577.PNG\t0\t0"],
    "Class1/Test": ["1", "1\t0\t0001.PNG\t0\t0", "2\t1\t0002.PNG\t0\t0002_label.PNG"],
    "Class10/Train": ["1", "1\t0\t0001.PNG\t0\t0"],
    "Class2/Train": ["1", "1\t1\t0001.PNG\t0\t0001_label.PNG"],
    "Class2/Test": ["1", "7\t0\t0007.PNG\t0\t0"],
}


def write_half(root: Path, half: str, rows: list[str], photo: Photo, mask: Mask) -> None:
    for row in rows[1:]:
        _, _, image, _, label = row.split("\t")
        photo(root / half / image)
        if label != "0":
            mask(root / half / "Label" / label, [(40, 40, 58, 50)])
    # As in the archive: byte-order mark, carriage returns, an empty line at the end.
    table = root / half / "Label" / "Labels.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*rows, "", ""]).encode())


@pytest.fixture
def root(tmp_path: Path, photo: Photo, mask: Mask) -> Path:
    for half, rows in ROWS.items():
        write_half(tmp_path, half, rows, photo, mask)
    (tmp_path / "readme.txt").touch()
    return tmp_path


def test_the_labels_say_what_is_defective(root: Path) -> None:
    found = list(SOURCE.read(root))
    assert [(s.id, s.category, s.split, s.answer) for s in found] == [
        ("Class1/Train/0575.PNG", "Class1", "train", "Yes"),
        ("Class1/Train/0576.PNG", "Class1", "train", "No"),
        ("Class1/Train/0577.PNG", "Class1", "train", "No"),
        ("Class1/Test/0001.PNG", "Class1", "test", "No"),
        ("Class1/Test/0002.PNG", "Class1", "test", "Yes"),
        ("Class2/Train/0001.PNG", "Class2", "train", "Yes"),
        ("Class2/Test/0007.PNG", "Class2", "test", "No"),
        ("Class10/Train/0001.PNG", "Class10", "train", "No"),
    ]
    (defect,) = found[4].defects
    assert (defect.type, defect.box, defect.location) == ("defect", (40, 40, 58, 50), "bottom right")
    assert defect.mask == "Class1/Test/Label/0002_label.PNG"


def test_the_reference_is_a_normal_training_image(root: Path) -> None:
    first, second = ("Class1/Train/0576.PNG",), ("Class1/Train/0577.PNG",)
    assert [s.references for s in SOURCE.read(root)] == [first, second, first, first, first, (), (), ()]


def test_nested_classes_are_read(tmp_path: Path, photo: Photo, mask: Mask) -> None:
    write_half(tmp_path, "Class1/Class1/Test", ROWS["Class1/Test"], photo, mask)
    assert [s.id for s in SOURCE.read(tmp_path)] == ["Class1/Class1/Test/0001.PNG", "Class1/Class1/Test/0002.PNG"]
    assert {s.category for s in SOURCE.read(tmp_path)} == {"Class1"}


def test_the_layout_of_iad_r1_is_read(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "Class2/good/0116.PNG")
    photo(tmp_path / "Class2/defect/0001.PNG")
    good, defect = SOURCE.read(tmp_path)
    assert (good.id, good.answer, good.split, good.defects) == ("Class2/good/0116.PNG", "No", "test", ())
    assert (defect.answer, [(d.type, d.box) for d in defect.defects]) == ("Yes", [("defect", None)])


def test_two_layouts_at_once_are_refused(root: Path, photo: Photo) -> None:
    photo(root / "Class1/good/0001.PNG")
    with pytest.raises(DataError, match="two layouts at once: Train, Test, good"):
        next(SOURCE.read(root))


def test_published_annotations_replace_the_folders(root: Path) -> None:
    path = root / "test_DAGM_format.json"
    key = "DAGM/Class1/good/0001.PNG"
    question = {"Question": "?", "Answer": "B", "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}
    value = {"image_path": key, "conversation": [question], "similar_templates": [], "random_templates": []}
    path.write_text(json.dumps({key: value}))
    (found,) = SOURCE.read(root, missing="keep", annotations=path)
    assert (found.id, found.dataset, found.answer, found.missing) == (key, "DAGM", "No", True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 0 0003.PNG 0 0", "not a line of Labels.txt"),
        ("3\t2\t0003.PNG\t0\t0", "not a line of Labels.txt"),
        ("3\t1\t0003.PNG\t0\t0", "the flag 1 and the label '0': they disagree"),
        ("3\t0\t0003.PNG\t0\t0003_label.PNG", "the flag 0 and the label '0003_label.PNG'"),
        ("3\t0\t0001.PNG\t0\t0", "'0001.PNG' is listed twice"),
    ],
)
def test_a_broken_line_is_named(root: Path, line: str, message: str) -> None:
    table = root / "Class1/Test/Label/Labels.txt"
    table.write_text("\n".join([*ROWS["Class1/Test"], line]))
    with pytest.raises(DataError, match=message) as caught:
        next(SOURCE.read(root))
    assert caught.value.where == f"{table}:4"


def test_images_and_list_must_agree(root: Path, photo: Photo) -> None:
    photo(root / "Class1/Test/0003.PNG")
    with pytest.raises(DataError, match=r"1 images are not listed, the first is '0003\.PNG'"):
        next(SOURCE.read(root))
    (root / "Class1/Test/0003.PNG").unlink()
    (root / "Class1/Test/0001.PNG").rename(root / "Class1/Test/0001.png")
    with pytest.raises(DataError, match=r"1 images are not listed, the first is '0001\.png'"):
        next(SOURCE.read(root))


def test_a_missing_image_is_counted_and_a_missing_list_is_an_error(root: Path) -> None:
    (root / "Class1/Test/0001.PNG").unlink()
    with pytest.raises(DataError, match=r"1 of 11 files are missing: Class1/Test/0001\.PNG"):
        next(SOURCE.read(root))
    assert len(list(SOURCE.read(root, missing="skip"))) == 7
    (root / "Class1/Test/Label/Labels.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read the file.*Labels\.txt"):
        next(SOURCE.read(root))


def test_another_layout_is_shown(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "ClassA/Train/0001.PNG")
    with pytest.raises(DataError, match=r"found: ClassA/ \(expected Class1/"):
        next(SOURCE.read(tmp_path))
