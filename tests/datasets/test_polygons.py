from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from iadr1 import rle
from iadr1.datasets.polygons import Ring, Shape, circle, fill, ring
from iadr1.errors import DataError
from iadr1.geometry import Size, iou, mask_box
from iadr1.rle import Rle

SQUARE = ring([10, 20, 30, 20, 30, 50, 10, 50], "here")


def as_rle(value: object) -> Rle:
    return rle.parse(value)


def filled(rings: list[Ring], size: Size) -> NDArray[np.bool_]:
    return rle.decode(fill(rings, size))


def test_a_rectangle_covers_the_pixels_between_its_sides() -> None:
    mask = filled([SQUARE], (60, 60))
    assert mask.shape == (60, 60)
    assert mask.sum() == 20 * 30
    assert mask_box(mask) == (10, 20, 30, 50)


def test_a_pixel_counts_by_its_centre() -> None:
    mask = filled([ring([10.4, 20.6, 30.6, 20.6, 30.6, 50.4, 10.4, 50.4], "")], (60, 60))
    # 10.5 is inside and so is 30.5; 20.5 and 50.5 are not.
    assert mask_box(mask) == (10, 21, 31, 50)
    assert mask.sum() == 21 * 29


def test_the_corners_may_be_given_in_pairs_and_in_any_direction() -> None:
    pairs = ring([[10, 50], [30, 50], [30, 20], [10, 20]], "here")
    assert (filled([pairs], (60, 60)) == filled([SQUARE], (60, 60))).all()


def test_parts_are_joined_and_what_lies_outside_is_cut_off() -> None:
    mask = filled([ring([-10, -10, 5, -10, 5, 5, -10, 5], ""), ring([55, 50, 90, 50, 90, 90, 55, 90], "")], (60, 60))
    assert mask.sum() == 25 + 5 * 10
    assert not filled([ring([70, 70, 80, 70, 80, 80], "")], (60, 60)).any()


def test_a_concave_polygon_keeps_its_notch() -> None:
    mask = filled([ring([0, 0, 12, 0, 12, 12, 8, 12, 8, 4, 4, 4, 4, 12, 0, 12], "")], (20, 20))
    assert mask.sum() == 144 - 4 * 8
    assert not mask[6, 5]


@pytest.mark.parametrize("seed", range(40))
def test_polygon_mask_and_box_fit_each_other(seed: int) -> None:
    draw = np.random.default_rng(seed)
    angles = np.sort(draw.random(draw.integers(5, 14))) * 2 * math.pi
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * draw.uniform(12, 28, (angles.size, 1)) + (45, 30)
    defect = Shape(type="x", where="", rings=(points,)).defect((90, 60))
    mask = rle.decode(as_rle(defect.mask_rle))
    # Area by the shoelace formula; a pixel's error along the outline.
    (xs, ys), outline = points.T, np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
    area = abs((xs * np.roll(ys, -1) - ys * np.roll(xs, -1)).sum()) / 2
    assert abs(mask.sum() - area) < 0.5 * outline
    assert defect.box is not None
    tight = mask_box(mask)
    assert tight is not None
    assert np.abs(np.subtract(defect.box, tight)).max() <= max(2, 0.4 * outline / angles.size)
    assert iou(defect.box, (xs.min(), ys.min(), xs.max(), ys.max())) == pytest.approx(1)


def test_a_circle_has_its_box_and_its_area() -> None:
    defect = Shape(type="hole", where="", rings=(circle((30, 25), 12.0),)).defect((60, 60))
    assert defect.box == pytest.approx((18, 13, 42, 37))
    assert rle.area(as_rle(defect.mask_rle)) == pytest.approx(math.pi * 144, rel=0.01)
    assert defect.location == "center"


def test_fractions_become_pixels() -> None:
    defect = Shape(type="x", where="", box=(0.1, 0.2, 0.5, 0.4), relative=True).defect((200, 100))
    assert defect.box == pytest.approx((20, 20, 100, 40))
    assert (defect.mask_rle, defect.location) == (None, "top left")
    drawn = Shape(type="x", where="", rings=(SQUARE / 60,), relative=True).defect((60, 120))
    assert drawn.box == pytest.approx((10, 40, 30, 100))
    assert rle.area(as_rle(drawn.mask_rle)) == 20 * 60


def test_a_stated_box_goes_before_the_polygon_s() -> None:
    defect = Shape(type="x", where="", box=(9, 19, 31, 51), rings=(SQUARE,)).defect((60, 60))
    assert defect.box == (9, 19, 31, 51)
    assert rle.box(as_rle(defect.mask_rle)) == (10, 20, 30, 50)


def test_a_sliver_between_the_centres_has_a_box_only() -> None:
    defect = Shape(type="scratch", where="", rings=(ring([10.6, 5, 11.4, 5, 11.4, 30, 10.6, 30], ""),)).defect((60, 60))
    assert defect.box == pytest.approx((10.6, 5, 11.4, 30))
    assert defect.mask_rle is None


def test_a_bitmap_gives_its_box() -> None:
    bitmap = fill([SQUARE], (60, 60))
    defect = Shape(type="x", where="", rle=bitmap).defect((60, 60))
    assert (defect.box, defect.mask_rle) == ((10, 20, 30, 50), bitmap)


def test_without_the_image_only_what_is_written_is_told() -> None:
    assert Shape(type="x", where="", box=(1, 2, 3, 4)).defect(None).box == (1, 2, 3, 4)
    assert Shape(type="x", where="", rings=(SQUARE,)).defect(None).box == (10, 20, 30, 50)
    assert Shape(type="x", where="", box=(0.1, 0.2, 0.3, 0.4), relative=True).defect(None).box is None
    assert Shape(type="x", where="", placed=False, attributes={"a": "b"}).defect((9, 9)).attributes == {"a": "b"}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape(type="x", where="f:3", box=(70, 5, 80, 9)), "f:3: no area inside the 60x50 px image: 70, 5, 80, 9"),
        (Shape(type="x", where="f:3", rings=(ring([1, 1, 5, 1, 9, 1], ""),)), "f:3: no area"),
        (Shape(type="x", where="f:3", rle={"size": [60, 50], "counts": [2990, 10]}), "is 50x60 px, its image 60x50"),
        (Shape(type="x", where="f:3", rle={"size": [50, 60], "counts": [3000]}), "f:3: the mask is empty"),
        (Shape(type="x", where="f:3"), "no area inside the 60x50 px image: nothing"),
    ],
)
def test_a_shape_without_area_in_its_image_is_refused(shape: Shape, message: str) -> None:
    with pytest.raises(DataError, match=message):
        shape.defect((60, 50))


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3, 4], [1, 2, 3, 4, 5], [[1, 2], [3, 4]], [1, 2, 3, 4, 5, "6"], [1, 2, 3, 4, 5, True], "abc", None,
     [1, 2, 3, 4, 5, math.nan], [1, 2, 3, 4, 5, math.inf], [1, 2, 3, 4, 5, 10**400], [[1, 2, 3], [4, 5, 6]]],
)  # fmt: skip
def test_what_is_no_polygon_is_refused(values: object) -> None:
    with pytest.raises(DataError, match="f:3: not a polygon of at least three corners"):
        ring(values, "f:3")
