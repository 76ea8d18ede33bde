from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadr1.datasets.refcoco import REFCOCO, REFCOCO_PLUS, REFCOCOG
from iadr1.datasets.refcoco.pickles import read_pickle
from iadr1.errors import DataError

Photo = Callable[..., None]
Refs = list[dict[str, Any]]


def ref(number: int, split: str, *sentences: str, **members: Any) -> dict[str, Any]:
    """A reference to annotation 11 (a person in image 1) or, where the number is even, 12 (a truck in image 2)."""
    place = 1 + (number % 2 == 0)
    return {
        "ref_id": number, "ann_id": 10 + place, "category_id": 1, "image_id": place, "split": split,
        "file_name": f"COCO_train2014_00000000000{place}_{number}.jpg", "sent_ids": list(range(len(sentences))),
        "sentences": [{"sent_id": 10 * number + place, "sent": text, "raw": text.upper(), "tokens": text.split()}
                      for place, text in enumerate(sentences)], **members,
    }  # fmt: skip


UNC: Refs = [
    ref(1, "train", "the lady", "woman on the left"),
    ref(2, "testA", "truck"),
    ref(3, "testB", "her"),
    ref(5, "val", "she"),
]
GOOGLE: Refs = [ref(1, "test", "the lady")]
INSTANCES: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "width": 60, "height": 60},
        {"id": 2, "file_name": "COCO_train2014_000000000002.jpg", "width": 60, "height": 50},
    ],
    "annotations": [
        {"id": 11, "image_id": 1, "category_id": 1, "bbox": [10.5, 20, 30.25, 10], "iscrowd": 0,
         "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 12, "image_id": 2, "category_id": 8, "bbox": [40, 40, 30, 30], "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 8, "name": "truck"}],
}  # fmt: skip


def write(home: Path, instances: object = INSTANCES, *, protocol: int = 2, **refs: object) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "instances.json").write_text(json.dumps(instances), encoding="utf-8")
    for by, value in refs.items():
        (home / f"refs({by}).p").write_bytes(pickle.dumps(value, protocol))


@pytest.fixture
def refer(tmp_path: Path, photo: Photo) -> Path:
    """The release's tree with all three sets."""
    root = tmp_path / "refer"
    write(root / "data/refcoco", unc=UNC, google=GOOGLE)
    write(root / "data/refcoco+", unc=[ref(1, "val", "plus")])
    write(root / "data/refcocog", umd=[ref(1, "test", "long sentence")], google=[ref(1, "train", "long sentence")])
    for number in (1, 2):
        photo(root / f"data/images/mscoco/images/train2014/COCO_train2014_00000000000{number}.jpg")
    return root


def test_every_sentence_becomes_a_sample(refer: Path) -> None:
    found = list(REFCOCO.read(refer))
    assert [(s.id, s.split, s.dataset, s.category) for s in found] == [
        ("google/test/1/10", "google-test", "refcoco", "person"),
        ("unc/train/1/10", "unc-train", "refcoco", "person"),
        ("unc/train/1/11", "unc-train", "refcoco", "person"),
        ("unc/testA/2/20", "unc-testA", "refcoco", "truck"),
        ("unc/testB/3/30", "unc-testB", "refcoco", "person"),
        ("unc/val/5/50", "unc-val", "refcoco", "person"),
    ]
    left, truck = found[2], found[3]
    # The suffix of `file_name` is no part of the image's name.
    assert left.image == "data/images/mscoco/images/train2014/COCO_train2014_000000000001.jpg"
    assert left.question.endswith("the region this sentence describes: woman on the left.")
    assert [(d.type, d.box) for d in left.defects] == [("woman on the left", (10.5, 20, 40.75, 30))]
    # Clipped to the 60x50 image.
    assert [(d.box, d.location) for d in truck.defects] == [((40, 40, 60, 50), "bottom right")]
    assert {(s.task, s.is_anomalous, s.answer) for s in found} == {("grounding", None, "")}


def test_each_source_takes_its_own_folder(refer: Path) -> None:
    assert [s.id for s in REFCOCO_PLUS.read(refer)] == ["unc/val/1/10"]
    assert [(s.id, s.split) for s in REFCOCOG.read(refer)] == [
        ("google/train/1/10", "google-train"), ("umd/test/1/10", "umd-test")
    ]  # fmt: skip


