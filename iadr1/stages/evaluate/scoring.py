"""Answered samples -> the figures of `metrics.json`, for all samples and by whether they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from iadr1 import leaks, prompts
from iadr1.geometry import Box
from iadr1.metrics import boxes, choice
from iadr1.records import Prediction, Sample
from iadr1.reports import tables

Answered = Sequence[tuple[Sample, Prediction]]
ALL, TRAINED_CATEGORIES = "all", "trained categories"
INCLUDED = "includes_trained_images"
"""Key of `metrics.json`: how many images the figures of all samples include that the model was trained on."""
_MARK = " \N{DAGGER}"


def score_splits(
    answered: Answered, fmt: prompts.Format, *, seed: int, report: leaks.LeakReport | None = None
) -> dict[str, dict[str, Any]]:
    """The figures of all samples, and of each split that has some; rates in percent, IoU in 0..1.

    Without a report, the samples' own marks tell held-out from trained categories; where none is marked, nothing is
    known and there is no split.

    Args:
        answered: Samples with their predictions.
        fmt: The answer format that was asked for.
        seed: Seed of the bootstrap intervals.
        report: The samples' images compared with what the model was trained on.
    """
    splits: dict[str, Answered] = {ALL: answered}
    if report is not None:
        for split in leaks.SPLITS:
            splits[split] = [pair for pair in answered if report.split(pair[0]) == split]
    elif any(sample.held_out for sample, _ in answered):
        splits[leaks.HELD_OUT_CATEGORIES] = [pair for pair in answered if pair[0].held_out]
        splits[TRAINED_CATEGORIES] = [pair for pair in answered if not pair[0].held_out]
    return {name: _score(pairs, fmt, seed) for name, pairs in splits.items() if pairs}


def _score(answered: Answered, fmt: prompts.Format, seed: int) -> dict[str, Any]:
    common = {
        "questions": len(answered),
        "images": len({(sample.dataset, sample.image) for sample, _ in answered}),
        "errors": sum(prediction.error is not None for _, prediction in answered),
        "parse_rate": 100.0 * sum(prediction.answer is not None for _, prediction in answered) / len(answered),
    }
    if fmt == "choice":
        return {**common, **_score_choice(answered, seed)}
    if fmt == "grounding":
        return {**common, **boxes.grounding_scores(_box_pairs(answered))}
    verdicts = boxes.verdict_scores([(_verdict(prediction), bool(s.is_anomalous)) for s, prediction in answered])
    if fmt == "structured":
        return {**common, **verdicts, **_score_words(answered)}
    return {**common, **verdicts, **boxes.box_scores(_box_pairs(answered))}


def _score_choice(answered: Answered, seed: int) -> dict[str, Any]:
    rows = [
        choice.ChoiceRow(
            dataset=sample.dataset,
            subtask=sample.reported_as,
            truth=sample.answer,
            letter=prediction.answer,
            is_anomalous=sample.is_anomalous,
            image=sample.image,
        )
        for sample, prediction in answered
    ]
    return {
        "strict": choice.score_choice(rows),
        "parsed": choice.score_choice(rows, parsed_only=True),
        "interval_95": choice.bootstrap(rows, seed=seed),
    }


def _verdict(prediction: Prediction) -> bool | None:
    return None if prediction.answer is None else prediction.answer == "Yes"


def _score_words(answered: Answered) -> dict[str, float]:
    """Types and places named on anomalous images; an image counts where all of its defects are known."""
    types, places = [], []
    for sample, prediction in answered:
        answer = prompts.parse(prediction.raw, "structured")
        if sample.is_anomalous and sample.defects:
            types.append((answer.types, [defect.type for defect in sample.defects]))
            words = [defect.location for defect in sample.defects if defect.location]
            if len(words) == len(sample.defects):
                places.append((answer.locations, words))
    figures: dict[str, float] = {}
    for name, pairs in (("type", types), ("location", places)):
        accuracy = boxes.words_accuracy(pairs)
        if accuracy is not None:
            figures |= {f"{name}_accuracy": accuracy, f"{name}_images": len(pairs)}
    return figures


def _box_pairs(answered: Answered) -> list[tuple[list[Box], list[Box]]]:
    """Predicted and true boxes of the images whose defects all have one."""
    pairs = []
    for sample, prediction in answered:
        truth = [defect.box for defect in sample.defects if defect.box is not None]
        if len(truth) == len(sample.defects) and (truth or not sample.is_anomalous):
            pairs.append(([item.box for item in prediction.boxes], truth))
    return pairs


def headline(title: str, fmt: prompts.Format, metrics: Mapping[str, Any], *, note: str = "") -> tables.TableData:
    """The table people look at, from the content of `metrics.json`: figures of all samples, and of the `splits`.

    Every row or column of figures that include trained images is marked, with a sentence below.

    Args:
        title: Heading.
        fmt: The answer format that was asked for.
        metrics: The content of `metrics.json`.
        note: A further sentence below the table.
    """
    included = metrics.get(INCLUDED, 0)
    mark = _MARK if included else ""
    notes = [f"{_MARK.strip()} These figures include {included} images that the model was trained on."] if mark else []
    table = _choice_table(title, metrics, mark) if fmt == "choice" else _figures_table(title, metrics, mark)
    return replace(table, note=" ".join([*notes, *filter(None, [note]), table.note]))


def _figures_table(title: str, metrics: Mapping[str, Any], mark: str) -> tables.TableData:
    described = {"benchmark", "model", "model_fingerprint", "engine", "protocol", "shots", "leaks", INCLUDED, "splits"}
    every = {key: value for key, value in metrics.items() if key not in described}
    note = "Rates in percent; an answer that cannot be read is wrong."
    return tables.figures_table(title, {ALL + mark: every, **metrics["splits"]}, note=note)


def _choice_table(title: str, metrics: Mapping[str, Any], mark: str) -> tables.TableData:
    splits = metrics["splits"]
    parts = {f"- {name}": figures["strict"][choice.AVERAGE] for name, figures in splits.items()}
    table = tables.choice_table(
        title,
        metrics["strict"],
        # With one split only, its average is the average.
        parts=parts if len(parts) > 1 else {},
        interval=metrics["interval_95"].get(choice.AVERAGE),
        parse_rate=metrics["parse_rate"],
    )
    datasets, averages, *published = table.groups
    marked = [[(name if name in parts else name + mark, row) for name, row in group] for group in (datasets, averages)]
    return replace(table, groups=[*marked, *published])
