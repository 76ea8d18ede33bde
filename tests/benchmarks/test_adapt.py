"""`benchmarks/adapt.py`: figures by hand, the classical detectors, the layout by group, and going on after a kill."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn (extra eval) is not installed")

from benchmarks import adapt_sets
from benchmarks.adapt import Case, Plan, claim, times_table
from benchmarks.adapt_baselines import Difference, Patches, fit_difference
from benchmarks.adapt_figures import Mask, Row, Truth, figures, mask_overlaps, of_method, table
from iadr1.datasets.magnetic_tile import tile_groups
from iadr1.errors import UsageError
from iadr1.geometry import Box, box_mask, iou

SHARED = Path(__file__).parents[3] / "shared" / "data"
tiles_here = pytest.mark.skipif(
    not (SHARED / "magnetic_tile").is_dir(), reason="needs the magnetic tiles in ../shared/data"
)
SIZE = (40, 30)
BOX: Box = (10, 10, 20, 20)


def filled(box: Box) -> Mask:
    return box_mask(box, SIZE)


def row(group: str, *, bad: bool, score: float, boxes: tuple[Box, ...] = ()) -> Row:
    known = Truth(group, bad, (BOX,) if bad else (), (filled(BOX),) if bad else ())
    return Row(known, score, score > 0.5, boxes, [None] * len(boxes))


ROWS = [
    row("a", bad=True, score=0.9, boxes=(BOX,)),
    row("a", bad=True, score=0.4),
    row("b", bad=False, score=0.6, boxes=(BOX,)),
    row("b", bad=False, score=0.1),
    row("c", bad=True, score=0.8, boxes=((10, 10, 20, 14),)),
    row("c", bad=False, score=0.2),
]


def test_the_figures_by_hand() -> None:
    found = of_method(ROWS, seed=0)
    values = found["values"]
    assert (found["n"], found["good"], found["groups"], found["true_boxes"]) == (6, 3, 3, 3)
    assert values["auroc"] == pytest.approx(100 * 8 / 9)
    assert values["ba"] == pytest.approx(100 * 2 / 3)
    assert values["f1@0.33"] == pytest.approx(100 * 2 * 2 / 6)  # the third has an IoU of .4
    assert values["f1@0.5"] == pytest.approx(100 * 2 * 1 / 6)
    assert values["mask_iou"] == pytest.approx((1 + 0 + 0.4) / 3)
    for name, value in values.items():
        low, high = found["interval_95"][name]
        assert low <= value <= high


def test_intervals_draw_groups_and_not_photos() -> None:
    wide = of_method([row(f"{n % 2}", bad=n % 2 == 0, score=0.9 if n % 4 == 0 else 0.1) for n in range(400)], seed=0)
    many = of_method([row(f"{n}", bad=n % 2 == 0, score=0.9 if n % 4 == 0 else 0.1) for n in range(400)], seed=0)
    assert wide["values"] == many["values"]
    assert many["interval_95"]["ba"][1] - many["interval_95"]["ba"][0] > 1
    assert wide["interval_95"]["ba"] == [75.0, 75.0]  # one group of each kind: a draw holds both or has no figure


def test_a_drawn_mask_counts_instead_of_its_box() -> None:
    known = ROWS[0].known
    half = filled((10, 10, 20, 15))
    assert mask_overlaps(Row(known, 1.0, True, (BOX,), (half,))) == [0.5]
    assert mask_overlaps(Row(known, 1.0, True, (BOX,), (None,))) == [1.0]
    assert mask_overlaps(Row(known, 1.0, True)) == [0.0]
    unknown = Truth("a", True, (BOX,), (None,))
    assert mask_overlaps(Row(unknown, 1.0, True, (BOX,), (half,))) == []


def test_all_normal_is_measured_on_the_same_photos() -> None:
    found = figures({"sft": ROWS, "tiles: sft": ROWS[:4]}, seed=0)
    normal = found["all normal"]
    assert (normal["n"], found["tiles: all normal"]["n"]) == (6, 4)
    assert normal["values"] == {"auroc": 50.0, "f1@0.33": 0.0, "f1@0.5": 0.0, "mask_iou": 0.0, "ba": 50.0}
    text = table({"pcb": found})
    assert text.count("\n") == 6
    assert "| pcb | all normal | 6 (3) | 3 | 50.0 [50.0, 50.0] | 50.0 [50.0, 50.0] | 0.0 [0.0, 0.0]" in text


def board(*, spot: Box | None = None, shift: int = 0) -> Image.Image:
    values = np.zeros((60, 80), dtype=np.uint8)
    values[10:50, 30 + shift : 34 + shift] = 255
    if spot is not None:
        x1, y1, x2, y2 = map(int, spot)
        values[y1:y2, x1:x2] = 255
    return Image.fromarray(values).convert("RGB")


def test_the_template_difference_finds_a_spot_and_no_moved_edge() -> None:
    spot = (50.0, 20.0, 60.0, 30.0)
    setting = Difference(opening=3, area=20, margin=0)
    assert setting.judge(board(spot=spot), board()).boxes == (spot,)
    assert setting.judge(board(shift=1), board()).boxes == ()
    assert setting.judge(board(), board()).score == 0
    fitted = fit_difference([(board(spot=spot, shift=1), board(), [(45.0, 15.0, 65.0, 35.0)])])
    (box,) = fitted.judge(board(spot=spot), board()).boxes
    assert iou(box, (45, 15, 65, 35)) > 0.9  # it learned to leave room


def surface(seed: int, *, spot: bool = False) -> Image.Image:
    values = np.random.default_rng(seed).normal(120, 6, (96, 96))
    if spot:
        values[40:60, 50:70] = 30
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def test_patches_unlike_those_of_good_photos_stand_out() -> None:
    detector = Patches([surface(n) for n in range(4)], seed=0)
    limit = detector.calibrate([surface(n) for n in range(10, 30)])
    good = detector.judge(surface(50))
    bad = detector.judge(surface(51, spot=True))
    assert bad.score > limit
    assert bad.score > 2 * good.score
    best = max(bad.boxes, key=lambda box: iou(box, (50, 40, 70, 60)))
    assert iou(best, (50, 40, 70, 60)) > 0.3


@tiles_here
def test_no_exposure_of_a_tile_is_on_two_sides(tmp_path: Path) -> None:
    laid = adapt_sets.lay_tiles(SHARED / "magnetic_tile", tmp_path, 5, limit=None, seed=0)
    train, test = (sorted((tmp_path / "tiles" / name).rglob("*.jpg")) for name in ("train", "test"))
    calibrate = sorted((tmp_path / "calibrate/photos").iterdir())
    assert len(calibrate) >= adapt_sets.CALIBRATE
    groups = tile_groups(path.name for path in (SHARED / "magnetic_tile").rglob("*.jpg"))
    sides = [{groups[path.name] for path in side} for side in (train, test, calibrate)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "tiles/train").iterdir()}
    assert counts == dict.fromkeys(("good", "blowhole", "break", "crack", "fray", "uneven"), 5)
    assert laid.different <= len(train) == 30
    masks = [np.unique(np.asarray(Image.open(path))).tolist() for path in (tmp_path / "tiles").rglob("*_mask.png")]
    assert all(set(values) <= {0, 255} for values in masks)
    for path in (tmp_path / "tiles/train").rglob("*.jpg"):
        if path.parent.name != "good":
            mask = tmp_path / "tiles/ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            assert np.asarray(Image.open(mask)).any()


def test_a_finished_command_is_not_run_again_and_a_stopped_one_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    codes = iter((0, 1, 0))

    def fake(words: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        ran.append(words)
        assert how["cwd"] == tmp_path / "tiles-5"
        return subprocess.CompletedProcess(words, next(codes), "", "error: pulled out")

    monkeypatch.setattr("benchmarks.adapt.subprocess.run", fake)
    plan = Plan(tmp_path, tmp_path)
    case = Case("tiles-5", plan)
    case.command("photos", "prepare", "folder")
    with pytest.raises(UsageError, match=r"iadr1 sft ended with 1: error: pulled out"):
        case.command("sft", "sft", "tiny-sft")
    again = Case("tiles-5", plan)
    again.command("photos", "prepare", "folder")
    again.command("sft", "sft", "tiny-sft", adapts=False)
    assert [words[3:] for words in ran] == [["prepare", "folder"], ["sft", "tiny-sft"], ["sft", "tiny-sft"]]
    steps = again.steps
    assert [(step.key, step.command, step.whole) for step in steps] == [
        ("photos", "iadr1 prepare folder", True),
        ("sft", "iadr1 sft tiny-sft", False),
    ]
    text = times_table({"tiles-5": steps})
    assert "(went on) | no |" in text
    assert "| tiles-5 | **all that count** | 0 | within 1800 s |" in text


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    claim(Plan(tmp_path, tmp_path / "out"))
    claim(Plan(tmp_path, tmp_path / "out", sets=("pcb",)))
    with pytest.raises(UsageError, match="figures of other settings"):
        claim(Plan(tmp_path, tmp_path / "out", sft_steps=1))
