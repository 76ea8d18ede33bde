"""The crop of one box: what it shows, and what a model's configuration may say about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.errors import ModelError
from iadr1.masks.boxcrop import BoxCrop, box_prompt, cut, scaled, shown_square, standardised

CROP = BoxCrop(context=1.5, stretch=2.0, min_side=32.0)


@pytest.mark.parametrize(
    ("box", "view"),
    [
        ((100, 100, 140, 140), (90, 90, 150, 150)),  # 1.5 times the box
        ((100, 100, 200, 140), (75, 82, 225, 157)),  # 100 x 40: the shorter side counts as half of the longer
        ((100, 100, 200, 180), (75, 80, 225, 200)),  # 100 x 80: each side for itself
        ((100, 100, 104, 106), (86, 87, 118, 119)),  # at least 32 px
        ((-10, 0, 30, 40), (-20, -10, 40, 50)),  # beyond the photo
    ],
)
def test_a_view_holds_the_box_and_its_surroundings(box: tuple[int, ...], view: tuple[int, ...]) -> None:
    x1, y1, x2, y2 = map(float, box)
    assert CROP.view((x1, y1, x2, y2)) == view


def test_beyond_the_photo_its_edge_is_repeated_and_a_mask_is_empty() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert cut(pixels, (-2, -1, 2, 2)).tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [4, 4, 4, 5]]
    assert cut(pixels, (2, 1, 6, 5)).tolist() == [[6, 7, 7, 7], [10, 11, 11, 11], [10, 11, 11, 11], [10, 11, 11, 11]]
    full = np.full((3, 4), 255, dtype=np.uint8)
    assert cut(full, (-1, -1, 2, 2), edge=False).tolist() == [[0, 0, 0], [0, 255, 255], [0, 255, 255]]
    assert cut(full, (3, 2, 5, 4), edge=False).tolist() == [[255, 0], [0, 0]]


@pytest.mark.parametrize(
    "view", [(10, 5, 40, 35), (-20, -10, 40, 50), (50, 30, 90, 70), (-30, -30, 150, 120), (70, 50, 130, 100)]
)
def test_a_view_of_a_photo_is_that_of_its_pixels(view: tuple[int, int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    shown = np.asarray(shown_square(Image.fromarray(pixels), view, 32))
    assert np.array_equal(shown, scaled(cut(pixels, view), 32))


def test_brightness_and_contrast_do_not_matter() -> None:
    crops = np.random.default_rng(0).uniform(0, 1, (2, 3, 8, 8)).astype(np.float32)
    crops[1] = 0.4 * crops[0] + 0.3
    first, second = standardised(crops)
    assert abs(float(first.mean())) < 1e-5
    assert float(first.std()) == pytest.approx(0.85, abs=0.02)  # .29 / (.29 + .05)
    assert float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) > 0.9999
    even = standardised(np.full((1, 3, 8, 8), 0.7, dtype=np.float32))
    assert float(np.abs(even).max()) < 1e-4


def test_a_box_is_drawn_by_the_share_of_each_cell() -> None:
    drawn = box_prompt(np.array([[8.0, 16.0, 28.0, 32.0]], dtype=np.float32), side=64, grid=4)
    # Cells are 16 px: from .5 to 1.75 across, from 1 to 2 down.
    assert drawn.tolist() == [[[[-1] * 4, [0, 0.5, -1, -1], [-1] * 4, [-1] * 4]]]


def test_an_entry_survives_a_configuration() -> None:
    crop = BoxCrop(context=1.75, stretch=3.0, min_side=48, reach=0.1, threshold=-0.5)
    assert BoxCrop.read(crop.entry(), where="model") == crop


GOOD = CROP.entry()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "it needs the keys context, min_side, reach, stretch, threshold, and has 7"),
        ({**GOOD, "margin": 1.0}, "and has context, stretch, min_side, reach, threshold, margin"),
        ({"context": 1.5}, "and has context"),
        ({**GOOD, "context": "1.5"}, "context: not a number"),
        ({**GOOD, "reach": True}, "reach: not a number"),
        ({**GOOD, "context": 0.9}, "context is 0.9, it must be at least 1"),
        ({**GOOD, "stretch": float("nan")}, "stretch is nan, it must be at least 1"),
        ({**GOOD, "reach": -0.1}, "reach is -0.1, it must be at least 0"),
    ],
)
def test_an_entry_that_cannot_be_read_is_told(entry: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        BoxCrop.read(entry, where="some/model")
    assert message in str(caught.value)
    assert "some/model" in str(caught.value)
    assert "box_crop" in str(caught.value)
