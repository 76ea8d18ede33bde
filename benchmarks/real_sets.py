"""The whole way from `prepare` to `export` on real photos, and on drawn products that no model is trained on.

    python benchmarks/real_sets.py DATA_DIR OUT [--model tiny] [--segmenter FOLDER ...] [--sets NAME ...] [--limit N]

DATA_DIR holds `deeppcb/` and `magnetic_tile/`; the drawn products come from `iadr1 prepare --eval-images`. Each set
goes through the commands' own stages, with and without references: `prepare`; `calibrate` with the good photos of one
half (budget 5 %); `detect` on the other half in every mode, at 0.5 and at the calibrated threshold, with the masks of
every segmenter; `eval masks` with the true boxes; `export` in every format, each file opened again. No board, no tile
and no drawn picture is in both halves, and a magnetic tile that serves as a reference is in neither.

A good board is a template, and its reference is the same template (another one shows another piece of the board): with
references DeepPCB's figures say how well a model sees that two pictures are equal. It is saved anew as PNG, since a
file with the photo's own bytes is no reference. Figures with two rates are those of the score alone (above the
threshold or not) and those of the verdict, where an undecided photo is neither found nor a false alarm. Intervals are
95 % bootstrap intervals over boards, tiles or drawn pictures.

Images a second are of the model alone, on the machine as loaded as it is. An answer that a set's earlier run got is
not computed again, but counts with the time that it took.

Every finished part is a line of OUT/SET/parts.jsonl; the same command goes on after a kill, `detect` within its run. At
the end OUT/table.md and OUT/results.json hold all figures of the sets that were asked for; several processes may work
on different sets in one OUT. `--limit` takes so many good and bad photos of each half.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from iadr1 import rle
from iadr1.atomic import write_text_atomic
from iadr1.config import CalibrateConfig, DetectConfig, EvalConfig, PrepareConfig
from iadr1.datasets.magnetic_tile import tile_groups
from iadr1.errors import Iadr1Error, UsageError
from iadr1.exports.annotations import FORMATS
from iadr1.geometry import Box, box_mask
from iadr1.images import open_image, open_mask
from iadr1.metrics.boxes import match
from iadr1.metrics.calibration import normals_needed
from iadr1.metrics.quality import box_table, image_scores
from iadr1.models import Engine, LoadOptions, load_engine
from iadr1.models.base import Completion, Request
from iadr1.provenance import describe, plain
from iadr1.records import Detection, Record, RecordWriter, Sample, done_keys, read_records, resolve_root, write_records
from iadr1.stages import calibrate, detect, evaluate, export, prepare
from iadr1.stages.scoring.intervals import Figure, Ranking, Ratio, intervals

Mask = NDArray[np.bool_]
SIDES = CALIBRATE, TEST = ("calibrate", "test")
SHOTS = (0, 1)
"""How many references are shown."""
FPR, BATCH = 0.05, 16
SETS = ("deeppcb", "magnetic-tile", "held-out")
FOLDERS = {"deeppcb": "deeppcb", "magnetic-tile": "magnetic_tile"}


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    data: Path
    out: Path
    model: str = "tiny"
    segmenters: tuple[str, ...] = ()
    sets: tuple[str, ...] = SETS
    shots: tuple[int, ...] = SHOTS
    limit: int | None = None
    eval_images: int = 624
    seed: int = 0


class Part(Record):
    """A finished part: its name and what it found."""

    key: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Photo:
    """A photo, its half, and the group of photos that show the same piece."""

    sample: Sample
    side: str
    group: str


@dataclass(frozen=True)
class Run:
    """One `iadr1 detect`."""

    mode: str
    reasoning: str = "boxes"
    calibrated: bool = False
    segmenter: str | None = None

    @property
    def name(self) -> str:
        """As it is called in the table."""
        how = f", {self.reasoning}" if self.mode == "think" else ""
        return f"{self.mode}{how}{', calibrated' if self.calibrated else ''}"

    @property
    def key(self) -> str:
        """Also its folder."""
        return "-".join([*self.name.split(", "), *([label(self.segmenter)] if self.segmenter else [])])


def label(segmenter: str) -> str:
    """A segmenter's name in files and tables: its folder's, or the one above where that is called `model`."""
    path = Path(segmenter)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


@dataclass(frozen=True)
class Laid:
    """A set laid out as folders: OUT/SET/calibrate/{good,bad}/, OUT/SET/test/, OUT/SET/references/."""

    name: str
    place: Path
    root: Path
    photos: Sequence[Photo]

    @cached_property
    def test(self) -> dict[str, Photo]:
        """The photos of the half that verdicts are measured on, by their name in the records."""
        return {photo.sample.image: photo for photo in self.photos if photo.side == TEST}

    @cached_property
    def has_masks(self) -> bool:
        """Whether the true mask of any defect is known."""
        return any(true_masks(photo, self.root) for photo in self.test.values())


# the sets


def samples_of(name: str, plan: Plan) -> tuple[list[Sample], Path]:
    """What `iadr1 prepare` makes of a set, and the folder that its paths are relative to."""
    place = plan.out / name
    if name == "held-out":
        file = place / "world" / "data" / "anomaly.jsonl"
        config = PrepareConfig(out=place / "world", fewshot_images=20, eval_images=plan.eval_images, photos=0)
    else:
        file = place / "samples.jsonl"
        config = PrepareConfig(source=name, root=plan.data / FOLDERS[name], out=file)
    if not file.exists():
        found = prepare.run(config)
        for path, why in found.broken.items():
            print(f"left out: {path}: {why}", file=sys.stderr)
    return list(read_records(file, Sample)), resolve_root(file)


def boards(samples: Sequence[Sample]) -> list[Photo]:
    """Every second group of boards of DeepPCB to calibrate."""
    group = {sample.image: PurePosixPath(sample.image).parts[1] for sample in samples}
    names = sorted(set(group.values()))
    side = {name: SIDES[(place + 1) % 2] for place, name in enumerate(names)}
    return [Photo(sample, side[group[sample.image]], group[sample.image]) for sample in samples]


def tiles(samples: Sequence[Sample]) -> list[Photo]:
    """The reader's halves, without the tiles that serve as references."""
    group = tile_groups(sample.image for sample in samples)
    shown = {group[path] for sample in samples for path in sample.references}
    side = {"train": CALIBRATE, "test": TEST}
    return [
        Photo(sample, side[sample.split], group[sample.image]) for sample in samples if group[sample.image] not in shown
    ]


