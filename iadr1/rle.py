"""COCO run-length encoding of masks: both forms are read, the uncompressed one is written.

A mask of shape (H, W) is cut into runs down its columns, beginning with zeros (which may be none of them):
`{"size": [h, w], "counts": [...]}`. In the compressed form `counts` is text: from the third run on the difference to
the run before the last, in groups of five bits, low ones first, each plus 32 while more follow, plus 48.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from iadr1.geometry import Box, Size

Rle = dict[str, list[int]]
"""`{"size": [height, width], "counts": [run lengths]}`."""


def encode(mask: NDArray[np.bool_], *, corner: tuple[int, int] = (0, 0), size: Size | None = None) -> Rle:
    """A mask (H, W) as uncompressed COCO RLE; the runs add up to the image's area.

    Args:
        mask: The mask, or the part of one that holds all its true pixels.
        corner: x and y of the part's first pixel in the image.
        size: (width, height) of the image where `mask` is a part of it.
    """
    height, width = mask.shape
    whole_width, whole_height = size or (width, height)
    # One row of zeros below ends each run with its column, so that a part's runs can be moved to their place.
    padded = np.zeros((height + 1, width), dtype=np.int8)
    padded[:height] = mask
    edges = np.flatnonzero(np.diff(padded.ravel(order="F"), prepend=0, append=0))
    columns, rows = np.divmod(edges, height + 1)
    edges = (columns + corner[0]) * whole_height + rows + corner[1]
    # A run that ends where the next begins goes over the end of a column: both edges are none.
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    edges = np.delete(edges, np.concatenate((joined, joined + 1)))
    counts = np.diff(edges, prepend=0, append=whole_width * whole_height).tolist()
    if len(counts) > 1 and counts[-1] == 0:
        counts.pop()
    return {"size": [int(whole_height), int(whole_width)], "counts": counts}


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The mask (H, W) of an uncompressed RLE (of another form: `parse` it first)."""
    height, width = rle["size"]
    counts = rle["counts"]
    values = np.arange(len(counts)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(values, counts).reshape((height, width), order="F")
    return mask


def parse(value: object) -> Rle:
    """An RLE as it stands in a file, uncompressed (a list) or compressed (text), checked and uncompressed.

    Raises:
        ValueError: It is not an RLE, or its runs do not fill its size.
    """
    if not isinstance(value, Mapping) or "size" not in value or "counts" not in value:
        raise ValueError("an RLE needs 'size' and 'counts'")
    size, counts = value["size"], value["counts"]
    if not _are_whole(size) or len(size) != 2 or min(size) < 1:
        raise ValueError(f"'size' is {size!r:.40}, not [height, width]")
    if isinstance(counts, str):
        counts = _uncompressed(counts)
    if not _are_whole(counts) or min(counts, default=0) < 0:
        raise ValueError("'counts' is neither a list of whole numbers from 0 on nor text")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"the runs add up to {sum(counts)} px, the size {size} to {size[0] * size[1]}")
    return {"size": list(size), "counts": list(counts)}


def _are_whole(values: object) -> bool:
    return isinstance(values, list | tuple) and all(type(value) is int for value in values)


def _uncompressed(text: str) -> list[int]:
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the compressed 'counts' hold {character!r}")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("the compressed 'counts' end inside a number")
    return counts


def area(rle: Rle) -> int:
    """Number of true pixels of an uncompressed RLE."""
    return sum(rle["counts"][1::2])


def box(rle: Rle) -> Box | None:
    """The tight box around the true pixels (x2, y2 exclusive), without decoding; None where there are none."""
    height = rle["size"][0]
    starts = [0, *accumulate(rle["counts"])]
    runs = [(start, stop) for start, stop in zip(starts[1::2], starts[2::2], strict=False) if stop > start]
    if not runs:
        return None
    x1, x2 = runs[0][0] // height, (runs[-1][1] - 1) // height + 1
    # A run over the end of a column touches the first and the last row.
    over = any(start // height != (stop - 1) // height for start, stop in runs)
    y1 = 0 if over else min(start % height for start, _ in runs)
    y2 = height if over else max((stop - 1) % height + 1 for _, stop in runs)
    return float(x1), float(y1), float(x2), float(y2)


def size_of(rle: Rle) -> Size:
    """(width, height) in pixels of an RLE, whose own `size` is the other way round."""
    return rle["size"][1], rle["size"][0]
