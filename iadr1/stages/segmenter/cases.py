"""What a segmenter is trained on: defects with a box and a mask, from samples files."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iadr1 import rle
from iadr1.errors import DataError
from iadr1.geometry import Box, box_mask
from iadr1.images import open_image, open_mask
from iadr1.records import Defect, Sample, read_records, resolve_root

CACHED = 16384
"""Patches kept in memory: about 50 kB each on photos of 224 px."""


@dataclass(frozen=True)
class Case:
    """One defect of one photo.

    Attributes:
        photo: The image file.
        root: What the mask file is relative to.
        defect: Its box and its mask.
        file: Which of the data files it is from, counted from 0.
    """

    photo: Path
    root: Path
    defect: Defect
    file: int

    def __hash__(self) -> int:
        return hash((self.photo, self.defect.box))


class Patch(NamedTuple):
    """The surroundings of a defect: pixels (H, W, 3), its mask (H, W; 0 or 255), and its box in them."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    box: Box


@dataclass(frozen=True)
class Cases:
    """All defects a run is trained on.

    Attributes:
        groups: Data file -> type -> its defects.
        held_out: Samples left out because their category is never trained on.
        without_mask: Defects left out because box or mask are not known.
    """

    groups: tuple[dict[str, list[Case]], ...]
    held_out: int
    without_mask: int

    @property
    def counts(self) -> dict[str, int]:
        """How many defects of each type there are, in all files."""
        found: Counter[str] = Counter()
        for group in self.groups:
            found.update({kind: len(cases) for kind, cases in group.items()})
        return dict(sorted(found.items()))


def read_cases(files: Sequence[Path]) -> Cases:
    """The defects of samples files; those of one place in one photo count once.

    Raises:
        DataError: A broken line, a missing photo or mask file, or a file without a defect that has box and mask.
    """
    groups: list[dict[str, list[Case]]] = []
    held_out = without_mask = 0
    for number, file in enumerate(files):
        root = resolve_root(file)
        seen: set[tuple[str, Box]] = set()
        group: dict[str, list[Case]] = defaultdict(list)
        for sample in read_records(file, Sample):
            if sample.held_out:
                held_out += 1
                continue
            for defect in sample.defects:
                if defect.box is None or (defect.mask is None and defect.mask_rle is None):
                    without_mask += 1
                elif (sample.image, defect.box) not in seen:
                    seen.add((sample.image, defect.box))
                    group[defect.type].append(Case(root / sample.image, root, defect, number))
        if not group:
            raise DataError(
                "no defect with a box and a mask, of a category that may be trained on",
                where=str(file),
                hint="name prepared samples of a set with masks, such as magnetic-tile, visa or mvtec",
            )
        _check_files(file, group)
        groups.append(dict(sorted(group.items())))
    return Cases(tuple(groups), held_out, without_mask)


def _check_files(file: Path, group: dict[str, list[Case]]) -> None:
    cases = [case for cases in group.values() for case in cases]
    masks = [case.root / case.defect.mask for case in cases if case.defect.mask_rle is None and case.defect.mask]
    needed = dict.fromkeys([case.photo for case in cases] + masks)
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{len(missing)} of {len(needed)} files are missing: {', '.join(missing[:10])}{more}", where=str(file)
        )


@lru_cache(maxsize=CACHED)
def patch(case: Case, reach: float) -> Patch:
    """The part of a photo within `reach` pixels of a defect's box, and the defect's own mask in it.

    Raises:
        DataError: The mask has another size than its photo, or no pixel in the box.
        ImageError: A file cannot be read.
    """
    box = case.defect.box
    if box is None:
        raise ValueError("a case needs a box")
    pixels = np.asarray(open_image(case.photo))
    height, width = pixels.shape[:2]
    mask = _mask(case)
    if mask.shape != (height, width):
        raise DataError(
            f"its mask is {mask.shape[1]}x{mask.shape[0]} px, the image is {width}x{height} px", where=str(case.photo)
        )
    mask = mask & box_mask(box, (width, height))
    if not mask.any():
        raise DataError(f"its mask has no pixel in the box {box}", where=str(case.photo))
    left, top = max(0, math.floor(box[0] - reach)), max(0, math.floor(box[1] - reach))
    part = np.s_[top : math.ceil(box[3] + reach), left : math.ceil(box[2] + reach)]
    moved = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return Patch(pixels[part].copy(), mask[part].astype(np.uint8) * 255, moved)


def _mask(case: Case) -> NDArray[np.bool_]:
    if case.defect.mask_rle is not None:
        return rle.decode(rle.parse(case.defect.mask_rle))
    if case.defect.mask is None:
        raise ValueError("a case needs a mask")
    return open_mask(case.root / case.defect.mask, threshold=case.defect.mask_threshold)
