from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iadr1.geometry import Box, box_mask
from iadr1.records import DetectedDefect
from iadr1.reports.overlay import PALETTE, READABLE_SIDE, draw_overlay, label_colours

GREY = (128, 128, 128)


def _draw(
    size: tuple[int, int], *defects: tuple[str, Box], masks: bool = False
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    found = [DetectedDefect(label=label, box=box) for label, box in defects]
    drawn = [box_mask(box, size) for _, box in defects] if masks else []
    return np.asarray(draw_overlay(Image.new("RGB", size, GREY), found, drawn))


def test_the_photo_is_not_changed_and_nothing_is_drawn_without_defects() -> None:
    photo = Image.new("RGB", (600, 500), GREY)
    draw_overlay(photo, [DetectedDefect(label="x", box=(50, 50, 90, 90))])
    assert np.asarray(photo).min() == np.asarray(photo).max() == 128
    assert (_draw((600, 500)) == 128).all()


def test_the_line_runs_on_the_boxs_own_edge_pixels() -> None:
    picture = _draw((700, 500), ("scratch", (100, 200, 300, 260)))
    colour = label_colours(["scratch"])["scratch"]
    for row, column in ((230, 100), (230, 299), (200, 250), (259, 200)):
        assert tuple(picture[row, column]) == colour
    assert tuple(picture[230, 200]) == GREY
    assert tuple(picture[230, 310]) == GREY


def test_masks_are_translucent_with_a_solid_edge() -> None:
    picture = _draw((700, 500), ("scratch", (100, 200, 300, 260)), masks=True)
    colour = np.array(label_colours(["scratch"])["scratch"])
    expected = 128 + 0.38 * (colour - 128)
    assert np.abs(picture[230, 200] - expected).max() <= 1.5
    assert tuple(picture[230, 350]) == GREY


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (100, 80), (400, 300), (4000, 3000)])
@pytest.mark.parametrize(
    "place", [(0.0, 0.0, 0.1, 0.1), (0.9, 0.9, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0), (0.95, 0.0, 1.0, 0.05)]
)
def test_every_size_and_place_is_drawn_as_a_whole_multiple(size: tuple[int, int], place: Box) -> None:
    box = (place[0] * size[0], place[1] * size[1], place[2] * size[0], place[3] * size[1])
    picture = _draw(size, ("a label that is longer than a small photo is wide, much longer", box), masks=True)
    height, width = picture.shape[:2]
    factor = width // size[0]
    assert (width, height) == (factor * size[0], factor * size[1])
    assert factor == 8 or max(width, height) >= READABLE_SIDE
    assert (picture != 128).any()


@pytest.mark.parametrize("box", [(0, 0, 40, 30), (570, 470, 600, 500), (560, 0, 600, 500), (0, 0, 600, 500)])
def test_the_label_is_inside_the_picture(box: Box) -> None:
    """The label's plate is a filled rectangle of the colour: as many of its pixels must be there as anywhere else."""
    label = "scratch"
    colour = np.array(label_colours([label])[label])

    middle = _draw((600, 500), (label, (250, 200, 330, 260)))
    free = (middle == colour).all(axis=2)[:200].sum()  # above the box: nothing but the plate
    drawn = (_draw((600, 500), (label, box)) == colour).all(axis=2)
    assert drawn.sum() >= free


def test_a_label_without_room_above_does_not_cover_its_box() -> None:
    picture = _draw((600, 500), ("scratch", (100, 0, 200, 30)))
    assert (picture[5:25, 110:190] == 128).all()


def test_labels_of_one_photo_have_different_colours_and_keep_them_elsewhere() -> None:
    names = [f"kind {number}" for number in range(len(PALETTE))]
    assert len(set(label_colours(names).values())) == len(PALETTE)
    assert label_colours(["scratch"]) == label_colours(["scratch", "scratch"])
    assert len(label_colours([*names, "one more"])) == len(PALETTE) + 1
