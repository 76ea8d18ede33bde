"""Draws what was found on a photo: translucent masks, boxes and numbered labels."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from iadr1.geometry import Box
from iadr1.records import DetectedDefect

PALETTE: tuple[tuple[int, int, int], ...] = (
    (213, 94, 0),
    (0, 114, 178),
    (230, 159, 0),
    (204, 121, 167),
    (0, 158, 115),
    (86, 180, 233),
    (240, 228, 66),
)
"""Okabe and Ito (2008): seven colours that the colour-blind can tell apart."""

READABLE_SIDE = 480
"""Smaller photos are enlarged by a whole factor (at most 8) to at least about this size, so that labels can be read."""
MASK_ALPHA = 0.38

Colour = tuple[int, int, int]
Masks = Sequence[NDArray[np.bool_] | None]


def label_colours(labels: Iterable[str]) -> dict[str, Colour]:
    """A colour for each label.

    The same label gets the same colour in every photo, unless two labels of one photo would share it.
    """
    colours: dict[str, Colour] = {}
    for label in sorted(set(labels)):
        first = zlib.crc32(label.encode("utf-8", "replace")) % len(PALETTE)
        order = [PALETTE[(first + step) % len(PALETTE)] for step in range(len(PALETTE))]
        colours[label] = next((colour for colour in order if colour not in colours.values()), order[0])
    return colours


def draw_overlay(image: Image.Image, defects: Sequence[DetectedDefect], masks: Masks = ()) -> Image.Image:
    """The photo with its defects drawn on it, numbered from 1 in the order given.

    Args:
        image: 8-bit RGB photo; it is not changed.
        defects: Boxes in pixels of the photo and their labels.
        masks: For each defect a mask (H, W) of the photo, or None; empty for "no masks".

    Returns:
        A picture of the photo's size, or a whole multiple of it for photos below `READABLE_SIDE`.
    """
    factor = min(8, math.ceil(READABLE_SIDE / max(image.size)))
    picture = image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    colours = label_colours(defect.label for defect in defects)
    line = max(1, round(max(picture.size) / 350))
    for defect, mask in zip(defects, masks, strict=bool(masks)):
        if mask is not None:
            _paint_mask(picture, mask, colours[defect.label], line)
    draw = ImageDraw.Draw(picture)
    boxes = [_scaled(defect.box, factor, picture.size) for defect in defects]
    for defect, box in zip(defects, boxes, strict=True):
        _draw_box(draw, box, colours[defect.label], line)
    font = ImageFont.load_default(size=max(13, round(max(picture.size) / 34)))
    for number, (defect, box) in enumerate(zip(defects, boxes, strict=True), start=1):
        _draw_label(draw, f"{number} {defect.label}", box, colours[defect.label], font=font)
    return picture


def _scaled(box: Box, factor: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Inclusive pixel corners of a box (its x2, y2 are exclusive) on the enlarged picture."""
    x1 = min(int(box[0] * factor), size[0] - 1)
    y1 = min(int(box[1] * factor), size[1] - 1)
    x2, y2 = math.ceil(box[2] * factor) - 1, math.ceil(box[3] * factor) - 1
    return x1, y1, max(x1, min(x2, size[0] - 1)), max(y1, min(y2, size[1] - 1))


def _paint_mask(picture: Image.Image, mask: NDArray[np.bool_], colour: Colour, line: int) -> None:
    area = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.NEAREST)
    bounds = area.getbbox()
    if bounds is None:
        return
    margin = line + 1
    bounds = (
        max(0, bounds[0] - margin),
        max(0, bounds[1] - margin),
        min(picture.width, bounds[2] + margin),
        min(picture.height, bounds[3] + margin),
    )
    part = area.crop(bounds)
    inner = part.filter(ImageFilter.MinFilter(2 * min(line, 5) + 1))
    edge = np.asarray(part) & ~np.asarray(inner)
    alpha = np.where(edge > 0, 255, np.asarray(part) * MASK_ALPHA).astype(np.uint8)
    picture.paste(colour, bounds, Image.fromarray(alpha))


def _draw_box(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: Colour, line: int) -> None:
    # A dark rim keeps the coloured line visible on a surface of the same colour.
    rim = max(1, line // 2)
    draw.rectangle((box[0] - rim, box[1] - rim, box[2] + rim, box[3] + rim), outline=(0, 0, 0), width=rim)
    draw.rectangle(box, outline=colour, width=line)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    box: tuple[int, int, int, int],
    colour: Colour,
    *,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """The label above the box, below it where there is no room above, else in it; always inside the picture."""
    width, height = draw.im.size
    text = " ".join(text.split())
    pad = max(3, round(width / 300))
    while len(text) > 1 and draw.textlength(text, font=font) + 2 * pad > width:
        text = text[:-2].rstrip() + "…"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    w, h = round(right - left) + 2 * pad, round(bottom - top) + 2 * pad
    x = max(0, min(box[0], width - w))
    y = box[1] - h - 1
    if y < 0:
        y = box[3] + 2 if box[3] + 2 + h <= height else box[1]
    y = max(0, min(y, height - h))
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=(0, 0, 0) if bright else (255, 255, 255))
