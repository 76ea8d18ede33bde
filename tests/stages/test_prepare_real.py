"""`iadr1 prepare` on data sets that lie on disk: hashes, absent files, filters, kills, and sets made from sets."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import iadr1
from iadr1 import cli, images, leaks
from iadr1.cli.app import app
from iadr1.config import PrepareConfig
from iadr1.datasets import SOURCES
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.records import Sample, meta_path, read_records, resolve_root
from iadr1.stages.prepare import run

CHECKOUT = Path(__file__).parents[2]
NAMES = (
    *("README.md", "docs/training.md", "docs/data.md"),
    *("iadr1/cli/train.py", "iadr1/recipes/anomalyr1-ground-3b.yaml"),
)
PAGES = [(name, (CHECKOUT / name).read_text(encoding="utf-8")) for name in NAMES]
CATEGORIES = ("bottle", "cable", "wood")


def grey(path: Path, level: int, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", size, level)
    picture.putpixel((level % size[0], level % size[1]), 255 - level)
    picture.save(path)


@pytest.fixture
def mvtec(tmp_path: Path) -> PrepareConfig:
    """Three categories with two normal training images, two normal and four defective test images each."""
    level = 0
    for category in CATEGORIES:
        root = tmp_path / "sets/mvtec" / category
        for name in ("train/good/000", "train/good/001", "test/good/000", "test/good/001"):
            grey(root / f"{name}.png", level := level + 1)
        for kind in ("cut", "dent"):
            for number in ("000", "001"):
                grey(root / f"test/{kind}/{number}.png", level := level + 1)
                mask = Image.new("L", (40, 30), 0)
                mask.paste(255, (5, 5, 15, 12))
                (root / f"ground_truth/{kind}").mkdir(parents=True, exist_ok=True)
                mask.save(root / f"ground_truth/{kind}/{number}_mask.png")
    return PrepareConfig(source="mvtec", root=tmp_path / "sets/mvtec", out=tmp_path / "data/mvtec.jsonl")


def out_of(config: PrepareConfig) -> Path:
    assert config.out is not None
    return config.out


def read(config: PrepareConfig) -> list[Sample]:
    return list(read_records(out_of(config), Sample))


def test_every_sample_has_hash_and_size_of_its_image(mvtec: PrepareConfig) -> None:
    run(mvtec)
    found = read(mvtec)
    assert len(found) == 24
    assert mvtec.root is not None
    for sample in found:
        assert sample.image_sha256 == file_sha256(mvtec.root / sample.image)
        assert sample.image_size == (40, 30)
        assert not sample.missing


def test_a_second_run_looks_only_at_what_changed(mvtec: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    run(mvtec)
    first = out_of(mvtec).read_bytes()
    looked: list[str] = []
    plain, plain_mask = images.hash_and_size, images.open_mask

    def counted(path: Path) -> tuple[str, tuple[int, int]]:
        looked.append(path.parent.name + "/" + path.name)
        return plain(path)

    def counted_mask(path: Path, *, threshold: int = 0) -> object:
        looked.append(path.parent.name + "/" + path.name)
        return plain_mask(path, threshold=threshold)

    monkeypatch.setattr("iadr1.datasets.files.hash_and_size", counted)
    monkeypatch.setattr("iadr1.datasets.files.open_mask", counted_mask)
    run(mvtec)
    assert looked == []
    assert out_of(mvtec).read_bytes() == first
    assert mvtec.root is not None
    grey(mvtec.root / "wood/test/good/001.png", 99)
    run(mvtec)
    assert looked == ["good/001.png"]
    assert out_of(mvtec).read_bytes() != first


def test_absent_images_are_counted_skipped_or_marked(mvtec: PrepareConfig) -> None:
    assert mvtec.root is not None
    mask = mvtec.root / "wood/ground_truth/dent/001_mask.png"
    run(mvtec)
    names = {sample.id for sample in read(mvtec)}
    mask.unlink()
    with pytest.raises(DataError, match=r"1 of \d+ files are missing: wood/ground_truth/dent/001_mask\.png"):
        run(mvtec)
    summary = run(dataclasses.replace(mvtec, missing="skip"))
    assert names - {sample.id for sample in read(mvtec)} == {"wood/test/dent/001.png"}
    assert "1 of" in summary.lines[-1]
    assert "left out" in summary.lines[-1]
    run(dataclasses.replace(mvtec, missing="keep"))
    kept = {sample.id: sample for sample in read(mvtec)}
    assert kept.keys() == names
    assert [defect.box for defect in kept["wood/test/dent/001.png"].defects] == [None]


def test_a_source_that_names_its_images_marks_the_absent(tmp_path: Path) -> None:
    entry = {"Question": "?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}
    index = {
        f"VisA/candle/test/{state}/{number}.JPG": {
            "image_path": f"test/{state}/{number}.JPG", "mask_path": "", "conversation": [entry],
            "similar_templates": [], "random_templates": [],
        }
        for number, state in enumerate(("bad", "good", "bad"))
    }  # fmt: skip
    (tmp_path / "mmad.json").write_text(json.dumps(index), encoding="utf-8")
    grey(tmp_path / "VisA/candle/test/good/1.JPG", 7)
    config = PrepareConfig(source="mmad", root=tmp_path, out=tmp_path / "out.jsonl", missing="keep")
    run(config)
    assert [(sample.missing, sample.image_sha256 is None) for sample in read(config)] == [
        (True, True), (False, False), (True, True),
    ]  # fmt: skip
    run(dataclasses.replace(config, missing="skip"))
    assert [sample.image for sample in read(config)] == ["VisA/candle/test/good/1.JPG"]
    (tmp_path / "VisA/candle/test/good/1.JPG").unlink()
    with pytest.raises(DataError, match=r"no sample is left: 3 of 3 files are missing: .*--missing keep"):
        run(dataclasses.replace(config, missing="skip"))


def test_a_link_that_leads_nowhere_is_a_missing_image(mvtec: PrepareConfig) -> None:
    assert mvtec.root is not None
    (mvtec.root / "wood/test/good/002.png").symlink_to(mvtec.root / "moved/away.png")
    with pytest.raises(DataError, match=r"1 of \d+ files are missing: wood/test/good/002\.png"):
        run(mvtec)
    run(dataclasses.replace(mvtec, missing="keep"))
    assert [sample.image for sample in read(mvtec) if sample.missing] == ["wood/test/good/002.png"]


def test_what_the_system_refuses_to_read_is_no_fault_of_the_output(tmp_path: Path) -> None:
    name = f"VisA/candle/test/good/{'x' * 5000}.JPG"
    question = {"Question": "?", "Answer": "A", "Options": {"A": "Yes.", "B": "No."}, "type": "Anomaly Detection"}
    (tmp_path / "mmad.json").write_text(json.dumps({name: {"conversation": [question]}}), encoding="utf-8")
    config = PrepareConfig(source="mmad", root=tmp_path, out=tmp_path / "out.jsonl", missing="keep")
    with pytest.raises(DataError, match=r"good/x+: cannot read: File name too long"):
        run(config)


def test_splits_and_categories_are_chosen(mvtec: PrepareConfig) -> None:
    run(dataclasses.replace(mvtec, split="train", category="wood, cable"))
    assert Counter((sample.split, sample.category) for sample in read(mvtec)) == {
        ("train", "cable"): 2, ("train", "wood"): 2,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"the set has no split 'nothing' \(it has: test, train\)"):
        run(dataclasses.replace(mvtec, split="nothing"))
    # A misspelt name beside right ones must not just make the set smaller.
    with pytest.raises(DataError, match=r"the set has no category 'cabel' \(it has: bottle, cable, wood\)"):
        run(dataclasses.replace(mvtec, category="wood,cabel"))
    assert {sample.category for sample in read(mvtec)} == {"cable", "wood"}


def refcoco_release(folder: Path, **splits: tuple[str, ...]) -> None:
    """The `refer` release with an expression for each split, by whose splits they are."""
    (folder / "refcoco").mkdir(parents=True)
    grey(folder / "train2014/COCO_train2014_000000000001.jpg", 9)
    image = {"id": 1, "file_name": "COCO_train2014_000000000001.jpg", "width": 40, "height": 30}
    region = {"id": 11, "image_id": 1, "category_id": 1, "bbox": [5, 5, 9, 9], "iscrowd": 0}
    instances = {"images": [image], "annotations": [region], "categories": [{"id": 1, "name": "person"}]}
    (folder / "refcoco/instances.json").write_text(json.dumps(instances), encoding="utf-8")
    for by, names in splits.items():
        refs = [
            {"ref_id": number, "ann_id": 11, "category_id": 1, "image_id": 1, "split": name, "sent_ids": [0],
             "file_name": image["file_name"], "sentences": [{"sent_id": 0, "sent": "her", "raw": "her", "tokens": []}]}
            for number, name in enumerate(names)
        ]  # fmt: skip
        (folder / f"refcoco/refs({by}).p").write_bytes(pickle.dumps(refs, protocol=2))


def refcoco_json(folder: Path) -> None:
    """VLM-R1's files."""
    grey(folder / "train2014/COCO_train2014_000000000001.jpg", 9)
    entry = {"image": "train2014/COCO_train2014_000000000001.jpg", "problem": "Where is her?", "normal_caption": "her",
             "solution": [5, 5, 14, 14], "dataset_name": "refcoco", "category_id": 1,
             "width": 40, "height": 30}  # fmt: skip
    for split in ("train", "val", "testA", "testB"):
        (folder / f"refcoco_{split}.json").write_text(json.dumps([entry]), encoding="utf-8")


