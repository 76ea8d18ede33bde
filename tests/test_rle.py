from __future__ import annotations

import numpy as np
import pytest

from iadr1 import rle
from iadr1.geometry import mask_box

DISK = np.fromfunction(lambda y, x: (x - 20) ** 2 + (y - 15) ** 2 < 100, (32, 40))
# Made with pycocotools 2.0.11 from the same masks.
DISK_COUNTS = "[;9f02M4N0O2N2O0000000000000001N2N102L3Nf9"


def random_masks() -> list[np.ndarray]:
    draw = np.random.default_rng(3)
    return [draw.random((draw.integers(1, 40), draw.integers(1, 40))) < draw.random() for _ in range(60)]


def test_the_first_run_is_of_zeros_down_the_columns() -> None:
    assert rle.encode(np.array([[0, 1], [0, 0]], dtype=bool)) == {"size": [2, 2], "counts": [2, 1, 1]}
    assert rle.encode(np.ones((3, 4), dtype=bool)) == {"size": [3, 4], "counts": [0, 12]}
    assert rle.encode(np.zeros((3, 4), dtype=bool)) == {"size": [3, 4], "counts": [12]}


@pytest.mark.parametrize("mask", [*random_masks(), DISK, np.zeros((3, 4), dtype=bool), np.ones((3, 4), dtype=bool)])
def test_what_was_encoded_comes_back(mask: np.ndarray) -> None:
    found = rle.encode(mask)
    assert rle.parse(found) == found
    assert (rle.decode(found) == mask).all()
    assert rle.area(found) == mask.sum()
    assert rle.box(found) == mask_box(mask)
    assert rle.size_of(found) == (mask.shape[1], mask.shape[0])


@pytest.mark.parametrize("seed", range(40))
def test_a_part_is_put_in_its_place(seed: int) -> None:
    draw = np.random.default_rng(seed)
    whole = np.zeros((int(draw.integers(1, 30)), int(draw.integers(1, 30))), dtype=bool)
    y1, x1 = (int(draw.integers(0, side)) for side in whole.shape)
    y2, x2 = (int(draw.integers(low, side + 1)) for low, side in zip((y1, x1), whole.shape, strict=True))
    if seed % 4 == 0:  # runs over the ends of columns
        y1, y2 = 0, whole.shape[0]
    part = whole[y1:y2, x1:x2]
    part[:] = draw.random(part.shape) < 0.8
    assert rle.encode(part, corner=(x1, y1), size=(whole.shape[1], whole.shape[0])) == rle.encode(whole)
    assert (rle.decode(rle.encode(whole)) == whole).all()


def test_the_compressed_form_is_read_as_pycocotools_writes_it() -> None:
    assert rle.parse({"size": [32, 40], "counts": DISK_COUNTS}) == rle.encode(DISK)
    assert rle.parse({"size": [3, 4], "counts": "0<"}) == {"size": [3, 4], "counts": [0, 12]}
    middle = np.zeros((1000, 1200), dtype=bool)
    middle[100:900, 200:1100] = True
    # Runs of many digits, and 1800 differences of nought.
    assert rle.parse({"size": [1000, 1200], "counts": "T]S6Pi0X6" + "0" * 1797 + "laQ3"}) == rle.encode(middle)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "needs 'size' and 'counts'"),
        ({"counts": [4]}, "needs 'size' and 'counts'"),
        ({"size": [2], "counts": [4]}, r"'size' is \[2\]"),
        ({"size": [2, 0], "counts": []}, "'size' is"),
        ({"size": "22", "counts": [4]}, "'size' is '22'"),
        ({"size": [2, 2], "counts": [3]}, r"add up to 3 px, the size \[2, 2\] to 4"),
        ({"size": [2, 2], "counts": [5, -1]}, "neither a list of whole numbers"),
        ({"size": [2, 2], "counts": [True, 3]}, "neither a list of whole numbers"),
        ({"size": [2, 2], "counts": [4.0]}, "neither a list of whole numbers"),
        ({"size": [2, 2], "counts": None}, "neither a list of whole numbers"),
        ({"size": [2, 2], "counts": "é"}, "hold 'é'"),
        ({"size": [2, 2], "counts": " "}, "hold ' '"),
        ({"size": [2, 2], "counts": "T"}, "end inside a number"),
        ({"size": [2, 2], "counts": "O"}, "neither a list of whole numbers"),
    ],
)
def test_what_is_no_rle_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rle.parse(value)
