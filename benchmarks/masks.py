"""Mean mask IoU of segmenters, and of the plain box, on samples whose defects have a mask.

    python benchmarks/masks.py [--data FILE.jsonl ...] [--held-out] [--tiles FOLDER] [--segmenter NAME ...] [--n 400]

Without `--data` a synthetic world is made with `iadr1 prepare`, and its products that no model is trained on are taken;
`--held-out` does the same with samples at hand. `--tiles` is a folder of magnetic tiles (`MT_*/Imgs`), of which the
half `test` is taken; photos of one tile stay in one half. A segmenter is a name of `--segmenter`, `box` (the box
itself), or a folder or hub id of a SAM 2 model. Every box is the true one with each side moved by up to 15 % of the
box's width or height, as a model's boxes are never exact; the same boxes for every segmenter. Masks go through the
clean-up chain, as in `iadr1 detect`. The truth of a defect is the part of its mask that lies in its true box.

What is measured is what `iadr1 eval masks` measures: truth, moved boxes and IoU are its functions. Here one stream of
random numbers draws the defects and then moves their boxes, and photos of one tile are drawn together.

Intervals are 95 % bootstrap intervals, drawn by photo, or by tile where several photos show one. The last segmenter is
compared with each other one on the same boxes. Times include the clean-up, and exclude one photo before the clock is
started.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iadr1.atomic import write_text_atomic
from iadr1.datasets.magnetic_tile import tile_groups
from iadr1.errors import Iadr1Error, UsageError
from iadr1.geometry import Box
from iadr1.images import open_image
from iadr1.masks import Segmenter, clean, load_segmenter
from iadr1.records import Defect, Sample, read_records, resolve_root
from iadr1.stages.evaluate.segmentation import PlainBox, iou, moved, own_mask

RESAMPLES = 2000


@dataclass(frozen=True)
class Case:
    """A defect and the jittered box a segmenter is given for it; photos of one group are not independent."""

    photo: Path
    group: str
    type: str
    truth: NDArray[np.bool_]
    box: Box


def truth_of(defect: Defect, box: Box, root: Path) -> NDArray[np.bool_] | None:
    """The defect's own mask; None where none of its pixels lie in its box."""
    mask = own_mask(defect, box, root)
    return mask if mask.any() else None


def cases_of(files: Sequence[Path], *, n: int, seed: int, held_out: bool = False) -> list[Case]:
    """Up to `n` defects of different places, drawn with the seed, and their boxes; those of one photo together."""
    found: dict[tuple[Path, Box], Defect] = {}
    roots: dict[Path, Path] = {}
    tiles: list[str] = []
    for file in files:
        root = resolve_root(file)
        for sample in read_records(file, Sample):
            if held_out and not sample.held_out:
                continue
            for defect in sample.defects:
                if defect.box is not None and (defect.mask or defect.mask_rle):
                    found.setdefault((root / sample.image, defect.box), defect)
                    roots[root / sample.image] = root
            if sample.dataset == "MTD":
                tiles.append(str(root / sample.image))
    groups = tile_groups(tiles)
    rng = random.Random(seed)
    drawn = list(found.items())
    rng.shuffle(drawn)
    cases: list[Case] = []
    for (photo, box), defect in drawn:
        truth = truth_of(defect, box, roots[photo])
        if truth is not None and len(cases) < n:
            given = moved(box, rng, (truth.shape[1], truth.shape[0]))
            cases.append(Case(photo, groups.get(str(photo), str(photo)), defect.type or "unnamed", truth, given))
    if not cases:
        raise UsageError("no defect with a box and a mask in the samples", hint="name files of anomalous samples")
    return sorted(cases, key=lambda case: case.photo)


def photos_of(cases: Sequence[Case]) -> Iterator[tuple[Path, list[Case]]]:
    """The cases of each photo."""
    by_photo: dict[Path, list[Case]] = defaultdict(list)
    for case in cases:
        by_photo[case.photo].append(case)
    yield from by_photo.items()


class Result(NamedTuple):
    """One segmenter on all cases: IoU of each in their order, share of filled boxes, milliseconds a box."""

    ious: NDArray[np.float64]
    filled: float
    ms: float


def run(segmenter: Segmenter, cases: Sequence[Case]) -> Result:
    """Draw and clean every mask, and compare it with the truth."""
    ious: list[float] = []
    seconds, filled, warm = 0.0, 0, False
    for photo, own in photos_of(cases):
        image, boxes = open_image(photo), [case.box for case in own]
        if not warm:
            segmenter.segment(image, boxes)
            warm = True
        started = time.perf_counter()
        results = [clean(result, box) for result, box in zip(segmenter.segment(image, boxes), boxes, strict=True)]
        seconds += time.perf_counter() - started
        for case, result in zip(own, results, strict=True):
            filled += result.source == "box"
            ious.append(iou(result.mask, case.truth))
    return Result(np.array(ious), filled / len(cases), 1000 * seconds / len(cases))


