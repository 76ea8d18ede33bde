"""Leak manifests: what is written down of a training set, and which evaluation images are found in it."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from iadr1 import leaks
from iadr1.errors import DataError, ImageError, UsageError
from iadr1.images import file_sha256, open_image
from iadr1.records import Sample

DATA = Path(__file__).parents[2] / "shared/data"


def picture(seed: int) -> Image.Image:
    """Soft blobs: the pictures of two seeds have hashes far apart, and a copy of one a hash close to it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8)
    return Image.fromarray(coarse).resize((240, 180), Image.Resampling.BICUBIC).convert("RGB")


def save(root: Path, name: str, image: Image.Image | int) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture(image) if isinstance(image, int) else image).save(path)


def sample(name: str, **fields: object) -> Sample:
    given = {
        "id": name, "dataset": "X", "category": "bolt", "split": "train", "image": name, "task": "anomaly",
        "question": "?", "answer": "No", "question_type": "Anomaly Detection", "is_anomalous": False, **fields,
    }  # fmt: skip
    return Sample.model_validate(given)


def manifest_of(root: Path, *names: str) -> leaks.LeakManifest:
    return leaks.build_manifest([sample(name) for name in names], root)


# --- the manifest -----------------------------------------------------------------------------------------------


def test_a_manifest_names_every_image_once_in_any_order(tmp_path: Path) -> None:
    for seed, name in enumerate(("b.png", "a.png", "deep/c.jpg")):
        save(tmp_path, name, seed)
    samples = [
        sample("a.png#0", image="a.png", category="nut", dataset="Y"),
        sample("a.png#1", image="a.png", category="nut", dataset="Y"),
        sample("b.png"),
        sample("deep/c.jpg"),
    ]
    manifest = leaks.build_manifest(samples, tmp_path)
    assert [image.path for image in manifest.images] == ["a.png", "b.png", "deep/c.jpg"]
    assert manifest.categories == ("bolt", "nut")
    first = manifest.images[0]
    assert (first.dataset, first.category, first.sha256) == ("Y", "nut", file_sha256(tmp_path / "a.png"))
    assert first.phash == leaks.perceptual_hash(picture(1))
    assert re.fullmatch("[0-9a-f]{16}", first.phash or "")
    again = leaks.build_manifest(random.Random(1).sample(samples, 4), tmp_path)
    assert again.to_json() == manifest.to_json()


def test_an_image_of_two_categories_stands_under_the_first_and_trains_both(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 0)
    samples = [sample(str(n), image="a.png", category=name) for n, name in enumerate(("person", "car", "dog"))]
    for order in (samples, samples[::-1]):
        manifest = leaks.build_manifest(order, tmp_path)
        assert [image.category for image in manifest.images] == ["car"]
        assert manifest.categories == ("car", "dog", "person")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    save(tmp_path, "grün.png", 0)
    manifest = manifest_of(tmp_path, "grün.png")
    path = leaks.manifest_path(tmp_path / "data/fewshot.jsonl")
    assert path == tmp_path / "data/fewshot.leak.json"
    leaks.write(path, manifest)
    assert leaks.read_manifest(path) == manifest
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 1


def test_references_count_as_far_as_they_are_shown(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "r.png", "s.png")):
        save(tmp_path, name, seed)
    samples = [sample("a.png", references=("r.png", "s.png"))]
    assert len(leaks.build_manifest(samples, tmp_path).images) == 1
    shown = leaks.build_manifest(samples, tmp_path, shots=1).images
    assert [(image.path, image.category) for image in shown] == [("a.png", "bolt"), ("r.png", "bolt")]


def test_an_image_that_is_gone_or_changed_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.png"):
        manifest_of(tmp_path, "a.png")
    save(tmp_path, "a.png", 0)
    with pytest.raises(DataError, match=r"a\.png: the image has changed since the sample 'a\.png' was made"):
        leaks.build_manifest([sample("a.png", image_sha256="0" * 64)], tmp_path)
    assert leaks.build_manifest([sample("a.png", image_sha256=file_sha256(tmp_path / "a.png"))], tmp_path).images


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a leak manifest: file"),
        ('{"images": {"a.png": "00"}}', "not a leak manifest: categories: Field required"),
        ('{"version": 2, "categories": [], "images": []}', r"version: .*\(got 2\)"),
        (
            '{"categories": [], "images": [{"path": "../a", "dataset": "", "category": "", "sha256": "0"}]}',
            r"images\.0\.path: .*leaves it",
        ),
    ],
)
def test_what_is_no_manifest_is_told(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.leak.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"x\.leak\.json: .*{message}.*'iadr1 prepare fewshot' writes one"):
        leaks.read_manifest(path)
    with pytest.raises(DataError, match=r"y\.json: cannot read"):
        leaks.read_manifest(tmp_path / "y.json")


