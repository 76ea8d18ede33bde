from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from iadr1 import leaks
from iadr1.config import PrepareConfig
from iadr1.datasets.synthetic import CATEGORIES
from iadr1.errors import OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.records import Sample, meta_path, read_records, resolve_root
from iadr1.stages.prepare import run

SMALL = PrepareConfig(fewshot_images=20, eval_images=13, photos=3)
NAMES = ("fewshot", "mmad", "mvtec3d", "grounding", "anomaly")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared")
    run(dataclasses.replace(SMALL, out=out))
    return out


def read(world: Path, name: str) -> list[Sample]:
    return list(read_records(world / f"data/{name}.jsonl", Sample))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the synthetic world ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_s_files_are_there_and_traceable(world: Path, name: str) -> None:
    path = world / f"data/{name}.jsonl"
    root = resolve_root(path)
    found = read(world, name)
    assert len({sample.id for sample in found}) == len(found) > 0
    for sample in found:
        assert sample.image_sha256 == file_sha256(root / sample.image)
        assert (sample.licence, sample.source) == ("CC0-1.0", "iadr1 synthetic world, seed 0")
        assert all((root / other).is_file() for other in sample.references)
        assert all((root / defect.mask).is_file() for defect in sample.defects if defect.mask)
        assert sample.held_out == CATEGORIES[sample.category].held_out
    meta = json.loads(meta_path(path).read_text(encoding="utf-8"))
    assert meta["records"] == len(found)
    assert meta["sha256"] == file_sha256(path)
    assert meta["licence"] == "CC0-1.0"


def test_the_sizes_are_what_was_asked_for(world: Path) -> None:
    images = {name: {sample.image for sample in read(world, name)} for name in NAMES}
    assert {name: len(found) for name, found in images.items()} == {
        "fewshot": 20, "mmad": 13, "mvtec3d": 13, "grounding": 13, "anomaly": 13,
    }  # fmt: skip
    photos = sorted(path.relative_to(world / "images") for path in (world / "images").rglob("*.*"))
    assert len(photos) == 3
    assert photos == sorted(path.relative_to(world / "references") for path in (world / "references").rglob("*.*"))


def test_each_file_is_for_its_task(world: Path) -> None:
    tasks = {name: {sample.task for sample in read(world, name)} for name in NAMES}
    assert tasks == {
        "fewshot": {"choice"}, "mmad": {"choice"}, "mvtec3d": {"choice"}, "grounding": {"grounding"},
        "anomaly": {"anomaly"},
    }  # fmt: skip
    types = {sample.question_type for sample in read(world, "mmad")}
    assert len(types) == 9


def test_the_few_shot_set_is_balanced_and_free_of_held_out_categories(world: Path) -> None:
    chosen = read(world, "fewshot")
    assert Counter(sample.is_anomalous for sample in chosen) == {True: 10, False: 10}
    assert not any(sample.held_out for sample in chosen)
    assert {sample.split for sample in chosen} == {"train"}
    assert all(sample.reasoning for sample in chosen)


@pytest.mark.parametrize(("size", "share", "normal"), [(16, 0.5, 8), (12, 0.25, 3), (9, 0.5, 4)])
def test_a_few_shot_set_of_the_world_has_exactly_the_counts_asked_for(
    world: Path, tmp_path: Path, size: int, share: float, normal: int
) -> None:
    data = tuple(world / f"data/{name}.jsonl" for name in ("fewshot", "mmad", "anomaly"))
    out = tmp_path / "few.jsonl"
    run(PrepareConfig(source="fewshot", data=data, out=out, size=size, normal_share=share, per_class="0..2"))
    found = list(read_records(out, Sample))
    assert len(found) == len({sample.image_sha256 for sample in found}) == size
    assert Counter(sample.is_anomalous for sample in found) == {False: normal, True: size - normal}
    assert not any(CATEGORIES[sample.category].held_out for sample in found)
    states = [(s.dataset, s.category, *sorted({defect.type for defect in s.defects})) for s in found]
    assert max(Counter(states).values()) <= 2
    manifest = leaks.read_manifest(out.with_suffix(".leak.json"))
    assert {image.sha256 for image in manifest.images} == {sample.image_sha256 for sample in found}


