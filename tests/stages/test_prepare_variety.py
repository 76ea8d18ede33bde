"""The large training set on disk: whole parts, gone on with after a stop, and grown without drawing anything twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from iadr1.config import PrepareConfig
from iadr1.datasets.synthetic import CATEGORIES, TRAINING_CATEGORIES
from iadr1.datasets.synthetic.training import POOL, Settings
from iadr1.errors import OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.records import Sample, meta_path, read_records, resolve_root
from iadr1.stages.prepare import run, variety

SMALL = PrepareConfig(variety=10, side=96, workers=1, reference_every=2)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variety, "PART", 4)


def made(out: Path, **changes: object) -> list[Sample]:
    run(dataclasses.replace(SMALL, out=out, **changes))  # type: ignore[arg-type]
    return list(read_records(out / variety.FILE, Sample))


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_samples_and_files_belong_together(tmp_path: Path) -> None:
    samples = made(tmp_path)
    path = tmp_path / variety.FILE
    root = resolve_root(path)
    assert len({sample.id for sample in samples}) == len(samples)
    assert list(dict.fromkeys(sample.category for sample in samples)) == list(POOL[:10])
    for sample in samples:
        assert sample.image_sha256 == file_sha256(root / sample.image)
        assert sample.image_size == Image.open(root / sample.image).size == (96, 96)
        assert all((root / other).is_file() for other in sample.references)
    # All samples of an image stand together, the verdict first.
    images = [sample.image for sample in samples]
    assert [image for at, image in enumerate(images) if at == 0 or images[at - 1] != image] == sorted(set(images))
    firsts = [sample for at, sample in enumerate(samples) if at == 0 or images[at - 1] != images[at]]
    assert {sample.task for sample in firsts} == {"anomaly"}
    assert sum(bool(sample.references) for sample in firsts) == 5
    meta = json.loads(meta_path(path).read_text(encoding="utf-8"))
    assert (meta["records"], meta["sha256"], meta["licence"]) == (len(samples), file_sha256(path), "CC0-1.0")


def test_a_set_is_the_same_however_it_was_made(tmp_path: Path) -> None:
    made(tmp_path / "once")
    made(tmp_path / "grown", variety=3)
    made(tmp_path / "grown", workers=2)
    once, grown = files(tmp_path / "once"), files(tmp_path / "grown")
    # The sidecar remembers the file it replaced.
    assert once.pop("data/train.meta.json") != grown.pop("data/train.meta.json")
    assert once == grown


def test_what_is_there_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    drawn: list[int] = []
    draw = variety.write_part

    class Here:
        """A pool that works in this process, where it can be watched."""

        def __init__(self, workers: int) -> None:
            self.futures: list[object] = []

        def __enter__(self) -> Here:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def submit(self, function: object, folder: Path, first: int, count: int, settings: Settings) -> object:
            drawn.append(first)
            draw(folder, first, count, settings)
            future: Future[None] = Future()
            future.set_result(None)
            return future

    monkeypatch.setattr(variety, "ProcessPoolExecutor", Here)
    before = files(tmp_path)
    (tmp_path / variety.FOLDER / "part-000004-004").rename(tmp_path / variety.FOLDER / ".part-000004-004.99")
    made(tmp_path)
    assert drawn == [4]
    made(tmp_path)
    assert drawn == [4]
    after = files(tmp_path)
    assert before.pop("data/train.meta.json") != after.pop("data/train.meta.json")
    assert before == after


@pytest.mark.parametrize("change", [{"seed": 1}, {"side": 112}, {"normal_share": 0.4}, {"reference_every": 3}])
def test_a_folder_of_another_set_is_left_alone(tmp_path: Path, change: dict[str, object]) -> None:
    made(tmp_path, variety=2)
    before = files(tmp_path)
    with pytest.raises(OutputError, match="another training set"):
        made(tmp_path, variety=2, **change)
    assert files(tmp_path) == before


def test_a_folder_of_somebody_else_s_and_a_file_changed_since_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one/data/train").mkdir(parents=True)
    (tmp_path / "one/data/train/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="another training set"):
        made(tmp_path / "one")
    made(tmp_path / "two", variety=2)
    (tmp_path / "two/data/train.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="was changed since"):
        made(tmp_path / "two", variety=2)


def test_normal_share_and_categories_are_heeded(tmp_path: Path) -> None:
    normal = made(tmp_path / "normal", normal_share=1.0, category="mosaic,keypad", variety=4)
    assert Counter(sample.is_anomalous for sample in normal) == {False: len(normal)}
    assert {sample.category for sample in normal} == {"mosaic", "keypad"}
    defective = made(tmp_path / "defective", normal_share=0.0, reference_every=0, variety=2)
    assert all(sample.is_anomalous and not sample.references for sample in defective)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variety": -1}, "variety is -1"),
        ({"variety": 1_000_000}, "variety is 1000000"),
        ({"side": 64}, "side is 64"),
        ({"normal_share": 1.5}, "normal_share is 1.5"),
        ({"workers": -1}, "workers is -1"),
        ({"reference_every": -2}, "reference_every is -2"),
        ({"category": "linen"}, "no category 'linen'"),
        ({"eval_images": 5}, "no use for --eval-images"),
        ({"variety": 0, "side": 128}, "no use for --side"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_held_out_products_are_in_no_pool() -> None:
    assert not {name for name in POOL if name in CATEGORIES and CATEGORIES[name].held_out}
    assert set(TRAINING_CATEGORIES) < set(POOL)
