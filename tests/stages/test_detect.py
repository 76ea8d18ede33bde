from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from iadr1.config import DetectConfig
from iadr1.errors import ModelError, NoProbabilitiesError, OutputError, UsageError
from iadr1.geometry import Box, BoxSpace
from iadr1.masks import SEGMENTERS, MaskResult
from iadr1.models.base import Completion, Profile, Request
from iadr1.records import DetectedDefect, Detection, read_records
from iadr1.reports.overlay import draw_overlay
from iadr1.stages import detect
from iadr1.stages.detect.folder import run_key
from iadr1.stages.inspection import InspectSettings, loading
from tests.stages.fake_engine import BAD, NORMAL, FakeEngine


def _photo(path: Path, size: tuple[int, int] = (224, 112)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (150, 150, 150))
    ImageDraw.Draw(image).line((70, 35, 100, 75), fill=(20, 20, 20), width=4)
    told = PngInfo()
    told.add_text("name", str(path))
    image.save(path, pnginfo=told, comment=str(path))  # the same picture in other bytes: a copy is no reference
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "tiles/c.png"):
        _photo(tmp_path / "images" / name)
    return tmp_path / "images"


def _config(images: Path, **values: object) -> DetectConfig:
    """Of a run that goes by what the engine writes, unless told otherwise; the other modes have tests of their own."""
    return DetectConfig(images=images, out=images.parent / "out", **{"mode": "think", **values})  # type: ignore[arg-type]


def _records(out: Path) -> dict[str, Detection]:
    return {record.image: record for record in read_records(out / "detections.jsonl", Detection)}


def test_every_photo_gets_verdict_boxes_masks_overlay_and_score(images: Path) -> None:
    engine = FakeEngine({"a.png": NORMAL, "b.png": "no idea"})
    summary = detect.run(_config(images, masks=True), engine=engine)
    assert (summary.counts, summary.errors) == ({"anomalous": 1, "normal": 1, "undecided": 1}, 0)
    records = _records(summary.out)
    assert {name: record.verdict for name, record in records.items()} == {
        "a.png": "normal",
        "b.png": "undecided",
        "tiles/c.png": "anomalous",
    }
    record = records["tiles/c.png"]
    assert (record.score, record.reasoning, record.parse, record.raw) == (0.75, "A dark line.", "ok", BAD)
    assert (record.width, record.height, record.model) == (224, 112, "fake")
    (defect,) = record.defects
    # The model's 112 x 112 px -> the photo's 224 x 112.
    assert (defect.label, defect.box) == ("scratch", (56.0, 28.0, 112.0, 84.0))
    assert (defect.mask, record.overlay) == ("masks/tiles/c_0.png", "overlays/tiles/c.png")
    mask = np.asarray(Image.open(summary.out / str(defect.mask)))
    assert (mask.shape, str(mask.dtype), np.unique(mask).tolist()) == ((112, 224), "uint8", [0, 255])
    assert defect.area_px == (mask > 0).sum() > 100
    assert defect.mask_source in ("tiny-sam2", "box")
    assert _decode(defect).tolist() == (mask > 0).tolist()
    assert records["b.png"].parse.startswith("failed")


def _decode(defect: DetectedDefect) -> NDArray[np.bool_]:
    rle: Any = defect.mask_rle
    flat = np.repeat(np.arange(len(rle["counts"])) % 2 == 1, rle["counts"])
    height, width = rle["size"]
    return flat.reshape(width, height).T


def test_summary_report_and_run_stand_in_the_folder(images: Path) -> None:
    summary = detect.run(_config(images), engine=FakeEngine())
    rows = list(csv.DictReader((summary.out / "summary.csv").open(encoding="utf-8")))
    assert next((row["image"], row["verdict"], row["labels"]) for row in rows) == ("a.png", "anomalous", "scratch")
    assert "tiles/" in (summary.out / "report.html").read_text(encoding="utf-8")
    run = json.loads((summary.out / "run.json").read_text(encoding="utf-8"))
    assert (run["command"], run["counts"]["anomalous"], run["config"]["model"]) == ("detect", 3, "tiny")


