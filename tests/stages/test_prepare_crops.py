"""`iadr1 prepare crops`, `split` and `join`: tiles as `detect` takes them, mirrored copies, splits by piece."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from iadr1 import rle
from iadr1.cli.app import app
from iadr1.config import PrepareConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.geometry import Box
from iadr1.images import file_sha256, open_image
from iadr1.records import Defect, Sample, meta_path, read_records, resolve_root
from iadr1.stages.inspection import References
from iadr1.stages.inspection.photos import find_photos
from iadr1.stages.inspection.tiles import windows
from iadr1.stages.prepare import run
from iadr1.stages.prepare.cutting import Remainder, cut
from iadr1.stages.prepare.splitting import divide

SIZE = (200, 120)
SPOT: Box = (20.0, 30.0, 40.0, 44.0)
"""A dent of which the mask shows the left part only, up to column 34."""


def picture(path: Path, seed: int, *, spot: bool = False) -> None:
    values = np.random.default_rng(seed).integers(0, 200, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    if spot:
        values[30:44, 20:34] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Six photos of three pieces in folders, one of them with a dent and its mask, all with a reference."""
    root = tmp_path / "pump"
    for piece in range(3):
        for shot in range(2):
            bad = piece == 1 and shot == 0
            picture(root / ("dent" if bad else "good") / f"piece{piece}-{shot}.png", 10 * piece + shot, spot=bad)
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    mask[30:44, 20:34] = 255
    (root / "ground_truth/dent").mkdir(parents=True)
    Image.fromarray(mask).save(root / "ground_truth/dent/piece1-0_mask.png")
    out = tmp_path / "data/pump.jsonl"
    run(PrepareConfig(source="folder", root=root, out=out))
    return out


def crops(prepared: Path, **changes: Any) -> list[Sample]:
    config = PrepareConfig(
        source="crops", data=(prepared,), out=prepared.with_name("crops.jsonl"), tiles="3x2", shots=1
    )
    config = dataclasses.replace(config, **changes)
    run(config)
    assert config.out is not None
    return list(read_records(config.out, Sample))


def root_of(prepared: Path) -> Path:
    return resolve_root(prepared.with_name("crops.jsonl"))


def test_tiles_are_those_of_detect_with_references_cut_alike(prepared: Path) -> None:
    source = resolve_root(prepared)
    by_id = {sample.id: sample for sample in read_records(prepared, Sample)}
    found = crops(prepared, normal_share=0.9)
    places = windows("3x2", SIZE, SIZE)
    tiles = [sample for sample in found if "@" in sample.id]
    assert len(tiles) > 5
    for sample in tiles:
        name, _, number = sample.id.partition("@")
        whole, window = by_id[name], places[int(number) - 1]
        shown = open_image(root_of(prepared) / sample.image)
        assert np.array_equal(np.asarray(shown), np.asarray(open_image(source / whole.image).crop(window)))
        reference = open_image(root_of(prepared) / sample.references[0])
        wanted = open_image(source / whole.references[0]).crop(window)
        assert np.array_equal(np.asarray(reference), np.asarray(wanted))
        assert sample.image_size == shown.size
        assert sample.image_sha256 == file_sha256(root_of(prepared) / sample.image)


def test_whole_photos_stay_and_normal_tiles_are_balanced(prepared: Path) -> None:
    found = crops(prepared)
    assert sum("@" not in sample.id for sample in found) == 6
    tiles = [sample for sample in found if "@" in sample.id]
    bad = [sample for sample in tiles if sample.is_anomalous]
    assert bad
    assert len(tiles) == 2 * len(bad)
    assert {sample.answer for sample in bad} == {"Yes"}
    assert all(not sample.defects and sample.answer == "No" for sample in tiles if not sample.is_anomalous)
    assert not [sample for sample in crops(prepared, normal_share=0.0) if "@" in sample.id and not sample.is_anomalous]
    again = [sample.id for sample in crops(prepared)]
    assert again == [sample.id for sample in found]
    assert [sample.id for sample in crops(prepared, seed=1)] != again


