"""MVTec AD's layout (doi 10.1109/CVPR.2019.00982); the folder that is written is one category.

    DIR/test/good/000_a_001.png             normal photos
    DIR/test/crack/001_a_002.png            photos whose defects are all of one type; `combined` where they are several
    DIR/ground_truth/crack/001_a_002_mask.png    0 and 255; all defects of the photo

Names begin with the photo's number and go on with its path, so that no two are the same. A defect without a mask is
drawn as its box. The layout has no place for an undecided photo, nor for a defect without a place.
"""

from __future__ import annotations

import hashlib
import re
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from iadr1 import rle
from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job
from iadr1.exports.annotations.folder import put_bytes, put_photo
from iadr1.geometry import box_mask

_GOOD, _COMBINED = "good", "combined"
_RESERVED = frozenset({_GOOD, "ok", "normal", _COMBINED})
"""Folder names that mean something else than a type of defect."""
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f]')
_LONGEST = 120
"""Bytes of a name, of the 255 that file systems allow, so that there is room for number, suffix and `_mask`."""


def write(job: Job) -> tuple[str, ...]:
    """Write photos and masks."""
    kinds = type_folders(job.labels)
    digits = max(3, len(str(job.total - 1)))
    for entry in job.entries():
        labels = {shape.label for shape in entry.shapes}
        kind = _GOOD if not labels else kinds[labels.pop()] if len(labels) == 1 else _COMBINED
        path = PurePosixPath(entry.record.image)
        stem = f"{entry.number:0{digits}}_{_safe(path.with_suffix('').as_posix())}"
        if entry.photo is not None:
            put_photo(job.out / "test" / kind / f"{stem}{path.suffix}", entry.photo)
        if entry.shapes:
            put_bytes(job.out / "ground_truth" / kind / f"{stem}_mask.png", _mask(entry))
    return (f"{job.out.name} is the category: the set's root is {job.out.parent}",)


def type_folders(labels: tuple[str, ...]) -> dict[str, str]:
    """Label -> a folder name of its own, the label itself where it can be one."""
    found: dict[str, str] = {}
    taken = set(_RESERVED)
    for label in labels:
        name = _safe(label)
        if name.casefold() in taken or name.startswith("."):
            name = f"{name.lstrip('.')}-{_hash(label)}"
        taken.add(name.casefold())
        found[label] = name
    return found


def _safe(name: str) -> str:
    clean = _NOT_IN_NAMES.sub("_", name)
    if len(clean.encode()) > _LONGEST:
        clean = f"{clean.encode()[: _LONGEST - 9].decode(errors='ignore')}-{_hash(name)}"
    return clean


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _mask(entry: Entry) -> bytes:
    whole = np.zeros((entry.size[1], entry.size[0]), dtype=bool)
    for shape in entry.shapes:
        whole |= box_mask(shape.box, entry.size) if shape.mask is None else rle.decode(shape.mask)
    with BytesIO() as file:
        Image.fromarray(whole.astype(np.uint8) * 255).save(file, "PNG")
        return file.getvalue()


FORMAT = AnnotationFormat(
    name="mvtec", suffix="", write=write, empty_is_normal=True, only_decided=True, photos="needed"
)
