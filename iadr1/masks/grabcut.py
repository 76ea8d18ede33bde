"""Classical segmenter that needs no weights: GrabCut started from the difference to the local background.

A plain GrabCut takes the whole box as probable foreground; on a thin crack that is mostly background, and the two
colour models never part. Here the probable foreground is what differs from the background around the box (Otsu's
threshold on the colour difference). GrabCut's result is kept where it agrees with that start, because on grey,
low-contrast surfaces it tends to shrink to the darkest core; speckle all over the box is no object, and the filled
box is the better guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from iadr1.errors import MissingExtraError
from iadr1.geometry import Box, Size, box_mask, clip_box
from iadr1.masks.base import MaskResult, filled_box

PADDING = 0.5
"""Surroundings taken into the crop, as a fraction of the box's sides on each side (at least `MIN_PADDING` px)."""
MIN_PADDING = 12
MAX_SIDE = 320
"""Crops are shrunk to this many pixels on their longer side: time and memory stay bounded on large photos."""
ITERATIONS = 3
MIN_CONTRAST = 2.0
"""A box whose colours differ by less than this (CIELAB units) from the background holds nothing to segment."""
MIN_AGREEMENT = 0.5
"""IoU with its own start below which GrabCut's result is given up for the start."""
CLOSING = 0.1
"""Gaps up to this fraction of the box's shorter side are closed."""
MIN_COMPACTNESS = 0.85
"""Share of the mask its largest piece must hold; below it the box holds speckle. Chosen with `CLOSING` on 133
magnetic-tile defects in jittered boxes."""

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


class GrabCutSegmenter:
    """GrabCut (OpenCV) on a crop around each box; deterministic.

    `score` is agreement times contrast, 0..1: the IoU of the mask with the region that differs from the background,
    times (d_in - d_out) / (d_in + d_out) of the median colour differences inside and outside the mask. It says how
    clearly the region stands out, not how likely it is a defect. Where nothing stands out the filled box is
    returned with score 0 and source `box`.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """

    name = "grabcut"

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise MissingExtraError("opencv-python-headless", "masks", purpose="the segmenter 'grabcut'") from error
        self._cv2: Any = cv2

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        """One mask per box, in order; never fails, whatever the box."""
        return [self._segment_one(image, box) for box in boxes]

    def _segment_one(self, image: Image.Image, box: Box) -> MaskResult:
        inside = clip_box(box, image.size)
        if inside is None:
            return filled_box(box, image.size)
        left, top, right, bottom = _crop_bounds(inside, image.size)
        shrunk, scale = self._shrunk_crop(image.crop((left, top, right, bottom)))
        x1, y1, x2, y2 = (inside[0] - left, inside[1] - top, inside[2] - left, inside[3] - top)
        region = box_mask((x1 * scale, y1 * scale, x2 * scale, y2 * scale), (shrunk.shape[1], shrunk.shape[0]))
        found = self._segment_crop(shrunk, region)
        if found is None:
            return filled_box(box, image.size)
        part, score = found
        enlarged = self._cv2.resize(part.astype(np.float32), (right - left, bottom - top))
        mask = np.zeros((image.height, image.width), dtype=bool)
        mask[top:bottom, left:right] = enlarged >= 0.5
        return MaskResult(mask, score, self.name)

    def _shrunk_crop(self, crop: Image.Image) -> tuple[NDArray[np.uint8], float]:
        scale = min(1.0, MAX_SIDE / max(crop.size))
        size = (max(1, round(crop.width * scale)), max(1, round(crop.height * scale)))
        pixels: NDArray[np.uint8] = np.asarray(crop)
        return (pixels if scale == 1.0 else self._cv2.resize(pixels, size, interpolation=self._cv2.INTER_AREA)), scale

    def _segment_crop(self, crop: NDArray[np.uint8], region: BoolArray) -> tuple[BoolArray, float] | None:
        """Mask and score of a crop, both at its size; None where nothing stands out of `region`, the box."""
        distance = self._distance(crop, region)
        if float(distance[region].max(initial=0.0)) < MIN_CONTRAST:
            return None
        start = region & (distance > _otsu(distance[region]))
        refined = self._refine(crop, region, start)
        agreement = _iou(refined, start)
        mask, agreement = (refined, agreement) if agreement >= MIN_AGREEMENT else (start, 1.0)
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        mask = self._close(mask, max(1, round(CLOSING * min(rows.size, columns.size))))
        if not mask.any() or _compactness(mask) < MIN_COMPACTNESS:
            return None
        return mask, agreement * _contrast(mask, distance)

    def _distance(self, crop: NDArray[np.uint8], region: BoolArray) -> FloatArray:
        """CIELAB distance of each pixel to the median colour around the box (of the whole crop if the box fills it)."""
        cv2 = self._cv2
        lab = cv2.GaussianBlur(cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 0.8)
        around = lab[region] if region.all() else lab[~region]
        distance: FloatArray = np.linalg.norm(lab - np.median(around, axis=0), axis=2)
        return distance

    def _refine(self, crop: NDArray[np.uint8], region: BoolArray, start: BoolArray) -> BoolArray:
        cv2 = self._cv2
        labels = np.full(region.shape, cv2.GC_BGD, dtype=np.uint8)
        labels[region] = cv2.GC_PR_BGD
        labels[start] = cv2.GC_PR_FGD
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        try:
            cv2.grabCut(np.ascontiguousarray(crop), labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
        except cv2.error:  # too few pixels of one kind to fit its colour models
            return start
        refined: BoolArray = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return refined

    def _close(self, mask: BoolArray, radius: int) -> BoolArray:
        """Close gaps with a disc of this radius; pixels beyond the crop count as background."""
        cv2 = self._cv2
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        closed = cv2.morphologyEx(np.pad(mask, radius).astype(np.uint8), cv2.MORPH_CLOSE, disc)
        result: BoolArray = closed[radius:-radius, radius:-radius] > 0
        return result


def _crop_bounds(box: Box, image_wh: Size) -> tuple[int, int, int, int]:
    dx, dy = max(MIN_PADDING, PADDING * (box[2] - box[0])), max(MIN_PADDING, PADDING * (box[3] - box[1]))
    return (
        max(0, int(box[0] - dx)),
        max(0, int(box[1] - dy)),
        min(image_wh[0], math.ceil(box[2] + dx)),
        min(image_wh[1], math.ceil(box[3] + dy)),
    )


def _otsu(values: FloatArray) -> float:
    """The threshold that parts the values into the two most distinct groups (Otsu 1979), from 256 bins.

    Values that are all alike are one group: minus infinity.
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), counts.sum() - np.cumsum(counts)
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (below * above * (sums / below - (sums[-1] - sums) / above) ** 2)[:-1]
    return -math.inf if np.isnan(between).all() else float(edges[1 + int(np.nanargmax(between))])


def _iou(a: BoolArray, b: BoolArray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _compactness(mask: BoolArray) -> float:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    return float(np.bincount(labels.ravel())[1:].max() / mask.sum())


def _contrast(mask: BoolArray, distance: FloatArray) -> float:
    inside = float(np.median(distance[mask]))
    outside = float(np.median(distance[~mask])) if not mask.all() else 0.0
    return max(0.0, (inside - outside) / max(inside + outside, 1e-6))
