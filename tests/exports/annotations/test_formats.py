"""Round trips: what is exported is read again by the format's own library or its rules, and by our own readers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from iadr1 import rle
from iadr1.datasets import coco, labelme, mvtec, yolo
from iadr1.datasets import table as csv_reader
from iadr1.datasets.files import Files
from iadr1.datasets.layout import words
from iadr1.datasets.polygons import fill
from iadr1.errors import DataError
from iadr1.exports.annotations.coco import compressed
from iadr1.exports.annotations.label_studio import setup_path
from iadr1.exports.annotations.mvtec import type_folders
from iadr1.exports.annotations.yolo import label_path
from iadr1.geometry import Box
from iadr1.records import Sample
from tests.exports.annotations.world import (
    BOX,
    HEIGHT,
    ODD_LABEL,
    ODD_NAME,
    SIZE,
    WIDTH,
    Mask,
    Run,
    decided,
    defect,
    make_run,
    record,
    ring_and_island,
    scratch,
    undecided,
)

pytest.importorskip("cv2", reason="OpenCV (extra masks) is not installed")

LABELS = sorted(("scratch", "Kratzer ü", "裂纹", ODD_LABEL))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with masks in the records and, for one label, in files."""
    return make_run(tmp_path, [*decided(), *undecided()], mask_files=lambda label: label.startswith("Kratzer"))


def truth() -> dict[str, list[tuple[str, Box, Mask | None]]]:
    """Photo -> its defects: label, box and mask."""
    return {
        item.image: [
            (
                " ".join(found.label.split()),
                found.box,
                rle.decode(rle.parse(found.mask_rle)) if found.mask_rle else None,
            )
            for found in item.defects
        ]
        for item in decided()
    }


def overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def check_samples(samples: list[Sample], *, masks: bool, prefix: str = "") -> None:
    """That samples of a reader are the truth; where masks were drawn boxes follow from them."""
    found = {item.image.removeprefix(prefix): item for item in samples}
    assert found.keys() == truth().keys()
    for image, expected in truth().items():
        sample = found[image]
        assert sample.is_anomalous is bool(expected)
        assert [item.type for item in sample.defects] == [label for label, _, _ in expected]
        for item, (_, box, mask) in zip(sample.defects, expected, strict=True):
            if masks and mask is not None:
                assert item.mask_rle is not None
                assert overlap(rle.decode(rle.parse(item.mask_rle)), mask) >= 0.98
            else:
                assert item.box == pytest.approx(box, abs=1e-4)


def test_coco_is_loaded_by_pycocotools(run: Run, tmp_path: Path) -> None:
    library = pytest.importorskip("pycocotools.coco", reason="pycocotools (extra eval) is not installed")
    out = tmp_path / "detections.json"
    run.export("coco", out)
    loaded = library.COCO(str(out))
    assert [item["name"] for item in loaded.loadCats(loaded.getCatIds())] == LABELS
    images = {item["file_name"]: item for item in loaded.loadImgs(loaded.getImgIds())}
    assert list(images) == list(truth())
    for name, expected in truth().items():
        image = images[name]
        assert (image["width"], image["height"]) == SIZE
        found = loaded.loadAnns(loaded.getAnnIds(imgIds=[image["id"]]))
        assert [loaded.cats[item["category_id"]]["name"] for item in found] == [label for label, _, _ in expected]
        for item, (_, (x1, y1, x2, y2), mask) in zip(found, expected, strict=True):
            assert item["bbox"] == [x1, y1, x2 - x1, y2 - y1]
            assert item["iscrowd"] == 0
            if mask is None:
                assert (item["segmentation"], item["area"]) == ([], (x2 - x1) * (y2 - y1))
            else:
                assert (loaded.annToMask(item) == mask).all()
                assert item["area"] == mask.sum()
    assert [item["score"] for item in loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))] == [0.9, 0.9]
    assert [images[name]["verdict"] for name in ("a/1.png", "a/ok.png")] == ["anomalous", "normal"]


