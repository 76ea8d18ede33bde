"""Boxes, spaces, masks and regions, against hand-computed values and transformers' own resize rule."""

import math

import numpy as np
import pytest

from iadr1.geometry import (
    LOCATIONS,
    BoxFrame,
    BoxSpace,
    box_mask,
    clip_box,
    dilate_box,
    iou,
    location_word,
    mask_box,
    smart_resize,
)
from iadr1.prompts import LabelledBox, parse, render_boxes

# Worked values of the formats reference, section 22.2: (width, height) -> (width, height).
RESIZED = [
    ((640, 480), 12_845_056, (644, 476)),
    ((427, 640), 12_845_056, (420, 644)),
    ((1000, 800), 12_845_056, (1008, 812)),
    ((1000, 800), 1_003_520, (1008, 812)),
    ((1024, 1024), 1_003_520, (980, 980)),
    ((1600, 1280), 1_003_520, (1120, 896)),
    ((5000, 4000), 12_845_056, (4004, 3192)),
    ((230, 630), 12_845_056, (224, 616)),
    ((14, 14), 12_845_056, (56, 56)),
    ((42, 70), 12_845_056, (56, 56)),
]


@pytest.mark.parametrize(("size", "most", "expected"), RESIZED)
def test_smart_resize_gives_the_worked_values(size: tuple[int, int], most: int, expected: tuple[int, int]) -> None:
    if size == (1000, 800) and most == 1_003_520:
        expected = (1008, 812) if most >= 1008 * 812 else (1008, 784)
    assert smart_resize(*size, factor=28, min_pixels=3136, max_pixels=most) == expected


def test_smart_resize_agrees_with_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as theirs

    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height = (int(v) for v in rng.integers(20, 3000, 2))
        if max(width, height) / min(width, height) > 200:
            continue
        h, w = theirs(height, width, factor=28, min_pixels=3136, max_pixels=1_003_520)
        assert smart_resize(width, height, factor=28, min_pixels=3136, max_pixels=1_003_520) == (w, h)


def test_smart_resize_refuses_a_sliver() -> None:
    with pytest.raises(ValueError, match="aspect ratio of 1x300"):
        smart_resize(1, 300, factor=28, min_pixels=3136, max_pixels=10**6)


def test_frames_convert_each_axis_by_its_own_factor() -> None:
    frame = BoxFrame(BoxSpace.INPUT_PX, (640, 480), (644, 476))
    assert frame.to_model((320, 240, 640, 480)) == (322, 238, 644, 476)
    assert frame.to_image((322, 238, 644, 476)) == pytest.approx((320, 240, 640, 480))
    thousand = BoxFrame(BoxSpace.NORM1000, (640, 480), (644, 476))
    assert thousand.to_model((64, 48, 320, 240)) == (100, 100, 500, 500)
    assert thousand.to_image((100, 100, 500, 500)) == pytest.approx((64, 48, 320, 240))


def test_boxes_at_the_edge_are_one_step_wide_and_inside() -> None:
    thousand = BoxFrame(BoxSpace.NORM1000, (100, 100), (112, 112))
    assert thousand.to_model((99.99, -3, 100, 0.01)) == (999, 0, 1000, 1)
    assert thousand.to_model((-5, 99.99, 0.01, 130)) == (0, 999, 1, 1000)
    unit = BoxFrame(BoxSpace.UNIT, (100, 100), (112, 112))
    assert unit.to_model((99.99, 50, 100, 50)) == (0.999, 0.5, 1, 0.501)


def test_decimal_frames_by_hand() -> None:
    unit = BoxFrame(BoxSpace.UNIT, (640, 480), (640, 480))
    assert unit.to_model((64, 48, 320, 240)) == (0.1, 0.1, 0.5, 0.5)
    assert unit.to_image((0.1, 0.1, 0.5, 0.5)) == pytest.approx((64, 48, 320, 240))
    # The image lies 80 px below the top of its 640 x 640 square.
    square = BoxFrame(BoxSpace.UNIT_SQUARE, (640, 480), (336, 336))
    assert square.to_model((0, 0, 640, 480)) == (0, 0.125, 1, 0.875)
    assert square.to_model((64, 48, 320, 240)) == (0.1, 0.2, 0.5, 0.5)
    assert square.to_image((0.1, 0.2, 0.5, 0.5)) == pytest.approx((64, 48, 320, 240))
    assert square.to_image((0, 0, 1, 1)) == (0, 0, 640, 480)
    assert square.to_image((0, 0, 1, 0.1)) is None  # in the padding
    tall = BoxFrame(BoxSpace.UNIT_SQUARE, (480, 640), (336, 336))
    assert tall.to_model((0, 0, 480, 640)) == (0.125, 0, 0.875, 1)


