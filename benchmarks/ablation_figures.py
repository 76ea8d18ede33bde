"""What the ablation's answers say: fields with intervals, paired comparisons, the rule, agreement of answer and reason.

Two intervals, since two things vary. Between seeds: a t-interval over the seeds' figures, which covers the chance in
training and needs no normal answers but few degrees of freedom. Between images: a bootstrap that draws images, with the
answers of all seeds to an image together (clusters), which covers the choice of images and takes the seeds as given.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from scipy import stats

from iadr1 import prompts
from iadr1.metrics import boxes, choice, paired
from iadr1.metrics.bootstrap import intervals
from iadr1.metrics.counts import AVERAGE, COLUMNS, DETECTION, count
from iadr1.metrics.ratios import Unit, compare_ratios, ratio
from iadr1.records import Sample, read_records
from iadr1.rewards import REWARDS
from iadr1.stages import scoring
from iadr1.stages.grpo.completions import FOLDER, read_answers, step_files
from iadr1.stages.scoring.reading import Item
from iadr1.stages.scoring.rows import given
from iadr1.stages.training.data import FORMAT_OF_TASK

SEED = 0
"""Of bootstraps and tests."""
SPLITS: Mapping[str, bool | None] = {"all": None, "held-out categories": True, "trained categories": False}
"""Split -> which samples by their mark `held_out`; None for all."""
MMAD = "MMAD average"

Interval = tuple[float, float] | None


class Field(NamedTuple):
    """A figure of yes/no answers.

    Attributes:
        benchmark: Where it is asked, a folder of each run.
        better: 1 where more is better, -1 where less is.
        unit: What an answer adds above and below the line; (0, 0) where it is not asked for.
        digits: Decimals shown.
    """

    benchmark: str
    better: int
    unit: Callable[[Item], tuple[float, float]]
    digits: int = 1


def _called(anomalous: bool) -> Callable[[Item], tuple[float, float]]:
    def unit(item: Item) -> tuple[float, float]:
        asked = item.question.is_anomalous is anomalous
        return (100.0 * (asked and given(item) == "Yes"), float(asked))

    return unit


def _type(item: Item) -> tuple[float, float]:
    return _words(item, prompts.parse(item.answer.raw, "structured").types, [d.type for d in item.question.defects])


def _location(item: Item) -> tuple[float, float]:
    truth = [defect.location for defect in item.question.defects if defect.location]
    return _words(item, prompts.parse(item.answer.raw, "structured").locations, truth)


def _words(item: Item, told: Sequence[str], truth: Sequence[str]) -> tuple[float, float]:
    """Percent of exactly named words; an image counts where all of its defects are known, as in `iadr1 score`."""
    defects = item.question.defects
    if not (item.question.is_anomalous and defects and len(truth) == len(defects)):
        return 0.0, 0.0
    return boxes.words_accuracy([(told, truth)]) or 0.0, 1.0


def _iou(item: Item) -> tuple[float, float]:
    truth = [defect.box for defect in item.question.defects if defect.box is not None]
    pairs = boxes.match([found.box for found in item.answer.boxes], truth)
    return math.fsum(overlap for _, _, overlap in pairs), float(len(truth))


FIELDS: Mapping[str, Field] = {
    "recall": Field("iad", 1, _called(True)),
    "false alarms": Field("iad", -1, _called(False)),
    "type": Field("iad", 1, _type),
    "location": Field("iad", 1, _location),
    "IoU": Field("detection", 1, _iou, digits=3),
}
"""The fields none of which may become worse; every image, or true box, counts alike."""


@dataclass(frozen=True)
class Evaluated:
    """The answers of one arm under one seed, by benchmark."""

    arm: str
    seed: int | None
    folder: Path
    items: Mapping[str, Sequence[Item]]

    def of(self, benchmark: str, split: str) -> list[Item]:
        """The answers of a split."""
        wanted = SPLITS[split]
        return [item for item in self.items[benchmark] if wanted is None or item.question.held_out is wanted]


def read(folder: Path, arm: str, seed: int | None, *, benchmarks: Sequence[str]) -> Evaluated:
    """The answers in the benchmarks' folders below `folder`; `seed` is None for what was not trained here."""
    items = {name: list(scoring.load(folder / name).items.values()) for name in benchmarks}
    return Evaluated(arm, seed, folder, items)


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and 95 % t-interval of one value a seed; no interval for a single seed."""
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return {"mean": None, "t_interval_95": None, "seeds": []}
    mean = fmean(values)
    found: Interval = None
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
        found = mean - half, mean + half
    return {"mean": mean, "t_interval_95": found, "seeds": list(values)}


def _units(runs: Sequence[Evaluated], field: Field, split: str) -> list[Unit]:
    """Units of all runs; an image counts as one, whichever run's answer it is."""
    return [(item.question.image, *field.unit(item)) for run in runs for item in run.of(field.benchmark, split)]