def test_a_model_trained_twice_has_seen_both_sets(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        save(tmp_path, name, seed)
    first = manifest_of(tmp_path, "a.png", "b.png")
    second = leaks.build_manifest([sample("b.png", category="nut"), sample("c.png", category="nut")], tmp_path)
    merged = leaks.merge([first, second])
    assert [image.path for image in merged.images] == ["a.png", "b.png", "c.png"]
    assert merged.categories == ("bolt", "nut")
    assert leaks.merge([merged, second]) == merged


# --- where it is found ------------------------------------------------------------------------------------------


def run_folder(folder: Path, entry: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"command": "train", leaks.RUN_KEY: entry}), encoding="utf-8")


def test_a_run_s_folder_leads_to_its_manifest(tmp_path: Path) -> None:
    manifest = leaks.LeakManifest(categories=("bolt",), images=())
    run_folder(tmp_path / "run", leaks.write_for_run(tmp_path / "run", manifest))
    (tmp_path / "run/model").mkdir()
    expected = tmp_path / "run/leak.json"
    assert leaks.find_manifest(tmp_path / "run") == expected
    assert leaks.find_manifest(tmp_path / "run/model") == expected
    assert leaks.find_manifest(expected) == expected
    leaks.write(tmp_path / "run/model/leak.json", manifest)
    assert leaks.find_manifest(tmp_path / "run/model") == tmp_path / "run/model/leak.json"
    assert leaks.find_manifest(tmp_path) is None
    with pytest.raises(UsageError, match="no file or folder"):
        leaks.find_manifest(tmp_path / "nowhere")


def test_a_manifest_that_was_named_must_be_there_unchanged(tmp_path: Path) -> None:
    model = tmp_path / "run/model"
    entry = leaks.write_for_run(tmp_path / "run", leaks.LeakManifest(categories=("bolt",), images=()))
    (tmp_path / "run/leak.json").rename(tmp_path / "run/set.json")
    run_folder(tmp_path / "run", {**entry, "file": "set.json"})
    model.mkdir()
    assert leaks.find_manifest(model) == leaks.find_manifest(tmp_path / "run") == tmp_path / "run/set.json"
    leaks.write(tmp_path / "run/set.json", leaks.LeakManifest(categories=(), images=()))
    with pytest.raises(DataError, match=r"set\.json: the leak manifest has changed since the run wrote it.*--leaks"):
        leaks.find_manifest(model)
    (tmp_path / "run/set.json").unlink()
    with pytest.raises(DataError, match=r"run\.json: its leak manifest 'set\.json' is missing"):
        leaks.find_manifest(model)
    run_folder(tmp_path / "run", "leak.json")
    with pytest.raises(DataError, match=r"run\.json: no run\.json with a usable 'leak_manifest'"):
        leaks.find_manifest(model)
    (tmp_path / "run/run.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="usable"):
        leaks.find_manifest(model)


# --- what is found ----------------------------------------------------------------------------------------------


def test_each_image_is_a_trained_one_or_held_out_in_one_of_two_ways(tmp_path: Path) -> None:
    train, test = tmp_path / "train", tmp_path / "test"
    for seed in range(3):
        save(train, f"{seed}.png", seed)
    manifest = manifest_of(train, "0.png", "1.png", "2.png")
    (test / "x").mkdir(parents=True)
    (test / "x/same.png").write_bytes((train / "0.png").read_bytes())
    save(test, "copy.bmp", open_image(train / "1.png"))
    save(test, "other.png", 17)
    save(test, "nut.png", 18)
    samples = [
        sample("x/same.png"), sample("copy.bmp"), sample("other.png"), sample("nut.png", category="nut"),
        sample("copy.bmp#2", image="copy.bmp", category="nut"),
    ]  # fmt: skip
    report = leaks.compare(manifest, samples, test)
    assert [report.split(item) for item in samples] == [
        "trained images", "trained images", "held-out images", "held-out categories", "trained images",
    ]  # fmt: skip
    same, copy = report.matches["x/same.png"], report.matches["copy.bmp"]
    assert (same.match, same.distance, same.same_file, same.phash) == ("0.png", 0, True, None)
    assert (copy.match, copy.distance, copy.same_file) == ("1.png", 0, False)
    assert [match.image for match in report.trained] == ["x/same.png", "copy.bmp"]
    assert report.near == []
    assert report.matches["other.png"].match is None


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    hashes=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20),
    flips=st.sets(st.integers(0, 63), max_size=8),
)
def test_the_nearest_hash_is_found_and_only_no_bit_apart_is_the_same(hashes: list[int], flips: set[int]) -> None:
    manifest = leaks.LeakManifest(
        categories=(),
        images=tuple(
            leaks.TrainedImage(path=f"{n}.png", dataset="X", category="bolt", sha256=f"{n:064x}", phash=f"{value:016x}")
            for n, value in enumerate(hashes)
        ),
    )
    asked = hashes[0] ^ sum(1 << bit for bit in flips)
    known = {"f" * 64: f"{asked:016x}"}
    report = leaks.compare(manifest, [sample("a.png", image_sha256="f" * 64)], Path("nowhere"), known=known)
    match = report.matches["a.png"]
    least = min((asked ^ value).bit_count() for value in hashes)
    assert match.distance == (least if least <= 4 else None)
    assert match.trained == (least == 0)
    assert match.near == (0 < least <= 4)
    if match.match is not None:
        assert (hashes[int(match.match.removesuffix(".png"))] ^ asked).bit_count() == least


