from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iadr1 import rle
from iadr1.datasets.yolo import SOURCE
from iadr1.errors import DataError

Photo = Callable[..., None]

YAML = """\
path: ../datasets/part  # where it lay when it was written
train: images/train
val: images/val
test:
names:
  0: deep_scratch
  1: dent
"""
BOX = "0 0.5 0.25 0.2 0.1"
POLYGON = "1 0.5 0.5 0.9 0.5 0.9 0.8 0.5 0.8"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def part(tmp_path: Path, photo: Photo) -> Path:
    """The layout of ultralytics: two splits, a box, a polygon, an empty label file, and an image without one."""
    root = tmp_path / "part"
    write(root / "data.yaml", YAML)
    for name in ("train/a.jpg", "train/b.JPG", "train/c.jpg", "val/d.jpg"):
        photo(root / "images" / name, size=(60, 40))
    write(root / "labels/train/a.txt", f"{BOX}\n\n{POLYGON}\n{BOX} \n")
    write(root / "labels/train/b.txt", "")
    write(root / "labels/val/d.txt", POLYGON)
    return root


def test_labels_become_defects(part: Path) -> None:
    a, b, c, d = SOURCE.read(part)
    assert [(s.id, s.split, s.answer) for s in (a, b, c, d)] == [
        ("images/train/a.jpg", "train", "Yes"),
        ("images/train/b.JPG", "train", "No"),
        ("images/train/c.jpg", "train", "No"),
        ("images/val/d.jpg", "val", "Yes"),
    ]
    # The repeated line counts once.
    scratch, dent = a.defects
    assert (scratch.type, scratch.mask_rle, scratch.location) == ("deep scratch", None, "top center")
    assert scratch.box == pytest.approx((24, 8, 36, 12))
    assert dent.type == "dent"
    assert dent.box == pytest.approx((30, 20, 54, 32))
    assert rle.box(rle.parse(dent.mask_rle)) == (30, 20, 54, 32)
    assert rle.area(rle.parse(dent.mask_rle)) == 24 * 12
    assert (a.references, b.references, a.category) == (("images/train/b.JPG",), ("images/train/c.jpg",), "part")


