"""A user's own data as labelme writes them: a JSON beside each image (https://github.com/wkentaro/labelme).

Licence: the user's own data, none stated.

    set/
      001.jpg  001.json          any folders below; `imagePath` counts from the JSON's folder
      normal/004.jpg             an image without JSON is normal in a folder good, ok or normal, else it is refused

Shapes: polygon (also `rotation` and `oriented_rectangle`), circle and mask give a box and a mask, rectangle a box.
Points and lines have no area and are refused. A label named good, ok or normal is no defect. The image's own `flags`
may say that it is normal. `imageData` is not read.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iadr1 import rle
from iadr1.datasets.base import Source
from iadr1.datasets.drawn import OWN_LICENCE, OWN_PAGE, Drawing, found_files, is_normal, path_in_set, samples, split_of
from iadr1.datasets.files import Files
from iadr1.datasets.jsonfile import read_json
from iadr1.datasets.layout import words, wrong_layout
from iadr1.datasets.polygons import Shape, are_numbers, circle, ring
from iadr1.errors import DataError
from iadr1.geometry import Size
from iadr1.images import DAMAGES, IMAGE_SUFFIXES
from iadr1.records import Sample

Entry = Mapping[str, Any]


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per image, in the order of the JSON files' and images' paths; `id` is the image's path.

    The split is the name of a folder train, val or test on the way to the image, else `all`. A shape's description,
    group and set flags become the defect's attributes.

    Raises:
        DataError: No JSON, a JSON that is not labelme's, an image that has no JSON, no shape but a flag that is set,
            a shape without area, an image missing, there twice, or of another size than stated.
    """
    root = files.root
    indexes = found_files(root, {".json"})
    if not indexes:
        raise wrong_layout(root, SOURCE.tree)
    drawings = [_read(root, path) for path in indexes]
    drawings += _unlabelled(files, {drawing.path for drawing in drawings})
    yield from samples(files, drawings, source=SOURCE.title, tree=SOURCE.tree)


def _read(root: Path, index: Path) -> Drawing:
    content = read_json(index)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list) or "imagePath" not in content:
        raise DataError("not labelme's: 'shapes' and 'imagePath' are needed", where=str(index), hint="move it away")
    base = index.parent.relative_to(root).as_posix()
    path = path_in_set(content["imagePath"], base=base, root=root, where=str(index))
    size = _size(content, str(index))
    shapes = tuple(_shape(entry, size, f"{index}: shape {number}") for number, entry in enumerate(content["shapes"]))
    _check_flags(content.get("flags"), shapes, str(index))
    return Drawing(path=path, split=split_of(path), where=str(index), shapes=shapes, size=size)


def _size(content: Entry, where: str) -> Size | None:
    size = (content.get("imageWidth"), content.get("imageHeight"))
    if size == (None, None):
        return None
    if not all(type(side) is int and side > 0 for side in size):
        raise DataError(f"imageWidth and imageHeight are {size[0]!r:.20} and {size[1]!r:.20}", where=where)
    return size  # type: ignore[return-value]


def _check_flags(flags: object, shapes: tuple[Shape, ...], where: str) -> None:
    """Refuse flags that contradict the shapes; other flags of an image with shapes say nothing about defects."""
    if flags is None:
        return
    if not isinstance(flags, dict):
        raise DataError(f"'flags' is not an object: {flags!r:.40}", where=where)
    chosen = [str(name) for name, value in flags.items() if value]
    defects = [shape.type for shape in shapes if not is_normal(shape.type)]
    normal = [name for name in chosen if is_normal(name)]
    if defects and normal:
        raise DataError(
            f"the flag {normal[0]!r} is set, but a shape is labelled {defects[0]!r}",
            where=where,
            hint="clear the flag or remove the shape",
        )
    if chosen and not defects and not normal:
        raise DataError(
            f"no shape, but the flag {chosen[0]!r} is set: whether the image is normal is not said",
            where=where,
            hint="draw the defect, or set a flag named normal, or clear all flags",
        )