def test_near_is_told_but_held_out(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 0)
    manifest = manifest_of(tmp_path, "a.png")
    phash = manifest.images[0].phash or ""
    close = manifest.images[0].model_copy(update={"sha256": "0" * 64, "phash": f"{int(phash, 16) ^ 0b11:016x}"})
    report = leaks.compare(manifest.model_copy(update={"images": (close,)}), [sample("a.png")], tmp_path)
    assert [(match.image, match.distance) for match in report.near] == [("a.png", 2)]
    assert report.split(sample("a.png")) == leaks.HELD_OUT_IMAGES


def test_images_of_one_tone_match_as_files_only(tmp_path: Path) -> None:
    save(tmp_path, "white.png", Image.new("RGB", (50, 50), "white"))
    save(tmp_path, "grey.png", Image.new("RGB", (60, 60), "grey"))
    noise = np.random.default_rng(0).normal(128, 4, (400, 300)).clip(0, 255).astype(np.uint8)
    save(tmp_path, "noise.png", Image.fromarray(noise))
    manifest = manifest_of(tmp_path, "white.png", "noise.png")
    assert {image.phash for image in manifest.images} == {None}
    report = leaks.compare(manifest, [sample("white.png"), sample("grey.png")], tmp_path)
    assert report.matches["white.png"].trained
    assert report.matches["grey.png"].match is None


def test_what_cannot_be_read_matches_by_its_file(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 0)
    manifest = manifest_of(tmp_path, "a.png")
    digest = manifest.images[0].sha256
    (tmp_path / "broken.png").write_bytes(b"no image")
    absent = [sample("gone.png", image_sha256=digest), sample("lost.png"), sample("broken.png")]
    report = leaks.compare(manifest, absent, tmp_path)
    assert [report.matches[item.image].trained for item in absent] == [True, False, False]
    assert report.matches["lost.png"].sha256 is None
    # A file that is there is looked at itself: it may have been replaced.
    save(tmp_path, "b.png", 9)
    stale = leaks.compare(manifest, [sample("b.png", image_sha256=digest)], tmp_path)
    assert not stale.trained


@pytest.mark.parametrize(
    ("trained", "category", "held_out"),
    [("metal_nut", "Metal nut", False), ("metal-nut", "metal_nut", False), ("nut", "metal nut", True)],
)
def test_categories_are_compared_in_words(tmp_path: Path, trained: str, category: str, held_out: bool) -> None:
    save(tmp_path, "a.png", 0)
    asked = sample("a.png", category=category, dataset="Another set")
    report = leaks.compare(leaks.LeakManifest(categories=(trained,), images=()), [asked], tmp_path)
    assert (report.split(asked) == leaks.HELD_OUT_CATEGORIES) is held_out


def test_a_category_is_held_out_where_manifest_and_mark_agree(tmp_path: Path) -> None:
    """A model may have been trained before: a benchmark that marks its held-out categories knows of that."""
    save(tmp_path, "a.png", 0)
    manifest = leaks.LeakManifest(categories=("bolt",), images=())
    marked = [
        sample("1", image="a.png", category="bolt", held_out=True),
        sample("2", image="a.png", category="nut", held_out=True),
        sample("3", image="a.png", category="cap"),
    ]
    report = leaks.compare(manifest, marked, tmp_path)
    assert [report.split(item) for item in marked] == ["held-out images", "held-out categories", "held-out images"]
    alone = leaks.compare(manifest, marked[2:], tmp_path)
    assert alone.split(marked[2]) == "held-out categories"


# --- what the perceptual hash is worth --------------------------------------------------------------------------


def copies(image: Image.Image) -> list[Image.Image]:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    found = [half]
    for source, quality in ((image, 95), (image, 75), (half, 75)):
        file = io.BytesIO()
        source.save(file, "JPEG", quality=quality)
        found.append(Image.open(file).convert("RGB"))
    return found


def distance(first: Image.Image, second: Image.Image) -> int:
    values = [leaks.perceptual_hash(image) for image in (first, second)]
    assert None not in values
    return (int(values[0] or "", 16) ^ int(values[1] or "", 16)).bit_count()


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real photos of ../shared/data")
def test_real_photos_and_their_copies_are_told_apart() -> None:
    """Boards of DeepPCB: copies at `NEAR` at most and mostly at 0 bits, no two boards within `NEAR`."""
    paths = sorted((DATA / "deeppcb").rglob("*_test.jpg"))[::18]
    boards = [open_image(path) for path in paths]
    apart = [distance(copy, board) for board in boards for copy in copies(board)]
    assert max(apart) <= leaks.NEAR
    assert sum(bits <= leaks.SAME for bits in apart) >= 0.85 * len(apart)
    assert min(distance(a, b) for place, a in enumerate(boards) for b in boards[:place]) > leaks.NEAR


def test_loading_the_room_loads_no_image_hashing() -> None:
    code = "import sys, iadr1.leaks; sys.exit('imagehash' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
