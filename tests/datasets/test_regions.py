from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iadr1.datasets.regions import MERGE_GAP_PX, MIN_AREA_PX, Region, regions
from iadr1.geometry import LOCATIONS, box_mask, location_word, mask_box


def draw(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (80, 60)) -> NDArray[np.bool_]:
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def test_each_region_has_its_tight_half_open_box_and_area() -> None:
    found = regions(draw((40, 30, 50, 45), (3, 5, 9, 10)))
    assert [(item.box, item.area_px) for item in found] == [((3, 5, 9, 10), 30), ((40, 30, 50, 45), 150)]


def test_an_empty_mask_has_no_region() -> None:
    assert regions(draw()) == []


@pytest.mark.parametrize("box", [(0, 0, 6, 6), (74, 54, 80, 60), (0, 0, 80, 60)])
def test_regions_at_the_border_keep_their_box(box: tuple[int, int, int, int]) -> None:
    assert [item.box for item in regions(draw(box))] == [box]


@pytest.mark.parametrize(("gap", "count"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)])
def test_regions_less_than_three_pixels_apart_are_one(gap: int, count: int) -> None:
    sideways = regions(draw((10, 10, 20, 20), (20 + gap, 10, 30, 20)))
    cornerwise = regions(draw((10, 10, 20, 20), (20 + gap, 20 + gap, 30, 30)))
    assert len(sideways) == len(cornerwise) == count
    if count == 1:
        assert (sideways[0].box, sideways[0].area_px) == ((10, 10, 30, 20), 100 + 10 * (10 - gap))


def test_regions_below_four_pixels_are_dropped() -> None:
    found = regions(draw((5, 5, 8, 6), (40, 40, 42, 42)))
    assert [item.box for item in found] == [(40, 40, 42, 42)]


def test_a_ring_around_a_spot_stays_two_regions() -> None:
    mask = draw((10, 10, 50, 50))
    mask[12:48, 12:48] = False
    mask[28:32, 28:32] = True
    assert sorted(item.area_px for item in regions(mask)) == [16, 40 * 40 - 36 * 36]


def apart(rng: np.random.Generator, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Random boxes of at least `MIN_AREA_PX`, far enough from each other to stay regions of their own."""
    free = np.ones((size[1], size[0]), dtype=bool)
    found = []
    for _ in range(12):
        w, h = (int(value) for value in rng.integers(2, 15, 2))
        x, y = int(rng.integers(0, size[0] - w + 1)), int(rng.integers(0, size[1] - h + 1))
        if free[y : y + h, x : x + w].all():
            found.append((x, y, x + w, y + h))
            gap = MERGE_GAP_PX
            free[max(0, y - gap) : y + h + gap, max(0, x - gap) : x + w + gap] = False
    return found


@pytest.mark.parametrize("seed", range(40))
def test_boxes_to_mask_to_regions_gives_the_boxes_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)))
    boxes = apart(rng, size)
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for box in boxes:
        mask |= box_mask(box, size)
    found = regions(mask)
    assert sorted(region.box for region in found) == sorted(boxes)
    assert [region.box[1] for region in found] == sorted(box[1] for box in boxes)
    assert sum(region.area_px for region in found) == mask.sum()


@pytest.mark.parametrize("seed", range(40))
def test_regions_of_any_mask_cover_it_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((50, 70)) < rng.choice([0.001, 0.01, 0.05])
    mask = mask | np.roll(mask, 1, axis=1) | np.roll(mask, 1, axis=0)
    found = regions(mask)
    inside = np.zeros_like(mask)
    for region in found:
        x1, y1, x2, y2 = (int(value) for value in region.box)
        inside[y1:y2, x1:x2] = True
        part = mask[y1:y2, x1:x2]
        # Tight: a pixel of the mask touches each side.
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()
        assert MIN_AREA_PX <= region.area_px <= part.sum()
    left = mask & ~inside
    assert all(region.area_px < MIN_AREA_PX for region in pieces(left))


def pieces(mask: NDArray[np.bool_]) -> list[Region]:
    """The connected pieces of a mask by a plain flood fill, corners included."""
    todo = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    while todo:
        stack, piece = [todo.pop()], np.zeros_like(mask)
        while stack:
            y, x = stack.pop()
            piece[y, x] = True
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in todo:
                    todo.remove(near)
                    stack.append(near)
        box = mask_box(piece)
        assert box is not None
        found.append(Region(box, int(piece.sum())))
    return found


@pytest.mark.parametrize("size", [(60, 60), (61, 47), (100, 31)])
def test_a_region_in_each_ninth_is_named_after_it(size: tuple[int, int]) -> None:
    for number, word in enumerate(LOCATIONS):
        cx, cy = (2 * (number % 3) + 1) * size[0] / 6, (2 * (number // 3) + 1) * size[1] / 6
        (found,) = regions(box_mask((cx - 2, cy - 2, cx + 2, cy + 2), size))
        assert location_word(found.box, size) == word
