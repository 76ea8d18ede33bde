"""How the published training scripts read a completion, repeated exactly, faults included.

Rewards that promise "bit for bit" read through these functions; everything else reads through `parse`. They were
written from a description of the scripts' behaviour, and each is linear in the length of the text where the regular
expression of the script is quadratic.

Sources: `chaoyuhao/AnomalyR1` at `de3f95c` (`open-r1-multimodal/src/open_r1/grpo_rec.py`), `Yanhui-Lee/IAD-R1` at
`625b936` (`train/stage_rl/reward.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from iadr1.prompts.rendering import unique
from iadr1.records import Sample

# AnomalyR1

_THINK_THEN_ANSWER = re.compile(r"</think>\s*<answer>")
_LONE_CAPITAL = re.compile(r"(?<![a-z])[A-D](?![a-z])")
_KEYWORDS = (
    *("答案", "选择", "正确", "是", "对", "认为", "应该", "觉得"),
    *("ANSWER", "CORRECT", "CHOOSE", "SELECT", "RIGHT", "THINK", "BELIEVE", "SHOULD"),
)
"""The script upper-cases its keywords but not the text, so an English one counts only where it is shouted."""
_AFTER_ANSWER = "。.!！,，"  # noqa: RUF001 # the script's own set
_CONTEXT = 20
"""Characters before and after a letter in which a keyword counts."""


def last_blocks(text: str) -> tuple[str, str] | None:
    """AnomalyR1's gate: the stripped *last* think block and *last* answer block of a text; None where it is shut.

    The gate opens where a think block, white space and an answer block follow each other anywhere in the text. The
    two blocks that are then read need not be that pair.
    """
    start = text.find("<think>")
    joint = _THINK_THEN_ANSWER.search(text, start) if start >= 0 else None
    if joint is None or text.find("</answer>", joint.end()) < 0:
        return None
    return _last(text, "think"), _last(text, "answer")


def _last(text: str, tag: str) -> str:
    """The last of the blocks found from left to right, stripped; the text has at least one."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    block, start = "", text.find(opening)
    while start >= 0 and (end := text.find(closing, start + len(opening))) >= 0:
        block, start = text[start + len(opening) : end], text.find(opening, end)
    return block.strip()


def extract_choice(text: str) -> str | None:
    """AnomalyR1's guess which option a text means; None where it finds none.

    One or two characters give the first that is no punctuation, whatever it is (`b`, `1`, a space). Longer texts give
    the lone capital A-D (no small letter beside it, so that the article "A" is one, and "BAD" holds three) with the
    highest score; equal scores give the one seen first. Each occurrence scores the same points, since the script looks
    at the letter's last place in the text every time, be it inside a word: 1 for each keyword around it, 2 in the last
    30 % of the text, 1 before a full stop, comma or exclamation mark.
    """
    text = re.sub(r"\s+", " ", text)
    if len(text) < 3:
        return re.sub(r"[^\w\s]", "", text)[:1] or None
    counts: Counter[str] = Counter(_LONE_CAPITAL.findall(text))
    if not counts:
        return None
    return max(counts, key=lambda letter: counts[letter] * _points(text, letter))


def _points(text: str, letter: str) -> int:
    place = text.rfind(letter)
    around = text[max(0, place - _CONTEXT) : place + _CONTEXT]
    points = sum(keyword in around for keyword in _KEYWORDS)
    points += 2 * (place > len(text) * 0.7)
    # An empty text is in every text, so the end of the text needs its own look.
    return points + (place + 1 < len(text) and text[place + 1] in _AFTER_ANSWER)


# IAD-R1


@dataclass(frozen=True)
class Tagged:
    """What IAD-R1's accuracy reward finds in a text: each block stripped, None where there is none."""

    answer: str | None
    location: str | None
    type: str | None


@dataclass(frozen=True)
class Solution:
    """The truth in a training file: an answer, and the blocks for place and kind where there are any."""

    answer: str
    location: str | None
    type: str | None


def read_tagged(text: str) -> Tagged:
    """The first answer, location and type block of a text; a block that holds a line break is not seen."""
    return Tagged(_first(text, "answer"), _first(text, "location"), _first(text, "type"))


def _first(text: str, tag: str) -> str | None:
    opening, closing = f"<{tag}>", f"</{tag}>"
    start = text.find(opening)
    while start >= 0:
        stop = text.find("\n", start)
        end = text.find(closing, start + len(opening), stop if stop >= 0 else len(text))
        if end >= 0:
            return text[start + len(opening) : end].strip()
        start = text.find(opening, stop) if stop >= 0 else -1
    return None


def read_solution(text: str) -> Solution:
    """A solution as the papers' training files write it, tagged or bare.

    `<answer>B</answer>` and `B` give the answer "B"; any spelling of yes and no gives "Yes" and "No", as IAD-R1's
    rewards take it; the blocks for place and kind are given as they stand.
    """
    tagged = read_tagged(text)
    answer = text.strip() if tagged.answer is None else tagged.answer
    verdict = {"yes": "Yes", "no": "No"}.get(answer.lower(), answer)
    return Solution(verdict, tagged.location, tagged.type)


def tagged_truth(sample: Sample) -> Tagged:
    """What IAD-R1's reward finds in the solution text of a sample: `read_tagged` of the text its data would hold.

    Several defects are joined by a comma, as `render_target` writes them; defects without a place give no location
    block.
    """
    text = f"<answer>{sample.answer}</answer>"
    if sample.defects:
        places = unique(defect.location for defect in sample.defects if defect.location is not None)
        location = f"<location>{', '.join(places)}</location>" if places else ""
        text = f"{location}<type>{', '.join(unique(defect.type for defect in sample.defects))}</type>{text}"
    return read_tagged(text)


def in_defect_shape(text: str) -> bool:
    """Whether think, location, type and answer block follow each other with nothing between (IAD-R1, true Yes).

    Any text may stand before, after and inside the blocks.
    """
    return _in_order(text, "<think>", "</think><location>", "</location><type>", "</type><answer>", "</answer>")


def in_normal_shape(text: str) -> bool:
    """Whether think and answer block follow each other, and no location or type is opened (IAD-R1, true No)."""
    free = "<location>" not in text and "<type>" not in text
    return free and _in_order(text, "<think>", "</think><answer>", "</answer>")


def _in_order(text: str, *parts: str) -> bool:
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True
