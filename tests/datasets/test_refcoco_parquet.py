from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.refcoco import REFCOCO, REFCOCO_PLUS, REFCOCOG
from iadr1.errors import DataError, MissingExtraError

pyarrow: Any = pytest.importorskip("pyarrow")
parquet: Any = importlib.import_module("pyarrow.parquet")

Photo = Callable[..., None]
Row = dict[str, Any]

SENTENCES = [{"raw": "LADY", "sent": "lady", "sent_id": 3, "tokens": ["lady"]},
             {"raw": "Her.", "sent": "her", "sent_id": 4, "tokens": ["her"]}]  # fmt: skip
INFO = {"id": 1, "width": 60, "height": 50, "file_name": "COCO_train2014_000000000001.jpg"}
ANNOTATION = {"id": 11, "image_id": 1, "category_id": 1, "bbox": [40.5, 40, 30, 30], "iscrowd": 0}


def hub(**members: Any) -> Row:
    """A row of jxu124/refcoco."""
    return {
        "sent_ids": [3, 4], "file_name": "COCO_train2014_000000000001_7.jpg", "ann_id": 11, "ref_id": 7, "image_id": 1,
        "split": "train", "sentences": SENTENCES, "category_id": 1, "raw_anns": json.dumps(ANNOTATION),
        "raw_image_info": json.dumps(INFO), "raw_sentences": "[]", "bbox": [40.5, 40.0, 70.5, 70.0],
        "image_path": "coco/train2014/COCO_train2014_000000000001.jpg", "captions": ["lady", "her"],
        "global_image_id": "coco.1", "anns_id": "11", **members,
    }  # fmt: skip


def benchmark() -> Row:
    """A row of jxu124/refcoco-benchmark: an image with its references."""
    reference = {"ann_id": 11, "category_id": 1, "file_name": "COCO_train2014_000000000001_7.jpg", "image_id": 1,
                 "ref_id": 7, "sent_ids": [3, 4], "sentences": SENTENCES, "split": "val"}  # fmt: skip
    return {"ref_list": [{"ann_info": ANNOTATION, "ref_info": reference}], "image_info": INFO, "image": b"..."}


def pictures(**members: Any) -> Row:
    """A row of lmms-lab/RefCOCO."""
    return {
        "question_id": "469306", "image": {"bytes": b"never read", "path": None}, "question": "Please describe",
        "answer": ["lady", "her"], "segmentation": [1.0, 2.0], "bbox": [40.5, 40.0, 30.0, 30.0], "iscrowd": 0,
        "file_name": "COCO_train2014_000000000001_7.jpg", **members,
    }  # fmt: skip


