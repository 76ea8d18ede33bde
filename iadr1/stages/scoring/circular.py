"""How much answers depend on the order of the options, where every rotation of them was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from iadr1.metrics import choice
from iadr1.stages.scoring.reading import Item
from iadr1.stages.scoring.rows import given, row


def order_figures(items: Sequence[Item]) -> dict[str, Any]:
    """Order sensitivity; rates in percent of questions or answers, over all datasets together.

    Args:
        items: All rotations of multiple-choice questions; questions that lack one are left out.

    Returns:
        `questions` (those with all rotations); `all_rotations_right` (MMBench's CircularEval, section 4.3) and
        `strict`, the table of accuracies where only such a question is right; `answer_changed`, the share whose answer
        is not the same option in all rotations (an unread answer is one of its own); `by_position`, the accuracy by the
        place (from 1) of the right option; `chosen_position`, the shares of the read answers by the place of their
        option. Empty without a question that has several rotations, all of them.
    """
    if not any(item.answer.rotation for item in items):
        return {}
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.question.id, []).append(item)
    whole = [group for group in groups.values() if len(group) == len(group[0].question.options) > 1]
    if not whole:
        return {}
    right = [all(given(item) == item.question.answer for item in group) for group in whole]
    changed = [len({given(item) for item in group}) > 1 for group in whole]
    rows = [
        row(group[0])._replace(letter=group[0].question.answer if all_right else "")
        for group, all_right in zip(whole, right, strict=True)
    ]
    return {
        "questions": len(whole),
        "all_rotations_right": _percent(right),
        "strict": choice.score_choice(rows),
        "answer_changed": _percent(changed),
        **_by_position([item for group in whole for item in group]),
    }


def _by_position(items: Sequence[Item]) -> Mapping[str, dict[str, float]]:
    asked: Counter[int] = Counter()
    right: Counter[int] = Counter()
    chosen: Counter[int] = Counter()
    for item in items:
        question, answer = item
        shown = answer.order or "".join(question.options)
        letter, place = given(item), shown.index(question.answer) + 1
        asked[place] += 1
        right[place] += letter == question.answer
        if letter is not None:
            chosen[shown.index(letter) + 1] += 1
    read = max(1, chosen.total())
    return {
        "by_position": {str(place): 100.0 * right[place] / asked[place] for place in sorted(asked)},
        "chosen_position": {str(place): 100.0 * chosen[place] / read for place in sorted(asked)},
    }


def _percent(flags: Sequence[bool]) -> float:
    return 100.0 * sum(flags) / len(flags)
