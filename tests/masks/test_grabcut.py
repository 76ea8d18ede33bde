from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from iadr1.geometry import Box, box_mask
from iadr1.masks.grabcut import GrabCutSegmenter


def _surface(size: tuple[int, int] = (200, 160)) -> Image.Image:
    noise = np.random.default_rng(0).normal(120, 4, (size[1], size[0], 1)).repeat(3, axis=2)
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def _drawn(kind: str) -> tuple[Image.Image, NDArray[np.bool_], Box]:
    image, truth = _surface(), Image.new("1", (200, 160))
    for draw, colour in ((ImageDraw.Draw(image), (70, 64, 60)), (ImageDraw.Draw(truth), 1)):
        if kind == "scratch":
            draw.line((60, 50, 130, 100), fill=colour, width=3)
        elif kind == "spot":
            draw.ellipse((80, 60, 92, 71), fill=colour)
        else:
            draw.polygon([(60, 50), (120, 60), (90, 110)], fill=colour)
    mask = np.asarray(truth, dtype=bool)
    rows, columns = np.nonzero(mask)
    box = (columns.min() - 4.0, rows.min() - 3.0, columns.max() + 3.0, rows.max() + 5.0)
    return image, mask, box


@pytest.mark.parametrize(("kind", "least"), [("scratch", 0.6), ("spot", 0.8), ("blob", 0.8)])
def test_masks_follow_the_defect_and_beat_the_filled_box(kind: str, least: float) -> None:
    image, truth, box = _drawn(kind)
    result = GrabCutSegmenter().segment(image, [box])[0]
    assert result.source == "grabcut"
    assert _iou(result.mask, truth) >= least > _iou(box_mask(box, image.size), truth)
    assert 0.5 < result.score <= 1


def test_same_mask_every_time_and_in_any_order() -> None:
    image, _, box = _drawn("scratch")
    other = (20.0, 20.0, 60.0, 50.0)
    first, _ = GrabCutSegmenter().segment(image, [box, other])
    _, second = GrabCutSegmenter().segment(image, [other, box])
    assert np.array_equal(first.mask, second.mask)
    assert first.score == second.score


def test_uniform_box_falls_back_to_the_box_and_says_so() -> None:
    image = Image.new("RGB", (100, 80), (90, 90, 90))
    box = (20.0, 20.0, 40.5, 30.0)
    result = GrabCutSegmenter().segment(image, [box])[0]
    assert (result.source, result.score) == ("box", 0.0)
    assert np.array_equal(result.mask, box_mask(box, image.size))


def test_an_even_spot_that_fills_the_box_is_the_box_and_stands_out() -> None:
    """No two groups of pixels can be told apart inside, all of them differ from what lies around."""
    pixels = np.full((80, 100, 3), 90, dtype=np.uint8)
    pixels[26:44, 26:54] = 220
    box = (30.0, 30.0, 50.0, 40.0)
    result = GrabCutSegmenter().segment(Image.fromarray(pixels), [box])[0]
    assert result.source == "grabcut"
    assert result.score > 0.5
    assert np.array_equal(result.mask, box_mask(box, (100, 80)))


def test_speckle_all_over_the_box_falls_back_to_the_box() -> None:
    pixels = np.full((120, 120, 3), 120, dtype=np.uint8)
    pixels[30:90:12, 30:90:12] = 0
    result = GrabCutSegmenter().segment(Image.fromarray(pixels), [(28.0, 28.0, 92.0, 92.0)])[0]
    assert result.source == "box"


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 300), (3, 3), (40, 30)])
@pytest.mark.parametrize(
    "part", [(0.0, 0.0, 1.0, 1.0), (0.4, 0.4, 0.41, 0.41), (0.5, 0.5, 3.0, 3.0), (2.0, 2.0, 3.0, 3.0)]
)
def test_degenerate_crops_never_fail(size: tuple[int, int], part: Box) -> None:
    image = _surface((max(size), max(size))).crop((0, 0, *size))
    box = (part[0] * size[0], part[1] * size[1], part[2] * size[0], part[3] * size[1])
    result = GrabCutSegmenter().segment(image, [box])[0]
    assert result.mask.shape == (size[1], size[0])
    assert result.source in ("box", "grabcut")
    assert 0 <= result.score <= 1


def test_large_crops_are_segmented_at_bounded_size_and_given_back_whole() -> None:
    image, truth, box = _drawn("blob")
    factor = 10
    large = image.resize((2000, 1600))
    result = GrabCutSegmenter().segment(large, [(box[0] * 10, box[1] * 10, box[2] * 10, box[3] * 10)])[0]
    assert result.mask.shape == (1600, 2000)
    assert _iou(result.mask, truth.repeat(factor, axis=0).repeat(factor, axis=1)) > 0.8