def write(path: Path, *rows: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    photo(tmp_path / "train2014/COCO_train2014_000000000001.jpg", size=(60, 50))
    return tmp_path


def test_jxu124_s_rows(root: Path) -> None:
    write(root / "data/train-00000-of-00001-abc.parquet", hub())
    write(root / "data/test-00000-of-00001-abc.parquet", hub(split="test"))
    found = list(REFCOCO.read(root))
    assert [(s.id, s.split) for s in found] == [
        ("unc/testA/7/3", "unc-testA"), ("unc/testA/7/4", "unc-testA"),
        ("unc/train/7/3", "unc-train"), ("unc/train/7/4", "unc-train"),
    ]  # fmt: skip
    (target,) = found[-1].defects
    # From raw_anns, which is COCO's: the column `bbox` is in another layout here.
    assert (target.type, target.box, target.location) == ("her", (40.5, 40, 60, 50), "bottom right")
    assert (found[0].image, found[0].category) == ("train2014/COCO_train2014_000000000001.jpg", "1")
    assert found[0].question.endswith("describes: lady.")


def test_umd_has_a_test_of_its_own(root: Path) -> None:
    write(root / "refcocog/data/test-00000-of-00001.parquet", hub(split="test"))
    write(root / "refcocog/data/validation-00000-of-00001.parquet", hub(split="validation"))
    assert [s.split for s in REFCOCOG.read(root)] == ["umd-test", "umd-test", "umd-val", "umd-val"]


def test_the_benchmark_s_files_say_whose_split_they_are(root: Path) -> None:
    for name in ("refcoco_unc_val", "refcoco_google_test", "refcoco_plus_unc_testB", "refcocog_google_val"):
        write(root / f"data/{name}-00000-of-00001-abc.parquet", benchmark())
    assert [s.id for s in REFCOCO.read(root)] == [
        "google/test/7/3", "google/test/7/4", "unc/val/7/3", "unc/val/7/4"
    ]  # fmt: skip
    assert {s.split for s in REFCOCO_PLUS.read(root)} == {"unc-testB"}
    assert {s.split for s in REFCOCOG.read(root)} == {"google-val"}
    assert next(REFCOCOG.read(root)).defects[0].box == (40.5, 40, 60, 50)


def test_lmms_lab_s_rows(root: Path) -> None:
    write(root / "RefCOCO/data/val-00000-of-00004.parquet", pictures(), pictures())
    write(root / "RefCOCO/data/testB-00000-of-00001.parquet", pictures())
    found = list(REFCOCO.read(root))
    assert [(s.id, s.split) for s in found[::2]] == [
        ("unc/testB/testB-00000-of-00001#0/0", "unc-testB"),
        ("google+unc/val/val-00000-of-00004#0/0", "google+unc-val"),
        ("google+unc/val/val-00000-of-00004#1/0", "google+unc-val"),
    ]
    # The size is the image's own.
    assert [(d.type, d.box) for d in found[1].defects] == [("her", (40.5, 40, 60, 50))]
    assert found[0].category == "unknown"


def test_the_pictures_in_the_table_are_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "val-0.parquet", pictures())
    asked: list[list[str]] = []
    original = parquet.ParquetFile.iter_batches

    def spy(self: Any, **options: Any) -> Any:
        asked.append(options["columns"])
        return original(self, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", spy)
    assert len(list(REFCOCO.read(root))) == 2
    assert asked == [["answer", "bbox", "file_name"]] * 2


def test_images_may_be_absent(root: Path) -> None:
    write(root / "val-0.parquet", pictures())
    (root / "train2014/COCO_train2014_000000000001.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 1 files are missing: train2014/COCO_train2014_000000000001\.jpg"):
        next(REFCOCO.read(root))
    kept = next(REFCOCO.read(root, missing="keep"))
    assert (kept.missing, kept.defects[0].box, kept.defects[0].location) == (True, (40.5, 40, 70.5, 70), None)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("val-0", {"a": 1}, r"val-0\.parquet: not a table of referring expressions; columns: a \(known are"),
        ("train-0", pictures(), "row 0: refcoco has no split 'train' there"),
        ("part-0", pictures(), "row 0: refcoco has no split 'part-0' there"),
        ("val-0", pictures(answer=[]), "row 0: 'answer' is not a list of expressions"),
        ("val-0", pictures(answer=["x", " "]), "'answer' is not a list of expressions"),
        ("val-0", pictures(file_name="a.jpg"), r"row 0: the file name 'a\.jpg' is not COCO_train2014"),
        ("val-0", pictures(bbox=[1.0, 2.0, 0.0, 4.0]), "row 0: the box .* with an area"),
        ("val-0", pictures(bbox=[90.0, 2.0, 3.0, 4.0]), "outside the 60x50 image"),
        ("val-0", hub(raw_anns="{"), "row 0: not JSON: '{'"),
        ("val-0", hub(raw_anns="[]"), "row 0: not a JSON object"),
        ("val-0", hub(raw_image_info="{}"), "row 0: width and height of the image are None and None"),
        ("val-0", hub(image_id=None), "row 0: the image id is None"),
        ("val-0", hub(sentences=None), "row 0: no sentences"),
        ("val-0", benchmark(), "row 0: the name does not say whose split it is"),
        ("refcoco_unc_val-0", {"ref_list": [{"a": 1}], "image_info": INFO}, r"a row is not as its table's: KeyError"),
    ],
)
def test_a_bad_table_names_its_place(root: Path, name: str, row: Row, message: str) -> None:
    write(root / f"{name}.parquet", row)
    with pytest.raises(DataError, match=message):
        list(REFCOCO.read(root))


def test_what_is_no_parquet_is_refused(root: Path) -> None:
    (root / "val-0.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"val-0\.parquet: cannot read the parquet file"):
        next(REFCOCO.read(root))


def test_without_pyarrow_the_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "val-0.parquet", pictures())
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"reading parquet files needs the package .*iadr1\[data\]"):
        next(REFCOCO.read(root))