def test_a_defect_has_its_own_score_or_else_the_photos(tmp_path: Path) -> None:
    own = BOX.model_copy(update={"score": 0.25})
    run = make_run(tmp_path, [record("1.png", "anomalous", own, BOX, score=0.5), record("2.png", "anomalous", BOX)])
    run.export("coco", tmp_path / "d.json")
    found = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))["annotations"]
    assert [item.get("score") for item in found] == [0.25, 0.5, None]


def test_compressed_runs_are_those_of_pycocotools() -> None:
    library = pytest.importorskip("pycocotools.mask", reason="pycocotools (extra eval) is not installed")
    generator = np.random.default_rng(0)
    for side in (1, 3, 40, 300):
        for share in (0.0, 0.02, 0.5, 1.0):
            mask = generator.random((side, side + 1)) < share
            expected = library.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
            assert compressed(rle.encode(mask))["counts"] == expected


def test_coco_comes_back_through_our_reader(run: Run, tmp_path: Path) -> None:
    run.export("coco", tmp_path / "d.json")
    samples = list(coco.scan(Files(run.images, missing="keep"), annotations=tmp_path / "d.json"))
    check_samples(samples, masks=True)
    assert [item.box for sample in samples for item in sample.defects] == [
        box for shapes in truth().values() for _, box, _ in shapes
    ]


@pytest.mark.parametrize(("fmt", "masks"), [("yolo", False), ("yolo-seg", True)])
def test_yolo_comes_back_through_our_reader(run: Run, tmp_path: Path, fmt: str, masks: bool) -> None:
    out = tmp_path / "set"
    run.export(fmt, out, images=run.images)
    check_samples(list(yolo.scan(Files(out))), masks=masks, prefix="images/")
    assert (out / "labels/a/ok.txt").read_bytes() == b""
    config = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert config == {"train": "images", "val": None, "names": dict(enumerate(LABELS))}
    assert (out / "classes.txt").read_text(encoding="utf-8").splitlines() == LABELS
    assert (out / "images/b/1.png").read_bytes() == (run.images / "b/1.png").read_bytes()


def test_yolo_lines_are_a_class_and_fractions(run: Run, tmp_path: Path) -> None:
    run.export("yolo", tmp_path / "boxes")
    assert not (tmp_path / "boxes/images").exists()
    first = (tmp_path / "boxes/labels/b/1.txt").read_text(encoding="utf-8").splitlines()[0].split()
    assert first[0] == str(LABELS.index("裂纹"))
    expected = [11.875 / WIDTH, 17 / HEIGHT, 16.75 / WIDTH, 26 / HEIGHT]
    assert [float(number) for number in first[1:]] == pytest.approx(expected, abs=1e-8)
    run.export("yolo-seg", tmp_path / "polygons")
    lines = (tmp_path / "polygons/labels/b/1.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    corners = np.array(lines[0].split()[1:], dtype=float).reshape(-1, 2) * SIZE
    assert corners == pytest.approx(np.array([(3.5, 4), (20.25, 4), (20.25, 30), (3.5, 30)]), abs=1e-5)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("1.png", "labels/1.txt"),
        ("a/b/1.x.png", "labels/a/b/1.x.txt"),
        ("images/1.png", "images/labels/1.txt"),
        ("images/a/1.png", "images/labels/a/1.txt"),
        ("a/images", "labels/a/images.txt"),
    ],
)
def test_yolo_labels_lie_where_loaders_look(image: str, label: str) -> None:
    assert label_path(image) == label


