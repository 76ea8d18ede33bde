"""Classical detectors beside the model in `benchmarks/adapt.py`: template difference, and nearest normal patches.

Nothing here is used by the package. Both are fitted to what the model is fitted to: thresholds come from training or
calibration photos, never from the test half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.neighbors import NearestNeighbors  # type: ignore[import-untyped]

from iadr1.datasets.regions import regions
from iadr1.geometry import Box, Size, clip_box
from iadr1.images import resize
from iadr1.metrics.boxes import box_scores

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What a detector says of one photo: a score, boxes in its pixels, and the mask they come from."""

    score: float
    boxes: tuple[Box, ...]
    mask: Mask


# a template beside each photo


@dataclass(frozen=True)
class Difference:
    """Regions where a photo and its aligned template differ.

    Attributes:
        opening: Side of the square that a region has to hold: thinner ones are edges that moved.
        area: Least pixels of a region.
        margin: Pixels that its box is grown by, as annotators leave room.
    """

    opening: int = 3
    area: int = 20
    margin: int = 6

    def judge(self, photo: Image.Image, template: Image.Image) -> Judged:
        """The score is the area of the largest region; the photo is anomalous above 0."""
        grey, wanted = (np.asarray(one.convert("L"), dtype=np.int16) for one in (photo, template))
        mask: Mask = np.abs(grey - wanted) > 127
        mask = ndimage.binary_opening(mask, structure=np.ones((self.opening, self.opening), dtype=bool))
        found = [region for region in regions(mask) if region.area_px >= self.area]
        boxes = [grown(region.box, self.margin, photo.size) for region in found]
        return Judged(max((float(region.area_px) for region in found), default=0.0), tuple(boxes), mask)


def grown(box: Box, margin: float, size: Size) -> Box:
    """The box with a margin, within the image."""
    return clip_box((box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin), size) or box


def fit_difference(pairs: Sequence[tuple[Image.Image, Image.Image, Sequence[Box]]]) -> Difference:
    """The settings with the best box F1 at IoU 0.33 on training pairs (photo, template, true boxes)."""

    def f1(setting: Difference) -> float:
        found = [(setting.judge(photo, template).boxes, truth) for photo, template, truth in pairs]
        return box_scores(found, threshold=0.33).get("f1", 0.0)

    tried = [Difference(*values) for values in product((2, 3, 4), (5, 20, 60), (0, 5, 10))]
    return max(tried, key=f1)


# good photos only


SIDE, CELL = 256, 8
"""Photos are looked at in SIDE x SIDE px, in cells of CELL px."""
_MEMORY = 20_000
_SCALES = (1.0, 2.0, 4.0)


def features(photo: Image.Image) -> Array:
    """Statistics of each cell, (rows, columns, features): grey value against what is around, edges at three scales."""
    grey = np.asarray(resize(photo, (SIDE, SIDE)).convert("L"), dtype=np.float64)
    grey = (grey - grey.mean()) / max(grey.std(), 1.0)
    maps = [grey - ndimage.gaussian_filter(grey, 24.0)]
    for scale in _SCALES:
        maps.append(ndimage.gaussian_gradient_magnitude(grey, scale))
        maps.append(ndimage.gaussian_laplace(grey, scale) * scale)
    found = []
    for one in maps:
        cells = one.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL)
        found += [cells.mean(axis=(1, 3)), cells.std(axis=(1, 3)), cells.min(axis=(1, 3)), cells.max(axis=(1, 3))]
    return np.stack(found, axis=-1)


class Patches:
    """PatchCore's idea (Roth et al., CVPR 2022) on hand-made features: distance to the nearest patch of good photos.

    Args:
        good: Photos to remember.
        seed: Which patches are kept where there are more than 20,000.
    """

    def __init__(self, good: Sequence[Image.Image], *, seed: int) -> None:
        rows = np.concatenate([found.reshape(-1, found.shape[-1]) for found in map(features, good)])
        self._mean, self._std = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
        if len(rows) > _MEMORY:
            rows = rows[np.random.default_rng(seed).choice(len(rows), _MEMORY, replace=False)]
        self._nearest = NearestNeighbors(n_neighbors=1).fit((rows - self._mean) / self._std)
        self._limit = 0.0

    def distances(self, photo: Image.Image) -> Array:
        """The anomaly map, (rows, columns) of cells."""
        found = (features(photo) - self._mean) / self._std
        distance, _ = self._nearest.kneighbors(found.reshape(-1, found.shape[-1]))
        smooth: Array = ndimage.gaussian_filter(distance.reshape(found.shape[:2]), 1.0)
        return smooth

    def calibrate(self, good: Sequence[Image.Image], *, share: float = 0.05) -> float:
        """Cells above the threshold are anomalous: it is the one that `share` of these good photos get above."""
        highest = np.sort([self.distances(photo).max() for photo in good])
        place = int(np.ceil((len(highest) + 1) * (1 - share))) - 1
        self._limit = float(highest[min(place, len(highest) - 1)])
        return self._limit

    def judge(self, photo: Image.Image) -> Judged:
        """The score is the highest distance; the photo is anomalous where it is above the calibrated threshold."""
        found = self.distances(photo)
        columns = np.arange(photo.width) * found.shape[1] // photo.width
        rows = np.arange(photo.height) * found.shape[0] // photo.height
        # Of a strong defect the surroundings are above the threshold too: the half of its height bounds it.
        mask: Mask = (found > max(self._limit, found.max() / 2))[np.ix_(rows, columns)]
        return Judged(float(found.max()), tuple(region.box for region in regions(mask)), mask)
