"""Rewards for boxes, for grounding and detection: how well the answer's boxes cover the true ones.

Both sides are in pixels of the stored image: the parser has converted what the model wrote with the `BoxFrame` of its
family. For one box on each side `grounding` is VLM-R1's reward (`vlm_modules/qwen_module.py`, `iou_reward`), and
`grounding-hard` is its older form, 1 above an IoU of 0.5.
"""

from __future__ import annotations

from collections.abc import Callable

from iadr1.geometry import Box, box_area, iou
from iadr1.prompts import Answer
from iadr1.records import Sample
from iadr1.rewards.matching import matched

Overlap = Callable[[Box, Box], float]
"""How well two boxes agree, 0..1."""


def grounding(answer: Answer, sample: Sample) -> float | None:
    """0..1: IoU of the best one-to-one matching, summed and divided by the larger number of boxes.

    Missed and invented boxes therefore count as 0; labels are not compared. No box on a normal image is 1, any box
    there 0; an answer that could not be parsed is 0. None where the answer's format has no boxes, or where the sample
    has a defect without a box.
    """
    return matched_overlap(answer, sample, iou)


def grounding_giou(answer: Answer, sample: Sample) -> float | None:
    """0..1: as `grounding`, with generalised IoU, (1 + GIoU) / 2, which tells a near miss from a far one.

    Equal boxes are 1; boxes that touch nowhere lie below 0.5 and fall towards 0 with their distance. Source:
    Rezatofighi and others, arXiv 1902.09630.
    """
    return matched_overlap(answer, sample, half_giou)


def grounding_hard(answer: Answer, sample: Sample) -> float | None:
    """0..1: as `grounding`, with 1 for an IoU above 0.5 and 0 for any other; 0 or 1 for a single box.

    A group whose boxes are all off gets 0 throughout and teaches nothing; `grounding` does. Source: VLM-R1's first
    reward, kept in AnomalyR1's `iou_reward`.
    """
    return matched_overlap(answer, sample, _above_half)


def box_format(answer: Answer, sample: Sample) -> float | None:
    """0 or 1: reasoning, then nothing but a JSON list whose every entry is a usable box; `[]` where there is none.

    Whether the boxes are right does not count. None where `grounding` does not apply. VLM-R1 searches for braces with
    four integers instead, and an empty list never has the format there.
    """
    if _truth(sample) is None or (answer.boxes is None and answer.status != "failed"):
        return None
    return float(answer.status == "ok" and bool(answer.think))


def matched_overlap(answer: Answer, sample: Sample, overlap: Overlap) -> float | None:
    """0..1: the overlaps of the matching with the largest sum, divided by the larger number of boxes.

    Args:
        answer: The parsed answer.
        sample: The truth.
        overlap: Compares two boxes, 0..1.

    Returns:
        None where the sample's truth is no set of boxes, or the answer's format holds none.
    """
    truth = _truth(sample)
    if truth is None:
        return None
    if answer.status == "failed":
        return 0.0
    if answer.boxes is None:
        return None
    return matched([item.box for item in answer.boxes], truth, overlap)


def _truth(sample: Sample) -> list[Box] | None:
    boxes = [defect.box for defect in sample.defects if defect.box is not None]
    return None if sample.task == "choice" or len(boxes) < len(sample.defects) else boxes


def half_giou(a: Box, b: Box) -> float:
    """Generalised IoU of two boxes, mapped from -1..1 to 0..1."""
    hull = box_area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    overlap = iou(a, b)
    # |A| + |B| = union + intersection = union (1 + IoU)
    union = (box_area(a) + box_area(b)) / (1 + overlap)
    return (1 + overlap - (hull - union) / hull) / 2 if hull > 0 else 0.0


def _above_half(a: Box, b: Box) -> float:
    return float(iou(a, b) > 0.5)