def test_the_box_of_a_tile_is_that_of_the_mask_in_it(prepared: Path) -> None:
    places = windows("3x2", SIZE, SIZE)
    found = [sample for sample in crops(prepared) if "@" in sample.id and sample.is_anomalous]
    for sample in found:
        left, top, _, _ = places[int(sample.id.partition("@")[2]) - 1]
        (defect,) = sample.defects
        assert defect.box is not None
        mask = rle.decode(rle.parse(defect.mask_rle))
        assert mask.shape == (sample.image_size or (0, 0))[::-1]
        x1, y1, x2, y2 = (round(value) for value in defect.box)
        assert mask[y1:y2, x1:x2].all()
        assert mask.sum() == (x2 - x1) * (y2 - y1)
        assert (x1 + left, y1 + top) >= (20, 30)
        shown = np.asarray(open_image(root_of(prepared) / sample.image))
        assert (shown[y1:y2, x1:x2] == 255).all()
        assert defect.mask is None


@pytest.mark.parametrize(
    ("window", "box"),
    [
        ((0, 0, 100, 100), SPOT),
        ((25, 0, 125, 100), (0, 30, 15, 44)),  # 15 of 20 columns
        ((35, 0, 135, 100), (0, 30, 5, 44)),  # exactly a quarter
        ((36, 0, 136, 100), "remainder"),
        ((37, 0, 67, 8), None),  # beside it
        ((40, 0, 140, 100), None),
        ((22, 32, 30, 40), (0, 0, 8, 8)),  # less than a quarter of it, but all of the tile
        ((20, 27, 60, 33), "remainder"),  # three rows
    ],
)
def test_how_much_of_a_defect_counts(window: tuple[int, int, int, int], box: object) -> None:
    defect = Defect(type="dent", box=SPOT)
    if box == "remainder":
        with pytest.raises(Remainder):
            cut(defect, None, window)
        return
    found = cut(defect, None, window)
    assert (found.box if found else None) == box


def test_with_a_mask_its_pixels_count() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[30:44, 20:22] = True
    mask[30, 20:40] = True
    defect = Defect(type="dent", box=SPOT)
    found = cut(defect, mask, (10, 10, 30, 60))
    assert found is not None
    assert found.box == (10.0, 20.0, 20.0, 34.0)
    assert found.location == "middle right"
    with pytest.raises(Remainder):  # 16 of 46 pixels would do, but they are one row
        cut(defect, mask, (24, 10, 80, 60))
    assert cut(defect, mask, (24, 31, 80, 60)) is None  # in the box, beside the mask


def test_a_tile_with_a_remainder_is_left_out_and_counted(prepared: Path) -> None:
    samples = list(read_records(prepared, Sample))
    places = windows("2x1", SIZE, SIZE)
    edge = float(places[0][2])
    boxed = [
        sample.model_copy(update={"defects": (Defect(type="dent", box=(edge - 30, 40, edge + 1, 60)),)})
        if sample.is_anomalous
        else sample
        for sample in samples
    ]
    prepared.write_text("".join(sample.model_dump_json() + "\n" for sample in boxed))
    config = PrepareConfig(
        source="crops", data=(prepared,), out=prepared.with_name("crops.jsonl"), tiles="2x1", normal_share=0.95
    )
    place = next(sample.id for sample in samples if sample.is_anomalous)
    summary = run(config)
    ids = {sample.id for sample in read_records(prepared.with_name("crops.jsonl"), Sample)}
    # The second tile begins 0.2 of a tile before the first one ends: it shows the whole defect but for some columns.
    assert f"{place}@1" in ids
    assert "0 tiles with too small a part" in summary.lines[1]
    boxed = [
        sample.model_copy(update={"defects": (Defect(type="dent", box=(5, 40, places[1][0] + 3, 60)),)})
        if sample.is_anomalous
        else sample
        for sample in samples
    ]
    prepared.write_text("".join(sample.model_dump_json() + "\n" for sample in boxed))
    summary = run(config)
    ids = {sample.id for sample in read_records(prepared.with_name("crops.jsonl"), Sample)}
    assert f"{place}@1" in ids
    assert f"{place}@2" not in ids
    assert "1 tiles with too small a part" in summary.lines[1]


