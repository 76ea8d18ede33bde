"""RefCOCO, RefCOCO+ and RefCOCOg as VLM-R1 publishes them for training (arXiv 2504.07615, `omlab/VLM-R1`).

Licence: code of VLM-R1 Apache-2.0; images under COCO's terms (Flickr licences); none stated for the expressions.

    refcoco/
      refcoco_train.json, refcocop_val.json, ...    also inside rec_jsons_processed/
      train2014/COCO_train2014_000000581857.jpg     the paths in the JSON start here

Boxes are `solution`: xyxy in pixels of the stored image, right and bottom exclusive (`bbox_list` is one less).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import wrong_layout
from iadr1.errors import DataError
from iadr1.geometry import Box, clip_box, location_word
from iadr1.records import Defect, Sample

LICENCE = "COCO terms of use (images); Apache-2.0 (VLM-R1)"
TREE = "refcoco_train.json (or rec_jsons_processed/*.json) beside train2014/"

_FIELDS = ("image", "problem", "normal_caption", "solution", "width", "height")


def scan(files: Files) -> Iterator[Sample]:
    """One grounding sample per referring expression, file by file in sorted order; `id` is `<file>#<position>`.

    The named region is the only entry of `defects`, with the expression as its type; whether anything is anomalous
    is unknown. `category` is COCO's category id, `split` the last part of the file's name.

    Raises:
        DataError: No such JSON, an entry without its fields, a box outside its image, missing images.
    """
    root = files.root
    indexes = sorted([*root.glob("*.json"), *(root / "rec_jsons_processed").glob("*.json")])
    if not indexes:
        raise wrong_layout(root, TREE)
    # Read twice, so that one file's entries are in memory at a time.
    for index in indexes:
        for number, entry in enumerate(_entries(index)):
            files.add(entry["image"], where=f"{index}: entry {number}")
    files.check(hint="all splits use COCO's train2014 images")
    for index in indexes:
        for number, entry in enumerate(_entries(index)):
            sample = _sample(files, index, number, entry)
            if sample is not None:
                yield sample


def _entries(index: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg} in column {error.colno}", where=f"{index}:{error.lineno}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(index)) from error
    if not isinstance(entries, list) or not entries:
        raise DataError("not a JSON list of referring expressions, or an empty one", where=str(index))
    for number, entry in enumerate(entries):
        missing = [name for name in _FIELDS if name not in entry] if isinstance(entry, dict) else list(_FIELDS)
        if missing or not isinstance(entry["image"], str):
            raise DataError(f"an entry needs the members {missing or ['image']}", where=f"{index}: entry {number}")
    return entries


def _sample(files: Files, index: Path, number: int, entry: dict[str, Any]) -> Sample | None:
    where = f"{index}: entry {number}"
    box = _box(entry, where)
    size = (int(entry["width"]), int(entry["height"]))
    target = Defect(type=str(entry["normal_caption"]), box=box, location=location_word(box, size))
    return files.sample(
        where,
        id=f"{index.stem}#{number}",
        dataset=str(entry.get("dataset_name", index.stem)),
        category=str(entry.get("category_id", "unknown")),
        split=index.stem.rpartition("_")[2],
        image=entry["image"],
        task="grounding",
        question=entry["problem"],
        question_type="Referring Expression",
        defects=(target,),
        licence=LICENCE,
        source="VLM-R1 REC",
    )


def _box(entry: dict[str, Any], where: str) -> Box:
    value = entry["solution"]
    if not isinstance(value, list) or len(value) != 4 or not _are_numbers([*value, entry["width"], entry["height"]]):
        raise DataError(f"'solution', 'width' and 'height' are not all numbers: {value!r:.60}", where=where)
    box = clip_box(tuple(map(float, value)), (entry["width"], entry["height"]))  # type: ignore[arg-type]
    if box is None:
        raise DataError(
            f"the box {value} is empty or outside the {entry['width']}x{entry['height']} image", where=where
        )
    return box


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


SOURCE = Source(
    scan=scan,
    title="RefCOCO/+/g, VLM-R1's JSON",
    licence=LICENCE,
    commercial=None,
    page="https://github.com/lichengunc/refer",
    citation="Yu et al., ECCV 2016, arXiv 1608.00272; Mao et al., CVPR 2016, arXiv 1511.02283",
    tree=TREE,
)
