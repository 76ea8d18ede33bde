"""The figures of a run, as `metrics.json` holds them: for all its answers, and for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum
from typing import Any

import numpy as np

from iadr1.errors import DataError
from iadr1.metrics import choice
from iadr1.metrics.bootstrap import intervals
from iadr1.metrics.counts import AVERAGE, Counts, count
from iadr1.metrics.mmad import AnswerRecord, compat_scores
from iadr1.records import Task
from iadr1.stages.scoring.circular import order_figures
from iadr1.stages.scoring.context import Context
from iadr1.stages.scoring.loading import Loaded
from iadr1.stages.scoring.quality import anomaly_quality, grounding_quality
from iadr1.stages.scoring.reading import Item
from iadr1.stages.scoring.rows import given, records, row
from iadr1.stages.scoring.runs import RunInfo
from iadr1.stages.scoring.splits import INCLUDED, splits

FOUND_AT = "acc@0.5"
"""The headline of grounding, in `strict` beside `average`, which is the same there."""
_MILLION = 1_000_000


def run_figures(loaded: Loaded, context: Context, *, seed: int) -> dict[str, Any]:
    """Everything that `metrics.json` holds.

    Args:
        loaded: The answers.
        context: What else the figures depend on; gets the notes on what could not be measured.
        seed: Seed of the bootstrap intervals.

    Raises:
        DataError: A question cannot be scored.
    """
    items = list(loaded.items.values())
    try:
        figures = _all(loaded.task, items, context, seed=seed, stored=loaded.records)
        parts = {
            name: {**_counted(part), **_part(loaded.task, part, context, seed=seed)}
            for name, part in splits(items, context.leaks).items()
        }
    except DataError as error:
        if error.where is not None:
            raise
        raise DataError(error.message, where=str(loaded.path), hint=error.hint) from error
    found = context.leaks
    return {
        **loaded.about,
        **({"leaks": found.figures(), INCLUDED: found.trained} if found else {}),
        # Without samples nobody knows which questions there are.
        "complete": False if loaded.gaps else True if loaded.about["data"] else None,
        "missing": len(loaded.gaps.missing),
        "doubled": len(loaded.gaps.doubled),
        "seed": seed,
        **_counted(items),
        **(_usage(items, loaded.runs[0]) if loaded.records is None else {}),
        **figures,
        "splits": parts,
        **({"notes": context.notes} if context.notes else {}),
    }


def category_intervals(loaded: Loaded, *, seed: int) -> dict[str, Any]:
    """What the bars by category show besides the accuracies: dataset -> category -> intervals, and questions.

    They are drawn and not written to `metrics.json`: they would take as long as all the other intervals together.
    """
    counts = count([row(item) for item in loaded.items.values()])
    names = dict.fromkeys((dataset, category) for dataset, category, _ in counts.images)
    places = {name: place for place, name in enumerate(names)}
    of_image = np.asarray([places[dataset, category] for dataset, category, _ in counts.images], dtype=np.int64)
    # The interval of a category is that of a data set that holds nothing else.
    alone = replace(counts, datasets=tuple(map("\n".join, names)), dataset_of=of_image)
    bounds = intervals(alone, seed=seed)
    asked = np.bincount(of_image, weights=counts.asked.sum(axis=1))
    found: dict[str, dict[str, Any]] = {}
    numbers: dict[str, dict[str, int]] = {}
    for (dataset, category), name, number in zip(names, alone.datasets, asked, strict=True):
        found.setdefault(dataset, {})[category] = bounds[name]
        numbers.setdefault(dataset, {})[category] = int(number)
    return {"per_category_interval_95": found, "per_category_questions": numbers}


def _counted(items: Sequence[Item]) -> dict[str, Any]:
    """How much was asked, what got no answer, and the percentage that the token limit cut off."""
    number = len(items)
    return {
        "questions": len({item.question.id for item in items}),
        "answers": number,
        "errors": sum(item.answer.error is not None for item in items),
        "truncated": 100.0 * sum(not item.answer.finished for item in items) / number,
    }


def _usage(items: Sequence[Item], run: RunInfo) -> dict[str, Any]:
    """What the answers took; `cost` in the currency of the prices, where the run names one."""
    prompt = sum(item.answer.prompt_tokens for item in items)
    completion = sum(item.answer.completion_tokens for item in items)
    used: dict[str, Any] = {
        "tokens": {"prompt": prompt, "completion": completion},
        "seconds": round(sum(item.answer.seconds for item in items), 2),
    }
    prices = run.price("price_prompt"), run.price("price_completion")
    if any(prices):
        used["cost"] = round((prompt * prices[0] + completion * prices[1]) / _MILLION, 6)
    return used


def _all(
    task: Task, items: Sequence[Item], context: Context, *, seed: int, stored: Sequence[AnswerRecord] | None
) -> dict[str, Any]:
    """The figures of all answers."""
    if task == "grounding":
        return _grounding(items, seed=seed)
    counts = count([row(item) for item in items])
    found = {
        **_accuracies(counts, seed=seed),
        "mmad_compat": compat_scores(records(items) if stored is None else stored),
        "counts": choice.tallies(counts),
        "per_category": choice.by_category(counts),
    }
    if task == "anomaly":
        return _with_quality(found, items, context, seed=seed)
    order = order_figures(items)
    return {**found, "circular": order} if order else found


def _part(task: Task, items: Sequence[Item], context: Context, *, seed: int) -> dict[str, Any]:
    """The figures of a split."""
    if task == "grounding":
        return _grounding(items, seed=seed)
    found = _accuracies(count([row(item) for item in items]), seed=seed)
    return _with_quality(found, items, context, seed=seed) if task == "anomaly" else found


def _accuracies(counts: Counts, *, seed: int) -> dict[str, Any]:
    """`strict` (unread is wrong), `parsed` (unread is left out), precision, recall and F1; intervals of `strict`."""
    return {
        "images": len(counts.images),
        "parse_rate": 100.0 * float(counts.parsed.sum() / counts.asked.sum()),
        "strict": choice.table(counts),
        "parsed": choice.table(counts, parsed_only=True),
        "detection": choice.detection(counts),
        "interval_95": intervals(counts, seed=seed),
    }


def _with_quality(found: Mapping[str, Any], items: Sequence[Item], context: Context, *, seed: int) -> dict[str, Any]:
    """The figures of yes/no answers with those of undecided answers, scores, boxes, masks and words."""
    sections, bounds = anomaly_quality(items, context, seed=seed)
    undecided: dict[str, list[bool]] = {}
    for item in items:
        undecided.setdefault(item.question.dataset, []).append(given(item) is None)
    shares = {name: 100.0 * sum(flags) / len(flags) for name, flags in undecided.items()}
    shares[AVERAGE] = fsum(shares.values()) / len(shares)
    detection = {name: {**found["detection"].get(name, {}), "undecided": share} for name, share in shares.items()}
    interval = {name: {**rows, **bounds.get(name, {})} for name, rows in found["interval_95"].items()}
    return {**found, "detection": detection, "interval_95": interval, **sections}


def _grounding(items: Sequence[Item], *, seed: int) -> dict[str, Any]:
    """`strict` and `parsed` hold the share of targets found, so that every task has a headline `average`."""
    sections, bounds = grounding_quality(items, seed=seed)
    there = [item for item in items if given(item) is not None]
    read, _ = grounding_quality(there, seed=seed)
    return {
        "images": len({(item.question.dataset, item.question.image) for item in items}),
        "parse_rate": 100.0 * len(there) / len(items),
        "strict": _shares(sections["grounding"]),
        "parsed": _shares(read.get("grounding", {})),
        "interval_95": {name: {**figures, AVERAGE: figures[FOUND_AT]} for name, figures in bounds.items()},
        **sections,
    }


def _shares(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: dict.fromkeys((FOUND_AT, AVERAGE), figures[FOUND_AT])
        for name, figures in table.items()
        if FOUND_AT in figures
    }