def test_mirrored_views_have_their_own_boxes_masks_and_places(prepared: Path) -> None:
    found = {sample.id: sample for sample in crops(prepared, tiles="off", mirror=True)}
    assert len(found) == 24
    plain = found["dent/piece1-0.png"]
    for view, box, location in (
        ("-lr", (166, 30, 180, 44), "top right"),
        ("-tb", (20, 76, 34, 90), "bottom left"),
        ("-lrtb", (166, 76, 180, 90), "bottom right"),
    ):
        sample = found[f"{plain.id}{view}"]
        (defect,) = sample.defects
        assert defect.box == box
        assert defect.location == location
        x1, y1, x2, y2 = box
        shown = np.asarray(open_image(root_of(prepared) / sample.image))
        assert (shown[y1:y2, x1:x2] == 255).all()
        mask = rle.decode(rle.parse(defect.mask_rle))
        assert mask[y1:y2, x1:x2].all()
        assert mask.sum() == 14 * 14
        own, reference = (open_image(root_of(prepared) / one.references[0]) for one in (plain, sample))
        turned = np.asarray(own)[:: -1 if "tb" in view else 1, :: -1 if "lr" in view else 1]
        assert np.array_equal(np.asarray(reference), turned)


def test_detect_finds_the_references_of_the_pictures(prepared: Path, tmp_path: Path) -> None:
    found = {sample.image: sample for sample in crops(prepared, mirror=True)}
    folder = root_of(prepared)
    references = References(folder / "references", shots=1)
    photos = find_photos(folder / "photos", tmp_path / "runs")
    assert len(photos) == len(found)
    for photo in photos:
        (reference,) = references.find(photo, open_image(photo.path))
        assert reference == folder / found[f"photos/{photo.name}"].references[0]


