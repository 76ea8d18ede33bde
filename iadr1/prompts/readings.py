"""How an evaluation reads a completion, by name: the project's own readings and those of the published scripts.

The published ones are repeated with their faults, so that figures can be laid beside published ones; the others never
guess. Each is linear in the length of the text and never raises. A reading's version is raised whenever it reads any
text differently, so that answers read in two ways are not mixed.

Sources: `jam-cc/MMAD` `evaluation/examples/GPT4/gpt4v.py`; `chaoyuhao/AnomalyR1` at `de3f95c`
`eval/thinkad_query.py`; `Yanhui-Lee/IAD-R1` at `625b936`
`scripts/Inference/IAD-R1-Inference/vLLM_Qwen_detect_format.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from iadr1.geometry import BoxFrame
from iadr1.prompts.cleaning import own_turn
from iadr1.prompts.formats import Answer, Format
from iadr1.prompts.parsing import parse
from iadr1.prompts.published import read_tagged
from iadr1.records import Task

LETTERS = "ABCDE"
"""The letters that MMAD's scoring script takes for an answer, offered or not."""


@dataclass(frozen=True)
class Found:
    """What a reading found.

    Attributes:
        word: The answer in one word: a letter as shown, `Yes` or `No`, `box` where a box was asked for and found, None
            for no answer. For a failed reading it may be what a published script stores: one of `LETTERS` that was
            not offered, or the script's own mark (`X`, `E`).
        answer: Everything that was read; failed where `word` is no answer to the question.
    """

    word: str | None
    answer: Answer


@dataclass(frozen=True)
class ReadingRule:
    """One way to read a completion.

    Attributes:
        version: Raised whenever any text is read differently.
        task: The samples it is for.
        read: From the completion, the options (letter shown -> text) and the frame of the model's boxes.
    """

    version: int
    task: Task
    read: Callable[[str, Mapping[str, str], BoxFrame | None], Found]


def _choice(text: str, options: Mapping[str, str], frame: BoxFrame | None) -> Found:
    answer = parse(text, "choice", options=options)
    if answer.letter is not None:
        return Found(answer.letter, answer)
    # The last answer block, closed or cut off, that is nothing but a letter.
    turn = own_turn(text)
    block = turn.rpartition("<answer>")[2].partition("</answer>")[0] if "<answer>" in turn else ""
    alone = re.fullmatch(rf"[\W_]*([{LETTERS}])[\W_]*", block.upper())
    return _not_offered(alone[1], answer) if alone and alone[1] not in options else Found(None, answer)


def _not_offered(letter: str, answer: Answer) -> Found:
    failed = replace(answer, status="failed", reason=f"{letter!r} is not among the options", letter=None)
    return Found(letter, failed)


def _letter(letter: str, answer: Answer, options: Mapping[str, str]) -> Found:
    return Found(letter, replace(answer, letter=letter)) if letter in options else _not_offered(letter, answer)


def _mmad(text: str, options: Mapping[str, str], frame: BoxFrame | None) -> Found:
    """The last stand-alone capital A-E of the whole reply, the article "A" included."""
    letters = re.findall(rf"\b[{LETTERS}]\b", text)
    if not letters:
        return Found(None, Answer("failed", "no stand-alone capital A to E", text=text))
    if re.fullmatch(rf"\W*[{LETTERS}]\W*", text):
        return _letter(letters[-1], Answer("ok", text=text), options)
    reason = "the last stand-alone capital" if len(letters) > 1 else "more than a letter"
    return _letter(letters[-1], Answer("repaired", reason, text=text), options)


def _anomalyr1(text: str, options: Mapping[str, str], frame: BoxFrame | None) -> Found:
    """The first capital A-E anywhere in the last answer block, be it inside a word; else an option's text; else X."""
    think, block = _outermost(text, "think"), _outermost(text, "answer") or ""
    letter = re.search(f"[{LETTERS}]", block)
    if letter:
        sound = Answer("ok") if block == letter[0] else Answer("repaired", "the first capital of the answer")
        return _letter(letter[0], replace(sound, think=think, text=text), options)
    named = (shown for shown, option in options.items() if block and option.lower() in block.lower())
    found = next(named, None)
    if found is not None:
        answer = Answer("repaired", "an option's text stands in the answer", think=think, text=text)
        return Found(found, replace(answer, letter=found))
    reason = f"no letter and no option in {block[:60]!r}" if block else "no answer block, or an empty one"
    return Found("X", Answer("failed", reason, think=think, text=text))


def _outermost(text: str, tag: str) -> str | None:
    """The stripped text between a tag's last opening and its last closing; None where they are not in this order."""
    opening = f"<{tag}>"
    start, end = text.rfind(opening), text.rfind(f"</{tag}>")
    return text[start + len(opening) : end].strip() if 0 <= start < end else None


def _iadr1(text: str, options: Mapping[str, str], frame: BoxFrame | None) -> Found:
    """The first answer block on one line, held against "yes" and "no", then containment either way; else E."""
    think, block = _outermost(text, "think"), read_tagged(text).answer
    if block is None:
        return Found("E", Answer("failed", "no answer block on one line", think=think, text=text))
    said = block.lower()
    for word in ("yes", "no"):
        if said == word:
            return _verdict(word, Answer("ok", think=think, text=text))
    for word in ("yes", "no"):
        if said in word or word in said:
            return _verdict(word, Answer("repaired", f"{word!r} contains it, or is in it", think=think, text=text))
    return Found("E", Answer("failed", f"neither yes nor no in {block[:60]!r}", think=think, text=text))


def _verdict(word: str, answer: Answer) -> Found:
    return Found(word.title(), replace(answer, is_anomalous=word == "yes"))


def _format(fmt: Format) -> Callable[[str, Mapping[str, str], BoxFrame | None], Found]:
    """The reading of an answer format that has no letters: `parse`."""

    def read(text: str, options: Mapping[str, str], frame: BoxFrame | None) -> Found:
        answer = parse(text, fmt, frame=frame)
        if fmt == "grounding":
            return Found("box" if answer.boxes else None, answer)
        return Found({True: "Yes", False: "No", None: None}[answer.is_anomalous], answer)

    return read


READINGS: Mapping[str, ReadingRule] = {
    "choice": ReadingRule(1, "choice", _choice),
    "structured": ReadingRule(1, "anomaly", _format("structured")),
    "boxes": ReadingRule(1, "anomaly", _format("boxes")),
    "grounding": ReadingRule(1, "grounding", _format("grounding")),
    "direct": ReadingRule(1, "anomaly", _format("direct")),
    "mmad": ReadingRule(1, "choice", _mmad),
    "anomalyr1-repo": ReadingRule(1, "choice", _anomalyr1),
    "iadr1-repo": ReadingRule(1, "anomaly", _iadr1),
}
"""Every reading; the first five are the answer formats of `parse`."""
