"""Soft IoU of boxes, for grounding and detection: how well the answer's boxes cover the true ones."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from iadr1.geometry import iou
from iadr1.prompts import Answer
from iadr1.records import Sample


def boxes(answer: Answer, sample: Sample) -> float | None:
    """0..1: IoU of the best one-to-one matching, summed and divided by the larger number of boxes.

    Missed and invented boxes therefore count as IoU 0; labels are not compared. No box on a normal image is 1, any
    box there 0; an answer that could not be parsed is 0. None where the answer's format has no boxes, or where the
    sample has a defect without a box. For one box on each side it is VLM-R1's IoU without its threshold.
    """
    truth = [defect.box for defect in sample.defects if defect.box is not None]
    if sample.task == "choice" or len(truth) < len(sample.defects):
        return None
    if answer.status == "failed":
        return 0.0
    if answer.boxes is None:
        return None
    found = [item.box for item in answer.boxes]
    if not truth or not found:
        return float(not truth and not found)
    overlaps = np.array([[iou(a, b) for b in truth] for a in found])
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    return float(overlaps[rows, columns].sum()) / max(len(truth), len(found))
