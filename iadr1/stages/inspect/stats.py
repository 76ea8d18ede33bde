"""`iadr1 data stats`: what a samples file holds, counted from its records alone; no image is opened."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from iadr1.atomic import write_text_atomic
from iadr1.geometry import Box, box_area
from iadr1.records import Sample, read_records
from iadr1.reports.sample_plots import plot_samples
from iadr1.stages.inspect.lines import Progress, check_out, count_lines

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

GROUPS: Mapping[str, Callable[[Sample], str]] = {
    "dataset": lambda sample: sample.dataset,
    "category": lambda sample: f"{sample.dataset} / {sample.category}",
    "split": lambda sample: sample.split,
    "task": lambda sample: sample.task,
    "question type": lambda sample: sample.question_type,
}
"""What records are counted by: heading -> the value of a record."""


@dataclass
class Count:
    """Records and different images of one value, and how many of these images are normal and anomalous."""

    records: int = 0
    images: int = 0
    normal: int = 0
    anomalous: int = 0


@dataclass
class Letter:
    """How often an answer is offered and how often it is the right one."""

    offered: int = 0
    right: int = 0


@dataclass
class Stats:
    """Everything `data stats` shows, as it is written to `--out`.

    Attributes:
        records: Samples.
        images: Different images.
        groups: Heading of `GROUPS` -> value -> count.
        types: Defect type -> images that show it; without grounding samples, whose types are expressions.
        letters: Option letter, or Yes and No -> how often offered and right.
        boxes_per_image: Number of different boxes -> images.
        boxes: Different boxes.
        area_share: Quantile 0..1 -> area of a box as a share of its image; empty where no size is known.
        boxes_without_size: Boxes that are not in `area_share`, since their record has no `image_size`.
        with_reasoning: Records with a reasoning text.
        missing: Records marked as missing their image.
    """

    records: int = 0
    images: int = 0
    groups: dict[str, dict[str, Count]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    letters: dict[str, Letter] = field(default_factory=dict)
    boxes_per_image: dict[int, int] = field(default_factory=dict)
    boxes: int = 0
    area_share: dict[float, float] = field(default_factory=dict)
    boxes_without_size: int = 0
    with_reasoning: int = 0
    missing: int = 0


def run(path: Path, *, out: Path | None = None, plot: Path | None = None, progress: Progress | None = None) -> Stats:
    """Count what a samples file holds.

    Args:
        path: The JSONL file.
        out: A JSON file for the figures.
        plot: A PNG file for a picture of them.
        progress: Called after each record.

    Raises:
        UsageError: `out` or `plot` is the samples file, or a folder.
        DataError: The file cannot be read, is empty, or a line is no sample (`iadr1 data check` names all).
        MissingExtraError: A plot is wanted and matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    check_out(path, out, plot)
    total = count_lines(path)
    report = progress or (lambda name, done, of: None)
    counter = _Counter()
    for number, sample in enumerate(read_records(path, Sample), start=1):
        counter.add(sample)
        report("counting", number, total)
    stats = counter.stats()
    if out is not None:
        write_text_atomic(out, json.dumps(asdict(stats), ensure_ascii=False, indent=2) + "\n")
    if plot is not None:
        plot_samples(
            plot,
            categories={name: (count.normal, count.anomalous) for name, count in stats.groups["category"].items()},
            letters={name: (letter.offered, letter.right) for name, letter in stats.letters.items()},
            boxes_per_image=stats.boxes_per_image,
            shares=counter.shares,
            title=f"{path.name}: {stats.records} records on {stats.images} images",
        )
    return stats


class _Counter:
    """Counts record by record; memory grows with the number of images and their boxes."""

    def __init__(self) -> None:
        self._stats = Stats(groups={name: {} for name in GROUPS})
        self._boxes: dict[str, set[Box]] = {}
        self._types: dict[str, set[str]] = {}
        self._seen: set[tuple[str, str, str]] = set()
        self.shares: list[float] = []

    def add(self, sample: Sample) -> None:
        """Count one record."""
        stats = self._stats
        stats.records += 1
        stats.with_reasoning += bool(sample.reasoning)
        stats.missing += sample.missing
        for name, value_of in GROUPS.items():
            self._group(name, value_of(sample), sample)
        for answer in sample.options or (("Yes", "No") if sample.task == "anomaly" else ()):
            letter = stats.letters.setdefault(answer, Letter())
            letter.offered += 1
            letter.right += answer == sample.answer
        self._add_boxes(sample)
        if sample.task != "grounding":
            self._types.setdefault(sample.image, set()).update(defect.type for defect in sample.defects)

    def _group(self, name: str, value: str, sample: Sample) -> None:
        count = self._stats.groups[name].setdefault(value, Count())
        count.records += 1
        if (name, value, sample.image) not in self._seen:
            self._seen.add((name, value, sample.image))
            count.images += 1
            count.normal += sample.is_anomalous is False
            count.anomalous += sample.is_anomalous is True

    def _add_boxes(self, sample: Sample) -> None:
        known = self._boxes.setdefault(sample.image, set())
        for box in {defect.box for defect in sample.defects if defect.box is not None} - known:
            known.add(box)
            if sample.image_size is None:
                self._stats.boxes_without_size += 1
            else:
                self.shares.append(box_area(box) / (sample.image_size[0] * sample.image_size[1]))

    def stats(self) -> Stats:
        """What was counted, the most frequent first."""
        stats = self._stats
        stats.images = len(self._boxes)
        stats.groups = {
            name: dict(sorted(values.items(), key=lambda item: (-item[1].records, item[0])))
            for name, values in stats.groups.items()
        }
        stats.types = dict(Counter(kind for kinds in self._types.values() for kind in sorted(kinds)).most_common())
        stats.letters = dict(sorted(stats.letters.items(), key=lambda item: (len(item[0]), item[0])))
        stats.boxes_per_image = dict(sorted(Counter(map(len, self._boxes.values())).items()))
        stats.boxes = sum(map(len, self._boxes.values()))
        if self.shares:
            values = np.quantile(np.asarray(self.shares), QUANTILES)
            stats.area_share = {quantile: float(value) for quantile, value in zip(QUANTILES, values, strict=True)}
        return stats
