"""The content of `metrics.json` of small runs."""

from __future__ import annotations

from typing import Any

from iadr1.published import SUBTASKS

DETECTION = SUBTASKS[0]
PROTOCOL = {"name": "anomalyr1", "version": 1, "hash": "0123456789abcdef"}

_ABOUT: dict[str, Any] = {
    "benchmark": "mmad", "model": "tiny", "protocol": PROTOCOL, "shots": 1, "complete": True, "missing": 0,
    "questions": 1234,
    "answers": 1234, "parse_rate": 97.5, "splits": {},
}  # fmt: skip


def choice(*datasets: str, **changes: Any) -> dict[str, Any]:
    """A multiple-choice run; every figure of a dataset is ten times its place from 1, the average 33."""
    values = {name: 10.0 * place for place, name in enumerate(datasets, start=1)} | {"average": 33.0}
    columns = (*SUBTASKS, "average", "overkill", "miss")
    strict = {name: dict.fromkeys(columns, value) for name, value in values.items()}
    return {
        **_ABOUT,
        "strict": strict,
        "parsed": {name: dict.fromkeys(columns, value + 1) for name, value in values.items()},
        "mmad_compat": {name: dict.fromkeys(columns, value + 2) for name, value in values.items()},
        "detection": {name: {"precision": 70.0, "recall": 71.0, "f1": 72.0} for name in values},
        "interval_95": {name: dict.fromkeys(columns, (v - 5, v + 5)) for name, v in values.items()},
        "counts": {name: {DETECTION: _cell(4), "Object Analysis": _cell(3)} for name in datasets},
        "per_category": {name: {"nut": strict[name], "bolt": {"overkill": 3.0}} for name in datasets},
        "per_category_interval_95": {name: {"nut": {"average": (1.0, 50.0)}, "bolt": {}} for name in datasets},
        "per_category_questions": {name: {"nut": 7, "bolt": 1} for name in datasets},
        **changes,
    }


def _cell(asked: int) -> dict[str, int]:
    return {"asked": asked, "parsed": asked, "right": 1}


def anomaly(*datasets: str, **changes: Any) -> dict[str, Any]:
    """A yes/no run with anomaly scores."""
    quality = {name: {"auroc": 91.5, "f1_max_threshold": 0.25, "scored_images": 40} for name in datasets}
    return {
        **choice(*datasets),
        "benchmark": "iad",
        "quality": {**quality, "average": {"auroc": 90.0}},
        **changes,
    }


def grounding(**changes: Any) -> dict[str, Any]:
    """A run on referring expressions of two splits."""
    names = ("RefCOCO testA", "RefCOCO testB", "average")
    return {
        **_ABOUT,
        "benchmark": "grounding",
        "strict": {name: {"acc@0.5": 40.0, "average": 40.0} for name in names},
        "interval_95": {name: {"acc@0.5": (30.0, 50.0), "average": (30.0, 50.0)} for name in names},
        "grounding": {
            "RefCOCO testA": {"acc@0.5": 30.0, "mean_iou": 0.3, "targets": 5},
            "RefCOCO testB": {"acc@0.5": 50.0, "mean_iou": 0.5, "targets": 7},
            "average": {"acc@0.5": 40.0, "mean_iou": 0.4, "targets": 6.0},
        },
        **changes,
    }
