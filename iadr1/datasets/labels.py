"""Masks whose values are label ids: one defect for each region of each value, its type looked up by the value."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

import numpy as np

from iadr1 import parallel
from iadr1.datasets.files import Files
from iadr1.datasets.regions import Region, regions
from iadr1.geometry import Size, location_word
from iadr1.images import open_labels
from iadr1.records import Defect, Sample

TypeOf = Callable[[str, Defect, int], str]
"""From a category, a defect as its whole mask shows it, and a value in the mask to the type the value stands for."""


def by_label(
    files: Files, samples: Iterable[Sample], type_of: TypeOf, *, categories: Container[str]
) -> Iterator[Sample]:
    """The samples with their defects told apart by the masks' values, in their order.

    A defect's `attributes` keep the value (`label`) and, where the type is another, what the image's folder says
    (`folder`). Defects without a place stay as they are, and so do all of a mask whose single values are too small to
    be regions.

    Args:
        files: The set's files, the masks among them.
        samples: What `masked.yes_no` made of the same masks.
        type_of: The type a value stands for.
        categories: Those whose masks hold label ids; the samples of others stay as they are.

    Raises:
        DataError: A mask is a colour picture, or `type_of` refuses a value.
        ImageError: A mask cannot be read.
    """

    def refine(sample: Sample) -> Sample:
        return _refine(files, sample, type_of) if sample.category in categories else sample

    return parallel.ordered(refine, samples)


def _refine(files: Files, sample: Sample, type_of: TypeOf) -> Sample:
    masks: dict[str, list[Defect]] = {}
    plain: list[Defect] = []
    for defect in sample.defects:
        if defect.mask is None or defect.box is None:
            plain.append(defect)
        else:
            masks.setdefault(defect.mask, []).append(defect)
    for mask, whole in masks.items():
        size, found = labelled_regions(files, mask)
        parts = [
            _named(whole[0], region, size, value=value, kind=type_of(sample.category, whole[0], value))
            for value, region in found
        ]
        plain += parts or whole
    return sample.model_copy(update={"defects": tuple(plain)})


def _named(whole: Defect, region: Region, size: Size, *, value: int, kind: str) -> Defect:
    attributes = {"label": str(value)} | ({"folder": whole.type} if kind != whole.type else {})
    place = location_word(region.box, size)
    return whole.model_copy(
        update={"type": kind, "box": region.box, "location": place, "attributes": whole.attributes | attributes}
    )


def labelled_regions(files: Files, path: str) -> tuple[Size, list[tuple[int, Region]]]:
    """Size of a label mask as (width, height), and its regions with their values (0 is the background).

    They are sorted by value, then as `regions` does; the file is decoded once, and remembered while it stays the same.

    Raises:
        DataError: The mask is a colour picture.
        ImageError: The mask cannot be read.
    """
    entry = files.facts.entry(path, files.root / path)
    if "labels" not in entry:
        values = open_labels(files.root / path)
        entry["mask_size"] = (values.shape[1], values.shape[0])
        entry["labels"] = [
            [value, *region.box, region.area_px]
            for value in np.unique(values).tolist()
            if value
            for region in regions(values == value)
        ]
    width, height = entry["mask_size"]
    return (width, height), [(value, Region((x1, y1, x2, y2), area)) for value, x1, y1, x2, y2, area in entry["labels"]]
