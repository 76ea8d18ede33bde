"""Samples and completions that the reward tests share."""

from __future__ import annotations

from typing import Any

from iadr1.geometry import Box
from iadr1.prompts import Answer, LabelledBox, parse
from iadr1.records import Defect, Sample

OPTIONS = {"A": "Scratch.", "B": "Broken edge.", "C": "No defect.", "D": "Stain."}


def sample(**truth: Any) -> Sample:
    """A sample with everything that no reward looks at filled in."""
    given = {"dataset": "t", "category": "c", "split": "train", "image": "a.png", "question": "?", "question_type": "q"}
    return Sample(**{"id": "s1", **given, **truth})


def choice(answer: str = "B", **truth: Any) -> Sample:
    return sample(task="choice", options=OPTIONS, answer=answer, **truth)


CHOICE = choice()


def anomaly(answer: str, *defects: Defect, **truth: Any) -> Sample:
    return sample(task="anomaly", answer=answer, is_anomalous=answer == "Yes", defects=defects, **truth)


def with_boxes(*boxes: Box | None) -> Sample:
    """A defective sample with these boxes, a normal one without any."""
    return anomaly("Yes" if boxes else "No", *(Defect(type="hole", box=box) for box in boxes))


def tagged(answer: str, *, location: str | None = None, kind: str | None = None, think: str = "I look.") -> str:
    """A completion as IAD-R1 asks for it; a block whose text is None is left out."""
    blocks = [("think", think), ("location", location), ("type", kind), ("answer", answer)]
    return "".join(f"<{tag}>{text}</{tag}>" for tag, text in blocks if text is not None)


def raw(text: str) -> Answer:
    """What a reward that reads the raw completion gets."""
    return Answer("failed", text=text)


def read(text: str) -> Answer:
    return parse(text, "structured")


def pick(text: str) -> Answer:
    return parse(text, "choice", options=OPTIONS)


def found(*boxes: Box) -> Answer:
    return Answer("ok", think="I look.", boxes=tuple(LabelledBox(box, "x") for box in boxes))
