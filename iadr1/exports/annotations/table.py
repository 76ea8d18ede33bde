"""A table with a row for each defect, and one for each photo without: `csv`.

    image,verdict,label_index,score,type,x1,y1,x2,y2,defect_score,area_px,outline,parse,error,model,width,height

`label_index` is 0 for normal, 1 for anomalous, and empty where nothing is decided. Coordinates are pixels of the stored
image, x2 and y2 exclusive. `outline` is the mask file, relative to the run's folder. Every photo is in the table, also
one that could not be looked at. UTF-8, commas; a text that a spreadsheet would take for a formula has an apostrophe
before it, which `iadr1 prepare csv` takes off again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping

from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job
from iadr1.exports.annotations.folder import new_text
from iadr1.spreadsheet import guard

COLUMNS = (
    *("image", "verdict", "label_index", "score", "type", "x1", "y1", "x2", "y2", "defect_score", "area_px"),
    *("outline", "parse", "error", "model", "width", "height"),
)

_INDEX: Mapping[str, str] = {"normal": "0", "anomalous": "1", "undecided": ""}


def write(job: Job) -> tuple[str, ...]:
    """Write the table."""
    with new_text(job.out) as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for entry in job.entries():
            table.writerows({name: _cell(value) for name, value in row.items()} for row in _rows(entry))
    return ()


def _cell(value: object) -> object:
    return guard(value) if isinstance(value, str) else value


def _rows(entry: Entry) -> Iterator[dict[str, object]]:
    record = entry.record
    photo: dict[str, object] = {
        "image": record.image,
        "verdict": record.verdict,
        "label_index": _INDEX[record.verdict],
        "score": record.score,
        "parse": record.parse,
        "error": record.error,
        "model": record.model,
        "width": record.width,
        "height": record.height,
    }
    if not entry.shapes:
        yield photo
        return
    for shape, defect in zip(entry.shapes, record.defects, strict=True):
        box = dict(zip(("x1", "y1", "x2", "y2"), shape.box, strict=True))
        about = {"type": shape.label, "defect_score": shape.score, "area_px": shape.area_px, "outline": defect.mask}
        yield {**photo, **box, **about}


FORMAT = AnnotationFormat(name="csv", suffix=".csv", write=write, all_states=True)
