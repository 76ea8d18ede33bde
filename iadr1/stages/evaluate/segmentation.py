"""`iadr1 eval masks`: a segmenter beside GrabCut and the plain box, where masks are known. No model is asked.

Each segmenter gets the true boxes, and the same boxes with every side moved by up to 15 % of the box's width or height,
as a model's boxes are never exact. Its masks go through the clean-up chain of `detect`. The truth of a defect is the
part of its mask that lies in its true box, since a mask file may hold the photo's other defects as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import provenance, rle
from iadr1.config import EvalConfig
from iadr1.errors import DataError, UsageError, no_effect
from iadr1.geometry import Box, Size, box_mask, clip_box
from iadr1.images import open_image, open_mask
from iadr1.masks import MaskResult, Segmenter, check_segmenter, clean, load_segmenter
from iadr1.masks.base import filled_box
from iadr1.records import Defect, Sample, read_records, resolve_root
from iadr1.reports.grid import Grid, Group
from iadr1.stages.evaluate.folder import check_folder
from iadr1.stages.scoring import PREDICTIONS, draw, write_json, write_tables
from iadr1.stages.scoring.intervals import Ratio, intervals

JITTER = 0.15
"""How far each side of a box is moved at most, as a share of the box's width or height."""
BOXES = ("true", "moved")
ALL, HELD_OUT = "all", "held-out categories"
_READ = ("benchmark", "data", "root", "out", "segmenter", "device", "limit", "seed")


@dataclass(frozen=True)
class MasksResult:
    """What a run gives back.

    Attributes:
        out: The folder.
        files: What is in it.
        table: Mean IoU by segmenter and type of defect.
        metrics: The content of `metrics.json`.
    """

    out: Path
    files: Sequence[Path]
    table: Grid
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class _Case:
    """A defect with a box and a mask."""

    photo: str
    defect: Defect
    box: Box
    held_out: bool

    @property
    def type(self) -> str:
        return self.defect.type or "unnamed"


class PlainBox:
    """The segmenter to beat: the box itself."""

    name = "box"

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """The filled boxes."""
        return [filled_box(box, image.size) for box in boxes]


class _Tally:
    """IoU by segmenter and boxes, a value for each case, and how often a segmenter fell back to the box."""

    def __init__(self) -> None:
        self.ious: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.filled: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)


def run(config: EvalConfig, *, progress: Callable[[int, int], None] | None = None) -> MasksResult:
    """Measure the masks of the chosen segmenter, of GrabCut and of the plain box.

    Args:
        config: `data` (default: data/anomaly.jsonl), `root`, `out`, `segmenter`, `device`, `limit` (so many defects,
            drawn at random) and `seed` are read.
        progress: Called with (photos done, all).

    Raises:
        UsageError: A setting that has no effect, or that cannot be; the folder holds something else.
        DataError: The samples cannot be read, or no defect has a box and a mask.
        ModelError: The segmenter cannot be loaded.
        OutputError: The folder cannot be written to.
    """
    _check(config)
    data, out = config.data or Path("data") / "anomaly.jsonl", config.out or Path("runs") / "eval-masks"
    if not data.is_file():
        raise UsageError(f"no samples file {str(data)!r}", hint="run 'iadr1 prepare' first or give --data")
    check_folder(out, sharded=False)
    if (out / PREDICTIONS).exists():
        raise UsageError("the folder holds an evaluation", where=str(out), hint="give another --out")
    root = resolve_root(data, config.root)
    cases = _cases(data, config)
    segmenters: dict[str, Segmenter] = {"box": PlainBox(), "grabcut": load_segmenter("grabcut")}
    if config.segmenter not in segmenters:
        segmenters[config.segmenter] = load_segmenter(config.segmenter, device=config.device)
    measured, tally = _measure(cases, root, segmenters, seed=config.seed, progress=progress)
    if not measured:
        raise DataError("no defect has a pixel of its mask in its box", where=str(data))
    metrics = _metrics(measured, tally, seed=config.seed)
    table = _table(metrics, list(segmenters), config)
    info = provenance.describe("eval", config, data=[data], extra={"finished": True})
    files = [write_json(out / "metrics.json", metrics), *write_tables(out / "table", [table])]
    return MasksResult(out, [*files, provenance.write_run(out, info)], table, metrics)