def summary(runs: Sequence[Evaluated]) -> dict[str, Any]:
    """Every figure of an arm: split -> figure -> mean and intervals over its seeds.

    `images_interval_95` is the bootstrap over images, `t_interval_95` the one over seeds.
    """
    return {split: {**_fields(runs, split), **_subtasks(runs, split)} for split in SPLITS if runs[0].of("iad", split)}


def _fields(runs: Sequence[Evaluated], split: str) -> dict[str, Any]:
    found = {}
    for name, field in FIELDS.items():
        each = [ratio(_units([run], field, split), seed=SEED).value for run in runs]
        pooled = ratio(_units(runs, field, split), seed=SEED)
        found[name] = {**over_seeds(each), "images_interval_95": pooled.interval_95}
    return found


def _subtasks(runs: Sequence[Evaluated], split: str) -> dict[str, Any]:
    """MMAD's subtasks and their average, strict; macro averages over the data sets, as in the paper's tables."""
    rows = [[scoring.row(item) for item in run.of("mmad", split)] for run in runs]
    if not rows[0]:
        return {}
    tables = [choice.table(count(part)) for part in rows]
    pooled = intervals(count([row for part in rows for row in part]), seed=SEED)
    sets = {
        f"{DETECTION}, {name}": {**over_seeds([table[name][DETECTION] for table in tables])}
        for name in tables[0]
        if name != AVERAGE and DETECTION in tables[0][name]
    }
    columns = {
        MMAD if name == AVERAGE else name: {
            **over_seeds([table[AVERAGE][name] for table in tables]),
            "images_interval_95": pooled[AVERAGE][name],
        }
        for name in COLUMNS
        if name in tables[0][AVERAGE] and name not in ("overkill", "miss")
    }
    return {**columns, **sets}


def comparison(a: Sequence[Evaluated], b: Sequence[Evaluated], split: str) -> dict[str, Any]:
    """B beside A, seed by seed on the same images: differences with intervals, and what the rule says.

    Args:
        a: The runs compared with; one that was not trained here stands beside every seed of B.
        b: The runs that are judged.
        split: A key of `SPLITS`.

    Returns:
        Figure -> a, b, difference, `interval_95` (images drawn, seeds together), `t_interval_95` of the seeds'
        differences, and `change`: better, worse or none; and `verdict` of `judge`.
    """
    if len(a) == 1 and a[0].seed is None:
        a = [a[0]] * len(b)
    found: dict[str, Any] = {}
    for name, field in FIELDS.items():
        pooled = compare_ratios(_units(a, field, split), _units(b, field, split), seed=SEED)
        each = [
            compare_ratios(_units([x], field, split), _units([y], field, split), seed=SEED).difference
            for x, y in zip(a, b, strict=True)
        ]
        found[name] = _difference(pooled._asdict(), each, better=field.better)
    rows_a, rows_b = (
        [[scoring.row(item) for item in run.of("mmad", split)] for run in side] for side in (a, b)
    )  # one list a seed
    if rows_a[0]:
        joined = paired.compare(*([row for part in side for row in part] for side in (rows_a, rows_b)), seed=SEED)
        each = [
            choice.table(count(y))[AVERAGE][AVERAGE] - choice.table(count(x))[AVERAGE][AVERAGE]
            for x, y in zip(rows_a, rows_b, strict=True)
        ]
        found[MMAD] = _difference(dict(joined.differences[AVERAGE][AVERAGE]), each, better=1)
    return {"figures": found, "verdict": judge({name: row["change"] for name, row in found.items()})}


