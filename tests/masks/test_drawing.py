"""Masks written into records: what each defect gets, and several photos at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from iadr1 import rle
from iadr1.geometry import Box, box_mask
from iadr1.masks import MaskResult, draw
from iadr1.records import DetectedDefect

HALF, NOTHING = (10.0, 10.0, 30.0, 30.0), (float("nan"), 0.0, 5.0, 5.0)


class LeftHalf:
    """The left half of each box; counts its calls."""

    name = "half"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        return self.segment_many([image], [boxes])[0]

    def segment_many(
        self, images: Sequence[Image.Image], boxes_of_each: Sequence[Sequence[Box]]
    ) -> list[list[MaskResult]]:
        self.calls.append(len(images))
        return [
            [MaskResult(box_mask((x1, y1, (x1 + x2) / 2, y2), image.size), 0.5, "half") for x1, y1, x2, y2 in boxes]
            for image, boxes in zip(images, boxes_of_each, strict=True)
        ]


def defect(box: Box) -> DetectedDefect:
    return DetectedDefect(label="dent", box=box, score=0.9)


def test_a_record_says_what_is_known_of_its_mask() -> None:
    ((defects, masks),) = draw(LeftHalf(), [Image.new("RGB", (50, 40))], [[defect(HALF)]])
    (found,) = defects
    assert (found.label, found.score) == ("dent", 0.9)
    assert (found.mask_score, found.mask_source, found.area_px) == (0.5, "half", 200)
    assert found.agreement == pytest.approx(0.5)
    assert found.mask_rle is not None
    assert np.array_equal(rle.decode(rle.parse(found.mask_rle)), masks[0])


def test_the_agreement_is_the_clean_up_chains() -> None:
    """A box of which half lies outside is compared as far as it lies in the photo, a reversed one put in order."""
    image = Image.new("RGB", (50, 40))
    for box, seen in (((40.0, 10.0, 60.0, 30.0), (40, 10, 50, 30)), ((30.0, 10.0, 10.0, 30.0), (10, 10, 30, 30))):
        ((defects, _),) = draw(_Fixed(seen), [image], [[defect(box)]])
        assert defects[0].agreement == pytest.approx(1.0)


class _Fixed:
    """Always the same part of the photo."""

    name = "fixed"

    def __init__(self, part: Box) -> None:
        self._part = part

    def segment(self, image: Image.Image, boxes: Sequence[Box]) -> list[MaskResult]:
        return [MaskResult(box_mask(self._part, image.size), 0.5, "x") for _ in boxes]


def test_photos_go_to_the_segmenter_together_and_keep_their_order() -> None:
    images = [Image.new("RGB", (50, 40)), Image.new("RGB", (30, 60))]
    segmenter = LeftHalf()
    drawn = draw(segmenter, images, [[defect(HALF), defect(NOTHING)], [defect((0.0, 0.0, 4.0, 4.0))]])
    assert segmenter.calls == [2]
    assert [[mask.shape for mask in masks] for _, masks in drawn] == [[(40, 50)] * 2, [(60, 30)]]
    assert [[one.area_px for one in defects] for defects, _ in drawn] == [[200, 0], [8]]
    assert [one.agreement for one in drawn[0].defects] == [pytest.approx(0.5), 0.0]
