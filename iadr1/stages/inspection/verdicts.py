"""From scores and answers to one verdict, and to the words about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from iadr1 import prompts
from iadr1.errors import ModelError
from iadr1.jsonl import utf8
from iadr1.records import Verdict
from iadr1.stages.inspection.asking import Look
from iadr1.stages.inspection.settings import InspectSettings

_BROKEN = "the model computes no usable numbers: 'iadr1 doctor' says more"
_SOUNDNESS: tuple[prompts.ParseStatus, ...] = ("failed", "truncated", "repaired", "ok")


class Reasoned(NamedTuple):
    """An answer about one look, as it was read and as it was written."""

    look: Look
    answer: prompts.Answer
    raw: str


def decide(settings: InspectSettings, score: float | None, read: Sequence[Reasoned]) -> tuple[Verdict, str]:
    """The verdict, and what is to be told about it.

    Args:
        settings: Mode, threshold and band.
        score: The highest of the photo's looks; None only in `think`.
        read: Answers about its looks; empty where the model did not reason.
    """
    said = _said(read)
    if settings.mode == "think" or score is None:
        return said, ""
    scored = by_score(settings, score)
    if not read or "undecided" in (scored, said) or scored == said:
        return ("undecided" if read and said == "undecided" else scored), ""
    return "undecided", f"the reasoning says {said}, which contradicts the score {score:.6g}"


def by_score(settings: InspectSettings, score: float) -> Verdict:
    """Undecided inside the band, else anomalous above the threshold.

    Raises:
        ModelError: The score is none: a NaN is neither above the threshold nor normal.
    """
    if not 0 <= score <= 1:
        raise ModelError(f"the score is {score:g}, it must be within 0 and 1", hint=_BROKEN)
    if settings.band is not None and settings.band[0] <= score <= settings.band[1]:
        return "undecided"
    return "anomalous" if score > settings.limit else "normal"


def _said(read: Sequence[Reasoned]) -> Verdict:
    """What is written: a defect in one look is a defect, and normal is only what is so in every look."""
    verdicts = [None if answer.status == "failed" else answer.is_anomalous for _, answer, _ in read]
    if True in verdicts:
        return "anomalous"
    return "undecided" if None in verdicts or not verdicts else "normal"


def summarise(read: Sequence[Reasoned], note: str) -> dict[str, Any]:
    """The fields `reasoning`, `parse` and `raw` of a record.

    With tiles, those that the model did not simply call normal are quoted, each with where it lies.
    """
    if not read:
        return {"reasoning": None, "parse": note, "raw": ""}
    worst = min((answer for _, answer, _ in read), key=lambda answer: _SOUNDNESS.index(answer.status))
    parse = f"{worst.status}: {worst.reason}" if worst.reason else worst.status
    quoted = [
        item for item in read if len(read) == 1 or item.look.window is None or item.answer.is_anomalous is not False
    ]
    thoughts = [_where(item, _thought(item.answer)) for item in quoted if _thought(item.answer)]
    return {
        "reasoning": utf8("\n".join(thoughts)) or None,
        "parse": utf8("; ".join(filter(None, (parse, note)))),
        "raw": utf8("\n".join(_where(item, item.raw) for item in read)),
    }


def _thought(answer: prompts.Answer) -> str:
    """The reasoning, with place and kind behind it where they are written apart from it."""
    apart = [("place", answer.locations), ("kind", answer.types if answer.boxes is None else ())]
    named = [f"{name}: {', '.join(words)}" for name, words in apart if words]
    return " ".join(filter(None, (answer.think, f"({'; '.join(named)})" if named else "")))


def _where(item: Reasoned, text: str) -> str:
    if item.look.window is None:
        return text
    left, top, right, bottom = item.look.window
    return f"[{left},{top},{right},{bottom}] {text}"
