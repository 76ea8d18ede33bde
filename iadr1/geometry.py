"""Boxes, the spaces they live in, masks and the 3x3 regions: the sole place that converts coordinates.

A box is `(x1, y1, x2, y2)` in pixels of the stored image, x2 and y2 exclusive, unless a name says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Size = tuple[int, int]
"""Width, height in pixels."""

LOCATIONS: tuple[str, ...] = (
    "top left",
    "top center",
    "top right",
    "middle left",
    "center",
    "middle right",
    "bottom left",
    "bottom center",
    "bottom right",
)
"""The 3x3 regions in reading order."""


class BoxSpace(Enum):
    """How a model family writes boxes (shared formats, section 22)."""

    INPUT_PX = "input_px"
    """Integer pixels of the resized model input (Qwen2.5-VL)."""
    NORM1000 = "norm1000"
    """Integers 0..1000 per axis of the image (Qwen2-VL, Qwen3-VL, InternVL)."""
    UNIT = "unit"
    """Decimals 0..1 per axis of the image, three digits (assumed for LLaVA-NeXT and LLaVA-OneVision)."""
    UNIT_SQUARE = "unit_square"
    """Decimals 0..1, three digits, of the image padded to a square with the image in its middle (LLaVA-1.5)."""


@dataclass(frozen=True)
class BoxFrame:
    """Converts boxes between one stored image and what one model writes for it.

    Attributes:
        space: The model family's convention.
        image_wh: Stored image, (width, height) in pixels.
        input_wh: The image as the model sees it after its resize, (width, height) in pixels.
    """

    space: BoxSpace
    image_wh: Size
    input_wh: Size

    @property
    def _steps(self) -> Size:
        """How many steps the model's numbers divide each side into."""
        return self.input_wh if self.space is BoxSpace.INPUT_PX else (1000, 1000)

    @property
    def _decimal(self) -> bool:
        return self.space in (BoxSpace.UNIT, BoxSpace.UNIT_SQUARE)

    @property
    def _sides(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of what the numbers refer to, in pixels of the stored image."""
        width, height = self.image_wh
        if self.space is not BoxSpace.UNIT_SQUARE:
            return 0.0, 0.0, width, height
        side = max(width, height)
        return (width - side) / 2, (height - side) / 2, side, side

    def to_model(self, box: Box) -> Box:
        """Image pixels -> the numbers the model writes, rounded to the nearest step and at least one step wide.

        Integers in the integer spaces, decimals of three digits in the others.
        """
        left, top, width, height = self._sides
        w, h = self._steps
        x1, x2 = (round((x - left) * w / width) for x in (box[0], box[2]))
        y1, y2 = (round((y - top) * h / height) for y in (box[1], box[3]))
        x1, y1 = min(max(x1, 0), w - 1), min(max(y1, 0), h - 1)
        x2, y2 = min(max(x2, x1 + 1), w), min(max(y2, y1 + 1), h)
        return (x1 / w, y1 / h, x2 / w, y2 / h) if self._decimal else (x1, y1, x2, y2)

    def to_image(self, box: Box) -> Box | None:
        """The model's numbers -> image pixels, clipped to the image; None where nothing is left or not finite."""
        left, top, width, height = self._sides
        w, h = (1, 1) if self._decimal else self._steps
        try:
            x1, x2 = (left + x * width / w for x in (box[0], box[2]))
            y1, y2 = (top + y * height / h for y in (box[1], box[3]))
        except OverflowError:  # a looping model can write an integer of hundreds of digits
            return None
        return clip_box((x1, y1, x2, y2), self.image_wh) if all(map(math.isfinite, (x1, y1, x2, y2))) else None


def smart_resize(width: int, height: int, *, factor: int, min_pixels: int, max_pixels: int) -> Size:
    """The size a Qwen-VL processor resizes an image to, (width, height), both multiples of `factor`.

    Same rule as `transformers` `Qwen2VLImageProcessor` (rounding half to even).

    Raises:
        ValueError: One side is more than 200 times the other.
    """
    if max(height, width) / min(height, width) > 200:
        raise ValueError(f"aspect ratio of {width}x{height} is above 200")
    h, w = round(height / factor) * factor, round(width / factor) * factor
    if h * w > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        h = max(factor, math.floor(height / beta / factor) * factor)
        w = max(factor, math.floor(width / beta / factor) * factor)
    elif h * w < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        h, w = math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
    return w, h


def clip_box(box: Box, image_wh: Size) -> Box | None:
    """The part of a box inside the image, corners put in order; None where nothing is left."""
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    x1, y1 = max(x1, 0.0), max(y1, 0.0)
    x2, y2 = min(x2, float(image_wh[0])), min(y2, float(image_wh[1]))
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def dilate_box(box: Box, fraction: float, image_wh: Size) -> Box:
    """Grow a box by `fraction` of its width and height on each side, at least 1 px, clipped to the image."""
    dx, dy = max(1.0, fraction * (box[2] - box[0])), max(1.0, fraction * (box[3] - box[1]))
    grown = clip_box((box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy), image_wh)
    return grown if grown is not None else box


def box_area(box: Box) -> float:
    """Area in square pixels; 0 for an empty or reversed box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1; 0 where either is empty."""
    inter = box_area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = box_area(a) + box_area(b) - inter
    return inter / union if union > 0 else 0.0


def location_word(box: Box, image_wh: Size) -> str:
    """The 3x3 region (one of `LOCATIONS`) that holds the box's centre."""
    cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    column = min(2, max(0, int(3 * cx / image_wh[0])))
    row = min(2, max(0, int(3 * cy / image_wh[1])))
    return LOCATIONS[3 * row + column]


def mask_box(mask: NDArray[np.bool_]) -> Box | None:
    """The tight box around the true pixels of a mask of shape (H, W); None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def box_mask(box: Box, image_wh: Size) -> NDArray[np.bool_]:
    """A mask of shape (H, W), true on every pixel the box touches."""
    mask = np.zeros((image_wh[1], image_wh[0]), dtype=bool)
    clipped = clip_box(box, image_wh)
    if clipped is not None:
        x1, y1, x2, y2 = clipped
        mask[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)] = True
    return mask
