"""What the forms of RefCOCO share: the three sets, an expression, and the sample it becomes."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from iadr1.datasets.files import Files
from iadr1.datasets.polygons import are_numbers
from iadr1.errors import DataError
from iadr1.geometry import Box, Size, clip_box, location_word
from iadr1.records import Defect, Sample

LEAD_IN = "Please provide the bounding box coordinate of the region this sentence describes: "
"""How VLM-R1 asks; the expression and a full stop follow."""

_IMAGE_FOLDERS = (
    "train2014",
    "images/train2014",
    "images/mscoco/images/train2014",
    "data/images/mscoco/images/train2014",
    "coco/train2014",
)
_IMAGE_NAME = re.compile(r"COCO_train2014_(\d{12})(?:_\d+)?\.jpg")


@dataclass(frozen=True)
class Family:
    """One of the three sets and what it is called in each form.

    Attributes:
        name: As the `refer` release calls its folder.
        folders: Names of the folder it may lie in, lower-case.
        prefix: First part of VLM-R1's file names.
        benchmark: First part of the file names in `jxu124/refcoco-benchmark`.
        by: Whose splits the hub's tables with one split a file hold.
        mixed: Split -> whose it is, in lmms-lab's tables, which join the validation parts of two splits.
    """

    name: str
    folders: tuple[str, ...]
    prefix: str
    benchmark: str
    by: str
    mixed: Mapping[str, str]


@dataclass(frozen=True)
class Expression:
    """One referring expression.

    Attributes:
        id: Unique within the set.
        dataset: Name in the sample.
        split: The set's split, with whose it is where that is known (`unc-testA`).
        image: Path relative to the root.
        size: (width, height) of the image in pixels; None where only the image itself tells.
        box: The region, xyxy in pixels.
        text: The expression.
        question: The whole question.
        category: COCO's category.
        where: File and entry.
    """

    id: str
    dataset: str
    split: str
    image: str
    size: Size | None
    box: Box
    text: str
    question: str
    category: str
    where: str


def samples(
    files: Files, expressions: Callable[[], Iterator[Expression]], *, licence: str, source: str
) -> Iterator[Sample]:
    """One grounding sample per expression; the named region is the only entry of `defects`.

    Args:
        files: The set's files.
        expressions: Gives them from the start, and is asked twice: all images are checked before the first sample.
        licence: Of the set.
        source: The form's name.

    Raises:
        DataError: No expression, an id twice, missing images, a box that is empty or outside its image.
    """
    seen: set[str] = set()
    for found in expressions():
        if found.id in seen:
            raise DataError(f"the expression {found.id} is there twice", where=found.where)
        seen.add(found.id)
        files.add(found.image, where=found.where)
    if not seen:
        raise DataError("no expressions", where=str(files.root))
    files.check(hint="all splits use COCO's train2014 images")
    for found in expressions():
        sample = _sample(files, found, licence, source)
        if sample is not None:
            yield sample


def _sample(files: Files, found: Expression, licence: str, source: str) -> Sample | None:
    size = found.size
    if size is None and files.has(found.image):
        size = files.image(found.image).size
    box = found.box if size is None else clip_box(found.box, size)
    if box is None:
        edges = ", ".join(f"{value:g}" for value in found.box)
        side = "x".join(map(str, size or ()))
        raise DataError(f"the box {edges} is empty or outside the {side} image", where=found.where)
    target = Defect(type=found.text, box=box, location=None if size is None else location_word(box, size))
    return files.sample(
        found.where,
        id=found.id,
        dataset=found.dataset,
        category=found.category,
        split=found.split,
        image=found.image,
        task="grounding",
        question=found.question,
        question_type="Referring Expression",
        defects=(target,),
        licence=licence,
        source=source,
    )


def question(text: str) -> str:
    """VLM-R1's question for an expression."""
    return f"{LEAD_IN}{text}."


def image_folder(root: Path) -> str:
    """The folder of the train2014 images, relative to the root; `train2014` where none of the known ones is there."""
    return next((name for name in _IMAGE_FOLDERS if (root / name).is_dir()), _IMAGE_FOLDERS[0])


def image_name(number: int) -> str:
    """COCO's file name of an image id."""
    return f"COCO_train2014_{number:012d}.jpg"


def image_number(file_name: object, where: str) -> int:
    """The image id in a file name, which in references carries an annotation id (`..._000000581857_16.jpg`).

    Raises:
        DataError: It is another name.
    """
    match = _IMAGE_NAME.fullmatch(file_name) if isinstance(file_name, str) else None
    if match is None:
        raise DataError(f"the file name {shown(file_name)} is not COCO_train2014_<12 digits>[_<id>].jpg", where=where)
    return int(match[1])


def xyxy(bbox: object, where: str) -> Box:
    """COCO's x, y, width, height as corners, by adding.

    Raises:
        DataError: These are not four numbers, or width or height is not above 0.
    """
    if not isinstance(bbox, list) or len(bbox) != 4 or not are_numbers(bbox) or bbox[2] <= 0 or bbox[3] <= 0:
        raise DataError(f"the box {bbox!r:.60} is not x, y, width, height with an area", where=where)
    x, y, w, h = map(float, bbox)
    return x, y, x + w, y + h


def shown(value: object) -> str:
    """A value for an error message: the values of a pickle may hold one another, and have no end when written out."""
    return reprlib.repr(value)[:80]


def sentences_of(value: object, where: str) -> list[tuple[int, str]]:
    """The ids and texts of a reference's sentences: `sent`, the cleaned form, or `raw` where that is empty.

    Raises:
        DataError: There is none, or one has no id or no text.
    """
    found: list[tuple[int, str]] = []
    for entry in value if isinstance(value, list) else []:
        known = entry if isinstance(entry, dict) else {}
        texts = [known[name].strip() for name in ("sent", "raw") if isinstance(known.get(name), str)]
        if type(known.get("sent_id")) is not int or not any(texts):
            raise DataError(f"a sentence needs 'sent_id' and 'sent': {shown(entry)}", where=where)
        found.append((known["sent_id"], next(text for text in texts if text)))
    if not found:
        raise DataError("no sentences", where=where)
    return found
