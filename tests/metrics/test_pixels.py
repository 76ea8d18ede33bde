"""Pixel figures against hand cases, and AUPRO against a slow statement of its definition and of MVTec's curve."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from iadr1.errors import DataError
from iadr1.metrics.pixels import Map, Mask, aupro, pixel_scores


def mask(*rows: str) -> Mask:
    return np.array([[character == "#" for character in row] for row in rows])


def numbers(*rows: Sequence[float]) -> NDArray[Any]:
    return np.array(rows, dtype=np.float32)


DIAGONAL = mask("#..", ".#.", "...")  # one region: its two pixels touch at a corner


def test_pixel_scores_by_hand() -> None:
    half = (mask("##", ".."), mask("#.", "#."))  # one hit, two marked, two true: IoU 1/3, Dice 1/2
    whole = (mask("#.", ".."), mask("#.", ".."))
    missed = (mask("..", ".."), mask("##", ".."))
    false_alarm = (mask("#.", ".."), mask("..", ".."))
    quiet = (mask("..", ".."), mask("..", ".."))
    assert pixel_scores([half, whole, missed, false_alarm, quiet]) == pytest.approx(
        {
            "masks": 5,
            "defect_masks": 3,
            "pixel_iou": (1 / 3 + 1 + 0) / 3,
            "pixel_dice": (1 / 2 + 1 + 0) / 3,
            "pixel_iou_pooled": 2 / (4 + 5 - 2),
            "pixel_dice_pooled": 4 / (4 + 5),
            "normal_marked": 100 / 8,
        }
    )


def test_what_is_not_defined_is_left_out() -> None:
    quiet = (mask("..", ".."), mask("..", ".."))
    assert pixel_scores([]) == {"masks": 0, "defect_masks": 0}
    assert pixel_scores([quiet]) == {"masks": 1, "defect_masks": 0, "normal_marked": 0.0}
    assert pixel_scores([(mask("#"), mask("."))])["pixel_iou_pooled"] == 0.0
    assert "normal_marked" not in pixel_scores([(mask("#"), mask("#"))])


def slow_aupro(maps: Sequence[Map], masks: Sequence[Mask], limit: float) -> float:
    """The curve with a point for every distinct score, regions found by flooding, and the trapezoid rule."""
    regions: list[list[float]] = []
    normal: list[float] = []
    for scores, truth in zip(maps, masks, strict=True):
        left = {(int(y), int(x)) for y, x in np.argwhere(truth)}
        while left:
            stack, region = [left.pop()], []
            while stack:
                y, x = stack.pop()
                region.append(float(scores[y, x]))
                near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                left -= near
                stack += near
            regions.append(region)
        normal += [float(value) for value in scores[~truth]]
    points = [(0.0, 0.0)]
    for level in sorted({value for values in [*regions, normal] for value in values}, reverse=True):
        shares = [sum(value >= level for value in region) / len(region) for region in regions]
        points.append((sum(value >= level for value in normal) / len(normal), sum(shares) / len(shares)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return 100 * area / limit


def test_a_perfect_map_reaches_100_and_the_opposite_0() -> None:
    truth = [DIAGONAL, mask("...", "...", "..#"), mask("...", "...", "...")]
    perfect = [region.astype(np.float32) for region in truth]
    assert aupro(perfect, truth) == pytest.approx(100.0)
    assert aupro([1 - scores for scores in perfect], truth) == 0.0


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_a_constant_map_is_the_diagonal(limit: float) -> None:
    flat = np.full((3, 3), 7.0)
    assert aupro([flat, flat], [DIAGONAL, mask("...", "...", "...")], limit=limit) == pytest.approx(50 * limit)


def test_by_hand() -> None:
    # Ten normal pixels in two images. Region 1 (one pixel, 9) is above them all; of region 2 (two pixels, 5 and 1) the
    # first is tied with the normal pixels after one (8), the second has five of them above it.
    truth = [mask("#.##......."), mask("..")]
    scores = [numbers([9, 8, 5, 1, 5, 5, 2, 0, 0, 0, 0]), numbers([0, 0])]
    # False-positive rates: region 1 at 0, half of region 2 along 0.1 to 0.3, the other half at 0.4, above the limit.
    area = 0.5 * 0.3 + 0.5 * 0.5 * (0.3 - 0.1) / 2
    assert aupro(scores, truth) == pytest.approx(100 * area / 0.3)


def test_a_ramp_that_the_limit_cuts_off() -> None:
    # The region's pixel is tied with the second to fifth of five normal pixels: the ramp goes from 0.2 to 1.
    scores, truth = [numbers([9, 1, 1, 1, 1, 1])], [mask(".....#")]
    assert aupro(scores, truth, limit=0.6) == pytest.approx(100 * (0.4 * 0.5 / 2) / 0.6)


def test_regions_count_the_same_whatever_their_size() -> None:
    truth = [mask("####.#....")]
    found_small = [numbers([0, 0, 0, 0, 0, 1, 0, 0, 0, 0])]
    assert aupro(found_small, truth, limit=1.0) == pytest.approx(
        75.0
    )  # 1 for the small one, the diagonal for the other


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_it_agrees_with_the_slow_statement(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    levels = data.draw(st.sampled_from([1, 2, 3, 7, 10**6]))
    share = data.draw(st.sampled_from([0.05, 0.3, 0.8]))
    limit = data.draw(st.sampled_from([0.01, 0.1, 0.3, 0.77, 1.0]))
    sizes = [(int(rng.integers(1, 8)), int(rng.integers(1, 8))) for _ in range(3)]
    masks = [rng.random(size) < share for size in sizes]
    maps = [rng.integers(0, levels, size=size).astype(np.float32) - 3 for size in sizes]
    if any(truth.any() for truth in masks) and not all(truth.all() for truth in masks):
        assert aupro(maps, masks, limit=limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-9)
    else:
        assert aupro(maps, masks, limit=limit) is None


def test_maps_of_integers_and_bools_are_taken() -> None:
    assert aupro([DIAGONAL], [DIAGONAL]) == pytest.approx(100.0)
    assert aupro([np.full((3, 3), 200, np.uint8)], [DIAGONAL]) == pytest.approx(15.0)


def test_without_a_region_or_a_normal_pixel_there_is_no_figure() -> None:
    flat = np.zeros((3, 3))
    assert aupro([], []) is None
    assert aupro([flat], [mask("...", "...", "...")]) is None
    assert aupro([flat], [mask("###", "###", "###")]) is None


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"image 1: the map has the shape \(2, 2\), the true mask \(3, 3\)"):
        aupro([np.zeros((2, 2))], [DIAGONAL])
    with pytest.raises(DataError, match="image 1 holds NaN"):
        aupro([np.full((3, 3), np.nan)], [DIAGONAL])
    with pytest.raises(DataError, match="uint8"):
        pixel_scores([(DIAGONAL, (DIAGONAL * 255).astype(np.uint8))])
    with pytest.raises(DataError, match="image 1: the predicted mask"):
        pixel_scores([(mask("#"), DIAGONAL)])
    with pytest.raises(ValueError, match=r"not in \(0, 1\]"):
        aupro([], [], limit=0.0)
