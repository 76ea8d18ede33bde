"""A user's own data as COCO instances (https://cocodataset.org/#format-data), as most annotation tools write them.

Licence: the user's own data, none stated.

    set/
      annotations.json           or annotations/instances_train2017.json, or train/_annotations.coco.json (Roboflow)
      images/ train2017/ ...     `file_name` counts from the JSON's folder, the root, images/, or the split's folder

`bbox` is x, y, width, height in pixels of the image after EXIF orientation; `segmentation` is polygons or RLE,
compressed or not. An image without annotations is normal; a category's name is the type of defect, and a category
named good, ok or normal is no defect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadr1 import rle
from iadr1.datasets.base import Source
from iadr1.datasets.drawn import NO_SPLIT, OWN_LICENCE, OWN_PAGE, Drawing, path_in_set, samples, split_word
from iadr1.datasets.files import Files
from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.layout import words, wrong_layout
from iadr1.datasets.polygons import Shape, are_numbers, ring
from iadr1.errors import DataError
from iadr1.geometry import Box
from iadr1.records import Sample

Entry = Mapping[str, Any]


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, file by file in the order of `images`; `id` is the image's path.

    Each annotation is a defect with its box and, from polygons or RLE, its mask; `iscrowd` becomes an attribute.
    The split is the word train, val or test in the JSON's name or its folder's, else `all`.

    Args:
        files: The set's files.
        annotations: The JSON; by default the only one, or one for each split.

    Raises:
        DataError: No such JSON or several for one split, an entry without its members, ids or images that are there
            twice or unknown, a box or polygon without area, an image missing or of another size than stated.
    """
    drawings = [drawing for index, split in _indexes(files.root, annotations) for drawing in _read(files, index, split)]
    yield from samples(files, drawings, source=SOURCE.title, tree=SOURCE.tree)


def _indexes(root: Path, chosen: Path | None) -> list[tuple[Path, str]]:
    """The JSON files and their splits."""
    if chosen is not None:
        return [(chosen, _split(chosen, root) or NO_SPLIT)]
    found = sorted(path for pattern in _INDEXES for path in root.glob(pattern) if not path.name.startswith("."))
    if not found:
        raise wrong_layout(root, SOURCE.tree)
    splits = [_split(path, root) for path in found]
    if len(found) > 1 and (None in splits or len(set(splits)) < len(splits)):
        raise DataError(
            f"several JSON files, not one for each split: {', '.join(str(path.relative_to(root)) for path in found)}",
            where=str(root),
            hint="choose one with --annotations",
        )
    return [(path, split or NO_SPLIT) for path, split in zip(found, splits, strict=True)]


_INDEXES = ("*.json", "annotations/*.json", "*/_annotations.coco.json")


def _split(index: Path, root: Path) -> str | None:
    inside = index.parent != root and index.is_relative_to(root)
    return split_word(index.stem) or (split_word(index.parent.name) if inside else None)


def _read(files: Files, index: Path, split: str) -> Iterator[Drawing]:
    content = read_json(index)
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in _LISTS):
        raise DataError(
            f"not COCO instances: the lists {', '.join(_LISTS)} are needed",
            where=str(index),
            hint="captions and the like hold no boxes; choose the file of the instances with --annotations",
        )
    names = {key: _name(entry, where) for key, entry, where in _entries(content, "categories", index)}
    shapes: dict[object, list[Shape]] = {key: [] for key, _, _ in _entries(content, "images", index)}
    for _, entry, where in _entries(content, "annotations", index):
        image, category = entry.get("image_id"), entry.get("category_id")
        if not _is_id(image) or image not in shapes:
            raise DataError(f"no image has the id {image!r:.40}", where=where)
        if not _is_id(category) or category not in names:
            raise DataError(f"no category has the id {category!r:.40}", where=where)
        shapes[image].append(_shape(entry, names[category], where))
    base = _base(files.root, index, split, [entry for _, entry, _ in _entries(content, "images", index)])
    for key, entry, where in _entries(content, "images", index):
        size = (entry.get("width"), entry.get("height"))
        if size != (None, None) and not all(type(side) is int and side > 0 for side in size):
            raise DataError(f"width and height are {size[0]!r:.20} and {size[1]!r:.20}", where=where)
        yield Drawing(
            path=path_in_set(entry.get("file_name"), base=base, root=files.root, where=where),
            split=split,
            where=where,
            shapes=tuple(shapes[key]),
            size=None if size == (None, None) else size,  # type: ignore[arg-type]
        )


