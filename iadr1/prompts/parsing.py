"""From a completion to an answer: found, repaired, truncated or failed, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from iadr1.geometry import BoxFrame
from iadr1.prompts.formats import Answer, Format, LabelledBox, ParseStatus
from iadr1.prompts.rendering import unique


def parse(text: str, fmt: Format, *, options: Mapping[str, str] | None = None, frame: BoxFrame | None = None) -> Answer:
    """Read the answer out of a completion.

    Args:
        text: The whole completion.
        fmt: The format that was asked for.
        options: Letter -> text, needed for `choice`.
        frame: The frame the model's boxes are written in, needed for `boxes` and `grounding`.
    """
    think = _last_block(text, "think")
    if fmt == "choice":
        answer = _parse_choice(text, options or {})
    elif fmt == "structured":
        answer = _parse_structured(text)
    elif fmt == "direct":
        answer = _parse_verdict(text, "the completion")
    elif frame is None:
        raise ValueError(f"the format {fmt!r} needs a frame to read boxes in")
    else:
        answer = _parse_boxes(text, frame, empty_is_answer=fmt == "boxes")
    if answer.status == "ok" and fmt in _SHAPES and not _SHAPES[fmt].fullmatch(text):
        answer = replace(answer, status="repaired", reason="not one reasoning block and then one answer block")
    return replace(answer, think=think, text=text)


def _blocks(*tags: str) -> str:
    inside = r"[^<]*(?:<(?!/?(?:think|location|type|answer)>)[^<]*)*"
    return r"\s*".join(rf"<{tag}>{inside}</{tag}>" for tag in tags)


_PLAIN = re.compile(rf"\s*{_blocks('think', 'answer')}\s*", re.DOTALL)
_SHAPES: Mapping[Format, re.Pattern[str]] = {
    "choice": _PLAIN,
    "boxes": _PLAIN,
    "grounding": _PLAIN,
    "structured": re.compile(
        rf"\s*{_blocks('think')}\s*(?:{_blocks('location', 'type')}\s*)?{_blocks('answer')}\s*", re.DOTALL
    ),
}
"""What a whole completion looks like that is in the format asked for; nothing may stand around the blocks."""


def _last_block(text: str, tag: str) -> str | None:
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return blocks[-1].strip() if blocks else None


def _after_think(text: str) -> str:
    return text.rpartition("</think>")[2]


def _answer_part(text: str) -> tuple[str | None, ParseStatus, str]:
    """The text of the last answer block and how sound it is; an unclosed block counts as truncated."""
    block = _last_block(text, "answer")
    if block is not None:
        return block, "ok", ""
    _, tag, rest = text.rpartition("<answer>")
    if tag:
        return rest.strip(), "truncated", "the answer block is not closed"
    return None, "failed", "no <answer> block"


# choice


def _parse_choice(text: str, options: Mapping[str, str]) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        # Models without the format's training often answer in plain words; only a plain conclusion is taken.
        letter = conclude(_after_think(text), options)
        if letter is None:
            return Answer("failed", reason)
        return Answer("repaired", reason, letter=letter)
    return _led_by_letter(block, options, sound=(status, reason)) or _spelled_out(block, options)


def _led_by_letter(block: str, options: Mapping[str, str], *, sound: tuple[ParseStatus, str]) -> Answer | None:
    """An answer that begins with an offered letter; None where it does not."""
    match = _LETTER.match(block)
    if not match or match.group(1).upper() not in options:
        return None
    letter, rest = match.group(1).upper(), block[match.end() :]
    if not _normal(rest) or _normal(rest) == _normal(options[letter]):
        return Answer(*sound, letter=letter)
    others = [other for other in options if other != letter]
    named = any(re.search(rf"\b{other}\b", rest) or _holds(rest, options[other]) for other in others)
    if named or _NEGATED.search(rest) or re.search(r"\b(?:or|maybe|perhaps)\b", rest, re.IGNORECASE):
        return Answer("failed", f"more than one answer in {block[:60]!r}")
    return Answer("repaired", "more than a letter in the answer", letter=letter)


def _spelled_out(block: str, options: Mapping[str, str]) -> Answer:
    letter = conclude(block, options) or _option_text(block, options)
    if letter is None:
        return Answer("failed", f"no offered option in {block[:60]!r}")
    return Answer("repaired", "the answer is not a single letter", letter=letter)


_LETTER = re.compile(r"\s*[(\[]?\s*(?:option\s+)?([A-Za-z])\s*(?:[)\].:,]|$)", re.IGNORECASE)


def _normal(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def _option_text(text: str, options: Mapping[str, str]) -> str | None:
    found = [letter for letter, option in options.items() if _normal(option) and _normal(option) == _normal(text)]
    return found[0] if len(found) == 1 else None


_NEGATED = re.compile(r"\b(?:not|no|never|without|cannot|neither|nor)\b|n't\b", re.IGNORECASE)
_CONCLUSIONS = (
    re.compile(
        r"\b(?i:answer|choose|select|pick|(?:right|correct|best) (?:option|choice))\b"
        r"(?:\s+(?:is|would be|must be|option|choice))*[\s:*]*[\"'(\[*]*([A-Z])\b(?![a-z'])(?!\s+[a-z])(?!\s*\?)"
    ),
    re.compile(r"\b([A-Z])\)?\s+is\s+(?:the\s+)?(?:right|correct|best)\b"),
)


def conclude(text: str, options: Mapping[str, str]) -> str | None:
    """The option a piece of reasoning ends on; None where it does not say.

    Only a real conclusion counts: "the answer is B", "B is correct" (the last one, if there are several), or else a
    last sentence that affirms exactly one option's own text. A sentence that denies something concludes nothing, and
    a bare capital letter, such as the article "A", never does (AnomalyR1's `extract_choice` takes it; see
    docs/paper_index.md).
    """
    sentences = _sentences(text)
    for sentence in reversed(sentences if _has_cue(text) else ()):
        if not _has_cue(sentence):
            continue
        found = sorted((m for p in _CONCLUSIONS for m in p.finditer(sentence)), key=lambda m: m.start(1))
        letters = [m.group(1) for m in found if m.group(1) in options and not _denied(sentence[: m.start()])]
        if letters:
            return letters[-1]
    if not sentences or _NEGATED.search(sentences[-1]):
        return None
    # Texts of one short word, such as "No.", stand in too many sentences that say something else.
    last = f" {_normal(sentences[-1])} "
    named = [letter for letter, text in options.items() if len(words := _normal(text)) > 3 and f" {words} " in last]
    return named[0] if len(named) == 1 else None


_CUES = ("answer", "choose", "select", "pick", "right", "correct", "best")
"""Every phrase of `_CONCLUSIONS` holds one of them; looking for these first spares most sentences the search."""


def _has_cue(text: str) -> bool:
    lowered = text.lower()
    return any(cue in lowered for cue in _CUES)


_SENTENCE_END = re.compile(r"[.!?\n](?:(?<=\n)|(?=\s))")


def _sentences(text: str) -> list[str]:
    """The parts between line breaks, and between full stops, question or exclamation marks before white space."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    parts = (text[start:end].strip() for start, end in pairwise([0, *ends, len(text)]))
    return [part for part in parts if part]


