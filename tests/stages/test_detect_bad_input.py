"""Every file gets a record, and exactly the bad ones have an `error`."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iadr1.config import DetectConfig
from iadr1.errors import OutputError, UsageError
from iadr1.records import Detection, read_records
from iadr1.stages import detect
from tests.stages.fake_engine import FakeEngine

GOOD = {
    "least.png": (16, 16),
    "exif.jpg": (40, 60),
    "cmyk.jpg": (60, 40),
    "alpha.png": (60, 40),
    "palette.gif": (60, 40),
    "deep.png": (60, 40),
    "deep.tif": (60, 40),
    "wide.png": (1600, 16),
    "表面 检查 Ärger é.png": (60, 40),
    "deeper/sub folder/a.png": (60, 40),
    "twin.png": (60, 40),
    "twin.jpg": (60, 40),
    "odd_:*name.png": (60, 40),
    "l" * 251 + ".png": (60, 40),
}
BAD = {
    "empty.png": "0 bytes",
    "text.png": "not an image",
    "truncated.jpg": "cannot read",
    "truncated.png": "cannot read",
    "huge.png": "20000x20000",
    "one pixel.png": "the photo is 1 x 1 px, a side has to have at least 16",
    "line.png": "the photo is 600 x 2 px, a side",
    "pages.tif": "more than one frame or page",
}


def _write_good(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    photo.save(folder / "exif.jpg", exif=exif)
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("RGBA").save(folder / "alpha.png")
    photo.convert("P").save(folder / "palette.gif")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 200).save(folder / "deep.tif")
    Image.new("RGB", (16, 16)).save(folder / "least.png")
    Image.new("RGB", (1600, 16)).save(folder / "wide.png")
    for name in GOOD:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path)


def _write_bad(folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no picture")
    Image.new("RGB", (1, 1)).save(folder / "one pixel.png")
    Image.new("RGB", (600, 2)).save(folder / "line.png")
    pages = [Image.new("RGB", (60, 40), (shade, 0, 0)) for shade in (0, 90)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    for name in ("twin.jpg", "twin.png"):
        data = (folder / name).read_bytes()
        (folder / name.replace("twin", "truncated")).write_bytes(data[: len(data) // 2])
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    body = b"IDAT" + zlib.compress(b"")
    data = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + data)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, detect.DetectSummary, dict[str, Detection]]:
    root = tmp_path_factory.mktemp("bad input")
    (root / "images").mkdir()
    _write_good(root / "images")
    _write_bad(root / "images")
    config = DetectConfig(images=root / "images", out=root / "out", masks=True, batch_size=3)
    summary = detect.run(config, engine=FakeEngine())
    return root, summary, {record.image: record for record in read_records(root / "out/detections.jsonl", Detection)}


Result = tuple[Path, detect.DetectSummary, dict[str, Detection]]


def test_every_file_has_one_record_and_exactly_the_bad_ones_an_error(result: Result) -> None:
    root, summary, records = result
    assert set(records) == set(GOOD) | set(BAD)
    assert len((root / "out/detections.jsonl").read_text("utf-8").splitlines()) == len(GOOD) + len(BAD)
    assert {name for name, record in records.items() if record.error is not None} == set(BAD)
    assert summary.errors == len(BAD)
    assert summary.counts == {"anomalous": len(GOOD), "normal": 0, "undecided": len(BAD)}


@pytest.mark.parametrize("name", BAD)
def test_the_error_says_what_is_wrong_with_which_file(result: Result, name: str) -> None:
    record = result[2][name]
    assert record.verdict == "undecided"
    assert BAD[name] in str(record.error)
    assert name in str(record.error)


@pytest.mark.parametrize("name", GOOD)
def test_sizes_boxes_and_masks_fit_the_turned_photo(result: Result, name: str) -> None:
    root, _, records = result
    record = records[name]
    width, height = GOOD[name]
    assert (record.width, record.height) == (width, height)
    (defect,) = record.defects
    assert 0 <= defect.box[0] < defect.box[2] <= width
    assert 0 <= defect.box[1] < defect.box[3] <= height
    mask = Image.open(root / "out" / str(defect.mask))
    assert (mask.size, mask.mode) == ((width, height), "L")
    assert np.asarray(mask).max() == 255
    assert (root / "out" / str(record.overlay)).is_file()


def test_no_two_photos_share_a_file(result: Result) -> None:
    _, _, records = result
    written = [record.overlay for record in records.values() if record.overlay]
    written += [defect.mask for record in records.values() for defect in record.defects if defect.mask]
    assert len(written) == len(set(written)) == 2 * len(GOOD)
    assert records["deeper/sub folder/a.png"].overlay == "overlays/deeper/sub folder/a.png"


def test_the_report_names_every_file(result: Result) -> None:
    text = (result[0] / "out/report.html").read_text("utf-8")
    photos = text.partition('id="photos">')[2].partition("</script>")[0]
    assert len(json.loads(photos)) == len(GOOD) + len(BAD)
    assert all(json.dumps(Path(name).name, ensure_ascii=False)[1:-1] in photos for name in (*GOOD, *BAD))


def test_file_names_that_are_not_unicode_get_a_record(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Image.new("RGB", (30, 30)).save(tmp_path / "images" / "x.png")
        (tmp_path / "images" / "x.png").rename(tmp_path / "images" / name)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    detect.run(DetectConfig(images=tmp_path / "images", out=tmp_path / "out"), engine=FakeEngine())
    (record,) = read_records(tmp_path / "out/detections.jsonl", Detection)
    assert (record.verdict, record.error) == ("anomalous", None)
    assert (tmp_path / "out" / str(record.overlay)).is_file()


UGLY = {
    "": "undecided",
    "No defects at all, I am sure.": "undecided",
    "<think>x</think><answer>perhaps</answer>": "undecided",
    '<answer>[{"bbox_2d": [900, 900, 950, 950], "label": "far outside"}]</answer>': "undecided",
    '<answer>[{"bbox_2d": [1e999, 0, 5, 5], "label": "infinite"}]</answer>': "undecided",
    '<answer>[{"bbox_2d": ["1", 0, 5, 5], "label": "text"}]</answer>': "anomalous",  # a number in quotes is no doubt
    '<answer>[{"bbox_2d": [5, 5, 5, 5], "label": "empty"}]</answer>': "undecided",
    '<answer>[{"bbox_2d": [NaN, 0, 5, 5], "label": "not a number"}]</answer>': "undecided",
    '<answer>[{"bbox_2d": [60, 5, 20, 80], "label": "reversed"}]</answer>': "anomalous",
    '<answer>[{"bbox_2d": [40, 40, 40, 90], "label": "no width"}]</answer>': "undecided",
    '<answer>[{"bbox_2d": [-5, -5, 500, 500], "label": "\\ud800 half"}]</answer>': "anomalous",
    '<answer>[{"bbox_2d": [50, 50, 10, 10], "label": "<script>alert(1)</script>"}, {"bbox_2d": [1, 2': "anomalous",
    '<answer>[{"bbox_2d": [' + "1" * 400 + ', 0, 5, 5], "label": "long"}]</answer>': "undecided",
    '<answer>[{"bbox_2d": [' + "1" * 5000 + ', 0, 5, 5], "label": "longer"}]</answer>': "undecided",
    "<answer>" + "[" * 100_000 + "</answer>": "undecided",
}


@pytest.mark.parametrize("text", UGLY, ids=[text[:50] or "nothing" for text in UGLY])
def test_ugly_answers_are_never_normal_and_boxes_stay_inside(tmp_path: Path, text: str) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (300, 200), (90, 90, 90)).save(tmp_path / "images" / "a.png")
    config = DetectConfig(images=tmp_path / "images", out=tmp_path / "out", masks=True, mode="think")
    summary = detect.run(config, engine=FakeEngine(default=text))
    (record,) = read_records(tmp_path / "out/detections.jsonl", Detection)
    assert record.verdict == UGLY[text]
    assert (record.raw, record.error, summary.errors) == (text, None, 0)
    for defect in record.defects:
        x1, y1, x2, y2 = defect.box
        assert 0 <= x1 < x2 <= 300
        assert 0 <= y1 < y2 <= 200


def test_a_whole_list_counts_where_only_its_closing_tag_is_missing(tmp_path: Path) -> None:
    """Servers cut the tag off where it is the stop text; the list itself is complete and says that nothing is there."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (30, 20), (90, 90, 90)).save(tmp_path / "images" / "a.png")
    config = DetectConfig(images=tmp_path / "images", out=tmp_path / "out", mode="think")
    for text, verdict in (("<think>x</think><answer>[]", "normal"), ("<think>x</think><answer>[", "undecided")):
        detect.run(dataclasses.replace(config, overwrite=True), engine=FakeEngine(default=text))
        (record,) = read_records(tmp_path / "out/detections.jsonl", Detection)
        assert (record.verdict, record.parse.partition(":")[0]) == (
            verdict,
            "truncated" if verdict == "normal" else "failed",
        )


