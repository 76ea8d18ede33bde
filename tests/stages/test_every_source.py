"""Every source on a small tree in its own layout: prepared, checked, counted, shown, and prepared again."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from iadr1.config import PrepareConfig
from iadr1.datasets import SOURCES
from iadr1.records import Sample, read_records
from iadr1.stages.inspect import check, stats, view
from iadr1.stages.prepare import run

WH = (60, 48)
PLACE = (6, 30, 18, 42)
WORD = "bottom left"


def photos(root: Path, *names: str, size: tuple[int, int] = WH) -> None:
    """Pictures that all differ, so that none has another one's hash."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(str(root / name).encode()).digest()
        picture = Image.new("RGB", size, (digest[0], digest[1], digest[2]))
        ImageDraw.Draw(picture).text((2, 2), digest.hex()[:12], fill=(0, 0, 0))
        picture.save(root / name)


def masks(root: Path, *names: str, value: int = 255, box: tuple[int, int, int, int] | None = PLACE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((WH[1], WH[0]), dtype=np.uint8)
        if box is not None:
            pixels[box[1] : box[3], box[0] : box[2]] = value
        Image.fromarray(pixels).save(root / name)


def dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def tree(
    root: Path, *, kind: str = "scratch", normal: str = "good", mask: str = "000_mask.png", suffix: str = ".png"
) -> None:
    """Two categories in MVTec AD's manner."""
    for category in ("bottle", "wood"):
        photos(root / category, *(f"train/{normal}/00{number}{suffix}" for number in range(2)))
        photos(root / category, f"test/{normal}/000{suffix}", f"test/{kind}/000{suffix}")
        masks(root / category, f"ground_truth/{kind}/{mask}")


def mmad(root: Path) -> None:
    yes = {"Question": "Is there any defect?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."}}
    entries: dict[str, Any] = {}
    for category, state, answer in (("candle", "bad", "A"), ("candle", "good", "B"), ("pcb1", "bad", "A")):
        name = f"VisA/{category}/test/{state}/000.JPG"
        template = f"VisA/{category}/train/good/0001.JPG"
        photos(root, name, template)
        entries[name] = {
            "mask_path": f"ground_truth/{state}/000.png",
            "conversation": [{**yes, "Answer": answer, "type": "Anomaly Detection"}],
            "random_templates": [template],
            "similar_templates": [template],
        }
        if state == "bad":
            masks(root, f"VisA/{category}/ground_truth/bad/000.png", value=1)
    dump(root / "mmad.json", entries)


def mvtec3d(root: Path) -> None:
    for category, kinds in (("bagel", ("hole", "crack")), ("tire", ("cut",))):
        photos(root / category, "train/good/rgb/000.png", "test/good/rgb/000.png")
        for kind in kinds:
            photos(root / category, f"test/{kind}/rgb/000.png")
            masks(root / category, f"test/{kind}/gt/000.png")


def dagm(root: Path) -> None:
    for number in (1, 2):
        for half in ("Train", "Test"):
            folder = root / f"Class{number}" / half
            photos(folder, "0001.PNG", "0002.PNG")
            masks(folder, "Label/0002_label.PNG")
            dump(folder / "Label/Labels.txt", "1\r\n1\t0\t0001.PNG\t0\t0\r\n2\t1\t0002.PNG\t0\t0002_label.PNG\r\n")


def sdd(root: Path) -> None:
    for name in ("kos01/Part0", "kos01/Part1", "kos02/Part0"):
        photos(root, f"{name}.jpg")
        masks(root, f"{name}_label.bmp", value=1, box=PLACE if name == "kos01/Part1" else None)


def visa(root: Path) -> None:
    rows = ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        good, bad, mask = f"{name}/Data/Images/Normal/0.JPG", f"{name}/Data/Images/Anomaly/0.JPG", f"{name}/m/0.png"
        photos(root, good, bad)
        masks(root, mask, value=3)
        rows += [f"{name},train,normal,{good},", f"{name},test,anomaly,{bad},{mask}"]
    dump(root / "split_csv/1cls.csv", "\n".join(rows))