def test_roboflow_s_paths_are_understood(tmp_path: Path, photo: Photo) -> None:
    write(tmp_path / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['dent']\n")
    for split in ("train", "valid"):
        photo(tmp_path / split / "images/a.jpg")
        write(tmp_path / split / "labels/a.txt", BOX)
    write(tmp_path / "README.roboflow.txt", "exported")
    assert [(s.id, s.split) for s in SOURCE.read(tmp_path)] == [
        ("train/images/a.jpg", "train"),
        ("valid/images/a.jpg", "val"),
    ]


@pytest.mark.parametrize("classes", ["classes.txt", "labels/classes.txt", "obj.names"])
def test_a_list_of_classes_is_enough(tmp_path: Path, photo: Photo, classes: str) -> None:
    write(tmp_path / classes, "scratch\ndent\n")
    for name in ("a.jpg", "test/b.jpg"):
        photo(tmp_path / "images" / name)
        write(tmp_path / "labels" / name.replace("jpg", "txt"), POLYGON)
    assert [(s.id, s.split, s.defects[0].type) for s in SOURCE.read(tmp_path)] == [
        ("images/a.jpg", "all", "dent"),
        ("images/test/b.jpg", "test", "dent"),
    ]


def test_labels_may_lie_beside_the_images(tmp_path: Path, photo: Photo) -> None:
    write(tmp_path / "classes.txt", "scratch\ndent\n")
    photo(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", BOX)
    write(tmp_path / "notes.txt", "not a label")
    assert [s.answer for s in SOURCE.read(tmp_path)] == ["Yes"]


def test_a_class_named_ok_is_no_defect(part: Path) -> None:
    write(part / "data.yaml", YAML.replace("dent", "OK"))
    assert [[d.type for d in s.defects] for s in SOURCE.read(part)] == [["deep scratch"], [], [], []]


def test_a_split_may_be_a_list_of_images(part: Path) -> None:
    write(part / "data.yaml", YAML.replace("images/train\n", "train.txt\n").replace("images/val\n", "[images/val]\n"))
    write(part / "train.txt", "./images/train/a.jpg\nimages/train/gone.jpg\n")
    write(part / "labels/train/gone.txt", BOX)
    (part / "labels/train/b.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 3 files are missing: images/train/gone\.jpg"):
        next(SOURCE.read(part))
    assert [s.id for s in SOURCE.read(part, missing="skip")] == ["images/train/a.jpg", "images/val/d.jpg"]
    kept = list(SOURCE.read(part, missing="keep"))
    # Fractions of an unknown size are no pixels.
    assert [(s.missing, s.is_anomalous, s.defects[0].box is None) for s in kept] == [
        (False, True, False), (True, True, True), (False, True, False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", r"a\.txt:2: no class 2; there are 0\.\.1"),
        ("0.5 0.5 0.5 0.1 0.1", r"a\.txt:2: no class 0\.5"),
        ("nan 0.5 0.5 0.1 0.1", r"a\.txt:2: no class nan"),
        ("0 0.5 0.5 0.1", r"a\.txt:2: 4 numbers are neither a box nor a polygon"),
        ("0 0.5 0.5 0.1 0.1 0.9", r"a\.txt:2: 6 numbers .*a sixth number is a prediction's confidence"),
        ("0 0.5 0.5 0.1 0.1 0.9 0.1 0.2", r"a\.txt:2: 8 numbers"),
        ("0", r"a\.txt:2: 1 numbers"),
        ("dent 0.5 0.5 0.1 0.1", r"a\.txt:2: not a label: dent"),
        ("0 30 20 10 10", r"a\.txt:2: not fractions of the image's sides: 0 30 20 10 10 \(these may be pixels"),
        ("0 0.5 0.5 nan 0.1", r"a\.txt:2: not fractions"),
        ("0 0.5 -0.5 0.1 0.1", r"a\.txt:2: not fractions"),
        ("0 0.5 0.5 0 0.1", r"a\.txt:2: the box .* has no area"),
        ("0 0.5 0.5 0.9 0.5 0.1 0.5", r"a\.txt:2: no area inside the 60x40 px image"),
    ],
)
def test_a_bad_line_names_file_and_line(part: Path, line: str, message: str) -> None:
    write(part / "labels/train/a.txt", f"{BOX}\n{line}\n")
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [", r"data\.yaml: not YAML"),
        ("train: images/train", r"'names', the classes, is missing"),
        ("- 1", "'names', the classes, is missing"),
        ("a: " + "[" * 5000, r"data\.yaml: not YAML"),
        ("a: 2024-13-45", r"data\.yaml: not YAML"),
        ("train: images/train\nnames: dent", "'names' is neither a list nor numbers with names: 'dent'"),
        ("train: images/train\nnames: {a: dent}", "'names' is neither"),
        ("train: images/gone\nnames: [a, b]", "train: no folder or list 'images/gone'"),
        ("train: /images/train\nnames: [a, b]", "train: no folder or list '/images/train'"),
        ("train: ../../images/train\nnames: [a, b]", "train: no folder or list"),
        ("train: 5\nnames: [a, b]", "train: no folder or list 5"),
        ("names: [a, b]", "no images in train, val and test"),
        ("train: images/train\nval: images/train\nnames: [a, b]", r"images/train/a\.jpg' is there twice"),
    ],
)
def test_a_bad_yaml_is_refused(part: Path, text: str, message: str) -> None:
    write(part / "data.yaml", text)
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(part))


def test_a_label_without_image_is_refused(part: Path) -> None:
    (part / "images/val/d.jpg").unlink()
    write(part / "labels/train/z.txt", BOX)
    with pytest.raises(DataError, match=r"1 label files have no image, such as labels/train/z\.txt"):
        next(SOURCE.read(part))
    assert [s.id[-5:] for s in SOURCE.read(part, missing="skip")] == ["a.jpg", "b.JPG", "c.jpg"]


def test_a_set_without_any_label_is_not_all_normal(part: Path) -> None:
    (part / "labels").rename(part / "annotations")
    with pytest.raises(DataError, match=r"no label file for any of 4 images, such as labels/train/a\.txt"):
        next(SOURCE.read(part))


def test_two_yaml_files_need_a_choice(part: Path) -> None:
    write(part / "other.yml", YAML)
    with pytest.raises(DataError, match=r"several YAML files: data\.yaml, other\.yml"):
        next(SOURCE.read(part))
    assert len(list(SOURCE.read(part, annotations=part / "other.yml"))) == 4


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg"])
def test_a_list_that_leads_out_is_refused(part: Path, path: str) -> None:
    write(part / "data.yaml", YAML.replace("images/train\n", "train.txt\n"))
    write(part / "train.txt", f"images/train/a.jpg\n{path}\n")
    with pytest.raises(DataError, match=r"train\.txt:2: the path .* leads out of"):
        next(SOURCE.read(part))


def test_a_folder_without_classes_is_another_layout(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "images/a.jpg")
    with pytest.raises(DataError, match="not the expected layout; found: images/"):
        next(SOURCE.read(tmp_path))