@pytest.mark.parametrize("make", [False, True])
def test_missing_and_empty_folders_are_wrong_usage(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "notes.txt").write_text("no photo")
    with pytest.raises(UsageError, match="images"):
        detect.run(DetectConfig(images=tmp_path / "images", out=tmp_path / "out"), engine=FakeEngine())
    assert not (tmp_path / "out").exists()


def test_an_unreadable_reference_is_an_error_of_its_photo_only(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/b.png", "good/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 30)).save(tmp_path / name)
    (tmp_path / "good" / "a.png").write_bytes(b"")
    config = DetectConfig(images=tmp_path / "images", out=tmp_path / "out", references=tmp_path / "good")
    detect.run(config, engine=FakeEngine())
    records = {record.image: record for record in read_records(tmp_path / "out/detections.jsonl", Detection)}
    assert "good/a.png" in str(records["a.png"].error)
    assert records["b.png"].error is None


@pytest.mark.parametrize("tiles", ["off", "2x2"])
def test_a_reference_of_another_size_is_shown_as_it_is(tmp_path: Path, tiles: str) -> None:
    for name, size in (("images/a.png", (300, 200)), ("good/a.png", (40, 500))):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", size, (90, 90, 90)).save(tmp_path / name)
    config = DetectConfig(images=tmp_path / "images", out=tmp_path / "out", references=tmp_path / "good", tiles=tiles)
    engine = FakeEngine()
    assert detect.run(config, engine=engine).errors == 0
    # Of another shape it cannot be cut as the photo is, and is shown whole beside each tile.
    assert [request.images[0].size for request, _ in engine.weighed] == [(40, 500)] * (1 if tiles == "off" else 5)