@pytest.mark.parametrize("images", ["images/mscoco/images/train2014", "images/train2014", "train2014"])
def test_the_data_folder_may_be_the_root(refer: Path, images: str) -> None:
    if images != "images/mscoco/images/train2014":
        (refer / "data" / images).parent.mkdir(exist_ok=True)
        (refer / "data/images/mscoco/images/train2014").rename(refer / "data" / images)
    assert next(REFCOCO.read(refer / "data")).image == f"{images}/COCO_train2014_000000000001.jpg"


def test_the_set_s_own_folder_may_be_the_root(refer: Path) -> None:
    (refer / "data/images/mscoco/images/train2014").rename(refer / "data/refcoco+/train2014")
    assert [s.id for s in REFCOCO_PLUS.read(refer / "data/refcoco+")] == ["unc/val/1/10"]
    # The file names alone do not tell RefCOCO from RefCOCO+.
    with pytest.raises(DataError, match="not the expected layout"):
        next(REFCOCO.read(refer / "data/refcoco+"))
    with pytest.raises(
        DataError, match=r"found: instances\.json, refs\(unc\)\.p, train2014/ \(expected refcocop_train"
    ):
        next(REFCOCO_PLUS.read((refer / "data/refcoco+").rename(refer / "data/mine")))


def test_images_may_be_absent(refer: Path) -> None:
    (refer / "data/images/mscoco/images/train2014/COCO_train2014_000000000002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 files are missing: .*000000000002\.jpg \(all splits use COCO's"):
        next(REFCOCO.read(refer))
    assert len(list(REFCOCO.read(refer, missing="skip"))) == 5
    kept = list(REFCOCO.read(refer, missing="keep"))
    assert [s.missing for s in kept] == [False, False, False, True, False, False]
    assert kept[3].defects[0].box == (40, 40, 60, 50)


def test_two_forms_at_once_are_ambiguous(refer: Path) -> None:
    (refer / "refcoco_train.json").write_text("[]")
    with pytest.raises(DataError, match="refcoco is there in several forms: refer in data/refcoco/, VLM-R1 REC"):
        next(REFCOCO.read(refer))


def test_an_empty_cleaned_sentence_gives_way_to_the_raw_one(refer: Path) -> None:
    value = ref(1, "val", "x")
    value["sentences"][0].update(sent=" ", raw=" Left? ")
    write(refer / "data/refcoco+", unc=[value])
    assert next(REFCOCO_PLUS.read(refer)).defects[0].type == "Left?"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "not a list of references"),
        ([], "not a list of references"),
        ([5], "reference 0: a reference needs the numbers ref_id, ann_id, image_id and 'split': 5"),
        ([ref(1, "val", "x", ann_id="11")], "reference 0: a reference needs the numbers"),
        ([{**ref(1, "val", "x"), "split": None}], "a reference needs the numbers"),
        ([ref(1, "val", "x", ann_id=99)], r"\(ref_id 1\): instances\.json has no annotation 99"),
        ([ref(1, "val", "x", ann_id=12)], "its annotation is of image 2, not 1"),
        ([ref(1, "val", "x", file_name="COCO_train2014_000000000002_7.jpg")], "is not of image 1"),
        ([ref(1, "val", "x", file_name="../000000000001.jpg")], r"the file name '\.\./000000000001\.jpg' is not COCO_"),
        ([ref(1, "val")], "reference 0: no sentences"),
        ([ref(1, "val", "x", sentences=[{"sent": "x"}])], "a sentence needs 'sent_id' and 'sent'"),
        ([ref(1, "val", "")], "a sentence needs 'sent_id' and 'sent'"),
        ([ref(1, "val", "x"), ref(1, "val", "x")], "the expression unc/val/1/10 is there twice"),
    ],
)
def test_a_bad_reference_names_its_place(refer: Path, value: object, message: str) -> None:
    write(refer / "data/refcoco+", unc=value)
    with pytest.raises(DataError, match=message):
        list(REFCOCO_PLUS.read(refer))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "the lists images, annotations, categories are needed"),
        ({"images": []}, r"instances\.json lacks image 1 or category 1"),
        ({"categories": []}, "lacks image 1 or category 1"),
        ({"categories": [{"id": 1}]}, r"an entry is not as COCO's: KeyError\('name'\)"),
        ({"annotations": [{"id": 11, "image_id": 1, "category_id": 1, "bbox": [1, 2, 0, 4]}]}, "11: the box .* area"),
        ({"annotations": [{"id": 11, "image_id": 1, "category_id": 1, "bbox": [90, 2, 3, 4]}]}, "outside the"),
    ],
)
def test_bad_instances_are_refused(refer: Path, change: dict[str, Any], message: str) -> None:
    write(refer / "data/refcoco+", {**INSTANCES, **change})
    with pytest.raises(DataError, match=message):
        list(REFCOCO_PLUS.read(refer))