def _check(config: EvalConfig) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in _READ and value != field.default:
            raise no_effect(field.name, value, "'eval masks' asks no model")
    if config.limit is not None and config.limit < 1:
        raise UsageError(f"limit is {config.limit}, it must be at least 1")
    if config.seed < 0:
        raise UsageError(f"seed is {config.seed}, it must be at least 0")
    check_segmenter(config.segmenter)


def _cases(data: Path, config: EvalConfig) -> list[_Case]:
    """The defects with box and mask, each place of a photo once; `limit` of them, those of one photo together."""
    found: dict[tuple[str, Box], _Case] = {}
    for sample in read_records(data, Sample):
        for defect in sample.defects:
            if defect.box is not None and (defect.mask is not None or defect.mask_rle is not None):
                case = _Case(sample.image, defect, defect.box, sample.held_out)
                found.setdefault((sample.image, defect.box), case)
    if not found:
        raise DataError(
            "no defect has a box and a mask",
            where=str(data),
            hint="name prepared samples of a set with masks, such as magnetic-tile, visa or mvtec",
        )
    cases = list(found.values())
    chosen = [cases[place] for place in draw(len(cases), config.limit, config.seed)]
    return sorted(chosen, key=lambda case: case.photo)


def _measure(
    cases: Sequence[_Case],
    root: Path,
    segmenters: Mapping[str, Segmenter],
    *,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[_Case], _Tally]:
    """The cases that have a truth, and what each segmenter made of them."""
    tally, measured = _Tally(), []
    photos = list(_by_photo(cases))
    report = progress or (lambda done, total: None)
    report(0, len(photos))
    for done, (photo, own) in enumerate(photos, start=1):
        image = open_image(root / photo)
        pairs = [(case, truth) for case in own if (truth := _truth(case, root, image.size)) is not None]
        measured += [case for case, _ in pairs]
        for name, segmenter in segmenters.items():
            _draw_all(name, segmenter, image, pairs, tally=tally, seed=seed)
        report(done, len(photos))
    return measured, tally


def _by_photo(cases: Sequence[_Case]) -> Iterator[tuple[str, list[_Case]]]:
    groups: dict[str, list[_Case]] = defaultdict(list)
    for case in cases:
        groups[case.photo].append(case)
    yield from groups.items()


def _draw_all(
    name: str,
    segmenter: Segmenter,
    image: Image.Image,
    pairs: Sequence[tuple[_Case, NDArray[np.bool_]]],
    *,
    tally: _Tally,
    seed: int,
) -> None:
    for kind in BOXES:
        boxes = [case.box if kind == "true" else _moved(case, image.size, seed) for case, _ in pairs]
        started = time.perf_counter()
        results = segmenter.segment(image, boxes) if boxes else []
        cleaned = [clean(result, box) for result, box in zip(results, boxes, strict=True)]
        tally.seconds[name] += time.perf_counter() - started
        for (_, truth), result in zip(pairs, cleaned, strict=True):
            tally.ious[name, kind].append(iou(result.mask, truth))
            tally.filled[name] += result.source == "box"


def _truth(case: _Case, root: Path, image_wh: Size) -> NDArray[np.bool_] | None:
    """The defect's own mask; None where none of its pixels lie in its box."""
    mask = own_mask(case.defect, case.box, root)
    if (mask.shape[1], mask.shape[0]) != image_wh:
        raise DataError(f"its mask is {mask.shape[1]}x{mask.shape[0]} px, the image {image_wh}", where=case.photo)
    return mask if mask.any() else None