def refcoco_parquet(folder: Path) -> None:
    """jxu124's tables."""
    pyarrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    grey(folder / "train2014/COCO_train2014_000000000001.jpg", 9)
    info = {"id": 1, "width": 40, "height": 30, "file_name": "COCO_train2014_000000000001.jpg"}
    row = {"ref_id": 7, "image_id": 1, "category_id": 1, "raw_anns": json.dumps({"bbox": [5, 5, 9, 9]}),
           "sentences": [{"raw": "her", "sent": "her", "sent_id": 3}], "raw_image_info": json.dumps(info)}  # fmt: skip
    (folder / "data").mkdir()
    for split in ("train", "validation", "test", "testB"):
        table = pyarrow.Table.from_pylist([{**row, "split": split}])
        parquet.write_table(table, folder / f"data/{split}-00000-of-00001.parquet")


UNC = ("train", "val", "testA", "testB")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (lambda folder: refcoco_release(folder, unc=UNC), "unc-train"),
        (refcoco_json, "train"),
        (refcoco_parquet, "unc-train"),
    ],
    ids=["release", "vlm-r1", "parquet"],
)
def test_the_grounding_recipe_s_command_takes_no_validation_or_test_data(
    write: Callable[[Path], None], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("DIR"))
    recipe = (Path(iadr1.__file__).parent / "recipes/anomalyr1-ground-3b.yaml").read_text(encoding="utf-8")
    (words,) = re.findall(r"iadr1 (prepare refcoco .*)", recipe)
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 0
    assert {sample.split for sample in read_records(Path("data/refcoco.jsonl"), Sample)} == {name}


