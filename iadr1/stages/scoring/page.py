"""The page of answers: which samples and predictions stand on it, and what each of them is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iadr1 import prompts
from iadr1.metrics import boxes
from iadr1.metrics.counts import AVERAGE
from iadr1.records import Prediction, Sample, read_records
from iadr1.reports.answers import Card, Header, Status, write_report
from iadr1.stages.scoring.loading import Loaded
from iadr1.stages.scoring.reading import Item
from iadr1.stages.scoring.rows import given

REPORT = "report.html"


def write_page(loaded: Loaded, metrics: Mapping[str, Any], path: Path, *, root: Path) -> Path:
    """Write the page of answers.

    Args:
        loaded: The answers, of which the samples are known.
        metrics: The content of `metrics.json`.
        path: The HTML file.
        root: Folder of the images.

    Raises:
        OutputError: The file cannot be written.
    """
    protocol = metrics["protocol"]
    names = {"Shots": "shots", "Scoring": "scoring", "Domain knowledge": "domain_knowledge"}
    told = {name: metrics[key] for name, key in names.items()}
    header = Header(
        benchmark=metrics["benchmark"] or "questions",
        model=metrics["model"],
        protocol=protocol["name"] or "",
        protocol_hash=protocol["hash"],
        data_hash=metrics["data"]["sha256"],
        parse_rate=metrics["parse_rate"],
        strict=metrics["strict"][AVERAGE][AVERAGE],
        more={name: str(value) for name, value in told.items() if value is not None},
    )
    write_report(path, _cards(loaded, Path(metrics["data"]["path"])), header, root=root)
    return path


def _cards(loaded: Loaded, data: Path) -> Iterator[Card]:
    asked = {item.question.id for item in loaded.items.values()}
    samples = {sample.id: sample for sample in read_records(data, Sample) if sample.id in asked}
    predictions: dict[str, Prediction] = {}
    for part in loaded.parts:
        for prediction in read_records(part, Prediction):
            predictions.setdefault(prediction.key, prediction)
    definition = loaded.runs[0].definition
    shots, similar = definition.get("shots", 0), definition.get("template") == "similar"
    for key, item in loaded.items.items():
        sample = samples[item.question.id]
        yield Card(
            sample=sample,
            prediction=predictions[key],
            status=_status(item),
            # What was thought stands in the same place whatever the format of the answer.
            reasoning=prompts.parse(item.answer.raw, "structured").think or "",
            references=(sample.similar_references if similar else sample.references)[:shots],
        )


def _status(item: Item) -> Status:
    letter = given(item)
    if letter is None:
        return "unread"
    if item.question.task != "grounding":
        return "right" if letter == item.question.answer else "wrong"
    truth = [defect.box for defect in item.question.defects if defect.box is not None]
    scores = boxes.grounding_scores([([found.box for found in item.answer.boxes], truth)])
    return "right" if scores.get("acc@0.5") == 100 else "wrong"