def test_labelme_comes_back_through_our_reader(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run.export("labelme", out, images=run.images)
    content = json.loads((out / "a/1.json").read_text(encoding="utf-8"))
    groups = [(item["label"], item["group_id"]) for item in content["shapes"]]
    assert groups == [("scratch", None), ("Kratzer ü", 1), ("Kratzer ü", 1)]
    for image, expected in truth().items():
        (sample,) = [item for item in labelme.scan(Files(out)) if item.image == image]
        assert sample.is_anomalous is bool(expected)
        for label, box, mask in expected:
            found = [item for item in sample.defects if item.type == label]
            if mask is None:
                assert [item.box for item in found] == [box]
            else:
                drawn = [rle.decode(rle.parse(item.mask_rle)) for item in found]
                assert overlap(np.logical_or.reduce(drawn), mask) >= 0.98
                assert {item.attributes["description"][:6] for item in found} == {"score "}


def test_labelme_has_what_its_loader_requires(run: Run, tmp_path: Path) -> None:
    """The keys and types that labelme's `_label_file.py` reads (github wkentaro/labelme, 5.5 to 6)."""
    run.export("labelme", tmp_path / "set")
    for image, expected in truth().items():
        content = json.loads((tmp_path / "set" / image).with_suffix(".json").read_text(encoding="utf-8"))
        assert content["imagePath"] == Path(image).name
        assert content["imageData"] is None
        assert (content["imageWidth"], content["imageHeight"]) == SIZE
        assert content["flags"] == {"anomalous" if expected else "normal": True}
        assert isinstance(content["version"], str)
        assert {item["label"] for item in content["shapes"]} == {label for label, _, _ in expected}
        for item in content["shapes"]:
            assert all(len(point) == 2 and all(type(x) is float for x in point) for point in item["points"])
            assert len(item["points"]) == 2 if item["shape_type"] == "rectangle" else len(item["points"]) >= 3
            assert item["flags"] == {}
            assert isinstance(item["description"], str)
            assert item["group_id"] is None or type(item["group_id"]) is int
            assert item["mask"] is None


def test_cvat_is_what_its_importer_reads(run: Run, tmp_path: Path) -> None:
    """The elements and attributes that `load_anno` of CVAT's format "CVAT 1.1" takes (github cvat-ai/cvat)."""
    out = tmp_path / "d.xml"
    summary = run.export("cvat", out)
    assert summary.lines == (f"the task in CVAT needs the labels: {', '.join(LABELS)}",)
    root = ElementTree.parse(out).getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert root.findtext("meta/task/mode") == "annotation"
    assert root.findtext("meta/task/size") == str(len(truth()))
    assert [item.text for item in root.findall("meta/task/labels/label/name")] == LABELS
    images = root.findall("image")
    assert [item.attrib["id"] for item in images] == ["0", "1", "2", "3"]
    assert [item.attrib["name"] for item in images] == list(truth())
    groups: dict[str, set[str]] = {}
    for image, expected in zip(images, truth().values(), strict=True):
        assert (int(image.attrib["width"]), int(image.attrib["height"])) == SIZE
        for label, box, mask in expected:
            elements = [item for item in image if item.attrib["label"] == label]
            assert {(item.attrib["occluded"], item.attrib["z_order"]) for item in elements} == {("0", "0")}
            if mask is None:
                (item,) = elements
                assert item.tag == "box"
                assert tuple(float(item.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")) == box
            else:
                assert {item.tag for item in elements} == {"polygon"}
                rings = [[[float(x) for x in p.split(",")] for p in e.attrib["points"].split(";")] for e in elements]
                drawn = [rle.decode(fill([np.array(ring)], SIZE)) for ring in rings]
                assert overlap(np.logical_or.reduce(drawn), mask) >= 0.98
                assert {item.findtext("attribute[@name='score']") for item in elements} <= {"0.9000", "0.7500"}
                groups.setdefault(label, set()).update(item.attrib.get("group_id", "") for item in elements)
    assert groups == {"scratch": {""}, "Kratzer ü": {"1"}}


def test_cvat_groups_differ_in_a_file_and_odd_photos_are_tagged(tmp_path: Path) -> None:
    double = defect("x", ring_and_island())
    records = [record("1.png", "anomalous", double, double), record("2.png", "anomalous", double), record("3.png")]
    run = make_run(tmp_path, records)
    assert "labels: x, anomalous" in run.export("cvat", tmp_path / "d.xml").lines[0]
    root = ElementTree.parse(tmp_path / "d.xml").getroot()
    assert [item.attrib["group_id"] for item in root.iter("polygon")] == ["1", "1", "2", "2", "3", "3"]
    assert [item.attrib["label"] for item in root.iter("tag")] == ["anomalous"]
    assert [item.findtext("name") for item in root.iter("label")] == ["x", "anomalous"]


def test_a_name_that_xml_cannot_hold_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "normal"), record("bell\x07.png", "normal")])
    with pytest.raises(DataError, match=r"detections.jsonl:2: the name 'bell\\x07.png' cannot stand in XML"):
        run.export("cvat", tmp_path / "d.xml")
    assert not (tmp_path / "d.xml").exists()