def drawn(samples: Sequence[Sample]) -> list[Photo]:
    """Pictures of held-out products, every second one of each product and verdict to calibrate."""
    seen: dict[tuple[str, bool | None], int] = defaultdict(int)
    found = []
    for sample in samples:
        if sample.held_out:
            kind = (sample.category, sample.is_anomalous)
            found.append(Photo(sample, SIDES[(seen[kind] + 1) % 2], sample.image))
            seen[kind] += 1
    return found


DIVIDE: Mapping[str, Callable[[Sequence[Sample]], list[Photo]]] = {
    "deeppcb": boards,
    "magnetic-tile": tiles,
    "held-out": drawn,
}


def limited(photos: Sequence[Photo], plan: Plan) -> list[Photo]:
    """At most `limit` good and bad ones of each half, and as many good ones to calibrate as the budget needs."""
    if plan.limit is None:
        return list(photos)
    kinds: dict[tuple[str, bool | None], list[Photo]] = defaultdict(list)
    for photo in photos:
        kinds[photo.side, photo.sample.is_anomalous].append(photo)
    chosen: list[Photo] = []
    for (side, bad), members in sorted(kinds.items()):
        random.Random(plan.seed).shuffle(members)
        needed = normals_needed(FPR) if side == CALIBRATE and not bad else 0
        chosen += members[: max(plan.limit, needed)]
    return chosen


def lay_out(name: str, plan: Plan) -> Laid:
    """Copy the photos of both halves, and below `references/` for each photo its reference under the photo's name."""
    samples, root = samples_of(name, plan)
    laid = Laid(name, plan.out / name, root, limited(DIVIDE[name](samples), plan))
    for photo in laid.photos:
        image, verdict = PurePosixPath(photo.sample.image), "bad" if photo.sample.is_anomalous else "good"
        folder = laid.place / photo.side
        copy(root / image, (folder / verdict if photo.side == CALIBRATE else folder) / image)
        # DeepPCB's templates have no reference: see the module's docstring.
        if photo.sample.references:
            reference = photo.sample.references[0]
            copy(root / reference, laid.place / "references" / image.with_suffix(PurePosixPath(reference).suffix))
        else:
            save_anew(root / image, laid.place / "references" / image.with_suffix(".png"))
    for side in SIDES:
        write_records(laid.place / f"{side}.jsonl", [photo.sample for photo in laid.photos if photo.side == side])
    return laid


