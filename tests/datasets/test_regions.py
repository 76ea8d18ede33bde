from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iadr1.datasets.regions import mask_defects, regions

Mask = Callable[..., None]


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


def test_a_mask_file_gives_typed_placed_defects(tmp_path: Path, mask: Mask) -> None:
    mask(tmp_path / "m.png", [(0, 0, 10, 10), (50, 25, 60, 35)], value=2)
    found = mask_defects(tmp_path, "m.png", "color")
    assert [(d.type, d.box, d.location, d.mask) for d in found] == [
        ("color", (0, 0, 10, 10), "top left", "m.png"),
        ("color", (50, 25, 60, 35), "middle right", "m.png"),
    ]


def test_a_defect_with_an_empty_mask_is_known_but_nowhere(tmp_path: Path, mask: Mask) -> None:
    mask(tmp_path / "m.png")
    (found,) = mask_defects(tmp_path, "m.png", "color")
    assert (found.type, found.box, found.location) == ("color", None, None)