def _shape(entry: object, size: Size | None, where: str) -> Shape:
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str) or not entry["label"].strip():
        raise DataError("a shape needs a 'label'", where=where)
    where = f"{where} ({entry['label']})"
    points, kind = entry.get("points"), entry.get("shape_type") or "polygon"
    if not isinstance(points, list) or not all(are_numbers(point) and len(point) == 2 for point in points):
        raise DataError(f"'points' is not a list of x, y: {points!r:.60}", where=where)
    drawn: dict[str, Any]
    if kind in ("polygon", "rotation", "oriented_rectangle"):
        drawn = {"rings": (ring(points, where),)}
    elif kind == "rectangle" and len(points) in (2, 4):
        xs, ys = zip(*points, strict=True)
        drawn = {"box": (float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys)))}
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points
        drawn = {"rings": (circle((x, y), math.dist((x, y), edge)),)}
    elif kind == "mask" and len(points) == 2:
        drawn = {"rle": _bitmap(entry.get("mask"), points, size, where)}
    else:
        raise DataError(
            f"a {kind} of {len(points)} points has no area",
            where=where,
            hint="draw a polygon, rectangle (2 or 4 points), circle (2) or mask (2)",
        )
    return Shape(type=words(entry["label"]), where=where, attributes=_attributes(entry), **drawn)


def _attributes(entry: Entry) -> dict[str, str]:
    flags = entry.get("flags")
    found = {
        "description": entry.get("description"),
        "group": entry.get("group_id"),
        "flags": ", ".join(str(name) for name, value in flags.items() if value) if isinstance(flags, dict) else None,
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _bitmap(text: object, points: list[list[float]], size: Size | None, where: str) -> rle.Rle:
    """A mask shape: a PNG in base64 that lies with its first pixel on the first point, cut at the image's edge."""
    if size is None:
        raise DataError("a mask needs imageWidth and imageHeight", where=where)
    x, y = round(points[0][0]), round(points[0][1])
    try:
        with Image.open(BytesIO(base64.b64decode(str(text), validate=True)), formats=("PNG",)) as image:
            width, height = image.size
            # Before it is decoded: a small file may hold a vast picture.
            if width > size[0] or height > size[1]:
                raise DataError(f"the mask is {width}x{height} px, its image {size[0]}x{size[1]} px", where=where)
            part = np.asarray(image.convert("L")) > 0
    except (binascii.Error, Image.DecompressionBombError, *DAMAGES) as error:
        raise DataError(f"'mask' is not a PNG in base64: {error}", where=where) from error
    left, top = max(0, x), max(0, y)
    inside = part[top - y : max(0, size[1] - y), left - x : max(0, size[0] - x)]
    return rle.encode(inside, corner=(left, top), size=size)


def _unlabelled(files: Files, labelled: set[str]) -> Iterator[Drawing]:
    """Images without JSON: normal in a folder that says so; labelme saves nothing for what nobody looked at.

    Raises:
        DataError: Images in other folders, unless samples without their files are skipped.
    """
    root = files.root
    paths = [path.relative_to(root) for path in found_files(root, IMAGE_SUFFIXES)]
    left = [path for path in paths if path.as_posix() not in labelled]
    unknown = [path for path in left if not is_normal(path.parent.name)]
    if unknown and files.missing != "skip":
        raise DataError(
            f"{len(unknown)} images have no JSON, such as {unknown[0].as_posix()}",
            where=str(root),
            hint="put normal ones into a folder good, ok or normal; --missing skip leaves the others out",
        )
    for path in left:
        if is_normal(path.parent.name):
            yield Drawing(path=path.as_posix(), split=split_of(path.as_posix()), where=path.as_posix())


SOURCE = Source(
    scan=scan,
    title="labelme",
    licence=OWN_LICENCE,
    page=OWN_PAGE,
    citation="format: Wada, labelme, doi 10.5281/zenodo.5711226",
    tree="001.jpg beside 001.json, in any folders; normal images without JSON in good/",
)