def copy(source: Path, target: Path) -> None:
    """Copy a file that is not there yet; it appears whole."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, part)
        part.replace(target)


def save_anew(source: Path, target: Path) -> None:
    """Save a picture that is not there yet as PNG: the same pixels in other bytes; it appears whole."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        told = PngInfo()
        told.add_text("Comment", "saved anew, to be shown as a reference of itself")  # other bytes than any PNG's
        open_image(source).save(part, format="PNG", pnginfo=told)
        part.replace(target)


# the commands


class Remembering:
    """An engine that answers what it was asked before from memory, at the cost in time that it had then.

    Answers are greedy, so they are the same; the runs of a set ask the same things about the same photos.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.model, self.fingerprint = engine.name, engine.model, engine.fingerprint
        self.profile = engine.profile
        self._known: dict[tuple[Hashable, ...], tuple[Any, float]] = {}
        self.photos: set[str] = set()
        self.seconds = 0.0

    def start(self) -> None:
        """Count photos and seconds from here."""
        self.photos, self.seconds = set(), 0.0

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """As `Engine.generate`."""
        ask = partial(self._engine.generate, max_new_tokens=max_new_tokens)
        return self._answers(requests, ask, (max_new_tokens,))

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """As `Engine.probabilities`."""
        return self._answers(requests, partial(self._engine.probabilities, words=words), tuple(words))

    def _answers(
        self, requests: Sequence[Request], ask: Callable[[list[Request]], list[Any]], how: tuple[Hashable, ...]
    ) -> list[Any]:
        keys = [(one.id, json.dumps(one.messages), len(one.images), *how) for one in requests]
        new = [request for request, key in zip(requests, keys, strict=True) if key not in self._known]
        if new:
            started = time.perf_counter()
            answers = iter(ask(new))
            share = (time.perf_counter() - started) / len(new)
            for key in keys:
                if key not in self._known:
                    self._known[key] = next(answers), share
        self.photos |= {request.id for request in requests}
        self.seconds += sum(self._known[key][1] for key in keys)
        return [self._known[key][0] for key in keys]


class Bench:
    """Runs what is not done yet, and writes down what was found."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._claim()

    def _claim(self) -> None:
        """Refuse a folder that holds the parts of another plan."""
        # These may be added later: their parts have names of their own.
        settings = {
            name: value
            for name, value in plain(self.plan).items()
            if name not in ("out", "sets", "shots", "segmenters")
        }
        settings["data"] = str(self.plan.data.resolve())
        file = self.plan.out / "settings.json"
        if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
            raise UsageError("the folder holds figures of other settings", where=str(file), hint="name another OUT")
        self.plan.out.mkdir(parents=True, exist_ok=True)
        write_text_atomic(file, json.dumps(settings, indent=1) + "\n")

    @cached_property
    def engine(self) -> Remembering:
        """The model, loaded when something is left to do."""
        return Remembering(load_engine("local", self.plan.model, LoadOptions(batch_size=BATCH)))

    def set(self, name: str) -> dict[str, Any]:
        """Do what is left to do about a set; the figures of each part."""
        laid = lay_out(name, self.plan)
        file = laid.place / "parts.jsonl"
        done = done_keys(file, Part, lambda part: part.key)
        for key, work in self.parts(laid):
            if key not in done:
                figures = work()
                with RecordWriter(file) as writer:
                    writer.write(Part(key=key, figures=figures))
                print(f"{key}: {json.dumps(figures)[:300]}", flush=True)
        return {part.key: part.figures for part in read_records(file, Part)}

    def parts(self, laid: Laid) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """The parts of a set and how they are done, in order."""
        name, segmenters = laid.name, ("grabcut", *self.plan.segmenters)
        yield f"{name}/photos", partial(counted, laid)
        for shots in self.plan.shots:
            yield f"{name}/{shots}/calibrate", partial(self.calibrate, laid, shots)
            for run in runs(segmenters):
                yield f"{name}/{shots}/{run.key}", partial(self.detect, laid, shots, run)
        if laid.has_masks:
            for segmenter in segmenters:
                yield f"{name}/eval-masks-{label(segmenter)}", partial(self.masks, laid, segmenter)
        if 0 in self.plan.shots:
            yield f"{name}/export", partial(exported, laid)

    def calibrate(self, laid: Laid, shots: int) -> dict[str, Any]:
        """`iadr1 calibrate` on one half."""
        config = CalibrateConfig(
            normals=laid.place / CALIBRATE / "good",
            anomalies=laid.place / CALIBRATE / "bad",
            references=laid.place / "references" if shots else None,
            fpr=FPR,
            batch_size=BATCH,
            out=calibration_of(laid, shots),
        )
        found = calibrate.run(config, engine=self.engine).calibration
        return found.model_dump(mode="json", exclude={"scores"})

    def detect(self, laid: Laid, shots: int, run: Run) -> dict[str, Any]:
        """`iadr1 detect` on the other half, and its figures."""
        out = folder_of(laid, shots, run)
        # Where no true mask is known, one run with masks is enough: the one that is exported.
        drawn_there = run.segmenter is not None and (laid.has_masks or not shots)
        config = DetectConfig(
            images=laid.place / TEST,
            out=out,
            references=laid.place / "references" if shots else None,
            mode=run.mode,
            reasoning=run.reasoning,
            calibration=calibration_of(laid, shots) if run.calibrated else None,
            masks=drawn_there,
            segmenter=run.segmenter if run.segmenter and drawn_there else DetectConfig.segmenter,
            batch_size=BATCH,
            overlays=False,
            report=False,
        )
        self.engine.start()
        detect.run(config, engine=self.engine)
        rate = len(self.engine.photos) / self.engine.seconds if self.engine.seconds else None
        records = list(read_records(out / "detections.jsonl", Detection))
        figures = {**verdicts(records, laid, self.plan.seed), **boxes(records, laid), **masks(records, laid)}
        return {**figures, "images_per_s": rate}

    def masks(self, laid: Laid, segmenter: str) -> dict[str, Any]:
        """`iadr1 eval masks` on the other half."""
        out = laid.place / f"eval-masks-{label(segmenter)}"
        config = EvalConfig(
            benchmark="masks", data=laid.place / f"{TEST}.jsonl", root=laid.root, out=out, segmenter=segmenter
        )
        return dict(evaluate.segmentation.run(config).metrics)


