"""How well anomalies are found and placed: scores, boxes, masks, named types and places, by dataset.

Rates are in percent, IoU and Dice in 0..1. Every figure has a bootstrap interval over images, but those that are no sum
over images: average precisions, F1-max and AUPRO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iadr1 import prompts
from iadr1.errors import MissingExtraError
from iadr1.geometry import Box
from iadr1.metrics import boxes, pixels, quality
from iadr1.metrics.bootstrap import Intervals
from iadr1.metrics.counts import AVERAGE
from iadr1.stages.scoring.context import Context
from iadr1.stages.scoring.intervals import Figure, Ranking, Ratio, intervals
from iadr1.stages.scoring.pixel import OnAccess
from iadr1.stages.scoring.reading import Item

WORD_READINGS = ("structured", "iadr1-repo")
"""Readings of protocols that ask for the type and the place of a defect."""

COUNTS = frozenset(
    (
        "targets",
        "scored_images",
        "true_boxes",
        "predicted_boxes",
        "type_images",
        "location_images",
        "masks",
        "defect_masks",
    )
)
"""Figures that count, and are not averaged over the datasets."""
_NOT_AVERAGED = COUNTS | {"f1_max_threshold"}


@dataclass
class _Group:
    """The figures of one dataset by section, and what their intervals are drawn from."""

    images: list[str]
    sections: dict[str, dict[str, float]] = field(default_factory=dict)
    drawn: dict[str, Figure] = field(default_factory=dict)


def anomaly_quality(items: Sequence[Item], context: Context, *, seed: int) -> tuple[dict[str, Any], Intervals]:
    """Figures of yes/no samples beyond their accuracies, by dataset and as macro average, and their intervals.

    Returns:
        Section -> dataset or `average` -> figure -> value. The sections, each where there is something to measure, are
        `quality` (anomaly scores: what `quality.image_scores` gives), `boxes` (`quality.box_table` and `coco_ap`),
        `words` (`type_accuracy`, `location_accuracy`) and `pixels` (`pixels.pixel_scores` and `aupro`). Then the
        intervals: dataset or `average` -> figure -> bounds.
    """
    groups: dict[str, _Group] = {}
    for name, part in _by_dataset(items).items():
        group = groups[name] = _Group([item.question.image for item in part])
        _add_scores(group, part, context)
        _add_boxes(group, part, context)
        _add_words(group, part, context)
        _add_masks(group, part, context)
    return _tables(groups, seed=seed)


def grounding_quality(items: Sequence[Item], *, seed: int) -> tuple[dict[str, Any], Intervals]:
    """Figures of referring expressions: the section `grounding` (`targets`, `acc@0.5` in percent, `mean_iou`).

    Datasets with several splits, as RefCOCO has them, are taken apart by split. Returns as `anomaly_quality`.
    """
    groups: dict[str, _Group] = {}
    for name, part in by_split(items).items():
        single = [boxes.grounding_scores([_boxes(item)]) for item in part]
        targets = [scores["targets"] for scores in single]
        group = groups[name] = _Group([item.question.image for item in part])
        group.sections["grounding"] = boxes.grounding_scores([_boxes(item) for item in part])
        for figure in ("acc@0.5", "mean_iou"):
            values = [scores.get(figure, 0.0) * number for scores, number in zip(single, targets, strict=True)]
            group.drawn[figure] = Ratio(values, targets)
    return _tables(groups, seed=seed)


def by_split(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items by dataset, or by dataset and split where a dataset has several."""
    splits: dict[str, set[str]] = {}
    for item in items:
        splits.setdefault(item.question.dataset, set()).add(item.question.split)
    groups: dict[str, list[Item]] = {}
    for item in items:
        name = item.question.dataset
        groups.setdefault(f"{name} {item.question.split}" if len(splits[name]) > 1 else name, []).append(item)
    return groups


