"""The release of `lichengunc/refer`: `refs(<by>).p` beside `instances.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.datasets.refcoco.common import Expression, image_name, image_number, question, sentences_of, shown, xyxy
from iadr1.datasets.refcoco.pickles import read_pickle
from iadr1.errors import DataError
from iadr1.geometry import Box, Size

PATTERN = "refs(*).p"


@dataclass(frozen=True)
class _Instances:
    """What is used of `instances.json`: annotation id -> (image id, category id, box), image id -> size, names."""

    boxes: Mapping[int, tuple[int, int, Box]]
    sizes: Mapping[int, Size]
    names: Mapping[int, str]


@dataclass(frozen=True)
class _Reference:
    where: str
    id: int
    annotation: int
    image: int
    split: str
    sentences: list[tuple[int, str]]


def load(home: Path, *, dataset: str, images: str) -> Callable[[], Iterator[Expression]]:
    """The expressions of all `refs(<by>).p` in a folder, joined to `instances.json` by annotation id.

    The id is `<by>/<split>/<reference>/<sentence>`, the split `<by>-<split>`: google's, unc's and umd's differ.

    Args:
        home: The set's folder.
        dataset: Name in the samples.
        images: The folder of the images, relative to the root.

    Raises:
        DataError: A file is broken, or a reference names an annotation or image that is not there.
    """
    instances = _instances(home / "instances.json")
    references = {index.name[5:-3]: _references(index) for index in sorted(home.glob(PATTERN))}

    def expressions() -> Iterator[Expression]:
        for by, found in references.items():
            for reference in found:
                yield from _expressions(reference, instances, by, dataset, images)

    return expressions


def _expressions(
    reference: _Reference, instances: _Instances, by: str, dataset: str, images: str
) -> Iterator[Expression]:
    if reference.annotation not in instances.boxes:
        raise DataError(f"instances.json has no annotation {reference.annotation}", where=reference.where)
    image, category, box = instances.boxes[reference.annotation]
    if image != reference.image:
        raise DataError(f"its annotation is of image {image}, not {reference.image}", where=reference.where)
    if image not in instances.sizes or category not in instances.names:
        raise DataError(f"instances.json lacks image {image} or category {category}", where=reference.where)
    for number, text in reference.sentences:
        yield Expression(
            id=f"{by}/{reference.split}/{reference.id}/{number}",
            dataset=dataset,
            split=f"{by}-{reference.split}",
            image=f"{images}/{image_name(image)}",
            size=instances.sizes[image],
            box=box,
            text=text,
            question=question(text),
            category=instances.names[category],
            where=reference.where,
        )


def _references(index: Path) -> list[_Reference]:
    content = read_pickle(index)
    if not isinstance(content, list) or not content:
        raise DataError("not a list of references, or an empty one", where=str(index))
    return [_reference(entry, f"{index}: reference {number}") for number, entry in enumerate(content)]


def _reference(entry: object, where: str) -> _Reference:
    numbers = ("ref_id", "ann_id", "image_id")
    if (
        not isinstance(entry, dict)
        or not all(type(entry.get(name)) is int for name in numbers)
        or not isinstance(entry.get("split"), str)
    ):
        raise DataError(f"a reference needs the numbers {', '.join(numbers)} and 'split': {shown(entry)}", where=where)
    if "file_name" in entry and image_number(entry["file_name"], where) != entry["image_id"]:
        raise DataError(f"the file name {entry['file_name']!r} is not of image {entry['image_id']}", where=where)
    return _Reference(
        where=f"{where} (ref_id {entry['ref_id']})",
        id=entry["ref_id"],
        annotation=entry["ann_id"],
        image=entry["image_id"],
        split=entry["split"],
        sentences=sentences_of(entry.get("sentences"), where),
    )


def _instances(path: Path) -> _Instances:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_without_polygons)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg} in column {error.colno}", where=f"{path}:{error.lineno}") from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a number of thousands of digits
        raise DataError(f"cannot read the file: {error}", where=str(path)) from error
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in lists):
        raise DataError(f"the lists {', '.join(lists)} are needed", where=str(path))
    try:
        return _Instances(
            boxes={
                entry["id"]: (entry["image_id"], entry["category_id"], xyxy(entry["bbox"], f"{path}: {entry['id']}"))
                for entry in content["annotations"]
            },
            sizes={entry["id"]: (int(entry["width"]), int(entry["height"])) for entry in content["images"]},
            names={entry["id"]: str(entry["name"]) for entry in content["categories"]},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"an entry is not as COCO's: {error!r:.80}", where=str(path)) from error


def _without_polygons(entry: dict[str, Any]) -> dict[str, Any]:
    """Polygons are nine tenths of the file, and are dropped while it is read."""
    entry.pop("segmentation", None)
    return entry