def runs(segmenters: Iterable[str]) -> list[Run]:
    """Every way to look at a photo; masks are drawn where every photo has been reasoned about."""
    return [
        Run("direct"),
        Run("direct", calibrated=True),
        *(Run("think", segmenter=segmenter) for segmenter in segmenters),
        Run("think", "structured"),
        Run("two-pass"),
        Run("two-pass", calibrated=True),
    ]


def folder_of(laid: Laid, shots: int, run: Run) -> Path:
    """Where a run writes."""
    return laid.place / f"runs-{shots}" / run.key


def calibration_of(laid: Laid, shots: int) -> Path:
    """The file of a calibration."""
    return laid.place / f"calibration-{shots}.json"


# the figures


def counted(laid: Laid) -> dict[str, Any]:
    """How many photos, good ones and groups are in each half."""
    return {
        side: {
            "photos": len(own := [photo for photo in laid.photos if photo.side == side]),
            "good": sum(not photo.sample.is_anomalous for photo in own),
            "groups": len({photo.group for photo in own}),
        }
        for side in SIDES
    }


def rates(called: Sequence[bool], cleared: Sequence[bool], truth: Sequence[bool]) -> dict[str, float]:
    """Recall, false alarms and balanced accuracy in percent; a photo may be neither called bad nor cleared."""
    bad, good = np.asarray(truth, dtype=bool), ~np.asarray(truth, dtype=bool)
    recall, alarms = np.mean(np.asarray(called)[bad]), np.mean(np.asarray(called)[good])
    right = np.mean(np.asarray(cleared)[good])
    return {
        "ba": float(50 * (recall + right)),
        "recall": float(100 * recall),
        "false_alarms": float(100 * alarms),
    }


