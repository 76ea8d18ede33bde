"""COCO instances (https://cocodataset.org/#format-data), as pycocotools and most annotation tools load them.

    {"info": {...}, "licenses": [], "categories": [{"id": 1, "name": "crack", "supercategory": "defect"}],
     "images": [{"id": 1, "file_name": "a/001.png", "width": 640, "height": 480, "verdict": "anomalous"}],
     "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "area": 812,
                      "iscrowd": 0, "segmentation": {"size": [480, 640], "counts": "..."}, "score": 0.97}]}

`bbox` is the detected box, which need not be the mask's own. A defect without a mask has an empty `segmentation`. Masks
are compressed RLE and exact, holes and all. A normal photo is an image without annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, TextIO

from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job, Shape
from iadr1.exports.annotations.folder import new_text
from iadr1.rle import Rle


def write(job: Job) -> tuple[str, ...]:
    """Write the JSON; the records are read twice, since all images stand before all annotations."""
    categories = [
        {"id": number, "name": label, "supercategory": "defect"} for number, label in enumerate(job.labels, start=1)
    ]
    with new_text(job.out) as file:
        file.write('{"info": {"description": "defects found by iadr1 detect"}, "licenses": [],\n')
        _write_list(file, "categories", categories)
        file.write(",\n")
        _write_list(file, "images", map(_image, job.entries()))
        file.write(",\n")
        _write_list(file, "annotations", _annotations(job))
        file.write("}\n")
    return ()


def _write_list(file: TextIO, name: str, items: Iterable[Mapping[str, Any]]) -> None:
    file.write(f'"{name}": [')
    for place, item in enumerate(items):
        file.write((",\n" if place else "\n") + json.dumps(item, ensure_ascii=False))
    file.write("]")


def _image(entry: Entry) -> dict[str, Any]:
    record = entry.record
    image = {"id": entry.number + 1, "file_name": record.image, "width": record.width, "height": record.height}
    score = {} if record.score is None else {"score": record.score}
    return {**image, "verdict": record.verdict, **score}


def _annotations(job: Job) -> Iterator[dict[str, Any]]:
    numbers, ids = job.numbers, count(1)
    for entry in job.entries():
        for shape in entry.shapes:
            yield {"id": next(ids), "image_id": entry.number + 1, **_annotation(shape, numbers[shape.label] + 1)}


def _annotation(shape: Shape, category: int) -> dict[str, Any]:
    return {
        "category_id": category,
        "bbox": list(shape.xywh),
        "area": shape.area_px,
        "iscrowd": 0,
        "segmentation": [] if shape.mask is None else compressed(shape.mask),
        **({} if shape.score is None else {"score": shape.score}),
    }


def compressed(mask: Rle) -> dict[str, Any]:
    """An RLE with its counts as text (the form is described in `iadr1.rle`)."""
    return {"size": mask["size"], "counts": "".join(_characters(mask["counts"]))}


def _characters(counts: Sequence[int]) -> Iterator[str]:
    for place, run in enumerate(counts):
        number = run - (counts[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits = number & 31
            number >>= 5
            more = number != (-1 if bits & 16 else 0)
            yield chr(bits + (32 if more else 0) + 48)


FORMAT = AnnotationFormat(name="coco", suffix=".json", write=write, empty_is_normal=True)
