"""labelme: a JSON for each photo (https://github.com/wkentaro/labelme, checked against its loader's required keys).

    DIR/a/001.json    {"version", "flags": {"anomalous": true}, "shapes": [{"label", "points": [[x, y], ...],
                      "shape_type": "polygon", "group_id", "description": "score 0.97", "flags", "mask"}],
                      "imagePath": "001.png", "imageData": null, "imageHeight", "imageWidth"}
    DIR/a/001.png     where --images is given

The verdict is a flag of the image, so that a photo without a shape is told apart from a normal one. A mask is a polygon
for each of its parts, the parts of one defect in one group; a hole is joined to the outline by a slit of no width. A
defect without a mask is a rectangle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job, Shape
from iadr1.exports.annotations.folder import put_photo, put_text
from iadr1.exports.annotations.outlines import parts

_VERSION = "5.5.0"
"""The version of labelme whose files these are."""


def write(job: Job) -> tuple[str, ...]:
    """Write the JSON files, and the photos beside them where they are given."""
    with_photos = False
    for entry in job.entries():
        put_text(job.out / json_path(entry.record.image), json.dumps(_content(entry), ensure_ascii=False) + "\n")
        if entry.photo is not None:
            put_photo(job.out / entry.record.image, entry.photo)
            with_photos = True
    return () if with_photos else ("put each JSON beside its photo: labelme looks for it there",)


def json_path(image: str) -> str:
    """The JSON of a photo."""
    return PurePosixPath(image).with_suffix(".json").as_posix()


def _content(entry: Entry) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "flags": {entry.record.verdict: True},
        "shapes": [item for group, shape in enumerate(entry.shapes) for item in _shapes(shape, group)],
        "imagePath": PurePosixPath(entry.record.image).name,
        "imageData": None,
        "imageHeight": entry.record.height,
        "imageWidth": entry.record.width,
    }


def _shapes(shape: Shape, group: int) -> Iterator[dict[str, Any]]:
    if shape.mask is None:
        x1, y1, x2, y2 = shape.box
        yield _shape(shape, "rectangle", [[x1, y1], [x2, y2]], None)
        return
    found = parts(shape.mask)
    for part in found:
        yield _shape(shape, "polygon", part.ring.tolist(), group if len(found) > 1 else None)


def _shape(shape: Shape, kind: str, points: list[list[float]], group: int | None) -> dict[str, Any]:
    return {
        "label": shape.label,
        "points": points,
        "group_id": group,
        "description": "" if shape.score is None else f"score {shape.score:.4f}",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


FORMAT = AnnotationFormat(name="labelme", suffix="", write=write, polygons=True, photos="linked", slot=json_path)