def verdicts(records: Sequence[Detection], laid: Laid, seed: int) -> dict[str, Any]:
    """What the score and the verdicts are worth."""
    photos = [laid.test[record.image] for record in records]
    truth = [bool(photo.sample.is_anomalous) for photo in photos]
    scored = [(record.score, bad) for record, bad in zip(records, truth, strict=True) if record.score is not None]
    limit = next((record.threshold for record in records if record.threshold is not None), None)
    above = [record.score is not None and limit is not None and record.score > limit for record in records]
    below = [record.score is not None and limit is not None and record.score <= limit for record in records]
    anomalous, normal = ([record.verdict == verdict for record in records] for verdict in ("anomalous", "normal"))
    figures: dict[str, Figure] = {
        "auroc": Ranking([math.nan if one.score is None else one.score for one in records], truth),
        "recall": Ratio(*counts_of(anomalous, truth)),
        "false_alarms": Ratio(*counts_of(anomalous, [not bad for bad in truth])),
    }
    spread = intervals({laid.name: ([photo.group for photo in photos], figures)}, seed=seed)[laid.name]
    return {
        "n": len(records),
        "good": truth.count(False),
        "errors": sum(record.error is not None for record in records),
        "scores": image_scores([score for score, _ in scored], [bad for _, bad in scored]),
        "threshold": limit,
        "by_score": rates(above, below, truth) if limit is not None else None,
        "by_verdict": rates(anomalous, normal, truth),
        "undecided": 100 * sum(record.verdict == "undecided" for record in records) / len(records),
        "interval_95": {name: list(bounds) for name, bounds in spread.items()},
    }


def counts_of(called: Sequence[bool], among: Sequence[bool]) -> tuple[list[float], list[float]]:
    """Numerator and denominator of a share in percent, photo by photo."""
    return [100.0 * (a and b) for a, b in zip(called, among, strict=True)], [float(b) for b in among]


def boxes(records: Sequence[Detection], laid: Laid) -> dict[str, Any]:
    """Box figures over all photos; a box on a good photo is a false one. Empty where the mode names none."""
    if not any(record.defects for record in records):
        return {}
    return {
        "boxes": box_table(
            [([found.box for found in record.defects], true_boxes(laid.test[record.image])) for record in records]
        )
    }


def true_boxes(photo: Photo) -> list[Box]:
    """The boxes of its defects."""
    return [defect.box for defect in photo.sample.defects if defect.box is not None]


def true_masks(photo: Photo, root: Path) -> list[tuple[Box, Mask]]:
    """The boxes of its defects with masks; a defect's mask is the part of its mask file in its box, as in `eval`."""
    found = []
    for defect in photo.sample.defects:
        if defect.box is not None and defect.mask is not None:
            mask = open_mask(root / defect.mask, threshold=defect.mask_threshold)
            mask = mask & box_mask(defect.box, (mask.shape[1], mask.shape[0]))
            found += [(defect.box, mask)] if mask.any() else []
    return found


def masks(records: Sequence[Detection], laid: Laid) -> dict[str, Any]:
    """Mask IoU with the model's boxes: of each true defect with the mask of the box that fits it, 0 where none does."""
    ious: dict[str, list[float]] = {"drawn": [], "box": []}
    found = 0
    for record in records:
        if not any(item.mask_rle for item in record.defects):
            continue
        truth = true_masks(laid.test[record.image], laid.root)
        for at, true, _ in match([item.box for item in record.defects], [box for box, _ in truth]):
            found += 1
            item, (_, wanted) = record.defects[at], truth[true]
            ious["drawn"].append(overlap(rle.decode(rle.parse(item.mask_rle or {})), wanted))
            ious["box"].append(overlap(box_mask(item.box, (record.width, record.height)), wanted))
    every = sum(len(true_masks(laid.test[record.image], laid.root)) for record in records)
    drawn_any = any(item.mask_rle for record in records for item in record.defects)
    if not every or not drawn_any:
        return {}
    return {
        "masks": {
            "defects": every,
            "met_by_a_box": found,
            "iou": sum(ious["drawn"]) / every,
            "iou_of_the_filled_box": sum(ious["box"]) / every,
        }
    }


def overlap(a: Mask, b: Mask) -> float:
    """IoU of two masks, the second not empty."""
    return float((a & b).sum() / (a | b).sum())


# the exports


def exported(laid: Laid) -> dict[str, Any]:
    """`iadr1 export` of the run `think, boxes` without references in every format; each file is opened again."""
    source = folder_of(laid, 0, Run("think", segmenter="grabcut"))
    found: dict[str, Any] = {}
    for fmt in FORMATS:
        out = laid.place / "exports" / fmt.name / f"{laid.name}{fmt.suffix}"
        out.parent.mkdir(parents=True, exist_ok=True)
        plan = export.Export(file=source, fmt=fmt.name, out=out, images=laid.place / TEST)
        try:
            summary = export.run(plan)
            opened = READERS[fmt.name](out, laid)
        except Iadr1Error as error:
            found[fmt.name] = {"error": str(error)}
            continue
        wrong = {} if opened == Counter(summary.photos) else {"error": f"other photos came back: {dict(opened)}"}
        found[fmt.name] = {"photos": summary.photos, "defects": summary.defects, **wrong}
    return found