def test_the_last_word_of_two_splits_names_neither(tmp_path: Path) -> None:
    refcoco_release(tmp_path / "refer", unc=UNC, google=("train", "val"))
    config = PrepareConfig(source="refcoco", root=tmp_path / "refer", out=tmp_path / "r.jsonl", split="train")
    with pytest.raises(
        DataError, match=r"the split 'train' is each of google-train, unc-train \(--split google-train, "
    ):
        run(config)
    assert not out_of(config).exists()
    run(dataclasses.replace(config, split="unc-train"))
    assert {sample.split for sample in read(config)} == {"unc-train"}


@pytest.mark.parametrize(("file", "text"), PAGES)
def test_every_page_that_prepares_refcoco_for_training_names_the_split(file: str, text: str) -> None:
    commands = re.findall(r"iadr1 prepare refcoco [^`\n]*", re.sub(r'"\s*"', "", text))
    assert commands, file
    assert all("--split train " in command for command in commands), commands
    gpus = re.findall(r"iadr1 ground anomalyr1-ground-3b --nproc (\d+)", re.sub(r'"\s*"', "", text))
    assert set(gpus) <= {"8"}, "VLM-R1's script has 8"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"commercial_only": True}, "CC-BY-NC-SA-4.0. does not permit commercial use"),
        ({"missing": "invent"}, "--missing 'invent' is unknown"),
        ({"annotations": Path("none.json")}, "no file or folder 'none.json'"),
        ({"size": 5, "per_class": "1..2"}, "no use for --size, --per-class"),
        ({"source": "mvtec3d", "annotations": Path("x.json")}, "no use for --annotations"),
        ({"download": True}, "no copy on the hub"),
        ({"out": Path("mvtec.json")}, r"--out 'mvtec\.json' does not end in \.jsonl"),
    ],
)
def test_wrong_usage_is_told(mvtec: PrepareConfig, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(dataclasses.replace(mvtec, **change))  # type: ignore[arg-type]
    assert not out_of(mvtec).exists()


def test_a_kill_between_samples_and_sidecar_leaves_a_pair_the_next_run_accepts(mvtec: PrepareConfig) -> None:
    run(mvtec)
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from iadr1.config import PrepareConfig\n"
        "from iadr1.stages.prepare import output, run\n"
        "plain = output.write_text_atomic\n"
        "def write(path, text):\n"
        "    plain(path, text)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "output.write_text_atomic = write\n"
        f"run(PrepareConfig(source='mvtec', root=Path({str(mvtec.root)!r}), out=Path({str(mvtec.out)!r}), "
        "split='train'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(images.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(read(mvtec)) == 24  # the old file; the sidecar is the new one already
    run(dataclasses.replace(mvtec, split="train"))
    assert len(read(mvtec)) == 6
    out_of(mvtec).write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        run(mvtec)


# --- sets made from sets ----------------------------------------------------------------------------------------


@pytest.fixture
def prepared(mvtec: PrepareConfig) -> Path:
    run(mvtec)
    return out_of(mvtec)


def fewshot(prepared: Path, **changes: object) -> PrepareConfig:
    config = PrepareConfig(source="fewshot", data=(prepared,), out=prepared.with_name("fewshot.jsonl"), size=12)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def test_a_few_shot_set_has_the_counts_asked_for_and_a_leak_manifest(prepared: Path) -> None:
    config = fewshot(prepared, per_class="1..2")
    run(config)
    found = read(config)
    assert len({sample.image for sample in found}) == len(found) == 12
    assert Counter(sample.is_anomalous for sample in found) == {True: 6, False: 6}
    assert {sample.task for sample in found} == {"choice"}
    assert {sample.split for sample in found} == {"train"}
    root = resolve_root(out_of(config))
    assert all((root / sample.image).is_file() for sample in found)
    manifest = leaks.read_manifest(leaks.manifest_path(out_of(config)))
    assert {image.sha256 for image in manifest.images} == {sample.image_sha256 for sample in found}
    meta = json.loads(meta_path(out_of(config)).read_text(encoding="utf-8"))
    assert meta["licence"] == "CC-BY-NC-SA-4.0"
    again = out_of(config).read_bytes()
    run(config)
    assert out_of(config).read_bytes() == again


def test_files_of_different_roots_are_put_together(prepared: Path, tmp_path: Path) -> None:
    photos = tmp_path / "elsewhere/photos"
    for number in range(4):
        grey(photos / f"{'good' if number < 2 else 'chip'}/{number}.png", 200 + number)
    other = PrepareConfig(source="folder", root=photos, out=tmp_path / "data/own.jsonl")
    run(other)
    config = fewshot(prepared, data=(prepared, out_of(other)), size=10, normal_share=0.4)
    run(config)
    found = read(config)
    root = resolve_root(out_of(config))
    for sample in found:
        assert sample.image_sha256 == file_sha256(root / sample.image)
        assert all((root / path).is_file() for path in sample.references)
        assert all((root / defect.mask).is_file() for defect in sample.defects if defect.mask)
    assert {sample.image.split("/")[0] for sample in found} == {"sets", "elsewhere"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_class": "two"}, "is not MIN..MAX"),
        ({"per_class": "3..1"}, "is not MIN..MAX"),
        ({"normal_share": 1.5}, "must be in 0..1"),
        ({"data": ()}, "needs --data"),
        ({"data": (Path("none.jsonl"),)}, "no samples file"),
        ({"out": Path("few.v2")}, r"does not end in \.jsonl"),
        ({"root": Path()}, "no use for --root"),
    ],
)
def test_wrong_usage_of_the_few_shot_choice_is_told(prepared: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(fewshot(prepared, **change))


def test_the_files_that_are_read_are_never_written_to_nor_read_twice(prepared: Path) -> None:
    before = prepared.read_bytes()
    (prepared.parent / "link.jsonl").symlink_to(prepared)
    for change, message in (
        ({"out": prepared}, "is one of the files that are read"),
        ({"data": (prepared, prepared.parent / "link.jsonl")}, "names one file twice"),
    ):
        with pytest.raises(UsageError, match=message):
            run(fewshot(prepared, **change))
    assert prepared.read_bytes() == before


def test_an_id_twice_in_one_file_is_a_fault_and_in_two_files_is_told_apart(prepared: Path) -> None:
    other = prepared.with_name("other.jsonl")
    other.write_bytes(prepared.read_bytes())
    meta_path(other).write_bytes(meta_path(prepared).read_bytes())
    config = PrepareConfig(source="expert-ad", data=(prepared, other), out=prepared.with_name("cot.jsonl"))
    run(config)
    ids = [sample.id for sample in read(config)]
    assert len(set(ids)) == 48
    assert ids[24:] == [f"other:{name}" for name in ids[:24]]
    with other.open("ab") as file:
        file.write(other.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(DataError, match=rf"other\.jsonl:25: the id 'other:{ids[0]}' occurs twice"):
        run(config)


def test_commercial_only_leaves_other_licences_out(prepared: Path) -> None:
    for source in ("fewshot", "expert-ad"):
        config = fewshot(prepared, source=source, size=600, commercial_only=True)
        with pytest.raises(DataError, match="no sample whose licence permits commercial use"):
            run(config)
        assert not out_of(config).exists()


def test_reasoning_is_built_and_marked(prepared: Path) -> None:
    config = PrepareConfig(source="expert-ad", data=(prepared,), out=prepared.with_name("cot.jsonl"))
    run(config)
    found = read(config)
    assert len(found) == 24
    meta = json.loads(meta_path(out_of(config)).read_text(encoding="utf-8"))
    assert (meta["licence"], meta["source"]) == ("CC-BY-NC-SA-4.0", "Expert-AD manner, templated from MVTec AD")
    assert {sample.reasoning_source for sample in found} == {"template"}
    cut = next(sample for sample in found if "/cut/" in sample.image)
    assert cut.reasoning is not None
    assert "cut" in cut.reasoning
    assert len({sample.reasoning for sample in found}) > 6


def test_the_table_describes_every_source() -> None:
    for name, source in SOURCES.items():
        assert source.title
        assert source.tree
        assert source.citation
        assert source.page.startswith("https://") or name in ("folder", "coco", "yolo", "labelme", "csv"), name
        assert set(source.options) <= {"seed", "annotations"}
    permitted = {name for name, source in SOURCES.items() if source.commercial}
    assert permitted == {"visa", "folder", "coco", "yolo", "labelme", "csv"}
    unknown = {name for name, source in SOURCES.items() if source.commercial is None}
    assert unknown == {"dagm", "dtd", "goodsad", "deeppcb", "magnetic-tile", "expert-ad",
                       "refcoco", "refcoco+", "refcocog"}  # fmt: skip


def test_unreadable_photos_and_masks_are_left_out_and_named(tmp_path: Path) -> None:
    root = tmp_path / "pump"
    for name in ("good/001.png", "good/002.png", "good/003.png", "dent/004.png", "dent/005.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), "grey").save(path)
    masks = root / "ground_truth" / "dent"
    masks.mkdir(parents=True)
    Image.new("L", (40, 30), 255).save(masks / "004_mask.png")
    (masks / "005_mask.png").write_bytes(b"")
    (root / "good" / "001.png").write_bytes(b"")
    words = ["prepare", "folder", "--root", str(root), "--out", str(tmp_path / "pump.jsonl")]
    result = CliRunner().invoke(app, words, prog_name="iadr1")
    assert result.exit_code == 1
    samples = list(read_records(tmp_path / "pump.jsonl", Sample))
    assert [sample.id for sample in samples] == ["dent/004.png", "good/002.png", "good/003.png"]
    # The first good photo would be everybody's reference.
    assert "good/001.png" not in {path for sample in samples for path in sample.references}
    assert "error: good/001.png: the file is empty" in result.stderr
    assert "error: dent/005.png: " in result.stderr
    assert "2 files cannot be read; their samples are left out" in result.stderr
    (root / "good" / "001.png").unlink()
    (root / "dent" / "005.png").unlink()
    (masks / "005_mask.png").unlink()
    assert CliRunner().invoke(app, words, prog_name="iadr1").exit_code == 0
