"""Masks and anomaly maps against true masks: IoU, Dice and AUPRO.

Rates (AUPRO among them) are in percent, IoU and Dice in 0..1, as everywhere in `iadr1.metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from iadr1.errors import DataError

Mask = NDArray[np.bool_]
Map = NDArray[Any]
"""Anomaly scores of the pixels, of shape (H, W); any real type."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=int)


def pixel_scores(pairs: Iterable[tuple[Mask, Mask]]) -> dict[str, float]:
    """IoU and Dice of predicted masks, averaged by image and pooled over all pixels.

    An image without a defect has no IoU worth the name (0 or 1, by convention only), so the averages by image are over
    the images with a defect, and each counts the same however small its defect is. What is marked on normal images
    shows in the pooled figures, which is how anomalib and the segmentation benchmarks count, and in `normal_marked`.

    Args:
        pairs: Predicted and true mask of each image, of one shape (H, W), read one at a time.

    Returns:
        `masks` and `defect_masks` (images, and those with a defect); `pixel_iou` and `pixel_dice`, the means over the
        images with a defect; `pixel_iou_pooled` and `pixel_dice_pooled`, from all pixels of all images;
        `normal_marked`, the percentage of the normal images' pixels that were marked. What is not defined is left out.

    Raises:
        DataError: The two masks of an image differ in shape, or are not boolean.
    """
    # Columns: marked rightly, marked, defective, pixels.
    counts = [
        (int((predicted & truth).sum()), int(predicted.sum()), int(truth.sum()), truth.size)
        for predicted, truth in _checked(pairs, "predicted mask")
    ]
    rows = np.array(counts, dtype=np.float64).reshape(-1, 4)
    hits, marked, defective, _ = rows[rows[:, 2] > 0].T
    scores: dict[str, float] = {"masks": len(rows), "defect_masks": len(hits)}
    if len(hits):
        scores["pixel_iou"] = float((hits / (marked + defective - hits)).mean())
        scores["pixel_dice"] = float((2 * hits / (marked + defective)).mean())
    hits_all, marked_all, defective_all, _ = rows.sum(axis=0)
    if marked_all + defective_all:
        scores["pixel_iou_pooled"] = float(hits_all / (marked_all + defective_all - hits_all))
        scores["pixel_dice_pooled"] = float(2 * hits_all / (marked_all + defective_all))
    normal = rows[rows[:, 2] == 0].sum(axis=0)
    if normal[3]:
        scores["normal_marked"] = float(100.0 * normal[1] / normal[3])
    return scores


def aupro(maps: Sequence[Map], masks: Sequence[Mask], *, limit: float = 0.3) -> float | None:
    """The area under the per-region overlap curve up to a false-positive rate, in percent of the largest possible.

    MVTec AD's definition (Bergmann et al., IJCV 2021, section 5.1, and its evaluation code): a region is a connected
    component of a true mask (8 neighbours); at each threshold stand the mean share of the regions' pixels above it and
    the share of all defect-free pixels above it; between the points the curve is linear, equal scores are one point.

    The curve is never built. It is the mean over the regions' pixels of a step at the false-positive rate where a pixel
    is reached (a ramp, where defect-free pixels have the same score), so its area is the mean of the areas under the
    steps: exact, no threshold is left out. The maps are read twice, one at a time, so a sequence that opens a file on
    each access will do. Memory grows with the distinct scores inside regions only, by about 100 bytes each: 1.9 GB for
    1,000 maps of 1000 x 800 whose 26 million defect pixels all differ.

    Args:
        maps: Anomaly score of each pixel of each image, higher for more anomalous, of shape (H, W).
        masks: True masks, of the same shapes; images without a defect belong to it.
        limit: The false-positive rate to integrate up to, above 0, at most 1.

    Returns:
        0..100; None without any region, or without any defect-free pixel.

    Raises:
        DataError: Map and mask differ in shape, a mask is not boolean, or a score is NaN.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"the limit of the false-positive rate is {limit}, not in (0, 1]")
    scores, weights = _region_scores(maps, masks)
    if not len(scores):
        return None
    above, tied, total = _normal_pixels(scores, maps, masks)
    if not total:
        return None
    start, width = above / total, tied / total
    reached = np.clip(limit - start, 0.0, None)
    # The area under a ramp to 1 is half its width; a ramp that the limit cuts off leaves a smaller triangle.
    ramp = np.divide(np.minimum(reached, width) ** 2, 2 * width, out=np.zeros_like(width), where=width > 0)
    areas = ramp + np.clip(reached - width, 0.0, None)
    return float(100.0 * (weights @ areas) / weights.sum() / limit)


def _region_scores(maps: Sequence[Map], masks: Sequence[Mask]) -> tuple[Map, NDArray[np.float64]]:
    """The distinct scores inside regions, rising, and the weight of each: the sum of 1 / area over its pixels."""
    parts: list[tuple[Map, NDArray[np.float64]]] = []
    for number, (scores, mask) in enumerate(_checked(zip(maps, masks, strict=True), "map")):
        if np.isnan(scores).any():
            raise DataError(f"the map of image {number + 1} holds NaN")
        if mask.any():
            inside = ndimage.label(mask, _EIGHT_NEIGHBOURS)[0][mask]
            parts.append(_distinct(scores[mask], 1.0 / np.bincount(inside)[inside]))
    if not parts:
        return np.empty(0), np.empty(0)
    return _distinct(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _distinct(scores: Map, weights: NDArray[np.float64]) -> tuple[Map, NDArray[np.float64]]:
    distinct, place = np.unique(scores, return_inverse=True)
    sums: NDArray[np.float64] = np.bincount(place, weights=weights).astype(np.float64, copy=False)
    return distinct, sums


def _normal_pixels(
    levels: Map, maps: Sequence[Map], masks: Sequence[Mask]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """How many defect-free pixels score above each of the rising levels, how many exactly as much, and how many are."""
    between, tied = np.zeros(len(levels) + 1, dtype=np.int64), np.zeros(len(levels) + 1, dtype=np.int64)
    padded = np.append(levels, levels[-1])  # a value above all levels is compared with the last one, and differs
    for scores, mask in zip(maps, masks, strict=True):
        values, times = np.unique(scores[~mask], return_counts=True)
        place = np.searchsorted(levels, values)
        same = padded[place] == values
        tied[place[same]] += times[same]
        np.add.at(between, place[~same], times[~same])
    from_here = np.cumsum((between + tied)[::-1])[::-1]
    # Place i lies below level i: what is above level i begins at place i + 1.
    return from_here[1:], tied[:-1], int(from_here[0])


def _checked(pairs: Iterable[tuple[Map, Mask]], name: str) -> Iterator[tuple[Map, Mask]]:
    for number, (first, truth) in enumerate(pairs):
        masks = (truth,) if name == "map" else (first, truth)
        if any(mask.dtype != np.bool_ for mask in masks):
            raise DataError(
                f"image {number + 1}: the masks are {[str(mask.dtype) for mask in masks]}, not bool",
                hint="compare it with 0",
            )
        if first.shape != truth.shape:
            raise DataError(f"image {number + 1}: the {name} has the shape {first.shape}, the true mask {truth.shape}")
        yield first, truth