def through_prepare(source: str) -> Callable[[Path, Laid], Counter[str]]:
    """A reader that is `iadr1 prepare SOURCE`."""

    def read(out: Path, laid: Laid) -> Counter[str]:
        root = {"coco": laid.place / TEST, "mvtec": out.parent}.get(source, out)
        back = out.parent.with_name(f"{out.parent.name}-read.jsonl")
        annotations = out if source == "coco" else None
        prepare.run(PrepareConfig(source=source, root=root, out=back, annotations=annotations))
        return Counter(verdict_of(bool(sample.is_anomalous)) for sample in read_records(back, Sample))

    return read


def verdict_of(bad: bool) -> str:
    """The verdict in words."""
    return "anomalous" if bad else "normal"


def read_csv(out: Path, _: Laid) -> Counter[str]:
    """The photos of the table."""
    with out.open(encoding="utf-8", newline="") as file:
        rows = {row["image"]: "failed" if row["error"] else row["verdict"] for row in csv.DictReader(file)}
    return Counter(rows.values())


def read_cvat(out: Path, _: Laid) -> Counter[str]:
    """The images of the XML; one with a shape or a tag is anomalous."""
    return Counter(verdict_of(len(image) > 0) for image in ElementTree.parse(out).iter("image"))


def read_label_studio(out: Path, _: Laid) -> Counter[str]:
    """The choice of each task."""
    results = (task["predictions"][0]["result"] for task in json.loads(out.read_text(encoding="utf-8")))
    return Counter(item["value"]["choices"][0] for result in results for item in result if item["type"] == "choices")


READERS: Mapping[str, Callable[[Path, Laid], Counter[str]]] = {
    "coco": through_prepare("coco"),
    "yolo": through_prepare("yolo"),
    "yolo-seg": through_prepare("yolo"),
    "labelme": through_prepare("labelme"),
    "cvat": read_cvat,
    "label-studio": read_label_studio,
    "csv": read_csv,
    "mvtec": through_prepare("mvtec"),
}


# the tables


def tables(parts: Mapping[str, Any], plan: Plan) -> str:
    """Markdown: verdicts, masks, exports of the sets that were asked for."""
    parts_of = (verdict_table(parts, plan), mask_table(parts, plan), export_table(parts, plan))
    return "\n\n".join("\n".join(lines) for lines in parts_of if len(lines) > 2) + "\n"


