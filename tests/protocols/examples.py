"""Samples to ask, and where a turn's images stand."""

from __future__ import annotations

from typing import Any

from iadr1.protocols import IMAGE_SLOT, Turn
from iadr1.records import Sample

FOUR = {"A": "a hole", "B": "a scratch", "C": "a dent", "D": "a stain"}
KNOWLEDGE = {"d": {"c": {"good": " <Good>\n Description: whole {x}.", "bad": "<Bad> broken."}}}


def make(task: str = "choice", **changes: Any) -> Sample:
    """A sample with nine references of each kind."""
    values = {
        "id": "s", "dataset": "d", "category": "c", "split": "test", "image": "x.png",
        "references": tuple(f"r{n}.png" for n in range(9)), "similar_references": tuple(f"m{n}.png" for n in range(9)),
        "task": task, "question": "Is there any defect?", "question_type": "Anomaly Detection",
    }  # fmt: skip
    extra: dict[str, dict[str, Any]] = {
        "choice": {"options": FOUR, "answer": "B"},
        "anomaly": {"answer": "Yes", "is_anomalous": True},
        "grounding": {},
    }
    return Sample.model_validate({**values, **extra[task], **changes})


def slots(turn: Turn) -> int:
    """Places for an image in what is sent."""
    if turn.plain is not None:
        return turn.plain.count(IMAGE_SLOT)
    return sum(part["type"] == "image" for message in turn.messages for part in message["content"])


def text_of(turn: Turn) -> str:
    """The user's turn as one text, images as their slot."""
    return "".join(part.get("text", IMAGE_SLOT) for part in turn.messages[-1]["content"])
