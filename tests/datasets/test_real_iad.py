from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.datasets.real_iad import SOURCE
from iadr1.errors import DataError
from tests.datasets.label_masks import write_labels

Photo = Callable[..., None]

Entry = dict[str, Any]


def view(name: str, number: int, side: int, *, kind: str = "OK", folder: str = "") -> Entry:
    folder = folder or ("OK" if kind == "OK" else f"NG/{kind}")
    state = "OK" if folder == "OK" else "NG"
    path = f"{folder}/S{number:04}/{name}_{number:04}_{state}_C{side}_20230930"
    mask = None if kind == "OK" else f"{path}_mask.png"
    return {"category": name, "anomaly_class": kind, "image_path": f"{path}.jpg", "mask_path": mask}


def write_json(path: Path, name: str, **splits: list[Entry]) -> None:
    meta = {"prefix": f"{name}/", "normal_class": "OK", "pre_transform": "none"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"meta": meta, **splits}))


AUDIOJACK: dict[str, list[Entry]] = {
    "train": [view("audiojack", 1, side) for side in (1, 2)] + [view("audiojack", 2, 1)],
    # The defect cannot be seen from side 2: its folder is NG, its class OK.
    "test": [
        view("audiojack", 3, 1, kind="AK"),
        view("audiojack", 3, 2, folder="NG/AK"),
        view("audiojack", 4, 3),
    ],
}
USB: dict[str, list[Entry]] = {"train": [view("usb", 1, 1)], "test": [view("usb", 2, 1, kind="QS")]}


@pytest.fixture
def root(tmp_path: Path, photo: Photo) -> Path:
    top = tmp_path / "Real-IAD"
    for name, splits in (("audiojack", AUDIOJACK), ("usb", USB)):
        write_json(top / f"realiad_jsons/realiad_jsons/{name}.json", name, **splits)
        for entry in splits["train"] + splits["test"]:
            folder = top / "realiad_1024" / name
            photo(folder / entry["image_path"])
            if entry["mask_path"]:
                write_labels(folder / entry["mask_path"], {255: (0, 0, 9, 9)})
    return top


def test_the_json_decides_what_is_normal(root: Path) -> None:
    found = list(SOURCE.read(root))
    assert [(s.category, s.split, s.answer, [d.type for d in s.defects]) for s in found] == [
        ("audiojack", "train", "No", []),
        ("audiojack", "train", "No", []),
        ("audiojack", "train", "No", []),
        ("audiojack", "test", "Yes", ["pit"]),
        ("audiojack", "test", "No", []),
        ("audiojack", "test", "No", []),
        ("usb", "train", "No", []),
        ("usb", "test", "Yes", ["missing parts"]),
    ]
    pit = found[3]
    assert pit.id == "realiad_1024/audiojack/NG/AK/S0003/audiojack_0003_NG_C1_20230930.jpg"
    assert pit.defects[0].mask == pit.image.replace(".jpg", "_mask.png")
    assert (pit.defects[0].box, pit.defects[0].location) == ((0, 0, 9, 9), "top left")
    assert "/NG/AK/" in found[4].image


def test_references_are_seen_from_the_same_side(root: Path) -> None:
    found = list(SOURCE.read(root))
    first = "realiad_1024/audiojack/OK/S0001/audiojack_0001_OK_C{}_20230930.jpg"
    second = "realiad_1024/audiojack/OK/S0002/audiojack_0002_OK_C1_20230930.jpg"
    assert [s.references for s in found[:6]] == [
        (second,),
        (),
        (first.format(1),),
        (first.format(1),),
        (first.format(2),),
        (),
    ]


def test_the_root_may_be_one_resolution_with_the_json_beside_it(root: Path, photo: Photo) -> None:
    photo(root / "realiad_256/audiojack/OK/S0001/a.jpg")
    with pytest.raises(DataError, match=r"several resolutions: realiad_1024, realiad_256 \(name the one .*_1024\)"):
        list(SOURCE.read(root))
    found = list(SOURCE.read(root / "realiad_1024"))
    assert (len(found), found[0].id) == (8, "audiojack/OK/S0001/audiojack_0001_OK_C1_20230930.jpg")


