from __future__ import annotations

import numpy as np
import pytest

from iadr1.geometry import Box, box_mask
from iadr1.masks import MaskResult, clean

BOX = (10.0, 10.0, 30.0, 30.0)


def test_pixels_outside_the_dilated_box_are_clipped() -> None:
    mask = np.ones((40, 50), dtype=bool)
    cleaned = clean(MaskResult(mask, 0.5, "x"), BOX)
    # 10 % of 20 px is 2 px on each side.
    assert np.array_equal(cleaned.mask, box_mask((8, 8, 32, 32), (50, 40)))
    assert (cleaned.score, cleaned.source) == (0.5, "x")


def test_holes_are_filled_and_small_islands_dropped() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[12:22, 12:22] = True
    mask[15:17, 15:17] = False
    mask[27, 27] = True  # 1 px of 100 px: below 5 %
    mask[24:28, 12:15] = True  # 12 px: above
    cleaned = clean(MaskResult(mask, 0.5, "x"), BOX).mask
    assert cleaned[15, 15]
    assert not cleaned[27, 27]
    assert cleaned[25, 13]
    assert cleaned.sum() == 112


def test_islands_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[12:20, 12:20] = True
    mask[20, 20] = True
    assert clean(MaskResult(mask, 0.5, "x"), BOX).mask[20, 20]


@pytest.mark.parametrize("filled", [(slice(0, 0), slice(0, 0)), (slice(0, 5), slice(0, 5))])
def test_an_empty_mask_becomes_the_filled_box(filled: tuple[slice, slice]) -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[filled] = True
    cleaned = clean(MaskResult(mask, 0.9, "x"), BOX)
    assert np.array_equal(cleaned.mask, box_mask(BOX, (50, 40)))
    assert (cleaned.score, cleaned.source) == (0.0, "box")


def test_one_pixel_image() -> None:
    cleaned = clean(MaskResult(np.zeros((1, 1), dtype=bool), 0.9, "x"), (0.2, 0.2, 0.7, 0.7))
    assert cleaned.mask.tolist() == [[True]]


def test_agreement_is_the_iou_of_the_box_and_the_masks_own_box() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:30, 10:20] = True  # the left half of the box
    assert clean(MaskResult(mask, 0.5, "x"), BOX).agreement == pytest.approx(0.5)
    mask[10:30, 10:30] = True
    assert clean(MaskResult(mask, 0.5, "x"), BOX).agreement == 1.0


def test_the_filled_box_agrees_with_itself_but_for_rounding_to_pixels() -> None:
    empty = MaskResult(np.zeros((40, 50), dtype=bool), 0.9, "x")
    assert clean(empty, BOX).agreement == 1.0
    assert clean(empty, (10.5, 10.0, 30.0, 30.0)).agreement == pytest.approx(19.5 / 20)


def test_a_reversed_box_is_put_in_order() -> None:
    mask = np.ones((40, 50), dtype=bool)
    reversed_box = (BOX[2], BOX[3], BOX[0], BOX[1])
    one, two = clean(MaskResult(mask, 0.5, "x"), BOX), clean(MaskResult(mask, 0.5, "x"), reversed_box)
    assert np.array_equal(one.mask, two.mask)
    assert one.agreement == two.agreement


@pytest.mark.parametrize(
    "box",
    [
        (10.0, 10.0, 10.0, 30.0),
        (60.0, 10.0, 70.0, 30.0),
        (-9.0, -9.0, 0.0, 0.0),
        (float("nan"), 10.0, 30.0, 30.0),
        (10.0, 10.0, 30.0, float("nan")),
    ],
)
def test_a_box_of_which_nothing_lies_in_the_image_has_an_empty_mask(box: Box) -> None:
    cleaned = clean(MaskResult(np.ones((40, 50), dtype=bool), 0.9, "x"), box)
    assert not cleaned.mask.any()
    assert (cleaned.score, cleaned.source, cleaned.agreement) == (0.0, "box", 0.0)