def _by_dataset(items: Sequence[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.question.dataset, []).append(item)
    return groups


def _tables(groups: Mapping[str, _Group], *, seed: int) -> tuple[dict[str, Any], Intervals]:
    sections: dict[str, Any] = {}
    for section in dict.fromkeys(name for group in groups.values() for name in group.sections):
        table = {name: group.sections[section] for name, group in groups.items() if section in group.sections}
        names = dict.fromkeys(name for row in table.values() for name in row if name not in _NOT_AVERAGED)
        there = {name: [row[name] for row in table.values() if name in row] for name in names}
        table[AVERAGE] = {name: math.fsum(values) / len(values) for name, values in there.items()}
        sections[section] = table
    drawn = {name: (group.images, group.drawn) for name, group in groups.items()}
    return sections, intervals(drawn, seed=seed)


def _add_scores(group: _Group, items: Sequence[Item], context: Context) -> None:
    scored = [(item.answer.score, bool(item.question.is_anomalous)) for item in items]
    scores = [score for score, _ in scored if score is not None]
    if not scores:
        return
    truth = [anomalous for score, anomalous in scored if score is not None]
    found = _measured(lambda: quality.image_scores(scores, truth), context)
    group.sections["quality"] = {"scored_images": len(scores), **found}
    if "auroc" in found:
        every = [math.nan if score is None else score for score, _ in scored]
        group.drawn["auroc"] = Ranking(every, [anomalous for _, anomalous in scored])


def _add_boxes(group: _Group, items: Sequence[Item], context: Context) -> None:
    """Boxes of the images whose defects all have one."""
    asked = context.reading == "boxes" if context.reading else any(item.answer.boxes for item in items)
    placed = [_has_boxes(item) for item in items]
    pairs = [_boxes(item) for item, there in zip(items, placed, strict=True) if there]
    if not asked or not any(truth for _, truth in pairs):
        return
    group.sections["boxes"] = quality.box_table(pairs)
    _draw_boxes(group, [_boxes(item) if there else ([], []) for item, there in zip(items, placed, strict=True)])
    chosen = [item for item, there in zip(items, placed, strict=True) if there]
    if all(item.answer.score is not None for item in chosen if item.answer.boxes):
        images = [
            quality.BoxImage(found, [item.answer.score or 0.0] * len(found), truth)
            for item, (found, truth) in zip(chosen, pairs, strict=True)
        ]
        group.sections["boxes"] |= _measured(lambda: quality.coco_ap(images), context)


def _draw_boxes(group: _Group, pairs: Sequence[tuple[list[Box], list[Box]]]) -> None:
    overlaps = [[overlap for _, _, overlap in boxes.match(found, truth)] for found, truth in pairs]
    true, named = [float(len(truth)) for _, truth in pairs], [float(len(found)) for found, _ in pairs]
    both = [a + b for a, b in zip(true, named, strict=True)]
    group.drawn["mean_iou"] = Ratio([sum(row) for row in overlaps], true)
    for threshold in quality.IOU_THRESHOLDS:
        hits = [100.0 * sum(overlap >= threshold for overlap in row) for row in overlaps]
        group.drawn[f"precision@{threshold:g}"] = Ratio(hits, named)
        group.drawn[f"recall@{threshold:g}"] = Ratio(hits, true)
        group.drawn[f"f1@{threshold:g}"] = Ratio([2 * number for number in hits], both)


def _add_words(group: _Group, items: Sequence[Item], context: Context) -> None:
    """Types and places named on anomalous images; an image counts where all of its defects are known."""
    if context.reading not in WORD_READINGS:
        return
    right: dict[str, list[float]] = {"type": [], "location": []}
    asked: dict[str, list[float]] = {"type": [], "location": []}
    for item in items:
        answer, defects = prompts.parse(item.answer.raw, "structured"), item.question.defects
        known = {
            "type": (answer.types, [defect.type for defect in defects]),
            "location": (answer.locations, [defect.location for defect in defects if defect.location]),
        }
        for name, (told, truth) in known.items():
            counts = bool(item.question.is_anomalous and defects and len(truth) == len(defects))
            asked[name].append(float(counts))
            right[name].append((boxes.words_accuracy([(told, truth)]) or 0.0) if counts else 0.0)
    for name, numbers in asked.items():
        if any(numbers):
            words = group.sections.setdefault("words", {})
            words |= {f"{name}_accuracy": sum(right[name]) / sum(numbers), f"{name}_images": int(sum(numbers))}
            group.drawn[f"{name}_accuracy"] = Ratio(right[name], numbers)


def _add_masks(group: _Group, items: Sequence[Item], context: Context) -> None:
    """Masks of the images that are normal or have a mask of every defect."""
    masks = context.masks
    chosen = masks.comparable(items) if masks is not None else []
    if masks is None or not any(item.question.is_anomalous for item in chosen):
        return
    places = {item.answer.key: place for place, item in enumerate(items)}
    values = {name: [0.0] * len(items) for name in ("pixel_iou", "pixel_dice")}
    asked = [0.0] * len(items)

    def pairs() -> Any:
        for item in chosen:
            pair = masks.pair(item)
            alone = pixels.pixel_scores([pair])
            place = places[item.answer.key]
            asked[place] = alone["defect_masks"]
            for name, column in values.items():
                column[place] = alone.get(name, 0.0)
            yield pair

    group.sections["pixels"] = pixels.pixel_scores(pairs())
    group.drawn |= {name: Ratio(column, asked) for name, column in values.items()}
    area = pixels.aupro(OnAccess(chosen, masks.anomaly_map), OnAccess(chosen, lambda item: masks.pair(item)[1]))
    if area is not None:
        group.sections["pixels"]["aupro"] = area


def _has_boxes(item: Item) -> bool:
    """Whether the image is normal, or has a box of every defect."""
    there = sum(defect.box is not None for defect in item.question.defects)
    return there == len(item.question.defects) and (there > 0 or not item.question.is_anomalous)


def _boxes(item: Item) -> tuple[list[Box], list[Box]]:
    """Predicted and true boxes."""
    truth = [defect.box for defect in item.question.defects if defect.box is not None]
    return [found.box for found in item.answer.boxes], truth


def _measured(measure: Any, context: Context) -> Mapping[str, float]:
    """Figures of a package, or none and a note where it is not installed."""
    try:
        found: Mapping[str, float] = measure()
    except MissingExtraError as error:
        if str(error) not in context.notes:
            context.notes.append(str(error))
        return {}
    return found
