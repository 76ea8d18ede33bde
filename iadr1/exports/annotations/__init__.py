"""The files of annotation tools: what each takes of a detection, found in one literal table.

coco           COCO instances, one JSON: compressed RLE, boxes, scores
yolo           a folder of label files (class cx cy w h), data.yaml and classes.txt
yolo-seg       the same with polygons
labelme        a folder with a JSON for each photo
cvat           "CVAT for images 1.1", one XML
label-studio   tasks with predictions, one JSON, and the labelling setup beside it
csv            a table with a row for each defect, whatever the verdict
mvtec          a folder of photos and mask files in MVTec AD's layout

Every format reads the entries again as often as it needs, so that none holds more than one photo's defects in memory.
"""

from __future__ import annotations

from iadr1.errors import UsageError
from iadr1.exports.annotations import coco, cvat, label_studio, labelme, mvtec, table, yolo
from iadr1.exports.annotations.base import AnnotationFormat, Entry, Job, Shape
from iadr1.exports.annotations.folder import claim_folder
from iadr1.exports.annotations.outlines import check_opencv
from iadr1.exports.annotations.reading import check_photo, read_entry

FORMATS: tuple[AnnotationFormat, ...] = (
    coco.FORMAT,
    yolo.BOXES,
    yolo.POLYGONS,
    labelme.FORMAT,
    cvat.FORMAT,
    label_studio.FORMAT,
    table.FORMAT,
    mvtec.FORMAT,
)
"""Every format."""

NAMES: tuple[str, ...] = tuple(item.name for item in FORMATS)


def find_format(name: str) -> AnnotationFormat:
    """The format of a name.

    Raises:
        UsageError: There is none; the message names those there are.
    """
    for item in FORMATS:
        if item.name == name:
            return item
    raise UsageError(f"no format {name!r}", hint=f"known: {', '.join(NAMES)}")


__all__ = [
    "FORMATS",
    "NAMES",
    "AnnotationFormat",
    "Entry",
    "Job",
    "Shape",
    "check_opencv",
    "check_photo",
    "claim_folder",
    "find_format",
    "read_entry",
]