def test_hundreds_of_boxes_are_cut_and_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (1200, 800), (90, 90, 90)).save(tmp_path / "images" / "a.png")
    listed = [
        {"bbox_2d": [4 * (n % 25), 5 * (n // 25), 4 * (n % 25) + 3, 5 * (n // 25) + 4], "label": f"pit {n}"}
        for n in range(500)
    ]
    config = DetectConfig(images=tmp_path / "images", out=tmp_path / "out", masks=True, mode="think")
    engine = FakeEngine(default=f"<think>x</think><answer>{json.dumps(listed)}</answer>")
    summary = detect.run(config, engine=engine)
    (record,) = read_records(tmp_path / "out/detections.jsonl", Detection)
    assert (summary.counts["anomalous"], len(record.defects)) == (1, 200)
    assert "only the first 200 of 500 boxes are kept" in record.parse
    assert [defect.label for defect in record.defects] == [f"pit {n}" for n in range(200)]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 200


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    (tmp_path / "images").mkdir()
    for number in range(30):
        Image.new("RGB", (30, 30)).save(tmp_path / "images" / f"{number}.png")
    config = DetectConfig(images=tmp_path / "images", out=tmp_path / "out", overlays=False, batch_size=30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond 3000 bytes: writing fails as on a full disk, whoever runs the test.
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"detections\.jsonl: cannot write"):
            detect.run(config, engine=FakeEngine())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