def own_mask(defect: Defect, box: Box, root: Path) -> NDArray[np.bool_]:
    """The part of a defect's mask that lies in its box, since a mask file may hold the photo's other defects as well.

    Args:
        defect: It has a mask, as run lengths or as a file.
        box: Its true box, in pixels.
        root: The folder that the file's path is relative to.

    Raises:
        ImageError: The file cannot be read.
    """
    if defect.mask_rle is not None:
        mask = rle.decode(rle.parse(defect.mask_rle))
    else:
        mask = open_mask(root / str(defect.mask), threshold=defect.mask_threshold)
    return mask & box_mask(box, (mask.shape[1], mask.shape[0]))


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W), one of which has pixels."""
    return int((mask & truth).sum()) / int((mask | truth).sum())


def _moved(case: _Case, image_wh: Size, seed: int) -> Box:
    """The box with its sides moved, the same whichever other defects are measured."""
    key = f"{seed}\n{case.photo}\n{case.box}".encode()
    return moved(case.box, random.Random(hashlib.sha256(key).digest()), image_wh)


def moved(box: Box, rng: random.Random, image_wh: Size) -> Box:
    """Each side moved by up to `JITTER` of the box's width or height, cut at the image's edge."""
    width, height = box[2] - box[0], box[3] - box[1]
    x1, x2 = (x + rng.uniform(-JITTER, JITTER) * width for x in (box[0], box[2]))
    y1, y2 = (y + rng.uniform(-JITTER, JITTER) * height for y in (box[1], box[3]))
    return clip_box((x1, y1, x2, y2), image_wh) or box


def _metrics(cases: Sequence[_Case], tally: _Tally, *, seed: int) -> dict[str, Any]:
    """Mean IoU with its 95 % bootstrap interval over photos, of all, of held-out categories and of each type."""
    every = range(len(cases))
    rows = {ALL: list(every)}
    held_out = [place for place in every if cases[place].held_out]
    if 0 < len(held_out) < len(cases):
        rows[HELD_OUT] = held_out
    for kind in sorted({case.type for case in cases}):
        rows[f"type: {kind}"] = [place for place in every if cases[place].type == kind]
    ious = {f"{name}, {kind} box": values for (name, kind), values in tally.ious.items()}
    spread = intervals(
        {
            row: (
                [cases[place].photo for place in places],
                {
                    name: Ratio([values[place] for place in places], [1.0] * len(places))
                    for name, values in ious.items()
                },
            )
            for row, places in rows.items()
        },
        seed=seed,
    )
    return {
        "rows": {
            row: {
                "defects": len(places),
                "photos": len({cases[place].photo for place in places}),
                "iou": {name: float(np.mean([values[place] for place in places])) for name, values in ious.items()},
                "interval_95": {name: list(spread[row][name]) for name in ious},
            }
            for row, places in rows.items()
        },
        "filled_box": {name: count / (len(BOXES) * len(cases)) for name, count in tally.filled.items()},
        "ms_a_box": {
            name: round(1000 * seconds / (len(BOXES) * len(cases)), 2) for name, seconds in tally.seconds.items()
        },
    }


def _table(metrics: Mapping[str, Any], segmenters: Sequence[str], config: EvalConfig) -> Grid:
    names = [f"{segmenter}, {kind} box" for segmenter in segmenters for kind in BOXES]
    short = {name: Path(name).name or name for name in segmenters}

    def cells(row: Mapping[str, Any]) -> list[str]:
        spread = row["interval_95"]
        return [
            str(row["defects"]),
            *(f"{row['iou'][name]:.3f} [{spread[name][0]:.2f}, {spread[name][1]:.2f}]" for name in names),
        ]

    total = [(row, cells(values)) for row, values in metrics["rows"].items() if not row.startswith("type: ")]
    types = [(row[6:], cells(values)) for row, values in metrics["rows"].items() if row.startswith("type: ")]
    heads = [
        (f"{short[segmenter]}, {kind} box", f"{short[segmenter]}\n{kind} box")
        for segmenter in segmenters
        for kind in BOXES
    ]
    filled = ", ".join(f"{short[name]} {100 * metrics['filled_box'][name]:.0f} %" for name in segmenters[1:])
    return Grid(
        title="Mask IoU",
        columns=[("defects", "defects"), *heads],
        groups=[Group("", total), Group("by type", types)],
        note=f"Mean IoU after the clean-up with its 95 % bootstrap interval over photos; moved boxes: each side by up "
        f"to {100 * JITTER:.0f} %, seed {config.seed}. The filled box stood in for: {filled}.",
    )
