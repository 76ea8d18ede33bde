"""From a completion to an answer: found, repaired, truncated or failed, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from iadr1.geometry import BoxFrame
from iadr1.prompts.box_lists import json_items, labelled_boxes
from iadr1.prompts.choosing import conclude, normal, read_choice, read_untagged, verdict
from iadr1.prompts.cleaning import blocks, own_turn, tidy, unmarked, unthought
from iadr1.prompts.formats import Answer, Format, ParseStatus
from iadr1.prompts.rendering import unique

__all__ = ["conclude", "parse"]


def parse(text: str, fmt: Format, *, options: Mapping[str, str] | None = None, frame: BoxFrame | None = None) -> Answer:
    """Read the answer out of a completion.

    Args:
        text: The whole completion.
        fmt: The format that was asked for.
        options: Letter -> text, needed for `choice`.
        frame: The frame the model's boxes are written in, needed for `boxes` and `grounding`.
    """
    in_shape = _SHAPES[fmt].fullmatch(text) is not None
    said = text if in_shape else own_turn(text)
    if fmt == "choice":
        answer = _parse_choice(said, options or {})
    elif fmt == "structured":
        answer = _parse_structured(said)
    elif fmt == "direct":
        answer = _parse_direct(said)
    elif frame is None:
        raise ValueError(f"the format {fmt!r} needs a frame to read boxes in")
    else:
        answer = _parse_boxes(said, frame, empty_is_answer=fmt == "boxes")
    if answer.status == "ok" and not in_shape:
        answer = replace(answer, status="repaired", reason=_OTHER_SHAPE[fmt])
    return replace(answer, think=_thought(said), text=text)


def _blocks(*tags: str) -> str:
    inside = r"[^<]*(?:<(?!/?(?:think|location|type|answer)>)[^<]*)*"
    return r"\s*".join(rf"<{tag}>{inside}</{tag}>" for tag in tags)


_PLAIN = re.compile(rf"\s*{_blocks('think', 'answer')}\s*", re.DOTALL)
_SHAPES: Mapping[Format, re.Pattern[str]] = {
    "choice": _PLAIN,
    "boxes": _PLAIN,
    "grounding": _PLAIN,
    "direct": re.compile(r"\s*(?:Yes|No)\s*"),
    "structured": re.compile(
        rf"\s*{_blocks('think')}\s*(?:{_blocks('location', 'type')}\s*)?{_blocks('answer')}\s*", re.DOTALL
    ),
}
"""What a whole completion looks like that is in the format asked for; nothing may stand around it."""
_OTHER_SHAPE: Mapping[Format, str] = {
    **dict.fromkeys(_SHAPES, "not one reasoning block and then one answer block"),
    "direct": "more than the bare word",
}


def _last(text: str, tag: str) -> str | None:
    closed, _ = blocks(text, tag)
    return closed[-1] if closed else None


def _thought(text: str) -> str | None:
    """The last reasoning block; some chat templates open it themselves, so that only its end stands here."""
    think = _last(text, "think")
    opened, closing, _ = text.partition("</think>")
    return opened.strip() if think is None and closing else think


def _answer_part(text: str) -> tuple[str | None, ParseStatus, str]:
    """The text of the last answer block that holds something, and how sound it is; an unclosed one is truncated.

    An empty block is no answer: it is what the instruction looks like when a model repeats it.
    """
    closed, unclosed = ([part for part in parts if part] for parts in blocks(text, "answer"))
    if closed:
        return unthought(closed[-1]), "ok", ""
    if unclosed:
        return _ANY_TAG.split(unclosed[-1])[0].strip(), "truncated", "the answer block is not closed"
    return None, "failed", "the answer block is empty" if "<answer>" in text else "no <answer> block"


def _untagged(text: str) -> str:
    return _ANY_TAG.sub(" ", unthought(text)).strip()


_ANY_TAG = re.compile(r"</?(?:think|location|type|answer)>")


def _parse_choice(text: str, options: Mapping[str, str]) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        return read_untagged(_untagged(text), options, reason=reason)
    return read_choice(block, options, sound=(status, reason))


# structured and direct


_NO_DEFECT = re.compile(
    r"(?:there (?:is|are) )?no (?:visible )?(?:defects?|anomal(?:y|ies))"
    r"(?: (?:is |are )?(?:found|detected|visible|present))?"
)
_VERDICT_WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("yes", "是", "defective", "anomalous", "abnormal"), True),
    **dict.fromkeys(("no", "否", "normal"), False),
}


def _parse_verdict(text: str, name: str) -> Answer:
    said = text.strip()
    if said in ("Yes", "No"):
        return Answer("ok", is_anomalous=said == "Yes")
    plain = re.sub(
        r"^\s*(?:the\s+)?(?:final\s+)?answer\b(?:\s+is)?[\s:]*", "", unmarked(tidy(said)), flags=re.IGNORECASE
    )
    word = normal(plain)
    found = False if _NO_DEFECT.fullmatch(word) else _VERDICT_WORDS.get(word, verdict(plain))
    if found is None or "?" in plain:
        return Answer("failed", f"{name} is neither Yes nor No: {said[:60]!r}")
    return Answer("repaired", f"{said[:60]!r}", is_anomalous=found)


def _parse_direct(text: str) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        return _parse_verdict(_untagged(text), "the completion")
    return _held_by(_parse_verdict(block, "the completion"), status, reason)


def _held_by(answer: Answer, status: ParseStatus, reason: str) -> Answer:
    """The answer, no sounder than the block it stands in."""
    if answer.status == "ok" or (answer.status == "repaired" and status == "truncated"):
        return replace(answer, status=status, reason=reason)
    return answer


def _parse_structured(text: str) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        return Answer("failed", reason)
    answer = _held_by(_parse_verdict(block, "the answer"), status, reason)
    return replace(answer, locations=_words(_last(text, "location")), types=_words(_last(text, "type")))


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


# boxes

_NORMAL_WORDS = frozenset({"no", "none", "null", "normal"})


def _says_normal(text: str) -> bool:
    word = normal(text)
    return word in _NORMAL_WORDS or _NO_DEFECT.fullmatch(word) is not None


def _parse_boxes(text: str, frame: BoxFrame, *, empty_is_answer: bool) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        block, status = _untagged(text), "repaired"
    body = re.sub(r"^```\w*\s*|\s*```$", "", block.strip())
    if empty_is_answer and "[" not in body and _says_normal(unmarked(tidy(body))):
        return Answer("repaired", f"the word {body[:20]!r} instead of []", is_anomalous=False, boxes=())
    items, sound = json_items(body)
    if items == []:
        if not empty_is_answer:
            return Answer("failed", "an empty list where a box was asked for", boxes=())
        status, reason = (status, reason) if sound or status != "ok" else ("repaired", "an empty list in other words")
        return Answer(status, reason, is_anomalous=False, boxes=())
    read = [labelled_boxes(item, frame) for item in items or ()]
    boxes = tuple(box for found, _ in read for box in found if not (empty_is_answer and _says_normal(box.label)))
    if not boxes:
        return Answer("failed", f"no usable box in {body[:60]!r}")
    if not sound or not all(usual for _, usual in read):
        status = "truncated" if status == "truncated" else "repaired"
        reason = reason or "not the JSON asked for; its complete boxes were kept"
    unusable = sum(not found for found, _ in read)
    if unusable:
        status = "truncated" if status == "truncated" else "repaired"
        reason = f"{unusable} of {len(read)} boxes are not usable"
    return Answer(status, reason, is_anomalous=True, types=tuple(unique(b.label for b in boxes)), boxes=boxes)