def _difference(pooled: dict[str, Any], each: Sequence[float], *, better: int) -> dict[str, Any]:
    """One figure's difference; it has changed where both the images' interval and all seeds are on one side of 0."""
    sides = [side for side in (1, -1) if pooled["interval_95"] and all(side * x > 0 for x in pooled["interval_95"])]
    change = "none"
    if sides:
        side = sides[0]
        if side * better < 0:
            change = "worse"
        elif all(side * value > 0 for value in each):
            change = "better"
    over = over_seeds(each)
    return {**pooled, "t_interval_95": over["t_interval_95"], "seeds": over["seeds"], "change": change}


def judge(changes: Mapping[str, str]) -> str:
    """The rule: better only where something became better and nothing worse; `mixed` where both happened."""
    better, worse = (word in changes.values() for word in ("better", "worse"))
    return {(True, False): "better", (False, True): "worse", (True, True): "mixed"}.get(
        (better, worse), "no difference"
    )


@cache
def _samples(path: Path) -> Mapping[str, Sample]:
    return {sample.id: sample for sample in read_records(path, Sample)}


def reasoning(pairs: Sequence[tuple[str, Sample]]) -> dict[str, float]:
    """Shares in percent of multiple-choice completions, by what their reasoning concludes.

    `agrees`: the option that is answered; `contradicts`: another one; `concludes nothing`; `no answer`: none could be
    read. `readings differ` is the share to which `roam` and `roam-reference` give another value.
    """
    found: Counter[str] = Counter()
    for text, sample in pairs:
        answer = prompts.parse(text, "choice", options=sample.options)
        concluded = prompts.conclude(answer.think or "", sample.options)
        if answer.letter is None:
            found["no answer"] += 1
        elif concluded is None:
            found["concludes nothing"] += 1
        else:
            found["agrees" if concluded == answer.letter else "contradicts"] += 1
        found["readings differ"] += REWARDS["roam"](answer, sample) != REWARDS["roam-reference"](answer, sample)
    names = ("agrees", "contradicts", "concludes nothing", "no answer", "readings differ")
    return {name: 100.0 * found[name] / len(pairs) for name in names}


def reasoning_of(run: Evaluated, data: Path) -> dict[str, float]:
    """`reasoning` of a run's answers to the multiple-choice questions of `data`."""
    samples = _samples(data)
    return reasoning([(item.answer.raw, samples[item.question.id]) for item in run.items["mmad"]])


def training(folder: Path, data: Path) -> list[dict[str, float]]:
    """Each step of a GRPO run: its own reward, the spread within groups, and the answers scored alike for all arms.

    `accuracy` is the share of right answers in percent, whatever the run was rewarded for; multiple-choice runs have
    what `reasoning` gives as well. `flat` is the percentage of groups with one reward for all answers.
    """
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    files, samples = step_files(folder / FOLDER), _samples(data)
    found = []
    for line in lines:
        _, answers = read_answers(files[line["step"]])
        pairs = [(answer.completion, samples[answer.sample_id]) for answer in answers]
        right = [_right(*pair) for pair in pairs]
        entry = {"step": line["step"], "reward": line["reward"], "spread": line["reward_std"]}
        entry |= {"flat": 100.0 * line["flat_groups"], "seconds": line["seconds"]}
        if all(value is not None for value in right):
            entry["accuracy"] = 100.0 * fmean(value or 0.0 for value in right)
        found.append({**entry, **(reasoning(pairs) if pairs[0][1].task == "choice" else {})})
    return found


def _right(text: str, sample: Sample) -> float | None:
    if sample.task == "grounding":
        return None
    return REWARDS["accuracy"](prompts.parse(text, FORMAT_OF_TASK[sample.task], options=sample.options), sample)
