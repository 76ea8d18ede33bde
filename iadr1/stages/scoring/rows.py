"""Answered questions as rows of the multiple-choice metrics, and as records of the published script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from iadr1.metrics.counts import DETECTION, ChoiceRow
from iadr1.metrics.mmad import AnswerRecord
from iadr1.stages.scoring.reading import Item, Question

YES_NO = {"Yes": "A", "No": "B"}
"""Yes/no answers as MMAD and IAD-R1 letter them."""


def offered(question: Question) -> Mapping[str, str]:
    """What a question can be answered with."""
    return question.options if question.task == "choice" else YES_NO


def given(item: Item) -> str | None:
    """The answer where it could be read: one of those offered, or that there is a box; else None."""
    question, answer = item
    if answer.answer is None or answer.parse.startswith("failed"):
        return None
    if question.task == "choice":
        return answer.answer if answer.answer in question.options else None
    return answer.answer if question.task == "grounding" or answer.answer in YES_NO else None


def row(item: Item) -> ChoiceRow:
    """One answer to a multiple-choice or yes/no question."""
    question = item.question
    return ChoiceRow(
        question.dataset,
        question.reported_as if question.task == "choice" else DETECTION,
        question.answer,
        given(item),
        question.is_anomalous,
        question.image,
        question.category,
    )


def records(items: Iterable[Item]) -> list[AnswerRecord]:
    """What the published script would read, in this order; letters that were not offered are kept, as it keeps them."""
    return [
        AnswerRecord(q.dataset, q.reported_as, q.answer, a.answer, q.image)
        if q.task == "choice"
        else AnswerRecord(q.dataset, DETECTION, YES_NO[q.answer], YES_NO.get(a.answer or "", a.answer), q.image)
        for q, a in items
    ]
