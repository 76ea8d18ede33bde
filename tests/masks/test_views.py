from __future__ import annotations

import random

import pytest

from iadr1.geometry import Box
from iadr1.masks.views import MIN_CROP, crop_view, plan_views

PHOTO = (4000, 3000)
GRID = 256


def test_a_large_box_is_shown_in_the_whole_photo() -> None:
    # 16 of 256 cells are 250 of 4000 px.
    assert crop_view((100, 100, 350, 120), PHOTO, grid=GRID) == (0, 0, 4000, 3000)
    assert crop_view((100, 100, 349, 120), PHOTO, grid=GRID) != (0, 0, 4000, 3000)


def test_a_small_box_is_shown_in_the_middle_of_a_square_of_four_times_its_side() -> None:
    assert crop_view((1000, 1000, 1100, 1060), PHOTO, grid=GRID) == (850, 830, 1250, 1230)


def test_a_crop_is_moved_into_the_photo_and_never_smaller_than_it_may_be() -> None:
    assert crop_view((3995, 2995, 4000, 3000), PHOTO, grid=GRID) == (4000 - MIN_CROP, 3000 - MIN_CROP, 4000, 3000)


def test_a_crop_as_large_as_the_photo_is_the_photo() -> None:
    assert crop_view((10, 10, 12, 12), (60, 50), grid=GRID) == (0, 0, 60, 50)
    assert crop_view((0, 0, 1, 1), (1, 1), grid=GRID) == (0, 0, 1, 1)


def test_a_crop_of_a_narrow_photo_is_as_wide_as_the_photo() -> None:
    assert crop_view((10, 1000, 30, 1030), (40, 3000), grid=GRID)[::2] == (0, 40)


def test_neighbours_share_a_crop_and_far_boxes_do_not() -> None:
    near = {0: (1000.0, 1000.0, 1100.0, 1060.0), 1: (1020.0, 1080.0, 1080.0, 1120.0), 2: (3000.0, 500.0, 3100.0, 560.0)}
    shown = plan_views(near, PHOTO, grid=GRID)
    assert sorted(sorted(view.boxes) for view in shown) == [[0, 1], [2]]


def test_a_tiny_box_gets_a_crop_of_its_own_beside_a_larger_neighbour() -> None:
    shown = plan_views({0: (1000.0, 1000.0, 1150.0, 1150.0), 1: (1050.0, 1050.0, 1060.0, 1060.0)}, PHOTO, grid=GRID)
    assert [view.boxes for view in shown] == [[0], [1]]


def test_the_whole_photo_comes_first_and_once() -> None:
    shown = plan_views(
        {0: (5.0, 5.0, 9.0, 9.0), 1: (0.0, 0.0, 3000.0, 900.0), 2: (0.0, 0.0, 900.0, 900.0)}, PHOTO, grid=GRID
    )
    assert [view.view for view in shown] == [(0, 0, 4000, 3000), (0, 0, 64, 64)]
    assert sorted(shown[0].boxes) == [1, 2]
    assert plan_views({}, PHOTO, grid=GRID) == []


@pytest.mark.parametrize("photo", [PHOTO, (300, 200), (33, 900)])
def test_every_box_is_in_one_view_and_lies_in_it(photo: tuple[int, int]) -> None:
    rng = random.Random(0)
    boxes: dict[int, Box] = {}
    for index in range(500):
        x, y = rng.uniform(0, photo[0] - 1), rng.uniform(0, photo[1] - 1)
        boxes[index] = (
            x,
            y,
            rng.uniform(x + 0.1, min(photo[0], x + 400)),
            rng.uniform(y + 0.1, min(photo[1], y + 400)),
        )
    shown = plan_views(boxes, photo, grid=GRID)
    assert sorted(index for view in shown for index in view.boxes) == list(range(500))
    for view in shown:
        left, top, right, bottom = view.view
        assert 0 <= left < right <= photo[0]
        assert 0 <= top < bottom <= photo[1]
        for index in view.boxes:
            x1, y1, x2, y2 = boxes[index]
            assert left <= x1 + 0.5
            assert top <= y1 + 0.5
            assert right >= x2 - 0.5
            assert bottom >= y2 - 0.5
