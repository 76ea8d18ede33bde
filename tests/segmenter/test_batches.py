"""Batches: the same for a seed and a step, and box, picture and mask stay together however they are changed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from iadr1.geometry import Box, iou, mask_box
from iadr1.masks.boxcrop import BoxCrop
from iadr1.stages.segmenter.batches import Drawing, jittered, photographed, turned
from iadr1.stages.segmenter.cases import read_cases
from tests.segmenter.world import make


def _drawing(folder: Path, *, jitter: float = 0.0, shares: tuple[float, ...] = (1.0,), batch_size: int = 16) -> Drawing:
    files = [make(folder / f"{number}", photos=4 + number) for number in range(len(shares))]
    return Drawing(read_cases(files), shares, BoxCrop(), 64, jitter, batch_size, 5)


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    drawing = _drawing(tmp_path)
    again = drawing.batch(7)
    drawing.batch(3)
    for one, two in zip(again, drawing.batch(7), strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(again.boxes, drawing.batch(8).boxes)


def test_box_and_mask_stay_together(tmp_path: Path) -> None:
    batch = _drawing(tmp_path).batch(0)
    assert (batch.pixels.shape, batch.boxes.shape, batch.targets.shape) == ((16, 3, 64, 64), (16, 4), (16, 32, 32))
    assert batch.pixels.dtype == batch.boxes.dtype == batch.targets.dtype == np.float32
    for pixels, box, target in zip(batch.pixels, batch.boxes, batch.targets, strict=True):
        # The defect is a rectangle: its mask fills its box.
        drawn = mask_box(target > 0.5)
        assert drawn is not None
        assert iou((2 * drawn[0], 2 * drawn[1], 2 * drawn[2], 2 * drawn[3]), tuple(map(float, box))) > 0.8  # type: ignore[arg-type]
        # And it differs from its surroundings, brighter or (inverted) darker.
        inside = np.kron(target > 0.5, np.ones((2, 2), dtype=bool))
        grey = pixels.mean(axis=0)
        assert abs(float(grey[inside].mean() - grey[~inside].mean())) > 0.7


def test_moved_boxes_stay_within_the_jitter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    moved = np.array([jittered((10.0, 20.0, 50.0, 40.0), rng, 0.15) for _ in range(500)])
    assert np.abs(moved - (10, 20, 50, 40)).max(axis=0) == pytest.approx((6, 3, 6, 3), rel=0.05)
    exact, other = _drawing(tmp_path), _drawing(tmp_path, jitter=0.15)
    assert not np.array_equal(exact.batch(0).boxes, other.batch(0).boxes)


@pytest.mark.parametrize("way", range(8))
def test_a_square_turns_with_its_box(way: int) -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[2:5, 3:12] = 255
    mask = pixels[..., 0].copy()
    box: Box = (3.0, 2.0, 12.0, 5.0)
    seen, drawn, moved = turned(pixels, mask, box, way, side=16)
    assert mask_box(seen[..., 0] > 0) == moved
    assert np.array_equal(drawn, seen[..., 0])
    assert len({turned(pixels, mask, box, other, side=16)[2] for other in range(8)}) == 8


def test_files_are_drawn_by_their_shares_and_types_equally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = _drawing(tmp_path, shares=(0.8, 0.2), batch_size=100)
    drawn: Counter[tuple[int, str]] = Counter()
    example = Drawing._example

    def counted(self: Drawing, case, rng):  # type: ignore[no-untyped-def]
        drawn[case.file, case.defect.type] += 1
        return example(self, case, rng)

    monkeypatch.setattr(Drawing, "_example", counted)
    for step in range(8):
        drawing.batch(step)
    share = sum(count for (file, _), count in drawn.items() if file == 0) / 800
    assert share == pytest.approx(0.8, abs=0.05)
    assert drawn[0, "stain"] / (drawn[0, "stain"] + drawn[0, "scratch"]) == pytest.approx(0.5, abs=0.06)


def test_photographs_differ_and_stay_numbers() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    rng = np.random.default_rng(2)
    seen = [photographed(pixels, rng) for _ in range(40)]
    assert all(image.shape == pixels.shape and image.dtype == np.float32 for image in seen)
    assert all(np.isfinite(image).all() for image in seen)
    means = [float(image.mean()) for image in seen]
    assert max(means) - min(means) > 0.2
    assert photographed(np.zeros((8, 8, 3), dtype=np.uint8), rng).shape == (8, 8, 3)
