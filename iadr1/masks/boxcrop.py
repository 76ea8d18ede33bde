"""How a segmenter that was trained on crops around boxes wants to be shown a box.

A small model cannot find a thin scratch on a whole photo. One that has only seen crops around boxes is shown every box
in a crop of its own, cut as in its training. What that crop is stands in the model's `config.json`, under `box_crop`:
any SAM 2 folder with that entry is shown boxes in this way, any other as in `iadr1.masks.views`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1.errors import ModelError
from iadr1.geometry import Box
from iadr1.masks.views import View

KEY = "box_crop"
"""The entry of `config.json`."""

_EPSILON = 0.05
"""Added to the standard deviation (of pixels in 0..1): a crop of even colour stays even."""


@dataclasses.dataclass(frozen=True)
class BoxCrop:
    """The crop of one box; it is stretched to the model's square input.

    Attributes:
        context: Width of the crop in widths of the box, height in heights.
        stretch: The crop's shorter side is at least the longer one divided by this: how far the picture may be
            stretched, for a long thin box to have its surroundings.
        min_side: Shortest side of a crop, in pixels of the photo.
        reach: How far the mask may reach beyond the box, as a fraction of the box's sides.
        threshold: A pixel is the object's where its logit is above this.
    """

    context: float = 1.5
    stretch: float = 2.0
    min_side: float = 32.0
    reach: float = 0.2
    threshold: float = 0.0

    @classmethod
    def read(cls, values: object, *, where: str) -> BoxCrop:
        """The entry `box_crop` of a model's configuration.

        Raises:
            ModelError: It is not a table, has other keys, or a value that is no number or out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or set(values) != known:
            found = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
            raise _wrong(f"it needs the keys {', '.join(sorted(known))}, and has {found}", where)
        numbers = {name: value for name, value in values.items() if type(value) in (int, float)}
        if len(numbers) < len(known):
            raise _wrong(f"{', '.join(sorted(known - set(numbers)))}: not a number", where)
        crop = cls(**{name: float(value) for name, value in numbers.items()})
        least = {"context": 1.0, "stretch": 1.0, "min_side": 1.0, "reach": 0.0}
        low = next((name for name, limit in least.items() if not getattr(crop, name) >= limit), None)
        if low is not None:
            raise _wrong(f"{low} is {getattr(crop, low)}, it must be at least {least[low]:g}", where)
        return crop

    def entry(self) -> dict[str, Any]:
        """What stands in the configuration."""
        return dataclasses.asdict(self)

    def view(self, box: Box) -> View:
        """The crop of a box, centred on it; it may lie partly outside the photo."""
        width, height = box[2] - box[0], box[3] - box[1]
        shortest = max(width, height) / self.stretch
        across, down = (
            max(1, round(max(self.min_side, self.context * max(side, shortest)))) for side in (width, height)
        )
        left, top = round((box[0] + box[2] - across) / 2), round((box[1] + box[3] - down) / 2)
        return left, top, left + across, top + down


def _wrong(what: str, where: str) -> ModelError:
    return ModelError(
        f"the entry {KEY!r} of its config.json: {what}",
        where=where,
        hint="train the segmenter with `iadr1 train-segmenter`, or delete the entry for a SAM 2 made for whole photos",
    )


def cut(pixels: NDArray[np.uint8], view: View, *, edge: bool = True) -> NDArray[np.uint8]:
    """The part of a picture that a view shows; what lies outside repeats the edge, or is 0 without `edge`.

    Args:
        pixels: (H, W) or (H, W, channels).
        view: It may lie outside the picture in part.
        edge: False for masks.
    """
    left, top, right, bottom = view
    height, width = pixels.shape[:2]
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    part: NDArray[np.uint8] = pixels[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]
    if not edge:
        part[(rows < 0) | (rows >= height)] = 0
        part[:, (columns < 0) | (columns >= width)] = 0
    return part


def scaled(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A picture as a square of `side` pixels, by area where it becomes smaller (Pillow's bilinear filter)."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def shown_square(image: Image.Image, view: View, side: int) -> Image.Image:
    """What a view shows of a photo, as a square of `side` pixels; where it lies outside, the photo's edge is repeated.

    Only the part that is shown becomes an array.
    """
    left, top = (min(max(0, low), length - 1) for low, length in zip(view[:2], image.size, strict=True))
    right, bottom = (max(1, min(high, length)) for high, length in zip(view[2:], image.size, strict=True))
    part = np.asarray(image.crop((left, top, right, bottom)))
    moved = (view[0] - left, view[1] - top, view[2] - left, view[3] - top)
    return Image.fromarray(scaled(cut(part, moved), side))


def standardised(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Crops (N, 3, side, side) of pixels in 0..1, each with mean 0 and about the same contrast."""
    mean = crops.mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray((crops - mean) / (crops.std(axis=(1, 2, 3), keepdims=True) + np.float32(_EPSILON)))


def box_prompt(corners: NDArray[np.float32], *, side: int, grid: int) -> NDArray[np.float32]:
    """Boxes drawn as mask prompts: 1 inside, -1 outside, in between where an edge crosses a cell.

    Args:
        corners: (N, 4), in pixels of the model's input.
        side: Of the input.
        grid: Of the mask prompt.

    Returns:
        (N, 1, grid, grid).
    """
    cells = np.arange(grid, dtype=np.float32)[None]
    boxes = corners * np.float32(grid / side)

    def covered(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.clip(np.minimum(cells + 1, high[:, None]) - np.maximum(cells, low[:, None]), 0, 1))

    drawn = covered(boxes[:, 1], boxes[:, 3])[:, :, None] * covered(boxes[:, 0], boxes[:, 2])[:, None]
    return np.asarray(2 * drawn - 1, dtype=np.float32)[:, None]
