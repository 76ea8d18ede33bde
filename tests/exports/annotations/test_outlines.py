"""Masks as polygons, drawn again by the rule of our own readers: a pixel belongs where its centre is inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from iadr1 import rle
from iadr1.datasets.polygons import fill
from iadr1.errors import MissingExtraError
from iadr1.exports.annotations.outlines import Part, Ring, check_opencv, joined, parts

pytest.importorskip("cv2", reason="OpenCV (extra masks) is not installed")

Mask = NDArray[np.bool_]
SIDE = 240


def shapes() -> Iterator[tuple[str, Mask]]:
    y, x = np.mgrid[:SIDE, :SIDE]
    for radius in (1, 3, 8, 20, 36, 60, 110):
        yield f"circle {radius}", (x - 120.3) ** 2 + (y - 118.7) ** 2 < radius**2
    for angle in (0.2, 0.8, 1.3):
        u = (x - 120) * np.cos(angle) + (y - 120) * np.sin(angle)
        v = -(x - 120) * np.sin(angle) + (y - 120) * np.cos(angle)
        yield f"bar {angle}", (np.abs(u) < 90) & (np.abs(v) < 24)
        yield f"crack {angle}", (np.abs(u) < 110) & (np.abs(v) < 1.2)
    yield "ring", ((x - 120) ** 2 + (y - 120) ** 2 < 100**2) & ((x - 120) ** 2 + (y - 120) ** 2 > 60**2)
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    for sigma in (1, 4, 12):
        smooth = ndimage.gaussian_filter(noise, sigma)
        yield f"blobs {sigma}", smooth > smooth.std()
    yield "all", np.ones((SIDE, SIDE), dtype=bool)


def rings(found: list[Part]) -> tuple[Ring, ...]:
    return tuple(ring for part in found for ring in (part.outer, *part.holes))


def drawn(ring: Ring, mask: Mask) -> Mask:
    return rle.decode(fill([ring], (mask.shape[1], mask.shape[0])))


def overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize(("name", "mask"), list(shapes()), ids=[name for name, _ in shapes()])
def test_a_polygon_is_the_mask(name: str, mask: Mask) -> None:
    found = parts(rle.encode(mask))
    assert overlap(drawn(joined(rings(found)), mask), mask) >= 0.98
    apart = np.logical_or.reduce([drawn(part.ring, mask) for part in found])
    assert overlap(apart, mask) >= 0.98


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_small_mask_is_kept_to_the_pixel(mask: Mask) -> None:
    found = parts(rle.encode(mask))
    if not mask.any():
        assert found == []
        return
    assert (drawn(joined(rings(found)), mask) == mask).all()
    points = np.concatenate(rings(found))
    assert (*points.min(axis=0), *points.max(axis=0)) == rle.box(rle.encode(mask))


def test_a_large_part_is_straightened() -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    (part,) = parts(rle.encode((x - 120) ** 2 + (y - 120) ** 2 < 100**2))
    assert 12 <= len(part.outer) <= 120  # the edges of the pixels have 600 corners
    assert part.holes == ()


def test_parts_and_holes_are_told_apart() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:12, 3:13] = True
    mask[5:7, 6:8] = mask[9, 9] = False
    mask[15:18, 20:29] = True
    found = sorted(parts(rle.encode(mask)), key=lambda part: part.outer[:, 1].min())
    assert [len(part.holes) for part in found] == [2, 0]
    assert sorted(found[1].outer.tolist()) == [[20, 15], [20, 18], [29, 15], [29, 18]]


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    assert len(parts(rle.encode(np.eye(4, dtype=bool)))) == 1


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install .iadr1\[masks\]"):
        check_opencv()