def test_a_defect_without_a_place_keeps_the_photo_and_no_tile(prepared: Path) -> None:
    samples = [
        sample.model_copy(update={"defects": (Defect(type="dent"),)}) if sample.is_anomalous else sample
        for sample in read_records(prepared, Sample)
    ]
    prepared.write_text("".join(sample.model_dump_json() + "\n" for sample in samples))
    found = crops(prepared)
    assert [sample.id for sample in found if sample.is_anomalous] == ["dent/piece1-0.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tiles": "auto"}, "depends on the model's input"),
        ({"tiles": "off"}, "without --tiles and --mirror"),
        ({"tiles": "9x1"}, "at most 8"),
        ({"normal_share": 1.0}, "below 1"),
        ({"size": 5}, "no use for --size"),
        ({"group": "x"}, "no use for --group"),
    ],
)
def test_what_cannot_be_is_refused(prepared: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        crops(prepared, **changes)
    assert not prepared.with_name("crops.jsonl").exists()
    assert not prepared.with_name("crops").exists()


def test_other_tasks_and_two_samples_of_a_photo_are_refused(prepared: Path) -> None:
    lines = prepared.read_text().splitlines()
    double = json.loads(lines[0]) | {"id": "again"}
    prepared.write_text("\n".join([*lines, json.dumps(double)]) + "\n")
    with pytest.raises(DataError, match="a second sample about the image"):
        crops(prepared)
    double |= {"task": "choice", "options": {"A": "Yes."}, "answer": "A"}
    prepared.write_text(json.dumps(double) + "\n")
    with pytest.raises(DataError, match="not a yes/no question"):
        crops(prepared)


def test_a_folder_of_others_is_left_alone_and_an_own_one_replaced(prepared: Path) -> None:
    folder = prepared.with_name("crops")
    folder.mkdir()
    (folder / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="did not write"):
        crops(prepared)
    assert (folder / "mine.txt").exists()
    (folder / "mine.txt").unlink()
    folder.rmdir()
    crops(prepared, mirror=True)
    crops(prepared)
    assert not list(folder.rglob("*-lr.png"))
    assert not list(prepared.parent.glob(".crops*"))


def test_a_failed_run_leaves_the_earlier_one_whole(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = crops(prepared)
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputError, match="cannot write: No space left"):
        crops(prepared, mirror=True)
    monkeypatch.undo()
    assert not list(prepared.parent.glob(".crops.new"))
    assert list(read_records(prepared.with_name("crops.jsonl"), Sample)) == before
    assert all((root_of(prepared) / sample.image).is_file() for sample in before)


def halves(prepared: Path, split: str | None, **changes: Any) -> list[Sample]:
    out = prepared.with_name(f"{split}.jsonl")
    config = PrepareConfig(source="split", data=(prepared,), out=out, split=split, group="piece[0-9]+")
    run(dataclasses.replace(config, **changes))
    return list(read_records(out, Sample))


def piece(path: str) -> str:
    return Path(path).name.partition("-")[0]


def test_no_piece_is_in_both_halves_nor_shown_as_a_reference(prepared: Path) -> None:
    train, test = halves(prepared, "train"), halves(prepared, "test")
    assert {sample.split for sample in train} == {"train"}
    assert {sample.split for sample in test} == {"test"}
    assert sorted(sample.id for sample in (*train, *test)) == sorted(s.id for s in read_records(prepared, Sample))
    pieces = [{piece(sample.image) for sample in half} for half in (train, test)]
    assert all(pieces)
    assert not pieces[0] & pieces[1]
    for half, own in zip((train, test), pieces, strict=True):
        assert {piece(path) for sample in half for path in sample.references} <= own
    assert meta_path(prepared.with_name("train.jsonl")).exists()
    # The two pieces without a dent are dealt out one to each side.
    assert sum("piece1" not in name for name in pieces[0]) == 1


def test_halves_need_a_side_and_a_pattern_that_matches(prepared: Path) -> None:
    for split, changes, message in (
        (None, {}, "needs --group, and --split train or --split test"),
        ("val", {}, "needs --group, and --split"),
        ("train", {"group": None}, "needs --group"),
        ("train", {"group": "("}, "no regular expression"),
        ("train", {"group": "piece[01]"}, "matches nothing in 2 of 6 paths, such as 'good/piece2-0.png'"),
        ("train", {"group": "x*"}, "matches nothing in 6 of 6"),
    ):
        with pytest.raises(UsageError, match=message):
            halves(prepared, split, **changes)
    with pytest.raises(DataError, match="all images are of one group, 'piece'"):
        halves(prepared, "train", group="piece")


def test_both_sides_show_all_kinds_whatever_the_seed(prepared: Path) -> None:
    good = next(sample for sample in read_records(prepared, Sample) if not sample.is_anomalous)
    dents = (Defect(type="dent"),)
    samples = [
        good.model_copy(
            update={"id": f"{n}", "image": f"p{n}.png", "references": (), "defects": dents if n < 4 else ()}
        )
        for n in range(8)
    ]
    for seed in range(12):
        train = [one for one in divide(samples, group="p[0-9]", share=0.5, seed=seed) if one.split == "train"]
        assert sum(bool(one.defects) for one in train) == 2
        assert len(train) == 4


def test_the_share_is_that_of_the_training_part(prepared: Path) -> None:
    assert len(halves(prepared, "train", share=0.1)) <= 2
    assert len(halves(prepared, "train", share=0.9)) >= 4
    for share in (0.0, 1.0):
        with pytest.raises(UsageError, match="must be above 0 and below 1"):
            halves(prepared, "train", share=share)


def test_a_normal_photo_without_reference_is_shown_beside_itself(prepared: Path) -> None:
    samples = [sample.model_copy(update={"references": ()}) for sample in read_records(prepared, Sample)]
    good = [sample for sample in samples if not sample.is_anomalous]
    prepared.write_text("".join(sample.model_dump_json() + "\n" for sample in good))
    for sample in crops(prepared, tiles="2x1"):
        (reference,) = sample.references
        assert (root_of(prepared) / reference).read_bytes() == (root_of(prepared) / sample.image).read_bytes()
    assert not any(sample.references for sample in crops(prepared, shots=0))
    prepared.write_text("".join(sample.model_dump_json() + "\n" for sample in samples))
    with pytest.raises(DataError, match=r"dent/piece1-0.png: it has 0 references, --shots 1 asks for more"):
        crops(prepared)


def test_join_keeps_every_task(prepared: Path) -> None:
    questions = prepared.with_name("questions.jsonl")
    run(PrepareConfig(source="fewshot", data=(prepared,), out=questions, size=6))
    out = prepared.with_name("both.jsonl")
    words = ["prepare", "join", "--data", str(prepared), "--data", str(questions), "--out", str(out)]
    result = CliRunner().invoke(app, words, prog_name="iadr1")
    assert result.exit_code == 0, result.output
    found = list(read_records(out, Sample))
    assert {sample.task for sample in found} == {"anomaly", "choice"}
    assert len(found) == 12
    for sample in found:
        assert (resolve_root(out) / sample.image).is_file()
