"""Label Studio: tasks with predictions, one JSON (https://labelstud.io/guide/predictions).

    [{"data": {"image": "/data/local-files/?d=a/001.png"},
      "predictions": [{"model_version": "tiny", "score": 0.97, "result": [
        {"id": "0", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["normal"]}},
        {"id": "1", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "original_width": 640,
         "original_height": 480, "image_rotation": 0, "score": 0.97,
         "value": {"x": 1.5, "y": 2.0, "width": 8.0, "height": 7.5, "rotation": 0, "rectanglelabels": ["crack"]}},
        {"from_name": "polygon", "type": "polygonlabels", "value": {"points": [[x, y], ...], "closed": true, ...}}]}]}]

All coordinates are per cent of the image's sides. The labelling setup that has these names is written beside the file,
as `NAME.setup.xml`. A mask is a polygon for each of its parts; a hole is joined to the outline by a slit of no width.
The verdict is a choice of the task, so that a photo without a shape is told apart from a normal one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job, Shape
from iadr1.exports.annotations.folder import new_text, put_text
from iadr1.exports.annotations.outlines import Ring, parts
from iadr1.geometry import Size
from iadr1.records import Verdict

LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files of its own machine; the path counts from its document root."""


def write(job: Job) -> tuple[str, ...]:
    """Write the JSON and, beside it, the labelling setup."""
    with new_text(job.out) as file:
        for entry in job.entries():
            file.write(("[\n" if entry.number == 0 else ",\n") + json.dumps(_task(entry), ensure_ascii=False))
        file.write("\n]\n")
    setup = setup_path(job.out)
    put_text(setup, _setup(job.labels))
    return (
        f"{setup} is the labelling setup to paste",
        "photos are local files: set LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT to their folder",
    )


def setup_path(out: Path) -> Path:
    """The file of the labelling setup."""
    return out.with_suffix(".setup.xml")


def _task(entry: Entry) -> dict[str, Any]:
    record = entry.record
    score = {} if record.score is None else {"score": record.score}
    prediction = {"model_version": record.model, **score, "result": list(_results(entry))}
    return {"data": {"image": LOCAL_FILES + quote(record.image)}, "predictions": [prediction]}


def _results(entry: Entry) -> Iterator[dict[str, Any]]:
    size = {"original_width": entry.size[0], "original_height": entry.size[1], "image_rotation": 0}
    choice = {"choices": [entry.record.verdict]}
    yield {"id": "verdict", "from_name": "verdict", "to_name": "image", "type": "choices", "value": choice}
    for place, shape in enumerate(entry.shapes):
        score = {} if shape.score is None else {"score": shape.score}
        for number, (kind, value) in enumerate(_values(shape, entry.size)):
            name = "box" if kind == "rectanglelabels" else "polygon"
            head = {"id": f"{place}-{number}", "from_name": name, "to_name": "image", "type": kind}
            yield {**head, **size, **score, "value": {**value, kind: [shape.label]}}


def _values(shape: Shape, size: Size) -> Iterator[tuple[str, dict[str, Any]]]:
    """The type and value of each region of a defect, without the label."""
    if shape.mask is None:
        x, y, w, h = shape.xywh
        width, height = size
        sides = {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * w / width, "height": 100 * h / height}
        yield "rectanglelabels", {**sides, "rotation": 0}
        return
    for part in parts(shape.mask):
        yield "polygonlabels", {"points": _per_cent(part.ring, size), "closed": True}


def _per_cent(ring: Ring, size: Size) -> list[list[float]]:
    points: list[list[float]] = (100 * ring / size).round(6).tolist()
    return points


def _setup(labels: tuple[str, ...]) -> str:
    items = "".join(f"    <Label value={quoteattr(label)}/>\n" for label in labels)
    choices = "".join(f"    <Choice value={quoteattr(verdict)}/>\n" for verdict in get_args(Verdict))
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <Choices name="verdict" toName="image" choice="single">\n{choices}  </Choices>\n'
        f'  <RectangleLabels name="box" toName="image">\n{items}  </RectangleLabels>\n'
        f'  <PolygonLabels name="polygon" toName="image">\n{items}  </PolygonLabels>\n</View>\n'
    )


FORMAT = AnnotationFormat(name="label-studio", suffix=".json", write=write, polygons=True)
