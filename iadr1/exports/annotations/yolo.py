"""YOLO label files as ultralytics reads them (https://docs.ultralytics.com/datasets/detect/ and .../segment/).

    DIR/data.yaml               names, and train: images
    DIR/classes.txt             the names again, for labelImg and Label Studio
    DIR/images/a/001.png        where --images is given
    DIR/labels/a/001.txt        `class cx cy w h`, or for yolo-seg `class x1 y1 x2 y2 ...`, in fractions

The label file of a normal photo is empty. A line is one defect: yolo-seg joins the parts of a mask and its holes into
one polygon by slits of no width, and writes a defect without a mask as the four corners of its box. There is no room
for scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

import yaml

from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job, Shape
from iadr1.exports.annotations.folder import put_photo, put_text
from iadr1.exports.annotations.outlines import joined, parts
from iadr1.geometry import Size

_VAL = "val:  # a folder of other photos, kept apart for validation\n"


def write_boxes(job: Job) -> tuple[str, ...]:
    """Write a box for each defect."""
    return _write(job, _box)


def write_polygons(job: Job) -> tuple[str, ...]:
    """Write a polygon for each defect."""
    return _write(job, _polygon)


def _write(job: Job, numbers_of: Callable[[Shape, Size], Iterable[float]]) -> tuple[str, ...]:
    classes, with_photos = job.numbers, False
    for entry in job.entries():
        lines = [f"{classes[shape.label]} {_text(numbers_of(shape, entry.size))}\n" for shape in entry.shapes]
        put_text(job.out / label_path(entry.record.image), "".join(lines))
        with_photos = _put_photo(job, entry) or with_photos
    put_text(job.out / "classes.txt", "".join(f"{label}\n" for label in job.labels))
    names = yaml.safe_dump({"names": dict(enumerate(job.labels))}, allow_unicode=True, sort_keys=False, width=10**6)
    put_text(job.out / "data.yaml", f"train: images\n{_VAL}{names}")
    return () if with_photos else ("put the photos into images/, in the same sub-folders as the labels",)


def label_path(image: str) -> str:
    """The label file of a photo: loaders replace the last folder `images` on the way to it."""
    folders = ["images", *PurePosixPath(image).parent.parts]
    folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return "/".join([*folders, f"{PurePosixPath(image).stem}.txt"])


def _put_photo(job: Job, entry: Entry) -> bool:
    if entry.photo is None:
        return False
    put_photo(job.out / "images" / entry.record.image, entry.photo)
    return True


def _box(shape: Shape, size: Size) -> tuple[float, ...]:
    x, y, w, h = shape.xywh
    return (x + w / 2) / size[0], (y + h / 2) / size[1], w / size[0], h / size[1]


def _polygon(shape: Shape, size: Size) -> Iterable[float]:
    if shape.mask is None:
        x1, y1, x2, y2 = shape.box
        return (
            value / side
            for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
            for value, side in zip(corner, size, strict=True)
        )
    rings = [ring for part in parts(shape.mask) for ring in (part.outer, *part.holes)]
    fractions: list[float] = (joined(tuple(rings)) / size).ravel().tolist()
    return fractions


def _text(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.8f}".rstrip("0").rstrip(".") for number in numbers)


BOXES = AnnotationFormat(
    name="yolo", suffix="", write=write_boxes, empty_is_normal=True, photos="linked", slot=label_path
)
POLYGONS = AnnotationFormat(
    name="yolo-seg",
    suffix="",
    write=write_polygons,
    polygons=True,
    empty_is_normal=True,
    photos="linked",
    slot=label_path,
)