def test_training_and_evaluation_share_no_image(world: Path) -> None:
    hashes = {name: {sample.image_sha256 for sample in read(world, name)} for name in NAMES}
    training = hashes.pop("fewshot") | hashes.pop("grounding")
    assert not training & set().union(*hashes.values())
    manifest = leaks.read_manifest(world / "data/fewshot.leak.json")
    assert {image.path: image.sha256 for image in manifest.images} == {
        sample.image: sample.image_sha256 for sample in read(world, "fewshot")
    }


def test_half_of_the_yes_no_samples_are_held_out_and_all_have_exact_boxes(world: Path) -> None:
    found = read(world, "anomaly")
    assert Counter(sample.held_out for sample in found) == {True: 6, False: 7}
    assert all(sample.reasoning for sample in found)
    for sample in found:
        assert bool(sample.defects) == sample.is_anomalous
        for defect in sample.defects:
            assert defect.box is not None
            assert defect.location
            assert defect.type != "combined"
            assert set(defect.attributes) == {"severity", "colour", "size"}


def test_a_second_run_writes_nothing_and_says_so(world: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    summary = run(dataclasses.replace(SMALL, out=world))
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before
    assert summary.written == 0
    assert summary.lines[-1] == "Everything is there already, nothing was written."


def test_the_same_seed_gives_the_same_bytes_in_any_folder(world: Path, tmp_path: Path) -> None:
    run(dataclasses.replace(SMALL, out=tmp_path / "elsewhere"))
    assert files(tmp_path / "elsewhere") == files(world)


def test_another_world_replaces_the_old_one_completely(tmp_path: Path) -> None:
    first = PrepareConfig(fewshot_images=4, eval_images=3, photos=2, out=tmp_path / "a")
    second = PrepareConfig(fewshot_images=3, eval_images=2, photos=1, seed=5, out=tmp_path / "a")
    run(first)
    (tmp_path / "a/images/mine.png").write_bytes(b"mine")
    summary = run(second)
    assert "of an earlier run removed" in summary.lines[-1]
    run(dataclasses.replace(second, out=tmp_path / "b"))
    replaced = files(tmp_path / "a")
    assert replaced.pop("images/mine.png") == b"mine"
    assert replaced == files(tmp_path / "b")


KILLED = """
import os, signal, sys
from pathlib import Path
from iadr1 import leaks
from iadr1.config import PrepareConfig
from iadr1.stages.prepare import run

def progress(stage, done, total):
    if stage == sys.argv[3] and done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

config = PrepareConfig(fewshot_images=4, eval_images=3, photos=2, seed=int(sys.argv[2]), out=Path(sys.argv[1]))
run(config, progress=progress)
"""


@pytest.mark.parametrize(("stage", "before"), [("few-shot images", False), ("MVTec images", True)])
def test_what_a_killed_run_left_is_its_own(tmp_path: Path, stage: str, before: bool) -> None:
    config = PrepareConfig(fewshot_images=4, eval_images=3, photos=2, out=tmp_path / "a")
    if before:
        run(config)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a"), "5", stage]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    summary = run(config)
    assert summary.lines[-1] != "Everything is there already, nothing was written."
    run(dataclasses.replace(config, out=tmp_path / "b"))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_foreign_file_stops_the_run_and_stays(tmp_path: Path) -> None:
    config = PrepareConfig(fewshot_images=2, eval_images=1, photos=0, out=tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mmad.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"data/mmad\.jsonl: the file was not written by"):
        run(config)
    assert (tmp_path / "data/mmad.jsonl").read_text(encoding="utf-8") == "mine"
    (tmp_path / "data/mmad.jsonl").unlink()
    summary = run(config)
    assert summary.unchanged > 5
    assert (tmp_path / "data/mmad.jsonl").is_file()


def test_progress_counts_every_scene(tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    run(
        PrepareConfig(fewshot_images=2, eval_images=1, photos=1, out=tmp_path),
        progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)),
    )
    assert seen["few-shot images"] == [(1, 2), (2, 2)]
    assert len(seen) == 6