def test_switched_off_artefacts_are_not_written(images: Path) -> None:
    summary = detect.run(_config(images, overlays=False, report=False), engine=FakeEngine())
    assert sorted(path.name for path in summary.out.glob("[!.]*")) == ["detections.jsonl", "run.json", "summary.csv"]
    assert _records(summary.out)["a.png"].defects[0].mask is None


def test_boxes_prompt_and_direct_question_are_asked_in_batches(images: Path) -> None:
    engine, seen = FakeEngine(), []
    detect.run(_config(images, batch_size=2), engine=engine, progress=lambda done, total: seen.append((done, total)))
    assert engine.batches == [2, 1]
    assert seen == [(0, 3), (2, 3), (3, 3)]
    content = engine.asked[0].messages[0]["content"]
    assert [part["type"] for part in content] == ["image", "text"]
    assert content[1]["text"].startswith("Are there any defects in the query image?")
    assert "JSON" in content[1]["text"]


def test_huge_photos_close_a_batch_early(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BATCH_PIXELS", 224 * 112)
    engine = FakeEngine()
    detect.run(_config(images), engine=engine)
    assert engine.batches == [1, 1, 1]


# --- resume -----------------------------------------------------------------------------------------------------


class _Dies(FakeEngine):
    """Fails in the second batch, as a killed run does."""

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        if self.batches:
            raise ModelError("out of memory")
        return super().generate(requests, max_new_tokens=max_new_tokens)


def test_an_interrupted_run_goes_on_where_it_stopped(images: Path) -> None:
    with pytest.raises(ModelError):
        detect.run(_config(images, batch_size=1), engine=_Dies())
    out = images.parent / "out"
    assert list(_records(out)) == ["a.png"]
    with (out / "detections.jsonl").open("a") as file:
        file.write('{"image": "b.png", "verd')  # killed in the middle of a line
    engine = FakeEngine()
    summary = detect.run(_config(images, batch_size=8, device="cpu"), engine=engine)
    assert [request.id for request in engine.asked] == ["b.png", "tiles/c.png"]
    assert (summary.skipped, sum(summary.counts.values())) == (1, 3)
    assert len((out / "detections.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("values", "engine", "named"),
    [
        ({"masks": True}, FakeEngine(), "settings"),
        ({"max_new_tokens": 3}, FakeEngine(), "settings"),
        ({}, FakeEngine(model="other"), "model fake there, other now"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    images: Path, values: dict[str, object], engine: FakeEngine, named: str
) -> None:
    detect.run(_config(images), engine=FakeEngine())
    before = (images.parent / "out" / "detections.jsonl").read_text()
    with pytest.raises(UsageError, match=named) as caught:
        detect.run(_config(images, **values), engine=engine)
    assert "--overwrite" in str(caught.value)
    assert "--out" in str(caught.value)
    assert (images.parent / "out" / "detections.jsonl").read_text() == before


def test_a_run_does_not_go_on_with_other_references(images: Path, tmp_path: Path) -> None:
    good = _photo(tmp_path / "good" / "z.png").parent
    detect.run(_config(images, references=good, glob="a.png"), engine=FakeEngine())
    Image.new("RGB", (90, 90)).save(good / "z.png")
    with pytest.raises(UsageError, match=r"another run \(content of references \w{16} there, \w{16} now\)"):
        detect.run(_config(images, references=good), engine=FakeEngine())
    with pytest.raises(UsageError, match=r"another run \(references .*good there, none now\)"):
        detect.run(_config(images), engine=FakeEngine())
    _photo(good / "z.png")
    moved = shutil.copytree(good, tmp_path / "moved")  # the same files, elsewhere
    assert detect.run(_config(images, references=moved), engine=FakeEngine()).skipped == 1


def test_results_among_the_references_are_none_of_them(images: Path) -> None:
    config = DetectConfig(images=images, out=images / "runs", references=images, shots=9, mode="think")
    summary = detect.run(config, engine=FakeEngine())
    assert (summary.out / "overlays" / "a.png").exists()
    (images / "late.png").write_bytes((images / "a.png").read_bytes() + b"1")
    with pytest.raises(UsageError, match=r"references \w{16} there, "):
        detect.run(config, engine=FakeEngine())
    (images / "late.png").unlink()
    assert detect.run(config, engine=FakeEngine()).skipped == 3


def test_what_draws_the_masks_is_part_of_a_run(images: Path) -> None:
    def key(**values: object) -> dict[str, str]:
        return run_key(_config(images, **values), InspectSettings(), None)

    assert key(masks=True, segmenter="grabcut") != key(masks=True, segmenter="sam2")
    assert key(masks=True) != key()
    assert key(segmenter="grabcut") == key(segmenter="sam2"), "nothing is drawn"


def test_other_photos_of_the_same_names_are_refused(images: Path, tmp_path: Path) -> None:
    detect.run(_config(images), engine=FakeEngine())
    other = _photo(tmp_path / "other" / "a.png").parent
    with pytest.raises(UsageError, match="another run"):
        detect.run(_config(other), engine=FakeEngine())


def test_weights_trained_again_under_the_same_name_are_another_model(images: Path) -> None:
    first, second = FakeEngine(), FakeEngine()
    first.fingerprint, second.fingerprint = "aaaa", "bbbb"
    detect.run(_config(images), engine=first)
    with pytest.raises(UsageError, match="weights aaaa there, bbbb now"):
        detect.run(_config(images), engine=second)


def test_overwrite_removes_what_was_written_and_nothing_else(images: Path) -> None:
    summary = detect.run(_config(images, masks=True), engine=FakeEngine())
    mine = summary.out / "masks" / "mine.png"
    mine.write_bytes(b"mine")
    detect.run(_config(images, overwrite=True), engine=FakeEngine(default=NORMAL))
    assert {record.verdict for record in _records(summary.out).values()} == {"normal"}
    assert list((summary.out / "masks").rglob("*.png")) == [mine]


def test_a_folder_of_another_command_is_never_overwritten(images: Path) -> None:
    run = images.parent / "out" / "run.json"
    run.parent.mkdir()
    run.write_text('{"command": "train"}')
    with pytest.raises(UsageError, match="another command"):
        detect.run(_config(images, overwrite=True), engine=FakeEngine())
    assert run.read_text() == '{"command": "train"}'


def test_results_inside_the_photos_folder_are_no_photos(images: Path) -> None:
    config = DetectConfig(images=images, out=images / "runs")
    detect.run(config, engine=FakeEngine())
    again = FakeEngine()
    summary = detect.run(config, engine=again)
    assert again.asked == []
    assert summary.skipped == 3
    with pytest.raises(UsageError, match="folder of the photos"):
        detect.run(DetectConfig(images=images, out=images), engine=FakeEngine())


def test_photos_chosen_in_turn_share_a_folder_and_no_file(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "b.png"):
        _photo(tmp_path / "images" / name)
    for glob in ("*.png", "*.bmp"):
        summary = detect.run(_config(tmp_path / "images", masks=True, glob=glob), engine=FakeEngine())
    records = _records(summary.out)
    assert set(records) == {"a.png", "a.bmp", "b.png"}
    for names in ([r.overlay for r in records.values()], [r.defects[0].mask for r in records.values()]):
        assert len({str(name).casefold() for name in names}) == 3
        assert all((summary.out / str(name)).is_file() for name in names)
    assert records["b.png"].overlay == "overlays/b.png"


def test_single_photos_share_a_folder_and_no_file(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        _photo(tmp_path / "images" / name)
    for name in ("a.png", "a.bmp"):
        detect.run(DetectConfig(images=tmp_path / "images" / name, out=tmp_path / "out"), engine=FakeEngine())
    assert len({record.overlay for record in _records(tmp_path / "out").values()}) == 2


def test_a_failed_photo_is_tried_again(images: Path) -> None:
    """Its new record takes the place of the old one; that of a photo that is gone goes, others stay."""
    good = (images / "b.png").read_bytes()
    for name in ("b.png", "gone.png", "other.bmp"):
        (images / name).write_bytes(b"")
    summary = detect.run(_config(images), engine=FakeEngine())
    assert summary.errors == 3
    (images / "b.png").write_bytes(good)
    (images / "gone.png").unlink()
    engine = FakeEngine()
    summary = detect.run(_config(images, glob="*.png"), engine=engine)
    assert [request.id for request in engine.asked] == ["b.png"]
    assert (summary.skipped, summary.errors, summary.counts) == (2, 1, {"anomalous": 3, "normal": 0, "undecided": 1})
    found = [record.image for record in read_records(summary.out / "detections.jsonl", Detection)]
    assert sorted(found) == ["a.png", "b.png", "other.bmp", "tiles/c.png"]
    assert [row["image"] for row in csv.DictReader((summary.out / "summary.csv").open())].count("b.png") == 1
    (images / "other.bmp").unlink()
    assert detect.run(_config(images), engine=FakeEngine()).errors == 0


# --- masks ------------------------------------------------------------------------------------------------------


class _Rough:
    """A ring that reaches far beyond its box, and an island: what the clean-up is there for."""

    name = "rough"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        mask = np.zeros((image.height, image.width), dtype=bool)
        mask[30:80, 20:180] = True
        mask[50:60, 80:90] = False
        mask[25, 57] = True
        return [MaskResult(mask, 0.5, "rough") for _ in boxes]


def test_masks_and_overlays_are_cleaned(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENTERS, DetectConfig.segmenter, lambda device: _Rough())
    summary = detect.run(_config(images, masks=True), engine=FakeEngine())
    record = _records(summary.out)["a.png"]
    (defect,) = record.defects
    # The box is (56, 28, 112, 84), and a mask may reach a tenth of its sides beyond it.
    expected = np.zeros((112, 224), dtype=bool)
    expected[30:80, 50:118] = True
    assert (np.asarray(Image.open(summary.out / str(defect.mask))) > 0).tolist() == expected.tolist()
    assert _decode(defect).tolist() == expected.tolist()
    assert (defect.area_px, defect.mask_score, defect.mask_source) == (expected.sum(), 0.5, "rough")
    with Image.open(images / "a.png") as photo:
        drawn = draw_overlay(photo, [defect], [expected])
    assert np.array_equal(np.asarray(Image.open(summary.out / str(record.overlay))), np.asarray(drawn))


# --- references -------------------------------------------------------------------------------------------------


def _reference_of(images: Path, references: Path, name: str) -> tuple[str, ...]:
    summary = detect.run(_config(images, references=references), engine=FakeEngine())
    return _records(summary.out)[name].references


@pytest.mark.parametrize(
    ("files", "photo", "expected"),
    [
        (["tiles/a.png", "tiles/c.jpg", "a.png"], "tiles/c.png", ("tiles/c.jpg",)),  # same path
        (["tiles/x/2.png", "tiles/x/1.png", "a.png"], "tiles/c.png", ("tiles/x/1.png",)),  # parent folder's name
        (["images/7.png", "z.png"], "a.png", ("images/7.png",)),  # name of the photos' own folder
        (["2.png", "1.png"], "tiles/c.png", ("1.png",)),  # directly in the folder
        (["other/1.png"], "tiles/c.png", ("other/1.png",)),  # the most similar
    ],
)
def test_references_are_found(
    images: Path, tmp_path: Path, files: list[str], photo: str, expected: tuple[str, ...]
) -> None:
    for name in files:
        _photo(tmp_path / "good" / name)
    assert _reference_of(images, tmp_path / "good", photo) == expected


def test_deeppcb_templates_are_found_beside_the_photos(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("g/01_test.jpg", "g/01_temp.jpg", "g/02_test.jpg", "g/02_temp.jpg"):
        _photo(images / name)
    assert _reference_of(images, images, "g/02_test.jpg") == ("g/02_temp.jpg",)


def test_no_photo_is_its_own_reference(images: Path) -> None:
    assert _reference_of(images, images, "a.png") == ("b.png",)


def test_photos_among_the_references_and_damaged_references_are_counted(images: Path) -> None:
    (images / "z.png").write_bytes(b"")
    lines: list[str] = []
    config = _config(images, references=images, glob="[a-c].png")
    summary = detect.run(config, engine=FakeEngine(), on_note=lines.append)
    (damaged,) = summary.damaged_references
    assert damaged == f"{images / 'z.png'}: the file is empty (0 bytes)"
    assert lines == [f"1 of the references cannot be read and are left out, the first: {damaged}"]
    assert (summary.among_references, summary.errors) == (3, 0)
    again = detect.run(config, engine=FakeEngine())
    assert (again.skipped, again.among_references) == (3, 3)
    run = json.loads((summary.out / "run.json").read_text(encoding="utf-8"))
    assert (run["among_references"], run["damaged_references"]) == (3, [damaged])


def test_reference_comes_first_and_missing_ones_are_counted(images: Path, tmp_path: Path) -> None:
    _photo(tmp_path / "good" / "tiles" / "c.png", (64, 64))
    engine = FakeEngine()
    summary = detect.run(_config(images, references=tmp_path / "good"), engine=engine)
    assert summary.without_reference == 2
    asked = {request.id: request for request in engine.asked}
    assert [image.size for image in asked["tiles/c.png"].images] == [(64, 64), (224, 112)]
    kinds = [part["type"] for part in asked["tiles/c.png"].messages[0]["content"]]
    assert kinds == ["text", "image", "text", "image", "text"]
    assert len(asked["a.png"].images) == 1


def test_fewer_references_than_shots_are_counted(images: Path, tmp_path: Path) -> None:
    for name in ("a", "c"):
        _photo(tmp_path / "good" / "tiles" / f"{name}.png", (64, 64))
    config = _config(images, references=tmp_path / "good", shots=3)
    summary = detect.run(config, engine=FakeEngine())
    assert (summary.without_reference, summary.fewer_references) == (2, 1)
    assert json.loads((summary.out / "run.json").read_text(encoding="utf-8"))["fewer_references"] == 1
    summary = detect.run(dataclasses.replace(config, shots=2, overwrite=True), engine=FakeEngine())
    assert (summary.without_reference, summary.fewer_references) == (2, 0)


def test_a_reference_that_is_no_image_is_told_before_the_model_is_loaded(images: Path, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(UsageError, match="not an image"):
        detect.run(_config(images, references=tmp_path / "good.txt", model="nowhere"))


def test_a_calibration_that_is_not_there_is_told_before_the_model_is_loaded(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the calibration"):
        detect.run(_config(images, calibration=tmp_path / "none.json", model="nowhere", mode="direct"))


def test_missing_references_folder_is_wrong_usage(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        detect.run(_config(images, references=tmp_path / "nowhere"), engine=FakeEngine())


class _Strict(FakeEngine):
    """Refuses long strips, as the models with a free input size do."""

    def __init__(self) -> None:
        super().__init__()
        self.profile = Profile("qwen2_5_vl", BoxSpace.INPUT_PX, 28, 56 * 56, 280 * 280)


def test_a_reference_the_model_cannot_take_is_an_error_of_its_photo_only(images: Path, tmp_path: Path) -> None:
    _photo(tmp_path / "good" / "a.png", (3300, 16))
    _photo(tmp_path / "good" / "b.png")
    summary = detect.run(_config(images, references=tmp_path / "good"), engine=_Strict())
    records = _records(summary.out)
    assert {name for name, record in records.items() if record.error} == {"a.png"}
    assert "cannot take it" in str(records["a.png"].error)
    assert records["b.png"].verdict == "anomalous"


# --- engines and errors -----------------------------------------------------------------------------------------


class _NoProbabilities(FakeEngine):
    refused = 0

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        self.refused += 1
        raise NoProbabilitiesError("stored answers carry no probabilities")


def test_an_engine_without_probabilities_leaves_the_score_out_and_says_so(images: Path) -> None:
    for name in ("d.png", "e.png"):
        _photo(images / name)
    engine = _NoProbabilities()
    summary = detect.run(_config(images, batch_size=1), engine=engine)
    assert engine.refused == 3  # one bad photo at the start does not cost the others their scores
    assert summary.no_score == "stored answers carry no probabilities"
    assert {record.score for record in _records(summary.out).values()} == {None}
    assert "carry no probabilities" in (summary.out / "report.html").read_text(encoding="utf-8")


def test_unknown_segmenter_is_refused_before_anything_is_written(images: Path) -> None:
    with pytest.raises(UsageError, match="no segmenter 'x'"):
        detect.run(_config(images, masks=True, segmenter="x"), engine=FakeEngine())
    assert not (images.parent / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"segmenter": "x"}, "no segmenter 'x'"),
        ({"segmenter": "sam2"}, r"--segmenter sam2 has no effect: nothing is drawn without masks, add --masks"),
        ({"batch_size": 0}, "batch_size is 0, it must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0, it must be at least 1"),
        ({"references": Path("nowhere")}, "no folder 'nowhere' .--references names photos of good products"),
        ({"model": "tinny"}, "no model 'tinny'"),
        ({"engine": "remote"}, "no engine 'remote'"),
    ],
)
def test_wrong_settings_are_wrong_usage_and_make_no_folder(
    images: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        detect.run(_config(images, **values), engine=None if {"model", "engine"} & set(values) else FakeEngine())
    assert not (images.parent / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/out"])
def test_a_folder_that_cannot_be_made_is_one_clear_line_before_a_model_is_loaded(
    images: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("")
    # A model that does not exist would be told first if it were looked for first.
    with pytest.raises(UsageError, match=rf"{out}: cannot make the folder: .*file' is a file \(name another folder"):
        detect.run(DetectConfig(images=images, out=tmp_path / out, model="none"))


def test_a_mask_that_cannot_be_written_is_one_clear_line(images: Path) -> None:
    out = images.parent / "out"
    out.mkdir()
    (out / "masks").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write") as caught:
        detect.run(_config(images, masks=True), engine=FakeEngine())
    assert "masks" in str(caught.value)


def test_a_defect_named_again_and_again_counts_once(images: Path) -> None:
    box = '{"bbox_2d": [10, 10, 60, 60], "label": "hole"}'
    other = '{"bbox_2d": [10, 10, 60, 60], "label": "dent"}'
    engine = FakeEngine(default=f"<think>t</think><answer>[{', '.join([box] * 5)}, {other}]</answer>")
    detect.run(_config(images), engine=engine)
    for record in read_records(images.parent / "out" / "detections.jsonl", Detection):
        assert [defect.label for defect in record.defects] == ["hole", "dent"]
        assert record.raw.count("hole") == 5


def test_overlapping_defects_of_one_type_both_count(images: Path) -> None:
    boxes = ('{"bbox_2d": [10, 10, 60, 60], "label": "hole"}', '{"bbox_2d": [20, 10, 70, 60], "label": "hole"}')
    engine = FakeEngine(default=f"<think>t</think><answer>[{', '.join(boxes)}]</answer>")  # IoU 2/3
    detect.run(_config(images), engine=engine)
    assert [len(record.defects) for record in _records(images.parent / "out").values()] == [2, 2, 2]


def test_only_the_photos_that_match_the_pattern_are_looked_at(images: Path) -> None:
    for name in ("1_temp.jpg", "1_test.jpg", "2_test.jpg"):
        _photo(images / name)
    config = _config(images, glob="*_test.jpg", references=images)
    summary = detect.run(config, engine=FakeEngine())
    records = _records(summary.out)
    assert {name: record.references for name, record in records.items()} == {
        "1_test.jpg": ("1_temp.jpg",),
        "2_test.jpg": ("1_temp.jpg",),  # no template of its own: the first photo of the folder
    }


def test_a_photo_that_was_replaced_is_looked_at_again(images: Path) -> None:
    detect.run(_config(images), engine=FakeEngine(default=NORMAL))
    Image.new("RGB", (30, 20), (200, 10, 10)).save(images / "a.png")
    engine = FakeEngine(default=BAD)
    summary = detect.run(_config(images), engine=engine)
    records = _records(summary.out)
    assert (records["a.png"].verdict, records["a.png"].width) == ("anomalous", 30)
    assert records["b.png"].verdict == "normal"
    assert summary.skipped == len(records) - 1
    assert {request.id for request in engine.asked} == {"a.png"}