def ds_mvtec(root: Path) -> None:
    for category, kind in (("bottle", "broken_large"), ("pill", "crack")):
        photos(root / category, "image/good/000.png", f"image/{kind}/000.png")
        masks(root / category, f"mask/{kind}/000_mask.png", value=1)


def mvtec_loco(root: Path) -> None:
    for category in ("pushpins", "screw_bag"):
        photos(root / category, "train/good/000.png", "test/good/000.png", "test/logical_anomalies/000.png")
        masks(root / category, "ground_truth/logical_anomalies/000/000.png", value=254)
        dump(root / category / "defects_config.json", [{"defect_name": "missing_part", "pixel_value": 254}])


def real_iad(root: Path) -> None:
    for name in ("usb", "plug"):
        good: dict[str, Any] = {"category": name, "anomaly_class": "OK", "image_path": "OK/x_C1_1.jpg"}
        bad = {**good, "anomaly_class": "HS", "image_path": "NG/x_C1_2.jpg", "mask_path": "NG/x_C1_2_mask.png"}
        photos(root / "realiad_256" / name, good["image_path"], bad["image_path"])
        masks(root / "realiad_256" / name, bad["mask_path"])
        meta = {"prefix": f"{name}/", "normal_class": "OK"}
        dump(
            root / f"realiad_jsons/realiad_jsons/{name}.json",
            {"meta": meta, "train": [{**good, "mask_path": None}], "test": [bad]},
        )


def deeppcb(root: Path) -> None:
    for number in ("00041000", "00041001"):
        pair = (f"PCBData/group00041/00041/{number}_{part}.jpg" for part in ("test", "temp"))
        photos(root, *pair, size=(640, 640))
        dump(root / f"PCBData/group00041/00041_not/{number}.txt", "10 20 60 70 1\n500 500 540 520 6\n")
    lines = [f"group00041/00041/{n}.jpg group00041/00041_not/{n}.txt" for n in ("00041000", "00041001")]
    dump(root / "PCBData/trainval.txt", lines[0])
    dump(root / "PCBData/test.txt", lines[1])


def magnetic_tile(root: Path) -> None:
    for number, folder in enumerate(("MT_Free", "MT_Break", "MT_Crack")):
        photos(root, f"{folder}/Imgs/exp1_num_{number}000.jpg")
        masks(root, f"{folder}/Imgs/exp1_num_{number}000.png", box=PLACE if number else None)


def refcoco(root: Path) -> None:
    """The release, all three sets beside each other."""
    photos(root, *(f"images/train2014/COCO_train2014_00000000000{number}.jpg" for number in (1, 2)))
    instances = {
        "images": [{"id": number, "width": WH[0], "height": WH[1]} for number in (1, 2)],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [6.5, 30, 12, 12]}],
        "categories": [{"id": 3, "name": "person"}],
    }
    sentences = [{"sent_id": 1, "sent": "left one"}, {"sent_id": 2, "sent": "lowest"}]
    reference = {"ref_id": 1, "ann_id": 7, "image_id": 1, "split": "testA", "sentences": sentences}
    for name, by in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        dump(root / name / "instances.json", instances)
        (root / name / f"refs({by}).p").write_bytes(pickle.dumps([reference], 2))


def expert_ad(root: Path) -> None:
    photos(root, "a/1.png", "b/2.png")
    asked = "Are there any defects?"
    yes = f"<think>Look.</think><location>{WORD}</location><type>dent</type><answer>Yes</answer>"
    entries = [
        {"id": "1", "image": "a/1.png", "problem": asked, "solution": yes},
        {"id": "2", "image": ["b/2.png", "a/1.png"], "problem": asked, "solution": yes},
        {"id": "3", "image": "b/2.png", "problem": asked, "solution": "<answer>No</answer>"},
    ]
    dump(root / "train.json", entries)


def folder(root: Path) -> None:
    for product in ("pump", "valve"):
        photos(root / product, "good/1.JPG", "OK/2.jpg" if product == "pump" else "good/2.jpg", "dent/3.png")
        masks(root / product, "ground_truth/dent/3.png")


