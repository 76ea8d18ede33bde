from __future__ import annotations

import numpy as np

from iadr1.masks.candidates import agreements, choose

BOXES = np.array([[2.0, 2.0, 6.0, 6.0]])


def _masks(*spans: tuple[int, int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    masks = np.zeros((1, len(spans), 8, 10), dtype=bool)
    for index, (x1, y1, x2, y2) in enumerate(spans):
        masks[0, index, y1:y2, x1:x2] = True
    return masks


def test_agreement_is_the_iou_of_bounding_box_and_prompt() -> None:
    masks = _masks((2, 2, 6, 6), (2, 2, 4, 6), (0, 0, 10, 8), (7, 7, 8, 8), (0, 0, 0, 0))
    assert np.allclose(agreements(masks, BOXES), [[1.0, 0.5, 16 / 80, 0.0, 0.0]])


def test_a_ring_agrees_as_well_as_a_disc() -> None:
    ring = _masks((2, 2, 6, 6))
    ring[0, 0, 3:5, 3:5] = False
    assert agreements(ring, BOXES)[0, 0] == 1.0


def test_the_mask_that_agrees_with_the_box_wins_over_a_surer_one() -> None:
    masks = _masks((0, 0, 10, 8), (2, 2, 6, 6), (3, 3, 4, 4))
    assert choose(masks, np.array([[0.95, 0.6, 0.99]]), BOXES).tolist() == [1]


def test_the_surer_of_two_that_agree_wins_and_the_first_of_equals() -> None:
    masks = _masks((2, 2, 6, 6), (2, 2, 6, 6), (2, 2, 6, 6))
    assert choose(masks, np.array([[0.6, 0.9, 0.9]]), BOXES).tolist() == [1]


def test_empty_masks_do_no_harm() -> None:
    assert choose(_masks((0, 0, 0, 0), (0, 0, 0, 0)), np.array([[0.5, 0.9]]), BOXES).tolist() == [0]