def _denied(before: str) -> bool:
    """Whether the clause that leads up to a conclusion denies it; "No, the answer is A" does not."""
    return bool(_NEGATED.search(re.split(r"[,;:]", before)[-1]))


def _holds(text: str, option: str) -> bool:
    """Whether the option's text stands in the text as whole words."""
    return bool(_normal(option)) and f" {_normal(option)} " in f" {_normal(text)} "


# structured and direct


def _parse_verdict(text: str, name: str) -> Answer:
    word = _normal(text)
    if word in ("yes", "no"):
        exact = text.strip() in ("Yes", "No")
        return Answer("ok" if exact else "repaired", "" if exact else f"{text.strip()!r}", is_anomalous=word == "yes")
    return Answer("failed", f"{name} is neither Yes nor No: {text.strip()[:60]!r}")


def _parse_structured(text: str) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        return Answer("failed", reason)
    verdict = _parse_verdict(block, "the answer")
    if verdict.status == "ok" and status != "ok":
        verdict = replace(verdict, status=status, reason=reason)
    return replace(verdict, locations=_words(_last_block(text, "location")), types=_words(_last_block(text, "type")))


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


# boxes


_NORMAL_WORDS = frozenset({"no", "none", "null", "normal", "no defect", "no defects", "no anomaly", "no anomalies"})


def _parse_boxes(text: str, frame: BoxFrame, *, empty_is_answer: bool) -> Answer:
    block, status, reason = _answer_part(text)
    if block is None:
        block, status, reason = _after_think(text).strip(), "repaired", "no <answer> block"
    body = re.sub(r"^```(?:json)?\s*|\s*```$", "", block.strip())
    if empty_is_answer and _normal(body) in _NORMAL_WORDS:
        return Answer("repaired", f"the word {body[:20]!r} instead of []", is_anomalous=False, boxes=())
    items, sound = _json_items(body)
    if items == [] and sound and status != "truncated":
        if empty_is_answer:
            return Answer(status, reason, is_anomalous=False, boxes=())
        return Answer("failed", "an empty list where a box was asked for", boxes=())
    boxes = [found for found in (_labelled_box(item, frame) for item in items or ()) if found is not None]
    if not boxes:
        return Answer("failed", f"no usable box in {body[:60]!r}")
    if not sound:
        status = "truncated" if status == "truncated" else "repaired"
        reason = reason or "the JSON is broken, its complete objects were kept"
    if len(boxes) < len(items or ()):
        status, reason = "repaired", f"{len(items or ()) - len(boxes)} of {len(items or ())} boxes are not usable"
    return Answer(status, reason, is_anomalous=True, types=tuple(unique(b.label for b in boxes)), boxes=tuple(boxes))


def _json_items(body: str) -> tuple[list[Any] | None, bool]:
    """The objects of a JSON list and whether the JSON was whole; None where there is no JSON at all."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # ValueError: also integers of thousands of digits
        items = []
        for match in re.finditer(r"\{[^{}]*\}", body):
            try:
                items.append(json.loads(match.group()))
            except ValueError:
                continue
        return (items or None), False
    if isinstance(value, dict):
        return [value], True
    if not isinstance(value, list):
        return None, False
    flat = len(value) == 4 and all(isinstance(v, int | float) for v in value)
    return ([value], False) if flat else (value, True)


def _labelled_box(item: Any, frame: BoxFrame) -> LabelledBox | None:
    label = "defect"
    if isinstance(item, dict):
        # JSON can spell half a surrogate pair, which no UTF-8 file can hold.
        label = str(item.get("label") or label).encode("utf-8", "replace").decode("utf-8")
        item = next((item[key] for key in ("bbox_2d", "bbox", "box") if key in item), None)
    if not isinstance(item, list) or len(item) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in item):
        return None
    box = frame.to_image((item[0], item[1], item[2], item[3]))
    return LabelledBox(box, label) if box is not None else None