def coco(root: Path) -> None:
    photos(root, "images/1.jpg", "images/2.jpg", "images/3.jpg")
    drawn = [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [6, 30, 12, 12]}]
    drawn.append({"id": 2, "image_id": 3, "category_id": 2, "segmentation": [[1, 1, 20, 1, 20, 20]]})
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 48} for number in (1, 2, 3)]
    kinds = [{"id": 1, "name": "dent"}, {"id": 2, "name": "scratch"}]
    dump(root / "annotations.json", {"images": images, "annotations": drawn, "categories": kinds})


def yolo(root: Path) -> None:
    photos(root, "images/train/1.jpg", "images/val/2.jpg", "images/train/3.jpg")
    dump(root / "data.yaml", "names: [dent, scratch]\ntrain: images/train\nval: images/val\n")
    dump(root / "labels/train/1.txt", "0 0.2 0.75 0.2 0.25\n1 0.1 0.1 0.5 0.1 0.5 0.4\n")
    dump(root / "labels/val/2.txt", "")


def labelme(root: Path) -> None:
    photos(root, "1.jpg", "good/2.jpg", "3.jpg")
    ring = {"label": "dent", "points": [[6, 30], [18, 30], [18, 42]], "shape_type": "polygon"}
    box = {"label": "scratch", "points": [[6, 30], [18, 42]], "shape_type": "rectangle"}
    for name, shape in (("1", ring), ("3", box)):
        dump(root / f"{name}.json", {"imagePath": f"{name}.jpg", "imageWidth": 60, "imageHeight": 48,
                                     "shapes": [shape]})  # fmt: skip


def table(root: Path) -> None:
    photos(root, "a/1.png", "a/2.png", "b/3.png")
    masks(root, "m/2.png", "m/3.png")
    dump(root / "own.csv", "image;label;category;mask\na/1.png;good;a;\na/2.png;dent;a;m/2.png\nb/3.png;ng;b;m/3.png\n")


TREES: Mapping[str, Callable[[Path], None]] = {
    "mmad": mmad,
    "mvtec3d": mvtec3d,
    "dagm": dagm,
    "dtd": lambda root: tree(root, kind="bad"),
    "mpdd": tree,
    "sdd": sdd,
    "mvtec": tree,
    "visa": visa,
    "ds-mvtec": ds_mvtec,
    "mvtec-loco": mvtec_loco,
    "goodsad": lambda root: tree(root, mask="000.png", suffix=".jpg"),
    "btad": lambda root: tree(root, kind="ko", normal="ok", mask="000.png", suffix=".bmp"),
    "real-iad": real_iad,
    "deeppcb": deeppcb,
    "magnetic-tile": magnetic_tile,
    "refcoco": refcoco,
    "refcoco+": refcoco,
    "refcocog": refcoco,
    "expert-ad": expert_ad,
    "folder": folder,
    "coco": coco,
    "yolo": yolo,
    "labelme": labelme,
    "csv": table,
}
LEFT_OPEN = {"licence"}
"""Warnings of `data check` that a sound set may give: where nobody states a licence, the check says so."""


def test_there_is_a_tree_for_every_source() -> None:
    assert list(TREES) == list(SOURCES)


def findings(path: Path) -> Sequence[str]:
    kinds = check.run(path, hashes=True).kinds
    return [f"{kind.name}: {found.message}: {found.value}" for kind in kinds for found in kind.first
            if kind.name not in LEFT_OPEN]  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_what_prepare_writes_is_without_fault(name: str, tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "data/s.jsonl"
    TREES[name](root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    config = PrepareConfig(source=name, root=root, out=out)
    run(config)
    assert findings(out) == []
    found = list(read_records(out, Sample))
    assert all(sample.image_sha256 and sample.image_size and not sample.missing for sample in found)
    assert {sample.licence for sample in found} == {SOURCES[name].licence}
    assert all(sample.source for sample in found)
    assert len({sample.image for sample in found}) > 1 or name.startswith("refcoco")
    if name not in ("expert-ad", "deeppcb") and not name.startswith("refcoco"):
        assert {sample.is_anomalous for sample in found} == {True, False}
        boxes = [defect.box for sample in found for defect in sample.defects]
        assert boxes
        assert None not in boxes
    assert stats.run(out).records == len(found)
    assert view.run(out, out=tmp_path / "s.html").shown == len(found)
    first = out.read_bytes()
    run(config)
    assert out.read_bytes() == first
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