def interval(values: NDArray[np.float64], groups: Sequence[str], *, seed: int) -> tuple[float, float]:
    """95 % interval of a mean: whole groups are drawn with replacement."""
    names = sorted(set(groups))
    member = np.array([[group == name for group in groups] for name in names], dtype=float)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    means = (drawn @ (member @ values)) / (drawn @ member.sum(axis=1))
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def figures(cases: Sequence[Case], results: Mapping[str, Result], *, seed: int) -> dict[str, Any]:
    """Everything the table shows, and the differences of the last segmenter to each other one."""
    groups, kinds = [case.group for case in cases], np.array([case.type for case in cases])
    last = list(results)[-1]
    return {
        "defects": len(cases),
        "photos": len({case.photo for case in cases}),
        "groups": len(set(groups)),
        "counts": {kind: int((kinds == kind).sum()) for kind in sorted(set(kinds.tolist()))},
        "segmenters": {
            name: {
                "iou": float(result.ious.mean()),
                "interval_95": interval(result.ious, groups, seed=seed),
                "types": {kind: float(result.ious[kinds == kind].mean()) for kind in sorted(set(kinds.tolist()))},
                "filled": result.filled,
                "ms": result.ms,
            }
            for name, result in results.items()
        },
        f"{last} minus": {
            name: {
                "iou": float((results[last].ious - result.ious).mean()),
                "interval_95": interval(results[last].ious - result.ious, groups, seed=seed),
            }
            for name, result in results.items()
            if name != last
        },
    }


def table(title: str, found: Mapping[str, Any]) -> str:
    """One row for each type of defect, one column for each segmenter."""
    columns: dict[str, Any] = found["segmenters"]
    lines = [f"{title}: {found['defects']} defects of {found['photos']} photos, {found['groups']} groups"]
    lines.append(f"{'mean IoU':<20}{'n':>5}" + "".join(f"{name:>16}" for name in columns))
    for kind, count in found["counts"].items():
        lines.append(
            f"{kind:<20}{count:>5}" + "".join(f"{column['types'][kind]:>16.3f}" for column in columns.values())
        )
    lines.append(
        f"{'all':<20}{found['defects']:>5}" + "".join(f"{column['iou']:>16.3f}" for column in columns.values())
    )
    spans = ("[{:.3f}, {:.3f}]".format(*column["interval_95"]) for column in columns.values())
    lines.append(f"{'95 % interval':<25}" + "".join(f"{span:>16}" for span in spans))
    lines.append(f"{'filled box instead':<25}" + "".join(f"{column['filled']:>16.2f}" for column in columns.values()))
    lines.append(f"{'ms a box':<25}" + "".join(f"{column['ms']:>16.1f}" for column in columns.values()))
    key = f"{list(columns)[-1]} minus"
    for name, other in found[key].items():
        low, high = other["interval_95"]
        lines.append(f"{key} {name}: {other['iou']:+.3f} [{low:+.3f}, {high:+.3f}]")
    return "\n".join(lines)


def prepare(*arguments: str) -> None:
    """`iadr1 prepare` in a process of its own."""
    subprocess.run([sys.executable, "-m", "iadr1", "prepare", *arguments], check=True, stdout=subprocess.DEVNULL)


def sets_of(chosen: argparse.Namespace, folder: Path) -> dict[str, list[Case]]:
    """The cases of each set, by its title."""
    found: dict[str, list[Case]] = {}
    if chosen.data is None:
        prepare("--out", str(folder), "--eval-images", str(3 * chosen.n), "--fewshot-images", "60", "--photos", "0")
        files = [folder / "data" / "anomaly.jsonl"]
        found["synthetic, held-out products"] = cases_of(files, n=chosen.n, seed=chosen.seed, held_out=True)
    elif chosen.data:
        found["samples"] = cases_of(chosen.data, n=chosen.n, seed=chosen.seed, held_out=chosen.held_out)
    if chosen.tiles is not None:
        tiles = folder / "tiles.jsonl"
        prepare("magnetic-tile", "--root", str(chosen.tiles), "--split", "test", "--out", str(tiles))
        found["magnetic tiles, half `test`"] = cases_of([tiles], n=chosen.n, seed=chosen.seed)
    return found


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", help="prepared samples (default: a new synthetic world)")
    parser.add_argument("--held-out", action="store_true", help="of --data only products that are never trained on")
    parser.add_argument("--tiles", type=Path, help="folder of the magnetic tiles")
    parser.add_argument("--segmenter", nargs="+", default=["box", "grabcut"], help="box, grabcut, or a SAM 2 model")
    parser.add_argument("--device", default="auto", help="for SAM 2: auto, cpu, cuda or cuda:N")
    parser.add_argument("--n", type=int, default=400, help="defects of each set at most (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="which defects, and how their boxes are moved")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()
    try:
        segmenters: dict[str, Segmenter] = {
            name[-15:]: PlainBox() if name == "box" else load_segmenter(name, device=chosen.device)
            for name in chosen.segmenter
        }
        with tempfile.TemporaryDirectory() as folder:
            everything: dict[str, Any] = {}
            for title, cases in sets_of(chosen, Path(folder)).items():
                results = {name: run(segmenter, cases) for name, segmenter in segmenters.items()}
                everything[title] = figures(cases, results, seed=chosen.seed)
                print(table(title, everything[title]), end="\n\n")
        if chosen.json is not None:
            write_text_atomic(chosen.json, json.dumps(everything, indent=2) + "\n")
    except Iadr1Error as error:
        sys.exit(f"error: {error}")
    print(f"seed {chosen.seed}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
