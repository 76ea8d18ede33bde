"""From a sample to the chat messages and to the completion a perfect model gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from iadr1.geometry import BoxFrame
from iadr1.prompts.formats import Format, LabelledBox, instruction
from iadr1.records import Sample


def question_text(sample: Sample, fmt: Format) -> str:
    """The text of the user's turn: question, options one a line, instruction."""
    lines = [sample.question, *(f"{letter}. {text}" for letter, text in sample.options.items())]
    if fmt != "choice":
        lines = lines[:1]
    separator = "\n" if len(lines) > 1 else " "
    return "\n".join(lines) + separator + instruction(fmt)


def render_prompt(sample: Sample, fmt: Format, *, shots: int = 0) -> list[dict[str, Any]]:
    """The chat messages for one sample, with one `{"type": "image"}` slot per image.

    The images belong into the slots in this order: the first `shots` references, then the query image. What is
    asked for is what is sent: the number of slots is `shots + 1`.

    Raises:
        ValueError: The sample has fewer references than `shots`.
    """
    if shots > len(sample.references):
        raise ValueError(f"{shots} references asked for, sample {sample.id!r} has {len(sample.references)}")
    content: list[dict[str, str]] = []
    if shots:
        content.append({"type": "text", "text": "Reference image of a normal product:"})
        content.extend({"type": "image"} for _ in range(shots))
        content.append({"type": "text", "text": "Query image:"})
    content.append({"type": "image"})
    content.append({"type": "text", "text": question_text(sample, fmt)})
    return [{"role": "user", "content": content}]


def render_boxes(boxes: Sequence[LabelledBox], frame: BoxFrame) -> str:
    """The JSON a model of this frame writes for the boxes, as Qwen2.5-VL does: `[{"bbox_2d": [...], "label": ...}]`."""
    items = [{"bbox_2d": list(frame.to_model(item.box)), "label": item.label} for item in boxes]
    return json.dumps(items, ensure_ascii=False)


def render_target(sample: Sample, fmt: Format, *, frame: BoxFrame | None = None) -> str:
    """The completion a perfect model gives for this sample.

    Raises:
        ValueError: The format needs boxes and no frame or no box is there.
    """
    if fmt == "direct":
        return _yes_no(sample)
    think = f"<think>{sample.reasoning or ''}</think>"
    if fmt == "choice":
        return f"{think}<answer>{sample.answer}</answer>"
    if fmt == "structured":
        if not sample.defects:
            return f"{think}<answer>{_yes_no(sample)}</answer>"
        location = ", ".join(unique(d.location or "" for d in sample.defects))
        kinds = ", ".join(unique(d.type for d in sample.defects))
        return f"{think}<location>{location}</location><type>{kinds}</type><answer>{_yes_no(sample)}</answer>"
    if frame is None:
        raise ValueError(f"the format {fmt!r} needs a frame to write boxes in")
    truth = [LabelledBox(d.box, d.type) for d in sample.defects if d.box is not None]
    if len(truth) < len(sample.defects):
        raise ValueError(f"sample {sample.id!r} has a defect without a box")
    return f"{think}<answer>{render_boxes(truth, frame)}</answer>"


def with_reasoning(reasoning: str, answer: str | None) -> str:
    """A completion as the model wrote it, from the two parts that a server's reasoning parser makes of it.

    Args:
        reasoning: The text between the reasoning tags.
        answer: What followed; None where the reasoning was cut off.
    """
    return f"<think>{reasoning}" if answer is None else f"<think>{reasoning}</think>{answer}"


def _yes_no(sample: Sample) -> str:
    if sample.is_anomalous is None:
        raise ValueError(f"sample {sample.id!r} does not say whether it is anomalous")
    return "Yes" if sample.is_anomalous else "No"


def unique(words: Iterable[str]) -> list[str]:
    """The words without repetitions, in order."""
    return list(dict.fromkeys(words))