def test_broken_instances_name_the_line(refer: Path) -> None:
    (refer / "data/refcoco+/instances.json").write_text('{"images":\n [,]}')
    with pytest.raises(DataError, match=r"instances\.json:2: not JSON: .* in column 3"):
        next(REFCOCO_PLUS.read(refer))
    (refer / "data/refcoco+/instances.json").unlink()
    with pytest.raises(DataError, match=r"instances\.json: cannot read the file"):
        next(REFCOCO_PLUS.read(refer))


class Run:
    """Runs a shell command when it is unpickled by Python's own unpickler."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Evaluate:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1",)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Evaluate(), r"(__builtin__|builtins)\.eval"),
        (OrderedDict(a=1), r"collections\.OrderedDict"),
        (np.float64(1), r"numpy.*scalar"),
        (Path("x"), r"pathlib\.PosixPath"),
        ([ref(1, "val", "x", file_name=Path("x"))], r"pathlib\.PosixPath"),
        (complex(1, 2), r"(__builtin__|builtins)\.complex"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_names_a_class_is_refused_with_its_name(
    tmp_path: Path, value: object, named: str, protocol: int
) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(DataError, match=rf"refs\(unc\)\.p: the pickle wants to load {named}; only plain lists"):
        read_pickle(path)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    path, mark = tmp_path / "refs(unc).p", tmp_path / "was here"
    path.write_bytes(pickle.dumps(Run(f"touch '{mark}'")))
    with pytest.raises(DataError, match=r"wants to load posix\.system"):
        read_pickle(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_values_are_read(tmp_path: Path, protocol: int) -> None:
    value = [{"a": (1, -2.5, 2**70, True, None)}, "Größe", ["x"] * 3]
    (tmp_path / "x.p").write_bytes(pickle.dumps(value, protocol))
    assert read_pickle(tmp_path / "x.p") == value


def test_text_of_python_2_is_read(tmp_path: Path) -> None:
    # cPickle.dumps(['na\\xefve', u'x'], 2) of Python 2.
    (tmp_path / "x.p").write_bytes(b"\x80\x02]q\x01(U\x05na\xefveq\x02X\x01\x00\x00\x00xe.")
    assert read_pickle(tmp_path / "x.p") == ["naïve", "x"]


@pytest.mark.parametrize(
    "data",
    [b"", b"not a pickle", pickle.dumps([1, 2, 3])[:-3], b"\x80\x7f.", b"Pid\n.", b"\x80\x02}]}s.", b"(dp0\nR.",
     b"\x82\x01.", b"]b.", b"h\x05.", b"\x80\x02X\xff\xff\xff\x7fabc."],
)  # fmt: skip
def test_what_is_no_pickle_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.p").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.p: not a readable pickle"):
        read_pickle(tmp_path / "x.p")


def test_values_without_end_are_refused_in_few_words(refer: Path) -> None:
    bomb: list[object] = []
    for _ in range(60):  # written out, 2 to the 60th brackets
        bomb = [bomb, bomb]
    path = refer / "data/refcoco/refs(unc).p"
    for value in (bomb, [bomb], [{**ref(1, "train", "x"), "sentences": bomb}], [{**ref(1, "val", "x"), "split": bomb}]):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(DataError, match=r"refs\(unc\)\.p") as raised:
            next(REFCOCO.read(refer))
        assert len(str(raised.value)) < 400