@pytest.mark.parametrize("space", list(BoxSpace))
def test_boxes_come_back_within_one_unit_of_what_was_written(space: BoxSpace) -> None:
    """From the image to the text a perfect model writes and back: each corner within one unit, order and area kept."""
    rng = np.random.default_rng(1)
    for _ in range(300):
        width, height = (int(v) for v in rng.integers(30, 2000, 2))
        input_wh = (int(rng.integers(4, 40)) * 28, int(rng.integers(4, 40)) * 28)
        frame = BoxFrame(space, (width, height), input_wh)
        x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        box = (float(x[0]), float(y[0]), float(x[1]), float(y[1]))
        text = f"<think></think><answer>{render_boxes([LabelledBox(box, 'hole')], frame)}</answer>"
        answer = parse(text, "boxes", frame=frame)
        assert answer.status == "ok"
        assert answer.boxes is not None
        back = answer.boxes[0].box
        if space is BoxSpace.INPUT_PX:
            unit = (width / input_wh[0], height / input_wh[1])
        elif space is BoxSpace.UNIT_SQUARE:
            unit = (max(width, height) / 1000, max(width, height) / 1000)
        else:
            unit = (width / 1000, height / 1000)
        assert max(abs(back[0] - box[0]), abs(back[2] - box[2])) <= unit[0] * 1.0001
        assert max(abs(back[1] - box[1]), abs(back[3] - box[3])) <= unit[1] * 1.0001
        assert 0 <= back[0] < back[2] <= width
        assert 0 <= back[1] < back[3] <= height


def test_numbers_are_written_as_the_space_says() -> None:
    box = [LabelledBox((10.0, 20.0, 30.0, 40.0), "hole")]
    for space, numbers in (
        (BoxSpace.INPUT_PX, "[11, 22, 34, 45]"),
        (BoxSpace.NORM1000, "[100, 200, 300, 400]"),
        (BoxSpace.UNIT, "[0.1, 0.2, 0.3, 0.4]"),
    ):
        assert numbers in render_boxes(box, BoxFrame(space, (100, 100), (112, 112)))


def test_frame_refuses_what_is_not_a_number_or_outside() -> None:
    frame = BoxFrame(BoxSpace.INPUT_PX, (100, 100), (112, 112))
    assert frame.to_image((math.nan, 0, 5, 5)) is None
    for digits in (308, 309, 400):
        assert frame.to_image((0, 0, int("9" * digits), int("9" * digits))) in (None, (0, 0, 100, 100))
    assert frame.to_image((200, 200, 300, 300)) is None
    assert frame.to_image((50, 60, 10, 20)) == pytest.approx((8.929, 17.857, 44.643, 53.571), abs=1e-3)


def test_clip_and_dilate_stay_inside() -> None:
    assert clip_box((-5, -5, 5, 500), (100, 50)) == (0, 0, 5, 50)
    assert clip_box((3, 3, 3, 9), (100, 50)) is None
    assert dilate_box((10, 10, 30, 20), 0.1, (100, 50)) == (8, 9, 32, 21)
    assert dilate_box((0, 0, 100, 50), 0.5, (100, 50)) == (0, 0, 100, 50)


def test_iou_by_hand() -> None:
    assert iou((0, 0, 10, 10), (5, 5, 15, 15)) == pytest.approx(25 / 175)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_location_words_cover_the_grid_in_reading_order() -> None:
    words = [location_word((c * 30, r * 20, c * 30 + 30, r * 20 + 20), (90, 60)) for r in range(3) for c in range(3)]
    assert tuple(words) == LOCATIONS
    assert location_word((89, 59, 90, 60), (90, 60)) == "bottom right"


def test_mask_box_is_tight_and_half_open() -> None:
    mask = np.zeros((20, 30), bool)
    assert mask_box(mask) is None
    mask[4:7, 10:15] = True
    assert mask_box(mask) == (10, 4, 15, 7)
    assert np.array_equal(box_mask((10, 4, 15, 7), (30, 20)), mask)
    assert not box_mask((50, 50, 60, 60), (30, 20)).any()
