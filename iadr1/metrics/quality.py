"""Detection quality: anomaly scores of images, and boxes over several IoU thresholds and as COCO counts them.

Rates are in percent, IoU in 0..1; a figure that is not defined for the data is left out, never NaN.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from iadr1.errors import DataError, MissingExtraError
from iadr1.geometry import Box
from iadr1.metrics.boxes import Scores, box_scores

IOU_THRESHOLDS = (0.33, 0.5, 0.75)
"""Where `box_table` counts a box as found."""


class BoxImage(NamedTuple):
    """The boxes of one image, in pixels of the stored image (x2 and y2 exclusive).

    Attributes:
        predicted: What was found.
        scores: How sure each predicted box is, higher for surer; of any range.
        truth: What is there; empty for a normal image.
    """

    predicted: Sequence[Box]
    scores: Sequence[float]
    truth: Sequence[Box]


def image_scores(scores: Sequence[float], truth: Sequence[bool]) -> Scores:
    """How well an anomaly score tells anomalous from normal images (scikit-learn).

    Args:
        scores: One for each image, higher for more anomalous, of any range.
        truth: Whether the image is anomalous.

    Returns:
        `auroc`, `ap` (average precision) and `f1_max` (the best F1 of any threshold) in percent, and
        `f1_max_threshold`, the lowest score that is called anomalous there (of equally good ones the lowest). Empty
        where all images, or none, are anomalous: no threshold can be right or wrong then.

    Raises:
        DataError: A score is NaN or infinite.
        MissingExtraError: scikit-learn is not installed.
    """
    _check_finite(scores)
    if len(scores) != len(truth):
        raise ValueError(f"{len(scores)} scores for {len(truth)} images")
    if len(set(truth)) < 2:
        return {}
    metrics = _package("sklearn.metrics", "scikit-learn", purpose="image AUROC, AP and F1-max")
    precision, recall, thresholds = metrics.precision_recall_curve(truth, scores)
    # The curve's last point calls nothing anomalous and has no threshold.
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(f1.argmax())
    return {
        "auroc": 100.0 * float(metrics.roc_auc_score(truth, scores)),
        "ap": 100.0 * float(metrics.average_precision_score(truth, scores)),
        "f1_max": 100.0 * float(f1[best]),
        "f1_max_threshold": float(thresholds[best]),
    }


def box_table(pairs: Sequence[tuple[Sequence[Box], Sequence[Box]]]) -> Scores:
    """`boxes.box_scores` at each of `IOU_THRESHOLDS`.

    Args:
        pairs: Predicted and true boxes of each image, in pixels of the same image; both may be empty.

    Returns:
        `true_boxes`, `predicted_boxes`, `mean_iou` (0..1, over the true boxes) and, in percent, `precision@0.33`,
        `recall@0.33`, `f1@0.33` and so on; what `box_scores` leaves out is left out.
    """
    table: Scores = {}
    for threshold in IOU_THRESHOLDS:
        for name, value in box_scores(pairs, threshold=threshold).items():
            table[f"{name}@{threshold:g}" if name in ("precision", "recall", "f1") else name] = value
    return table


def coco_ap(images: Sequence[BoxImage]) -> Scores:
    """Average precision of scored boxes as COCO counts it (pycocotools), without regard to the defect type.

    The 100 surest boxes of an image count, of boxes with equal scores those written first. Boxes found on images
    without truth are false positives.

    Returns:
        `ap` (mean over IoU 0.50:0.05:0.95), `ap50` and `ap75` in percent, 0 where nothing was found; empty
        where no image has a true box.

    Raises:
        DataError: A score is NaN or infinite, or an image has not one score for each predicted box.
        MissingExtraError: pycocotools is not installed.
    """
    for number, image in enumerate(images):
        _check_finite(image.scores)
        if len(image.scores) != len(image.predicted):
            raise DataError(
                f"image {number + 1} has {len(image.predicted)} predicted boxes and {len(image.scores)} scores"
            )
    if not any(image.truth for image in images):
        return {}
    coco = _package("pycocotools.coco", "pycocotools", purpose="COCO AP")
    cocoeval = _package("pycocotools.cocoeval", "pycocotools", purpose="COCO AP")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress and its table
        truth = _coco_set(coco, images, [[(box, 1.0) for box in image.truth] for image in images])
        found = _coco_set(coco, images, [list(zip(i.predicted, i.scores, strict=True)) for i in images])
        evaluation = cocoeval.COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100.0 * float(value) for name, value in zip(("ap", "ap50", "ap75"), evaluation.stats, strict=False)}


def _coco_set(coco: Any, images: Sequence[BoxImage], boxes: Sequence[Sequence[tuple[Box, float]]]) -> Any:
    """A COCO data set in memory, with one category."""
    annotations: list[dict[str, object]] = []
    for number, rows in enumerate(boxes):
        for (x1, y1, x2, y2), score in rows:
            box = [x1, y1, x2 - x1, y2 - y1]
            # Ids begin at 1: the evaluation takes a match with 0 for none.
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
            annotations.append({**entry, "bbox": box, "area": box[2] * box[3], "score": score})
    data = coco.COCO()
    data.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": 1}],
        "annotations": annotations,
    }
    data.createIndex()
    return data


def _check_finite(scores: Sequence[float]) -> None:
    for number, score in enumerate(scores):
        if not math.isfinite(score):
            raise DataError(f"score {number + 1} is {score}, not a finite number")


def _package(module: str, package: str, *, purpose: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, "eval", purpose=purpose) from error
