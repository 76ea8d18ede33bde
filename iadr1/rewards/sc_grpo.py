"""`sc-grpo`: what IAD-R1's SC-GRPO rewards mean to reward, without what their published code does instead.

Verdict, place, kind and a shape that fits the answer given, with the published weights. Three faults are gone: a wrong
"No" earns nothing for place and kind, a place that is not named is not the centre, and every sample gets a value
(departures: docs/rewards.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from iadr1.geometry import location_word
from iadr1.prompts import Answer
from iadr1.records import Defect, Sample
from iadr1.rewards.defect_types import type_similarity
from iadr1.rewards.matching import matched


def sc_grpo(answer: Answer, sample: Sample) -> float | None:
    """0..3: shape 1, right verdict 1, place and kind of a true defect 1; None for a sample that is no Yes/No question.

    A normal image is worth at most 2. Place and kind count half each, where the truth has both, and only under a right
    Yes; with several defects they are matched one to one, and what is missed or invented counts 0. A place is one of
    the 3x3 regions (`geometry.LOCATIONS`), taken from the defect's words or else from its box.
    """
    if sample.task != "anomaly":
        return None
    shape = float(answer_fits_verdict(answer))
    if answer.is_anomalous is None or answer.is_anomalous != (sample.answer == "Yes"):
        return shape
    return shape + 1.0 + _details(answer, sample)


def answer_fits_verdict(answer: Answer) -> bool:
    """Whether an answer is in the asked format and names place and kind exactly where it says Yes."""
    details = (bool(answer.locations), bool(answer.types))
    return answer.status == "ok" and bool(answer.think) and details == (answer.is_anomalous, answer.is_anomalous)


def _details(answer: Answer, sample: Sample) -> float:
    """0..1: the mean of the scores of place and kind, of those that the truth has; 0 for a normal image."""
    places = _distinct(place for defect in sample.defects for place in _true_places(defect, sample))
    kinds = _distinct(kind for defect in sample.defects for kind in _listed(defect.type))
    scores = []
    if places:
        scores.append(matched(_distinct(map(region_of, answer.locations)), places, _same))
    if kinds:
        scores.append(matched(_distinct(answer.types), kinds, type_similarity))
    return sum(scores) / len(scores) if scores else 0.0


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _true_places(defect: Defect, sample: Sample) -> list[str]:
    if defect.location:
        return [region_of(part) for part in _listed(defect.location)]
    if defect.box is not None and sample.image_size is not None:
        return [location_word(defect.box, sample.image_size)]
    return []


def _listed(text: str) -> list[str]:
    """The parts between commas, as the parser cuts an answer's."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _same(one: str, other: str) -> float:
    return float(one == other)


_ROWS = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom"}
_COLUMNS = {"left": "left", "right": "right"}
_MIDDLE = frozenset({"center", "centre", "central", "middle"})


def region_of(text: str) -> str:
    """The 3x3 region that a text names by whole words; the cleaned text itself where it names none, or two at once.

    "upper-left corner" is "top left", "left side" is "middle left", "centre" is "center"; "entire surface" stays what
    it is, and is therefore the same place as "Entire surface." only.
    """
    words = re.findall(r"[^\W_]+", text.lower())
    rows = {_ROWS[word] for word in words if word in _ROWS}
    columns = {_COLUMNS[word] for word in words if word in _COLUMNS}
    if len(rows) > 1 or len(columns) > 1 or not (rows or columns or _MIDDLE.intersection(words)):
        return " ".join(words)
    row, column = next(iter(rows), "middle"), next(iter(columns), "center")
    return "center" if (row, column) == ("middle", "center") else f"{row} {column}"
