"""A page of a training run's answers: for each prompt its image, all answers, their rewards and advantages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.errors import ImageError
from iadr1.images import open_image
from iadr1.reports.page import data_uri, write_page

PICTURE_WH = (280, 280)
"""Bounds of a prompt's picture in the page, in pixels."""
FULL_BAR = 2.0
"""The advantage whose bar is full; larger ones are not drawn longer. Scaled by their group, most lie within it."""


@dataclass(frozen=True)
class ScoredAnswer:
    """One answer of a GRPO step and what it was worth.

    Attributes:
        step: Optimizer step it was drawn for, from 1.
        group: Number of its prompt within the step; the answers of a group are compared with each other.
        sample_id: The sample asked about.
        image: The sample's image, relative to the root of its data.
        prompt: The text of the prompt.
        completion: What the model wrote.
        truth: The right answer; boxes as the model would write them.
        rewards: Value of each reward; None where it does not apply.
        reward: Their weighted sum.
        advantage: How much better it is than the group, as the trainer used it.
        parse: `ok`, `repaired`, `truncated` or `failed`.
        parse_reason: Why it is not `ok`.
        tokens: Its length.
    """

    step: int
    group: int
    sample_id: str
    image: str
    prompt: str
    completion: str
    truth: str
    rewards: Mapping[str, float | None]
    reward: float
    advantage: float
    parse: str
    parse_reason: str
    tokens: int


def write_completions_page(
    path: Path,
    groups: Iterable[Sequence[ScoredAnswer]],
    *,
    root: Path,
    info: Mapping[str, str],
    on_card: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the page, one self-contained file; groups are read and written one by one.

    Args:
        path: The HTML file.
        groups: The answers to one prompt each, in the order of the page.
        root: The folder the image paths are relative to.
        info: What the head names, for example `{"Run": "runs/train"}`.
        on_card: Called after each group with how many are done.

    Raises:
        OutputError: The file cannot be written.
    """
    write_page(path, "completions.html.j2", info=info, cards=_cards(groups, root, on_card))


def _cards(
    groups: Iterable[Sequence[ScoredAnswer]], root: Path, on_card: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    for done, answers in enumerate(groups, start=1):
        yield _card(answers, root)
        on_card(done)


def _card(answers: Sequence[ScoredAnswer], root: Path) -> dict[str, Any]:
    first = answers[0]
    values = [answer.reward for answer in answers]
    picture, problem = _picture(root / first.image)
    return {
        "step": first.step,
        "group": first.group,
        "sample_id": first.sample_id,
        "image": first.image,
        "prompt": first.prompt,
        "truth": first.truth,
        "picture": picture,
        "problem": problem,
        "flat": is_flat(answers),
        "mean": sum(values) / len(values),
        "low": min(values),
        "high": max(values),
        "answers": [_row(answer) for answer in sorted(answers, key=lambda answer: -answer.reward)],
    }


def is_flat(answers: Sequence[ScoredAnswer]) -> bool:
    """Whether all answers of a group are worth the same, so that nothing is learned from them."""
    values = [answer.reward for answer in answers]
    return max(values) - min(values) < 1e-9


def _row(answer: ScoredAnswer) -> dict[str, Any]:
    return {
        "answer": answer,
        "terms": [
            (name, "does not apply" if value is None else f"{value:.3g}") for name, value in answer.rewards.items()
        ],
        # Percent of the half of the bar that is on its side.
        "width": round(100 * min(1.0, abs(answer.advantage) / FULL_BAR), 1) if math.isfinite(answer.advantage) else 0,
        "side": "up" if answer.advantage > 0 else "down",
    }


def _picture(path: Path) -> tuple[str | None, str]:
    """The small picture as a data URI; or None and why there is none."""
    try:
        return data_uri(open_image(path), PICTURE_WH, quality=82), ""
    except ImageError as error:
        return None, error.message