def test_json_files_unpacked_flat_are_found(root: Path) -> None:
    (root / "realiad_jsons/realiad_jsons").rename(root / "flat")
    (root / "realiad_jsons").rmdir()
    (root / "flat").rename(root / "realiad_jsons")
    assert len(list(SOURCE.read(root))) == 8


def test_annotations_choose_a_protocol_or_a_category(root: Path) -> None:
    noisy = root / "realiad_jsons/realiad_jsons_fuiad_0.1"
    write_json(noisy / "usb.json", "usb", train=[*USB["test"], *USB["train"]], test=[])
    found = list(SOURCE.read(root, annotations=noisy))
    assert [(s.split, s.answer) for s in found] == [("train", "Yes"), ("train", "No")]
    # A defective image among the training ones is no reference.
    assert [s.references for s in found] == [(found[1].image,), ()]
    assert list(SOURCE.read(root, annotations=noisy / "usb.json")) == found
    with pytest.raises(DataError, match=r"Real-IAD: no JSON of a category"):
        list(SOURCE.read(root, annotations=root))


def test_missing_files_are_counted_skipped_or_kept(root: Path) -> None:
    usb = root / "realiad_1024/usb"
    (usb / USB["test"][0]["mask_path"]).unlink()
    (root / "realiad_1024/audiojack" / AUDIOJACK["test"][2]["image_path"]).unlink()
    with pytest.raises(DataError, match="2 of 10 files are missing: realiad_1024/audiojack/OK/S0004/"):
        list(SOURCE.read(root))
    assert len(list(SOURCE.read(root, missing="skip"))) == 6
    kept = list(SOURCE.read(root, missing="keep"))
    assert [s.missing for s in kept] == [False, False, False, False, False, True, False, False]
    assert [(d.type, d.box) for d in kept[-1].defects] == [("missing parts", None)]


def test_json_files_alone_can_be_kept(tmp_path: Path, root: Path) -> None:
    json_folder = root / "realiad_jsons/realiad_jsons"
    kept = list(SOURCE.read(tmp_path, missing="keep", annotations=json_folder))
    assert (len(kept), all(s.missing for s in kept)) == (8, True)


def changed(**fields: object) -> dict[str, object]:
    return {"train": [USB["train"][0] | fields], "test": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(anomaly_class="XX"), r"usb\.json: train 1: the 'anomaly_class' is 'XX', none of OK, AK, BX,"),
        (changed(image_path=None), r"usb\.json: train 1: not an object with an 'image_path'"),
        (changed(image_path="../../../../x.jpg"), r"is not relative to the root or leaves it"),
        (changed(mask_path=3), r"usb\.json: train 1: 'mask_path' is 3, neither a path nor null"),
        ({"train": [], "test": {}}, r"usb\.json: 'test' is not a list of images"),
        (
            {"train": USB["train"], "test": USB["train"]},
            r"usb\.json: test 1: the image 'realiad_1024/usb/.* named twice",
        ),
        ({"train": [], "test": [], "meta": {"prefix": "usb/"}}, r"usb\.json: no object 'meta' with 'prefix' and"),
        ({"train": [], "test": [], "meta": 3}, r"usb\.json: no object 'meta'"),
    ],
)
def test_a_malformed_json_is_refused(root: Path, content: dict[str, Any], message: str) -> None:
    path = root / "realiad_jsons/realiad_jsons/usb.json"
    path.write_text(json.dumps({"meta": {"prefix": "usb/", "normal_class": "OK"}, **content}))
    with pytest.raises(DataError, match=message):
        list(SOURCE.read(root))


def test_a_json_that_is_a_list_or_empty_is_refused(root: Path) -> None:
    path = root / "realiad_jsons/realiad_jsons/usb.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=r"usb\.json: no object 'meta'"):
        list(SOURCE.read(root, annotations=path))
    write_json(path, "usb", train=[], test=[])
    with pytest.raises(DataError, match="no images in 1 JSON files"):
        list(SOURCE.read(root, annotations=path))


def test_another_layout_is_shown_beside_the_expected_one(root: Path) -> None:
    with pytest.raises(DataError, match=r"not the expected layout; found: NG/, OK/ \(expected realiad_1024/CATEGORY/"):
        list(SOURCE.read(root / "realiad_1024/usb"))