def test_label_studio_tasks_fit_their_setup(run: Run, tmp_path: Path) -> None:
    """The keys that labelstud.io/guide/predictions asks for, and names and labels as the setup has them."""
    out = tmp_path / "tasks.json"
    run.export("label-studio", out)
    setup = ElementTree.parse(setup_path(out)).getroot()
    controls = {
        item.attrib["name"]: [child.attrib["value"] for child in item] for item in setup if "toName" in item.attrib
    }
    assert controls == {"verdict": ["anomalous", "normal", "undecided"], "box": LABELS, "polygon": LABELS}
    tasks = json.loads(out.read_text(encoding="utf-8"))
    prefix = "/data/local-files/?d="
    assert [unquote(task["data"]["image"].removeprefix(prefix)) for task in tasks] == list(truth())
    assert tasks[3]["data"]["image"] == prefix + "a/we%22ird%20%26%20%3Cname%3E%20%C3%BC.png"
    for task, expected in zip(tasks, truth().values(), strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "tiny"
        verdict, *regions = prediction["result"]
        assert verdict["value"] == {"choices": ["anomalous" if expected else "normal"]}
        assert len({item["id"] for item in prediction["result"]}) == len(prediction["result"])
        for item in regions:
            assert item["to_name"] == "image"
            assert item["value"][item["type"]][0] in controls[item["from_name"]]
            assert (item["original_width"], item["original_height"], item["image_rotation"]) == (*SIZE, 0)
        for label, box, mask in expected:
            found = [item for item in regions if item["value"][item["type"]] == [label]]
            check_regions(found, box, mask)
    assert [task["predictions"][0].get("score") for task in tasks] == [0.9, 0.75, 0.1, None]
    assert [item.get("score") for item in tasks[1]["predictions"][0]["result"][1:]] == [0.75, 0.75]


def check_regions(found: list[dict[str, Any]], box: Box, mask: Mask | None) -> None:
    """That the regions of a defect are its box or mask, in per cent."""
    if mask is None:
        (value,) = [item["value"] for item in found]
        corner = value["x"] * WIDTH / 100, value["y"] * HEIGHT / 100
        far = corner[0] + value["width"] * WIDTH / 100, corner[1] + value["height"] * HEIGHT / 100
        assert (*corner, *far) == pytest.approx(box)
        assert value["rotation"] == 0
        return
    rings = [np.array(item["value"]["points"]) * SIZE / 100 for item in found]
    drawn = [rle.decode(fill([ring], SIZE)) for ring in rings]
    assert overlap(np.logical_or.reduce(drawn), mask) >= 0.98
    assert all(item["value"]["closed"] is True for item in found)


def test_csv_has_a_row_for_every_defect_and_every_other_photo(run: Run, tmp_path: Path) -> None:
    run.export("csv", tmp_path / "d.csv")
    with (tmp_path / "d.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["image"], row["verdict"], row["label_index"], row["type"]) for row in rows]
    assert found == [
        ("a/1.png", "anomalous", "1", "scratch"),
        ("a/1.png", "anomalous", "1", "Kratzer ü"),
        ("b/1.png", "anomalous", "1", "裂纹"),
        ("b/1.png", "anomalous", "1", "scratch"),
        ("a/ok.png", "normal", "0", ""),
        (ODD_NAME, "anomalous", "1", ODD_LABEL),
        ("a/maybe.png", "undecided", "", ""),
        ("broken.png", "undecided", "", ""),
    ]
    assert [row["outline"] for row in rows[:2]] == ["", "masks/1-1.png"]
    assert rows[1]["area_px"] == str(ring_and_island().sum())
    assert rows[7]["error"] == "broken.png: not an image"


def test_csv_comes_back_through_our_reader(run: Run, tmp_path: Path) -> None:
    """What is decided does; an undecided photo is refused there, not taken for normal."""
    decided_only = make_run(tmp_path / "decided", decided())
    decided_only.export("csv", tmp_path / "decided.csv")
    samples = list(csv_reader.scan(Files(decided_only.images), annotations=tmp_path / "decided.csv"))
    check_samples(samples, masks=False)
    run.export("csv", tmp_path / "all.csv")
    with pytest.raises(DataError, match=r"all.csv:8: no label"):
        list(csv_reader.scan(Files(run.images, missing="keep"), annotations=tmp_path / "all.csv"))


def test_csv_holds_no_formula_and_comes_back_as_it_was(tmp_path: Path) -> None:
    images = ["=HYPERLINK(A1).png", "+1.png", "-1.png", "@a.png", "'=a.png", "'a.png", "a=b.png"]
    labels = ["=cmd", "+bump", "-dent", "@x", "'=cmd", "'plain'", "a-b"]
    run = make_run(
        tmp_path,
        [
            record(image, "anomalous", BOX.model_copy(update={"label": label}), parse="=1", model="@m")
            for image, label in zip(images, labels, strict=True)
        ],
    )
    run.export("csv", tmp_path / "d.csv")
    with (tmp_path / "d.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [row["image"] for row in rows] == [*(f"'{image}" for image in images[:5]), *images[5:]]
    assert (rows[0]["x1"], rows[0]["parse"], rows[0]["model"]) == ("3.5", "'=1", "'@m")
    samples = list(csv_reader.scan(Files(run.images), annotations=tmp_path / "d.csv"))
    assert sorted(sample.image for sample in samples) == sorted(images)
    assert {sample.image: sample.defects[0].type for sample in samples} == dict(
        zip(images, map(words, labels), strict=True)
    )


def test_mvtec_comes_back_through_our_reader(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "set/plate"
    summary = run.export("mvtec", out, images=run.images)
    assert summary.photos == {"anomalous": 3, "normal": 1}
    odd = type_folders((ODD_LABEL,))[ODD_LABEL]
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert files == sorted(
        [
            "test/combined/000_a_1.png", "ground_truth/combined/000_a_1_mask.png",
            "test/combined/001_b_1.png", "ground_truth/combined/001_b_1_mask.png",
            "test/good/002_a_ok.png",
            f"test/{odd}/003_a_we_ird & _name_ ü.png", f"ground_truth/{odd}/003_a_we_ird & _name_ ü_mask.png",
        ]
    )  # fmt: skip
    samples = {item.image: item for item in mvtec.scan(Files(tmp_path / "set"))}
    assert {item.category for item in samples.values()} == {"plate"}
    assert [item.is_anomalous for name, item in samples.items() if "/good/" in name] == [False]
    with Image.open(out / "ground_truth/combined/000_a_1_mask.png") as image:
        assert (np.asarray(image) == np.where(scratch() | ring_and_island(), 255, 0)).all()
    with Image.open(out / "ground_truth/combined/001_b_1_mask.png") as image:
        expected = scratch()
        expected[4:30, 3:21] = True  # every pixel that the box 3.5, 4, 20.25, 30 touches
        assert (np.asarray(image) == np.where(expected, 255, 0)).all()


def test_mvtec_types_are_folders_of_their_own() -> None:
    labels = ("Good", "a/b", "a:b", "combined", "crack", "é" * 300, "..")
    found = type_folders(labels)
    assert found["crack"] == "crack"
    assert len({name.casefold() for name in found.values()}) == len(labels)
    assert not {"good", "ok", "normal", "combined"} & {name.casefold() for name in found.values()}
    assert all(len(name.encode()) <= 130 and "/" not in name and name[0] != "." for name in found.values())


def test_one_defect_type_is_a_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "anomalous", BOX, BOX.model_copy(update={"box": (1, 1, 2, 2)}))])
    run.export("mvtec", tmp_path / "plate", images=run.images)
    assert (tmp_path / "plate/test/裂纹/000_1.png").is_file()
    assert (tmp_path / "plate/ground_truth/裂纹/000_1_mask.png").is_file()
