"""Mean mask IoU of segmenters, and of the plain box, on samples whose defects have a mask.

    python benchmarks/masks.py [--data FILE.jsonl ...] [--tiles FOLDER] [--segmenter NAME ...] [--n 100]

Without `--data` a synthetic world is made with `iadr1 prepare`; `--tiles` is a folder of magnetic tiles (`MT_*/Imgs`).
A segmenter is `grabcut`, `box` (the box itself), or a folder or hub id of a SAM 2 model. Every box is the true one with
each side moved by up to 15 % of the box's width or height, as a model's boxes are never exact; the same boxes for every
segmenter. Masks go through the clean-up chain, as in `iadr1 detect`. The truth of a defect is the part of its mask file
that lies in its true box. Times include the clean-up, and exclude one photo before the clock is started.
"""

from __future__ import annotations

import argparse
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
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import rle
from iadr1.errors import Iadr1Error, UsageError
from iadr1.geometry import Box, box_mask, clip_box
from iadr1.images import open_image, open_mask
from iadr1.masks import MaskResult, Segmenter, clean, load_segmenter
from iadr1.masks.base import filled_box
from iadr1.records import Defect, Sample, read_records, resolve_root

JITTER = 0.15


class PlainBox:
    """The segmenter to beat: the box itself."""

    name = "box"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """The filled boxes."""
        return [filled_box(box, image.size) for box in boxes]


@dataclass(frozen=True)
class Case:
    """A defect and the jittered box a segmenter is given for it."""

    photo: Path
    type: str
    truth: NDArray[np.bool_]
    box: Box


def truth_of(defect: Defect, root: Path) -> NDArray[np.bool_] | None:
    """The defect's own mask; None where it has none, or none of its pixels lie in its box."""
    if defect.box is None:
        return None
    if defect.mask_rle is not None:
        mask = rle.decode(rle.parse(defect.mask_rle))
    elif defect.mask is not None:
        mask = open_mask(root / defect.mask, threshold=defect.mask_threshold)
    else:
        return None
    mask = mask & box_mask(defect.box, (mask.shape[1], mask.shape[0]))
    return mask if mask.any() else None


def jittered(box: Box, rng: random.Random, image_wh: tuple[int, int]) -> Box:
    """Each side moved by up to `JITTER` of the box's width or height, cut at the image's edge."""
    width, height = box[2] - box[0], box[3] - box[1]
    x1, x2 = (x + rng.uniform(-JITTER, JITTER) * width for x in (box[0], box[2]))
    y1, y2 = (y + rng.uniform(-JITTER, JITTER) * height for y in (box[1], box[3]))
    return clip_box((x1, y1, x2, y2), image_wh) or box


def cases_of(files: Sequence[Path], *, n: int, seed: int) -> list[Case]:
    """Up to `n` defects of different places, drawn with the seed, and their boxes; those of one photo together."""
    found: dict[tuple[Path, Box], Defect] = {}
    roots: dict[Path, Path] = {}
    for file in files:
        root = resolve_root(file)
        for sample in read_records(file, Sample):
            for defect in sample.defects:
                if defect.box is not None and (defect.mask or defect.mask_rle):
                    found.setdefault((root / sample.image, defect.box), defect)
                    roots[root / sample.image] = root
    rng = random.Random(seed)
    drawn = list(found.items())
    rng.shuffle(drawn)
    cases: list[Case] = []
    for (photo, box), defect in drawn:
        truth = truth_of(defect, roots[photo])
        if truth is not None and len(cases) < n:
            moved = jittered(box, rng, (truth.shape[1], truth.shape[0]))
            cases.append(Case(photo, defect.type or "unnamed", truth, moved))
    if not cases:
        raise UsageError("no defect with a box and a mask in the samples", hint="name files of anomalous samples")
    return sorted(cases, key=lambda case: case.photo)


def photos_of(cases: Sequence[Case]) -> Iterator[tuple[Path, list[Case]]]:
    """The cases of each photo."""
    by_photo: dict[Path, list[Case]] = defaultdict(list)
    for case in cases:
        by_photo[case.photo].append(case)
    yield from by_photo.items()


def run(segmenter: Segmenter, cases: Sequence[Case]) -> tuple[dict[str, list[float]], float, float]:
    """IoU of each mask by type, share of filled boxes, milliseconds a box."""
    ious: dict[str, list[float]] = defaultdict(list)
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
            ious[case.type].append(float((result.mask & case.truth).sum() / (result.mask | case.truth).sum()))
    return ious, filled / len(cases), 1000 * seconds / len(cases)


def table(name: str, cases: Sequence[Case], segmenters: Mapping[str, Segmenter]) -> str:
    """One row for each type of defect, one column for each segmenter."""
    results = {label: run(segmenter, cases) for label, segmenter in segmenters.items()}
    counts: dict[str, int] = defaultdict(int)
    for case in cases:
        counts[case.type] += 1
    lines = [f"{name}: {len(cases)} defects of {len({case.photo for case in cases})} photos"]
    lines.append(f"{'mean IoU':<20}{'n':>5}" + "".join(f"{label:>14}" for label in results))
    for kind in sorted(counts):
        lines.append(
            f"{kind:<20}{counts[kind]:>5}" + "".join(f"{fmean(ious[kind]):>14.3f}" for ious, _, _ in results.values())
        )
    every = [fmean([value for values in ious.values() for value in values]) for ious, _, _ in results.values()]
    lines.append(f"{'all':<20}{len(cases):>5}" + "".join(f"{value:>14.3f}" for value in every))
    lines.append(f"{'filled box instead':<25}" + "".join(f"{share:>14.2f}" for _, share, _ in results.values()))
    lines.append(f"{'ms a box':<25}" + "".join(f"{ms:>14.1f}" for _, _, ms in results.values()))
    return "\n".join(lines)


def prepare(*arguments: str) -> None:
    """`iadr1 prepare` in a process of its own."""
    subprocess.run([sys.executable, "-m", "iadr1", "prepare", *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", help="prepared samples (default: a new synthetic world)")
    parser.add_argument("--tiles", type=Path, help="folder of the magnetic tiles")
    parser.add_argument("--segmenter", nargs="+", default=["grabcut", "box"], help="grabcut, box, or a SAM 2 model")
    parser.add_argument("--device", default="auto", help="for SAM 2: auto, cpu, cuda or cuda:N")
    parser.add_argument("--n", type=int, default=100, help="defects of each set (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="which defects, and how their boxes are moved")
    chosen = parser.parse_args()
    try:
        segmenters: dict[str, Segmenter] = {
            Path(name).name: PlainBox() if name == "box" else load_segmenter(name, device=chosen.device)
            for name in chosen.segmenter
        }
        with tempfile.TemporaryDirectory() as folder:
            sets: dict[str, list[Path]] = {}
            if chosen.data is None:
                prepare("--out", folder, "--eval-images", "100", "--fewshot-images", "60")
                sets["synthetic"] = sorted(Path(folder, "data").glob("*.jsonl"))
            else:
                sets["samples"] = chosen.data
            if chosen.tiles is not None:
                sets["magnetic tiles"] = [Path(folder, "tiles.jsonl")]
                prepare("magnetic-tile", "--root", str(chosen.tiles), "--out", str(sets["magnetic tiles"][0]))
            for name, files in sets.items():
                print(table(name, cases_of(files, n=chosen.n, seed=chosen.seed), segmenters), end="\n\n")
    except Iadr1Error as error:
        sys.exit(f"error: {error}")
    print(f"seed {chosen.seed}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
