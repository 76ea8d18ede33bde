"""From a record to an entry: everything a format relies on is checked here, so that it is true of every format."""

from __future__ import annotations

import re
from pathlib import Path

from iadr1 import rle
from iadr1.errors import DataError
from iadr1.exports.annotations.base import Entry, Shape
from iadr1.geometry import Box, Size, box_area, clip_box
from iadr1.images import image_size, open_mask
from iadr1.records import DetectedDefect, Detection
from iadr1.rle import Rle

_ROUNDING_PX = 1.0
"""How far a box may reach over the image's edge; what is over it is cut off."""

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def read_entry(record: Detection, *, number: int, folder: Path, images: Path | None, where: str) -> Entry:
    """A record as an entry; a photo that could not be looked at has no shapes.

    Args:
        record: The record.
        number: The entry's running number.
        folder: The run's folder, which the names of mask files are relative to.
        images: The folder of the photos, where it is given.
        where: File and line.

    Raises:
        DataError: A path that leaves its folder, no size, a box without area, outside or not finite, a score that is
            none, a label without a character, a mask that is missing, unreadable or of another size.
    """
    check_path(record.image, where)
    photo = images / record.image if images is not None else None
    if record.error is not None:
        return Entry(number, record, (), photo, where)
    size = record.width, record.height
    if min(size) < 1:
        raise DataError(f"the photo's size is {size[0]}x{size[1]} px", where=where, hint="run `iadr1 detect` again")
    _check_score(record.score, where)
    shapes = tuple(
        _shape(defect, record.score, size, folder=folder, where=f"{where}, defect {place}")
        for place, defect in enumerate(record.defects, start=1)
    )
    return Entry(number, record, shapes, photo, where)


def check_path(path: str, where: str) -> None:
    """Make sure that a photo's name can be a file below any folder.

    Raises:
        DataError: It is absolute, empty, leads upwards or holds what no path can.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or "\0" in path:
        raise DataError(
            f"{path!r} cannot be the path of a photo below its folder on every system",
            where=where,
            hint="it must be relative, without '..', '.' and backslashes",
        )


def check_photo(entry: Entry) -> None:
    """Make sure that an entry's photo is there, and is the one that was looked at as far as its size tells.

    Raises:
        DataError: It is missing or of another size.
        ImageError: It cannot be read.
    """
    if entry.photo is None:
        return
    if not entry.photo.is_file():
        raise DataError(
            f"no photo {str(entry.photo)!r}", where=entry.where, hint="--images is the folder that `detect` looked at"
        )
    size = image_size(entry.photo)
    if entry.record.error is None and size != entry.size:
        raise DataError(
            f"the photo has {size[0]}x{size[1]} px, the record {entry.size[0]}x{entry.size[1]} px",
            where=entry.where,
            hint="the photo was changed since; run `iadr1 detect` again",
        )


def _shape(defect: DetectedDefect, photo_score: float | None, size: Size, *, folder: Path, where: str) -> Shape:
    label = " ".join(_UNPRINTABLE.sub(" ", defect.label).split())
    if not label:
        raise DataError(f"the label is {defect.label!r}", where=where, hint="write what the defect is")
    _check_score(defect.score, where)
    box = _box(defect.box, size, where)
    mask = _mask(defect, size, folder, where)
    return Shape(
        label=label,
        box=box,
        mask=mask,
        score=photo_score if defect.score is None else defect.score,
        area_px=box_area(box) if mask is None else rle.area(mask),
    )


def _check_score(score: float | None, where: str) -> None:
    if score is not None and not 0 <= score <= 1:  # NaN as well
        raise DataError(f"the score {score} is not within 0..1", where=where)


def _box(box: Box, size: Size, where: str) -> Box:
    x1, y1, x2, y2 = box
    # NaN fails every comparison.
    near = x2 <= size[0] + _ROUNDING_PX and y2 <= size[1] + _ROUNDING_PX and min(x1, y1) >= -_ROUNDING_PX
    inside = clip_box(box, size) if near and x1 < x2 and y1 < y2 else None
    if inside is None:
        text = ", ".join(f"{value:g}" for value in box)
        raise DataError(
            f"the box {text} is no area inside the {size[0]}x{size[1]} px photo",
            where=where,
            hint="a box is x1, y1, x2, y2 in pixels; mend or remove the record",
        )
    return inside


def _mask(defect: DetectedDefect, size: Size, folder: Path, where: str) -> Rle | None:
    """The mask from its run lengths, else from its file; None where there is none or it is empty."""
    if defect.mask_rle is not None:
        try:
            mask = rle.parse(defect.mask_rle)
        except ValueError as error:
            raise DataError(f"mask_rle: {error}", where=where) from error
    elif defect.mask is not None:
        path = folder / defect.mask
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"the mask {defect.mask!r} leads out of {str(folder)!r} through a link", where=where)
        if not path.is_file():
            raise DataError(f"no mask {str(path)!r}", where=where, hint="masks lie beside the records")
        mask = rle.encode(open_mask(path))
    else:
        return None
    if rle.size_of(mask) != size:
        (w, h), (iw, ih) = rle.size_of(mask), size
        raise DataError(f"the mask is {w}x{h} px, the photo {iw}x{ih} px", where=where)
    return mask if rle.area(mask) else None
