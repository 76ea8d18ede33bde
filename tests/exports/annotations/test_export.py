"""What is exported and what is left out, bad records, and what lies at the place already."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.errors import DataError, Iadr1Error, MissingExtraError, OutputError, UsageError
from iadr1.exports.annotations import FORMATS, NAMES, find_format, reading
from iadr1.exports.annotations import folder as folders
from iadr1.records import DetectedDefect
from iadr1.stages import export as stage
from tests.exports.annotations.world import BOX, Run, decided, defect, make_run, record, scratch, undecided

pytest.importorskip("cv2", reason="OpenCV (extra masks) is not installed")

FOLDERS = tuple(item.name for item in FORMATS if not item.suffix)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, [*decided(), *undecided(), record("a/vague.png", "anomalous", score=0.6)])


def out_of(place: Path, fmt: str) -> Path:
    return place / f"out{find_format(fmt).suffix}"


def options(run: Run, fmt: str) -> dict[str, Any]:
    return {"images": run.images} if find_format(fmt).photos == "needed" else {}


def contents(place: Path) -> dict[str, bytes]:
    """All files below a folder, or the file."""
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return {str(path.relative_to(place.parent)): path.read_bytes() for path in files}


def write_lines(run: Run, *records: dict[str, Any]) -> None:
    run.file.write_text("".join(json.dumps(item) + "\n" for item in records), encoding="utf-8")


def bad(**more: object) -> dict[str, Any]:
    """A record as a hand would write it."""
    return {"image": "x.png", "width": 90, "height": 60, "verdict": "anomalous", **more}


def test_the_table_of_formats_is_sound() -> None:
    assert NAMES == ("coco", "yolo", "yolo-seg", "labelme", "cvat", "label-studio", "csv", "mvtec")
    with pytest.raises(UsageError, match=r"no format 'voc' \(known: coco, yolo, .*mvtec\)"):
        find_format("voc")


@pytest.mark.parametrize("fmt", NAMES)
def test_what_is_not_decided_is_never_normal(run: Run, tmp_path: Path, fmt: str) -> None:
    summary = run.export(fmt, out_of(tmp_path, fmt), **options(run, fmt))
    vague = "not normal but without a box, which would say normal"
    decided_only = {"could not be looked at": 1, "undecided": 1}
    if fmt == "csv":
        assert summary.left_out == {}
        assert summary.photos == {"anomalous": 4, "normal": 1, "undecided": 1, "failed": 1}
    elif fmt in ("labelme", "cvat", "label-studio"):
        assert summary.left_out == decided_only
        assert summary.photos == {"anomalous": 4, "normal": 1}
    else:
        assert summary.left_out == {**decided_only, vague: 1}
        assert summary.photos == {"anomalous": 3, "normal": 1}
    assert summary.defects == 5


@pytest.mark.parametrize(
    ("only", "photos"), [("anomalous", {"anomalous": 4}), ("normal", {"normal": 1}), ("undecided", {"undecided": 1})]
)
def test_only_chooses_a_verdict(run: Run, tmp_path: Path, only: str, photos: dict[str, int]) -> None:
    for fmt in ("labelme", "csv"):
        summary = run.export(fmt, out_of(tmp_path, fmt), only=only)
        assert summary.photos == photos
        assert set(summary.left_out) == {"of another verdict"}


def test_an_undecided_photo_says_so(run: Run, tmp_path: Path) -> None:
    run.export("labelme", tmp_path / "l", only="undecided")
    assert json.loads((tmp_path / "l/a/maybe.json").read_text(encoding="utf-8"))["flags"] == {"undecided": True}
    with pytest.raises(UsageError, match="mvtec has no place for undecided photos"):
        run.export("mvtec", tmp_path / "m", only="undecided", images=run.images)
    with pytest.raises(DataError, match="no photo to export: 6 of another verdict, 1 not normal but without a box"):
        run.export("coco", tmp_path / "c.json", only="undecided")


def test_min_score_bounds_the_photos(run: Run, tmp_path: Path) -> None:
    summary = run.export("csv", tmp_path / "c.csv", min_score=0.75)
    assert summary.photos == {"anomalous": 2}
    assert summary.left_out == {"below the score": 3, "without a score": 2}
    with pytest.raises(UsageError, match=r"--min-score is 1.5, a score is within 0..1"):
        run.export("csv", tmp_path / "d.csv", min_score=1.5)


def test_a_normal_photo_with_a_defect_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "normal", BOX), record("2.png", "normal")])
    summary = run.export("coco", tmp_path / "c.json")
    assert summary.left_out == {"called normal although a defect is named": 1}


def test_the_file_itself_may_be_given(run: Run, tmp_path: Path) -> None:
    run.export("coco", tmp_path / "a.json")
    replace(run, folder=run.file).export("coco", tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": (bad(defects=[{"label": "x", "box": [0, 0, float("nan"), 9]}]), "2, defect 1: the box 0, 0, nan, 9 is no"),
    "infinite": (bad(defects=[{"label": "x", "box": [0, 0, float("inf"), 9]}]), "the box 0, 0, inf, 9 is no area"),
    "NaN first": (bad(defects=[{"label": "x", "box": [float("nan"), 0, 9, 9]}]), "the box nan, 0, 9, 9 is no area"),
    "NaN above": (bad(defects=[{"label": "x", "box": [0, float("nan"), 9, 9]}]), "the box 0, nan, 9, 9 is no area"),
    "reversed": (bad(defects=[{"label": "x", "box": [9, 0, 5, 9]}]), "the box 9, 0, 5, 9 is no area inside the 90x60"),
    "empty": (bad(defects=[{"label": "x", "box": [5, 5, 5, 9]}]), "the box 5, 5, 5, 9 is no area"),
    "outside": (bad(defects=[{"label": "x", "box": [95, 5, 99, 9]}]), "the box 95, 5, 99, 9 is no area"),
    "over the edge": (bad(defects=[{"label": "x", "box": [5, 5, 99, 9]}]), "the box 5, 5, 99, 9 is no area"),
    "above the edge": (bad(defects=[{"label": "x", "box": [5, -3, 9, 9]}]), "the box 5, -3, 9, 9 is no area"),
    "no label": (bad(defects=[{"label": " \n", "box": [0, 0, 9, 9]}]), r"the label is ' \n'"),
    "score": (bad(score=1.2), "the score 1.2 is not within 0..1"),
    "NaN score": (bad(score=float("nan")), "the score nan is not within"),
    "defect score": (bad(defects=[{"label": "x", "box": [0, 0, 9, 9], "score": -1}]), "2, defect 1: the score -1.0 is"),
    "no size": (bad(width=0), "the photo's size is 0x60 px"),
    "upwards": (bad(image="../x.png"), "'../x.png' cannot be the path of a photo"),
    "absolute": (bad(image="/x.png"), "'/x.png' cannot be the path"),
    "verdict": (bad(verdict="maybe"), "not a valid Detection: verdict"),
    "mask size": (
        bad(defects=[{"label": "x", "box": [0, 0, 9, 9], "mask_rle": {"size": [4, 4], "counts": [16]}}]),
        "the mask is 4x4 px, the photo 90x60 px",
    ),
    "mask runs": (
        bad(defects=[{"label": "x", "box": [0, 0, 9, 9], "mask_rle": {"size": [60, 90], "counts": [1]}}]),
        "mask_rle: the runs add up to 1 px",
    ),
    "no mask file": (bad(defects=[{"label": "x", "box": [0, 0, 9, 9], "mask": "masks/gone.png"}]), "no mask"),
    "mask path": (bad(defects=[{"label": "x", "box": [0, 0, 9, 9], "mask": "../m.png"}]), "leaves it"),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_bad_record_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    value, message = WRONG[name]
    run = make_run(tmp_path, [])
    write_lines(run, bad(image="fine.png", verdict="normal"), value, bad(image="last.png", verdict="normal"))
    for fmt in ("label-studio", "labelme"):
        with pytest.raises(DataError) as caught:
            run.export(fmt, out_of(tmp_path, fmt))
        assert f"{run.file}:2" in str(caught.value)
        assert message in str(caught.value)
        assert not out_of(tmp_path, fmt).exists()


@pytest.mark.parametrize("fmt", NAMES)
def test_a_photo_whose_name_is_no_path_everywhere_is_left_out_and_named(tmp_path: Path, fmt: str) -> None:
    """`detect` writes the bytes of a name that is no UTF-8 as escapes."""
    run = make_run(tmp_path, decided())
    odd = bad(image=r"b/latin\xff.png", defects=[{"label": "x", "box": [0, 0, 9, 9]}])
    with run.file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(odd) + "\n")
    summary = run.export(fmt, out_of(tmp_path, fmt), **options(run, fmt))
    assert (summary.unnamed, sum(summary.photos.values())) == ((r"b/latin\xff.png",), 4)
    assert summary.left_out == {"with a backslash in its name, which is no file's name on every system": 1}


def test_a_box_that_rounding_put_over_the_edge_is_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "anomalous", BOX.model_copy(update={"box": (-0.4, 3, 90.3, 60.2)}))])
    run.export("coco", tmp_path / "c.json")
    (found,) = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["annotations"]
    assert found["bbox"] == [0, 3, 90, 57]


def test_a_mask_that_leads_out_of_the_run_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "anomalous", BOX.model_copy(update={"mask": "masks/m.png"}))])
    Image.fromarray(scratch().astype(np.uint8) * 255).save(tmp_path / "m.png")
    (run.folder / "masks").mkdir()
    (run.folder / "masks/m.png").symlink_to(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"leads out of .* through a link"):
        run.export("coco", tmp_path / "c.json")


def test_an_empty_mask_is_a_box(tmp_path: Path) -> None:
    empty = dict(rle.encode(np.zeros_like(scratch())))
    run = make_run(tmp_path, [record("1.png", "anomalous", BOX.model_copy(update={"mask_rle": empty}))])
    run.export("labelme", tmp_path / "l")
    (shape,) = json.loads((tmp_path / "l/1.json").read_text(encoding="utf-8"))["shapes"]
    assert shape["shape_type"] == "rectangle"


def test_a_photo_with_two_records_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "normal"), record("2.png", "normal"), record("1.png", "undecided")])
    with pytest.raises(DataError, match=r"detections.jsonl:3: the photo '1.png' has a record in line 1 already"):
        run.export("coco", tmp_path / "c.json")


@pytest.mark.parametrize("fmt", NAMES)
def test_of_a_watched_name_that_was_overwritten_the_last_record_counts(tmp_path: Path, fmt: str) -> None:
    run = make_run(
        tmp_path,
        [
            record("cam.png", "anomalous", BOX, image_sha256="a" * 64),
            record("cam.png", "undecided", width=0, height=0, error="cannot read the file"),
            record("fine.png", "normal", image_sha256="b" * 64),
            record("cam.png", "normal", image_sha256="c" * 64),
        ],
    )
    (run.folder / "run.json").write_text('{"command": "watch"}', encoding="utf-8")
    summary = run.export(fmt, out_of(tmp_path, fmt), **options(run, fmt))
    assert (summary.photos, summary.defects) == ({"normal": 2}, 0)
    assert summary.left_out == {"overwritten by a later photo of the same name": 2}
    if fmt == "csv":
        assert "裂纹" not in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_only_a_watcher_overwrites(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("cam.png", "anomalous", BOX), record("cam.png", "normal")])
    told = run.folder / "run.json"
    told.write_text('{"command": "detect"}', encoding="utf-8")
    with pytest.raises(DataError, match="has a record in line 1 already"):
        run.export("coco", tmp_path / "c.json")
    told.write_text("half", encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json: cannot read"):
        run.export("coco", tmp_path / "c.json")


@pytest.mark.parametrize(
    ("told", "unfinished"),
    [('{"command": "detect"}', True), ('{"command": "detect", "counts": {}}', False), ('{"command": "watch"}', False)],
)
def test_a_run_that_has_not_finished_is_said_to_be_so(run: Run, tmp_path: Path, told: str, unfinished: bool) -> None:
    (run.folder / "run.json").write_text(told, encoding="utf-8")
    summary = run.export("coco", tmp_path / "c.json")
    assert any("has not finished" in line for line in summary.lines) is unfinished


@pytest.mark.parametrize("counts", [{}, {"counts": {}}], ids=["unfinished", "finished"])
def test_a_shard_says_that_it_is_one_and_how_they_are_joined(tmp_path: Path, counts: dict[str, Any]) -> None:
    run = make_run(tmp_path, [record("a.png", "normal")])
    told = {"command": "detect", "config": {"shard": "2/3", "images": "my photos"}, **counts}
    (run.folder / "run.json").write_text(json.dumps(told), encoding="utf-8")
    moved = run.export("csv", tmp_path / "moved.csv").lines
    assert "this is shard 2 of 3: photos of the others are missing; `iadr1 detect 'my photos' --out FOLDER" in moved[-1]
    place = tmp_path / "whole" / "shard-2-of-3"
    place.parent.mkdir()
    run.folder.rename(place)
    lines = replace(run, folder=place).export("csv", tmp_path / "d.csv").lines
    assert f"`iadr1 detect 'my photos' --out {tmp_path / 'whole'} --join` joins them" in lines[-1]
    assert any("has not finished" in line for line in lines) is (not counts)
    # The folder of the shards itself has no records yet.
    with pytest.raises(
        UsageError,
        match=r"holds 1 of the 3 shards of a run and no .* \(shard-1-of-3 is missing: when all are there, iadr1",
    ):
        stage.run(stage.Export(place.parent, "csv", tmp_path / "w.csv"))
    for number in (1, 3):
        (place.parent / f"shard-{number}-of-3").mkdir()
    with pytest.raises(
        UsageError, match=r"holds 3 of the 3 shards .* \(join them first: iadr1 .*--out \S*whole --join"
    ):
        stage.run(stage.Export(place.parent, "csv", tmp_path / "w.csv"))
    told["config"]["shard"] = None
    (place / "run.json").write_text(json.dumps(told), encoding="utf-8")
    joined = replace(run, folder=place).export("csv", tmp_path / "d.csv").lines
    assert not any("shard" in line for line in joined)


def test_a_shard_that_cannot_be_is_an_error_that_names_the_file(run: Run, tmp_path: Path) -> None:
    told = '{"command": "detect", "config": {"shard": "4/3"}}'
    (run.folder / "run.json").write_text(told, encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json: the shard '4/3'"):
        run.export("csv", tmp_path / "d.csv")
    assert not (tmp_path / "d.csv").exists()


def test_a_watcher_may_add_records_while_they_are_exported(run: Run, tmp_path: Path, monkeypatch: Any) -> None:
    (run.folder / "run.json").write_text('{"command": "watch"}', encoding="utf-8")
    checks = reading.read_entry

    def adds(*args: Any, **more: Any) -> Any:
        with run.file.open("a", encoding="utf-8") as file:
            file.write(record("a/1.png", "normal").model_dump_json() + "\n")
            file.write(record("new.png", "normal").model_dump_json() + "\n")
        return checks(*args, **more)

    monkeypatch.setattr(stage, "read_entry", adds)
    summary = run.export("coco", tmp_path / "c.json")
    images = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["images"]
    assert [item["file_name"] for item in images] == [item.image for item in decided()]
    assert sum(summary.photos.values()) == len(images)


@pytest.mark.parametrize("fmt", NAMES)
def test_a_colon_in_a_name_is_only_a_name(tmp_path: Path, fmt: str) -> None:
    run = make_run(tmp_path, [record("2026-11-22T12:30:01.png", "anomalous", BOX), record("12:30/ok.png", "normal")])
    assert run.export(fmt, out_of(tmp_path, fmt), **options(run, fmt)).photos == {"anomalous": 1, "normal": 1}


def test_a_windows_drive_is_named_where_a_file_gets_the_name(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("c:x.png", "normal")])
    with pytest.raises(DataError, match=r"'c:x\.png' begins with 'c:', which is a drive"):
        run.export("labelme", tmp_path / "l")
    assert not (tmp_path / "l").exists()
    run.export("coco", tmp_path / "c.json")


def test_records_of_two_models_go_together(tmp_path: Path) -> None:
    run = make_run(tmp_path, [record("1.png", "normal"), record("2.png", "normal", model="other")])
    run.export("label-studio", tmp_path / "t.json")
    tasks = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert [item["predictions"][0]["model_version"] for item in tasks] == ["tiny", "other"]


@pytest.mark.parametrize(("fmt", "file"), [("yolo", "labels/a/1.txt"), ("labelme", "a/1.json")])
def test_photos_that_share_a_label_file_are_refused(tmp_path: Path, fmt: str, file: str) -> None:
    run = make_run(tmp_path, [record("a/1.png", "normal"), record("b/1.png", "normal"), record("a/1.jpg", "normal")])
    with pytest.raises(DataError, match=rf"jsonl:3: 'a/1.jpg' and 'a/1.png' \(line 1\) would both have '{file}'"):
        run.export(fmt, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    run.export("mvtec", tmp_path / "plate", images=run.images)
    assert len(list((tmp_path / "plate/test/good").iterdir())) == 3


def test_five_hundred_defects_in_a_photo(tmp_path: Path) -> None:
    many = [DetectedDefect(label=f"d{n % 7}", box=(n % 80, n // 80, n % 80 + 9, n // 80 + 5)) for n in range(500)]
    run = make_run(tmp_path, [record("1.png", "anomalous", *many)])
    for fmt in NAMES:
        assert run.export(fmt, out_of(tmp_path / fmt, fmt), images=run.images).defects == 500
    assert len((tmp_path / "yolo/out/labels/1.txt").read_text(encoding="utf-8").splitlines()) == 500


@pytest.mark.parametrize("fmt", NAMES)
def test_photos_are_checked_where_their_folder_is_given(run: Run, tmp_path: Path, fmt: str) -> None:
    Image.new("RGB", (9, 9)).save(run.images / "b/1.png")
    (run.images / "broken.png").touch()
    with pytest.raises(DataError, match=r"jsonl:2: the photo has 9x9 px, the record 90x60 px"):
        run.export(fmt, out_of(tmp_path, fmt), images=run.images)
    (run.images / "b/1.png").unlink()
    with pytest.raises(DataError, match=r"jsonl:2: no photo '.*b/1.png' \(--images is the folder"):
        run.export(fmt, out_of(tmp_path, fmt), images=run.images)
    assert not out_of(tmp_path, fmt).exists()


@pytest.mark.parametrize("fmt", NAMES)
def test_the_same_export_again_is_the_same(run: Run, tmp_path: Path, fmt: str) -> None:
    for _ in range(2):
        run.export(fmt, out_of(tmp_path, fmt), **options(run, fmt))
    first = contents(out_of(tmp_path, fmt))
    run.export(fmt, out_of(tmp_path / "b", fmt), **options(run, fmt))
    assert contents(out_of(tmp_path / "b", fmt)) == first
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".new", ".tmp"))]


@pytest.mark.parametrize("fmt", FOLDERS)
def test_an_export_that_was_stopped_goes_on(
    run: Run, tmp_path: Path, fmt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.export(fmt, tmp_path / "whole", images=run.images)
    real = folders.put_photo

    def stops(path: Path, photo: Path) -> None:
        if path.name.endswith("ok.png"):
            raise KeyboardInterrupt
        real(path, photo)

    module = sys.modules[find_format(fmt).write.__module__]
    with monkeypatch.context() as patch:
        patch.setattr(module, "put_photo", stops)
        with pytest.raises(KeyboardInterrupt):
            run.export(fmt, tmp_path / "out", images=run.images)
    assert 0 < len(contents(tmp_path / "out")) < len(contents(tmp_path / "whole"))
    run.export(fmt, tmp_path / "out", images=run.images)
    renamed = {name.replace("whole", "out", 1): content for name, content in contents(tmp_path / "whole").items()}
    assert contents(tmp_path / "out") == renamed


def test_an_export_that_was_killed_at_once_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / f"out/.{folders.MARK}.123.tmp").write_text("{", encoding="utf-8")
    run.export("labelme", tmp_path / "out")


@pytest.mark.parametrize("fmt", FOLDERS)
def test_a_folder_of_something_else_is_left_alone(run: Run, tmp_path: Path, fmt: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already, and no export of iadr1"):
        run.export(fmt, tmp_path / "out", images=run.images)
    assert contents(tmp_path / "out") == {"out/mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("fmt", "more"), [("labelme", {"only": "normal"}), ("labelme", {"min_score": 0.1}), ("yolo", {}), ("yolo-seg", {})]
)
def test_a_folder_of_another_export_is_left_alone(run: Run, tmp_path: Path, fmt: str, more: dict[str, Any]) -> None:
    run.export("labelme", tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UsageError, match="holds another export"):
        run.export(fmt, tmp_path / "out", **more)
    assert contents(tmp_path / "out") == before


def test_a_folder_of_other_records_is_left_alone(run: Run, tmp_path: Path) -> None:
    run.export("labelme", tmp_path / "out")
    before = contents(tmp_path / "out")
    write_lines(run, bad(image="other.png", verdict="normal"))
    with pytest.raises(UsageError, match="holds another export"):
        run.export("labelme", tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("fmt", "name"), [("labelme", "out/a/1.json"), ("coco", "out.json"), ("yolo", "out/data.yaml")]
)
def test_what_somebody_has_edited_is_never_lost(run: Run, tmp_path: Path, fmt: str, name: str) -> None:
    run.export(fmt, out_of(tmp_path, fmt))
    (tmp_path / name).write_text("edited", encoding="utf-8")
    with pytest.raises(OutputError, match="is there already with another content, and is left as it is"):
        run.export(fmt, out_of(tmp_path, fmt))
    assert (tmp_path / name).read_text(encoding="utf-8") == "edited"


def test_another_photo_at_the_place_is_left_alone(run: Run, tmp_path: Path) -> None:
    run.export("labelme", tmp_path / "out", images=run.images)
    (tmp_path / "out/a/1.png").unlink()
    (tmp_path / "out/a/1.png").write_bytes(b"other")
    with pytest.raises(OutputError, match="another content"):
        run.export("labelme", tmp_path / "out", images=run.images)


def test_photos_are_linked_or_else_copied(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.export("labelme", tmp_path / "linked", images=run.images)
    assert (tmp_path / "linked/a/1.png").samefile(run.images / "a/1.png")

    def no_links(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    run.export("labelme", tmp_path / "copied", images=run.images)
    assert not (tmp_path / "copied/a/1.png").samefile(run.images / "a/1.png")
    assert (tmp_path / "copied/a/1.png").read_bytes() == (run.images / "a/1.png").read_bytes()


def test_a_full_disk_is_an_output_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="cannot write: No space left on device"):
        run.export("labelme", tmp_path / "out")
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".new")]


@pytest.mark.parametrize(
    ("fmt", "out", "more", "message"),
    [
        ("coco", "d", {}, r"coco is a file of its own, not '.*d' \(let --out end in .json\)"),
        ("cvat", "d.json", {}, "let --out end in .xml"),
        ("coco", "run", {}, "let --out end in .json"),
        ("mvtec", "m", {}, "mvtec holds the photos themselves .say where they are with --images"),
        ("coco", "d.json", {"images": Path("gone")}, "no folder 'gone'"),
        ("labelme", "run", {}, "is there already, and no export of iadr1"),
        ("labelme", "run/detections.jsonl", {}, "--out is the file that is read"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, tmp_path: Path, fmt: str, out: str, more: Any, message: str) -> None:
    before = contents(run.folder)
    with pytest.raises(UsageError, match=message):
        run.export(fmt, tmp_path / out, **more)
    assert contents(run.folder) == before


def test_no_records_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "detections.jsonl").touch()
    with pytest.raises(DataError, match=r"detections.jsonl: no photo to export: it is empty"):
        stage.run(stage.Export(tmp_path, "coco", tmp_path / "c.json"))
    with pytest.raises(UsageError, match="no such file"):
        stage.run(stage.Export(tmp_path / "gone.jsonl", "coco", tmp_path / "c.json"))


def test_without_opencv_only_polygons_are_missing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    for fmt in ("yolo-seg", "labelme", "cvat", "label-studio"):
        with pytest.raises(MissingExtraError, match="turning masks into polygons"):
            run.export(fmt, out_of(tmp_path / fmt, fmt))
        assert not (tmp_path / fmt).exists()
    for fmt in ("coco", "yolo", "csv", "mvtec"):
        run.export(fmt, out_of(tmp_path / fmt, fmt), images=make_photo(run))
    boxes = make_run(tmp_path / "boxes", [record("1.png", "anomalous", BOX)])
    boxes.export("labelme", tmp_path / "boxes/out")


def make_photo(run: Run) -> Path:
    """The photos, with something in the place of the one that could not be read."""
    Image.new("RGB", (5, 5)).save(run.images / "broken.png")
    return run.images


def test_only_one_photo_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, [record(f"{n}.png", "anomalous", defect("x", scratch())) for n in range(30)])
    written: list[int] = []
    read: list[int] = []
    real_read, real_put = reading.read_entry, folders.put_text

    def reads(*args: Any, **more: Any) -> Any:
        read.append(more["number"])
        return real_read(*args, **more)

    def puts(path: Path, text: str) -> None:
        written.append(len(read))
        real_put(path, text)

    monkeypatch.setattr(stage, "read_entry", reads)
    monkeypatch.setattr(sys.modules["iadr1.exports.annotations.labelme"], "put_text", puts)
    run.export("labelme", tmp_path / "out")
    assert written == [30 + n for n in range(1, 31)]


def test_every_error_is_one_of_ours(tmp_path: Path) -> None:
    run = make_run(tmp_path, [])
    run.file.write_bytes(b'{"image": "1.png"')
    with pytest.raises(Iadr1Error, match=r"detections.jsonl:1: not JSON"):
        run.export("coco", tmp_path / "c.json")