def test_out_is_the_current_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(PrepareConfig(fewshot_images=1, eval_images=1, photos=0))
    assert sorted(path.name for path in Path("data").glob("*.jsonl")) == sorted(f"{name}.jsonl" for name in NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "mmda"}, "no source 'mmda' .did you mean 'mmad'."),
        ({"source": "zzzz"}, "no source 'zzzz' .known: synthetic, mmad, .*fewshot"),
        ({"root": Path("x"), "size": 5}, "'synthetic' has no use for --root, --size .it takes --out, --seed"),
        ({"fewshot_images": 0}, "fewshot_images is 0"),
        ({"eval_images": -1}, "eval_images is -1"),
        ({"photos": -1}, "photos is -1"),
        ({"source": "mmad", "out": Path("x.jsonl")}, "the source 'mmad' needs --root"),
        ({"source": "mvtec", "root": Path("x"), "out": None}, "the source 'mvtec' needs --out"),
        ({"source": "mmad", "root": Path(), "photos": 3, "seed": 5}, "'mmad' has no use for --seed, --photos"),
        (
            {"source": "mvtec3d", "root": Path(), "eval_images": 3, "seed": 5},
            "no use for --eval-images .it takes",
        ),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, change: dict[str, object], message: str) -> None:
    config = dataclasses.replace(PrepareConfig(out=tmp_path / "out"), **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        run(config)
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        run(PrepareConfig(out=tmp_path / "out"))


# --- real data sets ---------------------------------------------------------------------------------------------


@pytest.fixture
def mvtec(tmp_path: Path) -> PrepareConfig:
    for category in ("bottle", "wood"):
        for name in ("train/good/000.png", "test/good/000.png", "test/cut/000.png", "ground_truth/cut/000_mask.png"):
            path = tmp_path / "sets/mvtec" / category / name
            path.parent.mkdir(parents=True)
            Image.new("L", (30, 30), 255 if "mask" in name else 90).save(path)
    return PrepareConfig(source="mvtec", root=tmp_path / "sets/mvtec", out=tmp_path / "out/deep/mvtec.jsonl")


def test_a_real_set_becomes_jsonl_with_a_traceable_sidecar(mvtec: PrepareConfig) -> None:
    assert mvtec.out is not None
    summary = run(mvtec)
    found = list(read_records(mvtec.out, Sample))
    assert summary.records == {mvtec.out: 6}
    assert [sample.licence for sample in found] == ["CC-BY-NC-SA-4.0"] * 6
    root = resolve_root(mvtec.out)
    assert all((root / sample.image).is_file() for sample in found)
    meta = json.loads(meta_path(mvtec.out).read_text(encoding="utf-8"))
    assert (meta["root"], meta["source"], meta["records"]) == ("../../sets/mvtec", "MVTec AD", 6)
    assert meta["sha256"] == hashlib.sha256(mvtec.out.read_bytes()).hexdigest()
    assert meta["run"]["config"]["source"] == "mvtec"


def test_an_own_file_is_written_again_and_a_foreign_one_is_not(mvtec: PrepareConfig) -> None:
    assert mvtec.out is not None
    run(mvtec)
    run(mvtec)
    mvtec.out.write_text(mvtec.out.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(OutputError, match="it is left as it is"):
        run(mvtec)
    meta_path(mvtec.out).unlink()
    with pytest.raises(OutputError):
        run(mvtec)


def test_a_broken_mask_is_named_and_the_rest_goes_on(mvtec: PrepareConfig) -> None:
    assert mvtec.out is not None
    assert mvtec.root is not None
    whole = run(mvtec).records[mvtec.out]
    (mvtec.root / "wood/ground_truth/cut/000_mask.png").write_bytes(b"")
    summary = run(mvtec)
    assert [why for why in summary.broken.items() if "000_mask.png" in str(why)], summary.broken
    assert summary.records[mvtec.out] == whole - 1
    assert len(list(read_records(mvtec.out, Sample))) == whole - 1


def test_the_seed_reaches_the_sources_that_draw(world: Path, tmp_path: Path) -> None:
    root = world / "data/synthetic/mvtec_3d"
    made = []
    for seed in (0, 1):
        out = tmp_path / f"{seed}.jsonl"
        run(PrepareConfig(source="mvtec3d", root=root, out=out, seed=seed))
        made.append([sample.options for sample in read_records(out, Sample)])
    assert made[0] != made[1]


def test_a_folder_as_out_is_told(mvtec: PrepareConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        run(dataclasses.replace(mvtec, out=tmp_path))
