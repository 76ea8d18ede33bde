"""Small defects on large photos: one look against tiles, each with a calibration of its own.

    python benchmarks/tiles.py [--tiles off auto] [--normals 60] [--test 60] [--fpr 0.05] [--seed 0]

Draws trays of 4 x 4 parts of one product that the embedded model was trained on, 896 x 896 px; one look of the model
sees 168 x 168 px. A bad tray holds one bad part. `iadr1 calibrate` gets one half of the good trays, `iadr1 detect
--calibration` looks at the other good trays and at bad ones; no part lies on two trays. Intervals are exact ones.
A box is right where its IoU with a true one is 0.3 or more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from iadr1.config import CalibrateConfig, DetectConfig
from iadr1.datasets.synthetic import CATEGORIES, Scene, SceneDefect, category_of, draw_plan, render
from iadr1.datasets.synthetic.catalog import SyntheticError
from iadr1.errors import Iadr1Error
from iadr1.geometry import Box, iou
from iadr1.metrics.calibration import clopper_pearson
from iadr1.models import Engine, LoadOptions, load_engine
from iadr1.records import Detection, read_records
from iadr1.stages import calibrate, detect

PART, ACROSS = 224, 4
FIRST_SEED = 5_000_000
"""Far from the seeds of the training and evaluation sets."""
RIGHT_IOU = 0.3


@dataclass(frozen=True)
class Drawn:
    """What lies in the folders: name of the photo -> true boxes in its pixels, for bad trays."""

    normals: Path
    good: Path
    bad: Path
    boxes: Mapping[str, Sequence[Box]]


def scene(category: str, seeds: itertools.count[int], *, bad: bool) -> Scene:
    """The next scene of a product that has defects, or none."""
    while True:
        seed = next(seeds)
        try:
            return render(category, seed, defects=draw_plan(category, seed, p_defect=1.0) if bad else ())
        except SyntheticError:  # no room for the defects on this piece
            continue


def tray(category: str, seeds: itertools.count[int], place: int | None) -> tuple[Image.Image, list[Box]]:
    """A tray, and the boxes of the defects of the part in `place`; a good tray where that is None."""
    picture = Image.new("RGB", (ACROSS * PART, ACROSS * PART))
    boxes: list[Box] = []
    for number in range(ACROSS * ACROSS):
        found = scene(category, seeds, bad=number == place)
        left, top = PART * (number % ACROSS), PART * (number // ACROSS)
        picture.paste(Image.fromarray(found.image), (left, top))
        boxes += [_moved(defect, left, top) for defect in found.defects]
    return picture, boxes


def _moved(defect: SceneDefect, left: int, top: int) -> Box:
    x1, y1, x2, y2 = defect.box
    return x1 + left, y1 + top, x2 + left, y2 + top


def draw(folder: Path, *, normals: int, test: int, seed: int) -> Drawn:
    """All trays; products take turns, and no part lies on two trays."""
    rng, seeds = np.random.default_rng(seed), itertools.count(FIRST_SEED + 1_000_000 * seed)
    products = [name for name in CATEGORIES if not category_of(name).held_out]
    drawn = Drawn(folder / "normals", folder / "good", folder / "bad", boxes := {})
    for place, count in ((drawn.normals, normals), (drawn.good, test), (drawn.bad, test)):
        place.mkdir(parents=True)
        for number in range(count):
            worse = int(rng.integers(ACROSS * ACROSS)) if place == drawn.bad else None
            picture, boxes_here = tray(products[number % len(products)], seeds, worse)
            picture.save(place / f"{number:03}.png")
            if place == drawn.bad:
                boxes[f"{number:03}.png"] = boxes_here
    return drawn


def look(config: DetectConfig, engine: Engine) -> list[Detection]:
    """The records of a run."""
    detect.run(config, engine=engine)
    return list(read_records(config.out / "detections.jsonl", Detection))


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """In percent; equal scores count half."""
    wins = [(b > g) + 0.5 * (b == g) for b in bad for g in good]
    return 100 * sum(wins) / len(wins)


def share(count: int, of: int) -> str:
    """A count with its exact 95 % interval."""
    low, high = clopper_pearson(count, of)
    return f"{count}/{of} = {100 * count / of:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def measure(tiles: str, drawn: Drawn, engine: Engine, *, fpr: float, out: Path) -> str:
    """One paragraph about one way of cutting."""
    file = out / "calibration.json"
    started = time.perf_counter()
    found = calibrate.run(
        CalibrateConfig(normals=drawn.normals, fpr=fpr, tiles=tiles, out=file), engine=engine
    ).calibration
    seconds = (time.perf_counter() - started) / found.normals
    records = {
        kind: look(
            DetectConfig(images=images, out=out / kind, tiles=tiles, calibration=file, overlays=False, report=False),
            engine,
        )
        for kind, images in (("good", drawn.good), ("bad", drawn.bad))
    }
    good, bad = ([record.score or 0.0 for record in records[kind]] for kind in ("good", "bad"))
    undecided = {kind: sum(one.verdict == "undecided" for one in records[kind]) for kind in records}
    pairs = [(defect.box, record.image) for record in records["bad"] for defect in record.defects]
    right = sum(any(iou(box, true) >= RIGHT_IOU for true in drawn.boxes[image]) for box, image in pairs)
    wrong_on_good = sum(len(record.defects) for record in records["good"])
    hit = sum(
        any(iou(defect.box, true) >= RIGHT_IOU for defect in record.defects)
        for record in records["bad"]
        for true in drawn.boxes[record.image]
    )
    return "\n".join(
        [
            f"tiles {tiles}: {records['good'][0].tiles} looks, AUROC {auroc(good, bad):.1f}, "
            f"{seconds:.2f} s a tray to score",
            f"  at 0.5: false alarms {share(sum(s > 0.5 for s in good), len(good))}, "
            f"found {share(sum(s > 0.5 for s in bad), len(bad))}",
            f"  calibrated on {found.normals}, budget {fpr:g}: threshold {found.threshold:.4f}, band "
            f"{found.band[0]:.4f} to {found.band[1]:.4f}",
            f"  false alarms {share(sum(s > found.threshold for s in good), len(good))}, "
            f"found {share(sum(s > found.threshold for s in bad), len(bad))}, "
            f"undecided {undecided['good']} good and {undecided['bad']} bad",
            f"  defects found by a box {hit} of {sum(map(len, drawn.boxes.values()))}; boxes right {right} of "
            f"{len(pairs)} on bad trays, {wrong_on_good} more on good ones",
        ]
    )


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", nargs="+", default=["off", "auto"], help="off, auto, or columns x rows")
    parser.add_argument("--normals", type=int, default=60, help="good trays to calibrate with (default: 60)")
    parser.add_argument("--test", type=int, default=60, help="good trays, and bad trays, to test with (default: 60)")
    parser.add_argument("--fpr", type=float, default=0.05, help="budget of false alarms (default: 0.05)")
    parser.add_argument("--model", default="tiny", help="model to look with (default: tiny)")
    parser.add_argument("--seed", type=int, default=0, help="which trays are drawn")
    chosen = parser.parse_args()
    try:
        engine = load_engine("local", chosen.model, LoadOptions(batch_size=8))
        with tempfile.TemporaryDirectory() as folder:
            drawn = draw(Path(folder, "trays"), normals=chosen.normals, test=chosen.test, seed=chosen.seed)
            for tiles in chosen.tiles:
                out = Path(folder, tiles)
                out.mkdir()
                print(measure(tiles, drawn, engine, fpr=chosen.fpr, out=out), flush=True)
    except Iadr1Error as error:
        sys.exit(f"error: {error}")
    print(f"seed {chosen.seed}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