def verdict_table(parts: Mapping[str, Any], plan: Plan) -> list[str]:
    """One row for each run."""
    lines = [
        "| set | ref. | mode | n (good) | errors | AUROC [95 %] | score: BA / recall / false alarms "
        "| verdict: BA / recall / false alarms / undecided | box F1 at IoU .33 / .5 | images/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in plan.sets:
        for shots in plan.shots:
            for run in runs(("grabcut",)):
                row = parts[f"{name}/{shots}/{run.key}"]
                spread = row["interval_95"].get("auroc")
                auroc = f"{row['scores']['auroc']:.1f} [{spread[0]:.0f}, {spread[1]:.0f}]" if spread else "-"
                at = f" ({row['threshold']:.3f})" if run.calibrated else ""
                cells = [
                    *(name, str(shots), f"{run.name}{at}", f"{row['n']} ({row['good']})", str(row["errors"]), auroc),
                    "-" if row["by_score"] is None else slashed(row["by_score"]),
                    f"{slashed(row['by_verdict'])} / {row['undecided']:.1f}",
                    f"{row['boxes']['f1@0.33']:.1f} / {row['boxes']['f1@0.5']:.1f}" if row.get("boxes") else "-",
                    "-" if row["images_per_s"] is None else f"{row['images_per_s']:.1f}",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def slashed(figures: Mapping[str, float]) -> str:
    """Balanced accuracy, recall and false alarms."""
    return f"{figures['ba']:.1f} / {figures['recall']:.1f} / {figures['false_alarms']:.1f}"


def mask_table(parts: Mapping[str, Any], plan: Plan) -> list[str]:
    """One row for each set with masks and each segmenter; the model's boxes are those of `think, boxes`."""
    lines = [
        "| set | segmenter | n | IoU, true boxes [95 %] | moved boxes | n | model's boxes | with references "
        "| met by a box |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in plan.sets:
        for segmenter in ("box", "grabcut", *plan.segmenters):
            measured = parts.get(f"{name}/eval-masks-{label('grabcut' if segmenter == 'box' else segmenter)}")
            if measured is not None:
                lines.append(mask_row(name, segmenter, measured["rows"]["all"], parts))
    return lines


def mask_row(name: str, segmenter: str, measured: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The masks of one segmenter on one set."""
    kind, source = ("iou_of_the_filled_box", "grabcut") if segmenter == "box" else ("iou", segmenter)
    own = [parts.get(f"{name}/{shots}/{Run('think', segmenter=source).key}", {}).get("masks") for shots in SHOTS]
    low, high = measured["interval_95"][f"{segmenter}, true box"]
    cells = [
        *(name, label(segmenter), str(measured["defects"])),
        f"{measured['iou'][f'{segmenter}, true box']:.3f} [{low:.2f}, {high:.2f}]",
        f"{measured['iou'][f'{segmenter}, moved box']:.3f}",
        next((str(one["defects"]) for one in own if one), "-"),
        *(f"{one[kind]:.3f}" if one else "-" for one in own),
        ", ".join(str(one["met_by_a_box"]) if one else "-" for one in own),
    ]
    return f"| {' | '.join(cells)} |"


def export_table(parts: Mapping[str, Any], plan: Plan) -> list[str]:
    """One row for each set: what came back of each format."""
    lines = [f"| set | {' | '.join(READERS)} |", f"|---|{'---|' * len(READERS)}"]
    for name in plan.sets if 0 in plan.shots else ():
        row = parts[f"{name}/export"]
        cells = (
            row[fmt].get("error") or f"{sum(row[fmt]['photos'].values())} photos, {row[fmt]['defects']} defects"
            for fmt in READERS
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def measure(plan: Plan) -> dict[str, Any]:
    """Do what is not done yet; write the tables and `results.json`.

    Returns:
        The figures of each part.

    Raises:
        Iadr1Error: What a command refuses, or a folder with figures of other settings.
    """
    if len({label(segmenter) for segmenter in ("grabcut", *plan.segmenters)}) <= len(plan.segmenters):
        raise UsageError("two segmenters have the same name", hint="rename a folder")
    bench = Bench(plan)
    parts = {key: figures for name in plan.sets for key, figures in bench.set(name).items()}
    text = tables(parts, plan)
    write_text_atomic(plan.out / "table.md", text)
    found = {**describe("real_sets", plan), "cores": os.cpu_count(), "parts": parts}
    write_text_atomic(plan.out / "results.json", json.dumps(found, indent=1) + "\n")
    print(text)
    return parts


def main() -> None:
    """Read the options and measure; exit code 1 where an export did not come back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder with deeppcb/ and magnetic_tile/")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for everything")
    parser.add_argument("--model", default="tiny", help="model to look with (default: tiny)")
    parser.add_argument("--segmenter", nargs="+", default=[], help="more segmenters than grabcut: SAM 2 folders")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="which sets (default: all)")
    parser.add_argument("--shots", type=int, nargs="+", choices=SHOTS, default=list(SHOTS), help="references shown")
    parser.add_argument("--limit", type=int, help="good and bad photos of each half at most")
    parser.add_argument("--eval-images", type=int, default=Plan.eval_images, help="pictures drawn (default: 624)")
    parser.add_argument("--seed", type=int, default=0, help="which photos --limit takes, and bootstrap draws")
    chosen = parser.parse_args()
    plan = Plan(
        chosen.data, chosen.out, chosen.model, tuple(chosen.segmenter), tuple(chosen.sets), tuple(chosen.shots),
        chosen.limit, chosen.eval_images, chosen.seed,
    )  # fmt: skip
    try:
        parts = measure(plan)
    except Iadr1Error as error:
        sys.exit(f"error: {error}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if any("error" in row for name in plan.sets for row in parts.get(f"{name}/export", {}).values()):
        sys.exit("error: an export did not come back, see the last table")


if __name__ == "__main__":
    main()