_LISTS = ("images", "annotations", "categories")


def _entries(content: Entry, name: str, index: Path) -> Iterator[tuple[int | str, Entry, str]]:
    """The entries of a list with their ids, and where they stand.

    Raises:
        DataError: An entry is no object, or has no id or one that was there before.
    """
    seen: set[int | str] = set()
    for number, entry in enumerate(content[name]):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            raise DataError("an entry needs an 'id', a number or text", where=f"{index}: {name}[{number}]")
        where = f"{index}: {name}[{number}], id {entry['id']}"
        if entry["id"] in seen:
            raise DataError(f"the id {entry['id']!r} is there twice", where=where)
        seen.add(entry["id"])
        yield entry["id"], entry, where


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _name(entry: Entry, where: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"the category's name is {name!r:.40}", where=where)
    return words(name)


def _shape(entry: Entry, kind: str, where: str) -> Shape:
    box = _box(entry["bbox"], where) if entry.get("bbox") else None
    drawn, mask = entry.get("segmentation"), None
    if isinstance(drawn, dict):
        try:
            mask = rle.parse(drawn)
        except ValueError as error:
            raise DataError(f"segmentation: {error}", where=where) from error
    elif drawn is not None and not isinstance(drawn, list):
        raise DataError(f"segmentation is neither polygons nor RLE: {drawn!r:.60}", where=where)
    rings = tuple(ring(part, where) for part in drawn) if isinstance(drawn, list) else ()
    if box is None and mask is None and not rings:
        raise DataError("an annotation needs 'bbox' or 'segmentation'", where=where)
    crowd = {"iscrowd": "1"} if entry.get("iscrowd") else {}
    return Shape(type=kind, where=where, box=box, rings=rings, rle=mask, attributes=crowd)


def _box(value: object, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4 or not are_numbers(value):
        raise DataError(f"bbox is not four numbers: {value!r:.60}", where=where)
    x, y, w, h = map(float, value)
    if w <= 0 or h <= 0:
        raise DataError(f"the box {value} has no area", where=where, hint="bbox is x, y, width, height")
    return x, y, x + w, y + h


def _base(root: Path, index: Path, split: str, images: Sequence[Entry]) -> str:
    """The folder the file names count from: the first in which an image is found, else the JSON's own."""
    own = index.parent.relative_to(root).as_posix() if index.parent.is_relative_to(root) else "."
    names = [name for name in (index.stem.rpartition("_")[2], split) if name != NO_SPLIT]
    folders = [
        own,
        ".",
        "images",
        f"{own}/images",
        *(f"{parent}{name}" for name in names for parent in ("", "images/")),
    ]
    for entry in images:
        name = str(entry.get("file_name")).replace("\\", "/")
        if not name.startswith("/") and "\0" not in name:
            found = [folder for folder in folders if (root / folder / name).is_file()]
            if found:
                return found[0]
    return own


SOURCE = Source(
    scan=scan,
    title="COCO instances",
    licence=OWN_LICENCE,
    page=OWN_PAGE,
    citation="format: Lin et al., ECCV 2014, arXiv 1405.0312",
    tree="annotations.json (or annotations/*.json, SPLIT/_annotations.coco.json) and the images it names",
    options=("annotations",),
)
