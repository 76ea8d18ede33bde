"""The answer formats: their names, their instructions, and what an answer can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from iadr1.geometry import Box

Format = Literal["choice", "structured", "boxes", "grounding", "direct"]
FORMATS: tuple[Format, ...] = ("choice", "structured", "boxes", "grounding", "direct")
ParseStatus = Literal["ok", "repaired", "truncated", "failed"]

DETECT_QUESTION = "Are there any defects in the query image?"
"""IAD-R1's training question; also what `detect` asks."""

_INSTRUCTIONS: Mapping[Format, str] = {
    # AnomalyR1 section 3.4, with the line-break hyphens of the paper's typesetting removed.
    "choice": (
        "A conversation between User and Assistant. The user asks a choice question and the Assistant solves it. "
        "The assistant first think about the reasoning process in the mind and then provides the user with the "
        "answer. Respond with your reasoning in <think> </think> tags followed by a single letter answer in "
        "<answer> </answer> tags."
    ),
    # IAD-R1's default prompt leaves the output format out; it is stated here (docs/paper_index.md).
    "structured": (
        "Respond with your reasoning in <think> </think> tags, for a defect its place in <location> </location> and "
        "its kind in <type> </type> tags, and Yes or No in <answer> </answer> tags."
    ),
    "boxes": (
        "Locate every defect. First output the thinking process in <think> </think> tags and then output the final "
        "answer in <answer> </answer> tags. Output the final answer in JSON format: a list of bbox_2d and label, "
        "empty if there is no defect."
    ),
    # VLM-R1's prompt for referring expressions (om-ai-lab/VLM-R1, REC training).
    "grounding": (
        "First output the thinking process in <think> </think> tags and then output the final answer in <answer> "
        "</answer> tags. Output the final answer in JSON format."
    ),
    "direct": "Answer with Yes or No.",
}


TAGS: tuple[str, ...] = tuple(
    f"<{slash}{tag}>" for tag in ("think", "location", "type", "answer") for slash in ("", "/")
)
"""Every tag an answer may hold; the embedded model's tokenizer has each as one token."""

ANSWER_END = "</answer>"
"""What closes the answer in every format that has tags; what a model writes on afterwards is never read."""


def instruction(fmt: Format) -> str:
    """The fixed sentence(s) that tell the model how to answer in this format."""
    return _INSTRUCTIONS[fmt]


@dataclass(frozen=True)
class LabelledBox:
    """A named box in pixels of the stored image."""

    box: Box
    label: str


@dataclass(frozen=True)
class Answer:
    """What was read out of a completion; a field the format does not have, or that was not found, is None.

    Attributes:
        status: `ok`; `repaired` (found, but not as asked); `truncated` (cut off, the complete part was kept);
            `failed` (no answer: never guessed).
        reason: Why the status is not `ok`.
        think: The reasoning.
        letter: The chosen option, always one that was offered.
        is_anomalous: The verdict, for the formats that give one.
        locations: 3x3 words as written.
        types: Defect types as written.
        boxes: Boxes in pixels of the stored image; empty means "no defect".
        text: The whole completion, for rewards that repeat published code on the raw text.
    """

    status: ParseStatus
    reason: str = ""
    think: str | None = None
    letter: str | None = None
    is_anomalous: bool | None = None
    locations: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    boxes: tuple[LabelledBox, ...] | None = None
    text: str = field(default="", compare=False)
