"""The batches of a training run: which defects, how their boxes are moved, how their crops are changed.

A batch depends on the seed and the step's number alone: a run that goes on after a kill sees what it would have seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from iadr1.geometry import Box
from iadr1.masks.boxcrop import BoxCrop, cut, scaled, standardised
from iadr1.stages.segmenter.cases import Case, Cases, patch

Floats = NDArray[np.float32]

_CONTEXT = (0.95, 1.25)
"""Crops in training are so many times those at work: the model must not count on their exact size."""


class Batch(NamedTuple):
    """What a step is about.

    Attributes:
        pixels: (N, 3, side, side), standardised.
        boxes: (N, 4), in pixels of the input.
        targets: (N, side / 2, side / 2), the share of each cell that is the object's, 0..1.
    """

    pixels: Floats
    boxes: Floats
    targets: Floats


@dataclass(frozen=True)
class Drawing:
    """How batches are drawn.

    Attributes:
        cases: The defects.
        shares: How often each data file is drawn from; they add up to 1.
        crop: What the model is shown of a box.
        side: Of the model's input.
        jitter: How far each side of a box is moved, as a fraction of the box's size.
        batch_size: Defects of a step.
        seed: Of everything random.
    """

    cases: Cases
    shares: tuple[float, ...]
    crop: BoxCrop
    side: int
    jitter: float
    batch_size: int
    seed: int

    def batch(self, step: int) -> Batch:
        """The batch of a step; within a file all types are equally likely."""
        rng = np.random.default_rng((self.seed, step))
        crops, boxes, targets = [], [], []
        for _ in range(self.batch_size):
            kinds = list(self.cases.groups[rng.choice(len(self.shares), p=self.shares)].values())
            cases = kinds[rng.integers(len(kinds))]
            crop, box, target = self._example(cases[rng.integers(len(cases))], rng)
            crops.append(crop)
            boxes.append(box)
            targets.append(target)
        pixels = np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
        return Batch(standardised(pixels), np.asarray(boxes, dtype=np.float32), np.stack(targets))

    def _example(self, case: Case, rng: np.random.Generator) -> tuple[Floats, Box, Floats]:
        found = patch(case, self._reach(case))
        box = jittered(found.box, rng, self.jitter)
        crop = BoxCrop(
            self.crop.context * rng.uniform(*_CONTEXT), self.crop.stretch, self.crop.min_side * rng.uniform(*_CONTEXT)
        )
        view = crop.view(box)
        pixels = scaled(cut(found.pixels, view), self.side)
        mask = scaled(cut(found.mask, view, edge=False), self.side // 2)
        across, down = self.side / (view[2] - view[0]), self.side / (view[3] - view[1])
        shown = (
            (box[0] - view[0]) * across,
            (box[1] - view[1]) * down,
            (box[2] - view[0]) * across,
            (box[3] - view[1]) * down,
        )
        pixels, mask, shown = turned(pixels, mask, shown, int(rng.integers(8)), side=self.side)
        return photographed(pixels, rng), shown, mask.astype(np.float32) / np.float32(255)

    def _reach(self, case: Case) -> float:
        """Pixels around the box that any crop of it can show."""
        box = case.defect.box
        longer = max(box[2] - box[0], box[3] - box[1]) if box is not None else 0.0
        largest = self.crop.context * _CONTEXT[1] * (1 + 2 * self.jitter) * longer
        return math.ceil(max(largest, self.crop.min_side * _CONTEXT[1]) / 2 + self.jitter * longer) + 2


def jittered(box: Box, rng: np.random.Generator, by: float) -> Box:
    """A box with each side moved by up to `by` of its width or height."""
    width, height = box[2] - box[0], box[3] - box[1]
    moves = rng.uniform(-by, by, 4)
    return (
        box[0] + float(moves[0]) * width,
        box[1] + float(moves[1]) * height,
        box[2] + float(moves[2]) * width,
        box[3] + float(moves[3]) * height,
    )


def turned(
    pixels: NDArray[np.uint8], mask: NDArray[np.uint8], box: Box, way: int, *, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Box]:
    """Crop, mask and box in one of the eight ways a square can be turned and mirrored.

    Args:
        pixels: (side, side, 3).
        mask: (any, any), square.
        box: In pixels of the crop.
        way: 0..7; quarter turns counter-clockwise, from 4 on mirrored afterwards.
        side: Of the crop.
    """
    for _ in range(way % 4):
        box = (box[1], side - box[2], box[3], side - box[0])
    pixels, mask = np.rot90(pixels, way % 4), np.rot90(mask, way % 4)
    if way >= 4:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
        box = (side - box[2], box[1], side - box[0], box[3])
    return pixels, mask, box


def photographed(pixels: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """A crop as another camera and another light might show it, as numbers about 0..1.

    Overall brightness and contrast stay: standardising takes them away again.
    """
    image = pixels.astype(np.float32) / np.float32(255)
    if rng.random() < 0.4:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.15:
        image = 1 - image
    if rng.random() < 0.6:
        image = np.maximum(image, 1e-3) ** np.float32(math.exp(0.35 * rng.standard_normal()))
    image = image * (1 + 0.1 * rng.standard_normal(3)).astype(np.float32)
    side = len(image)
    if rng.random() < 0.4:  # light from one side
        ramp = np.linspace(-1, 1, side, dtype=np.float32)
        slopes = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
        image = image * (1 + slopes[0] * ramp[:, None] + slopes[1] * ramp)[..., None]
    if rng.random() < 0.25:
        sigma = rng.uniform(0.4, max(0.4, 0.007 * side))
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    if rng.random() < 0.35:
        noise = rng.standard_normal((side, side, 1), dtype=np.float32)
        image = image + np.float32(rng.uniform(0.005, 0.05)) * noise
    return np.asarray(image, dtype=np.float32)
