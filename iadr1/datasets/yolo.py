"""A user's own data as YOLO label files (https://docs.ultralytics.com/datasets/detect/ and .../segment/).

Licence: the user's own data, none stated.

    set/
      data.yaml                  names, and train, val, test: a folder, a list of folders or a .txt of image paths
      images/train/001.jpg       or train/images/001.jpg
      labels/train/001.txt       `images` becomes `labels` in the path; without `images` in it, beside the image
    or, without YAML
      classes.txt images/001.jpg labels/001.txt      as labelImg and Label Studio write them

A line is `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 ...` (a polygon), in fractions of the image's sides. An image
whose label file is empty or absent is background, that is normal, as ultralytics takes it; a set with no label file
at all is refused. A class named good, ok or normal is no defect. A line that repeats another counts once.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from iadr1.datasets.base import Source
from iadr1.datasets.drawn import OWN_LICENCE, OWN_PAGE, Drawing, found_files, path_in_set, samples, split_of
from iadr1.datasets.files import Files
from iadr1.datasets.layout import words, wrong_layout
from iadr1.datasets.polygons import Shape, are_numbers, ring
from iadr1.errors import DataError
from iadr1.images import IMAGE_SUFFIXES
from iadr1.records import Sample

_CLASS_FILES = ("classes.txt", "labels/classes.txt", "obj.names")
_SPLIT_KEYS = ("train", "val", "test")


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, split by split in the order of the paths; `id` is the image's path.

    `path` in the YAML, where the set lay when it was written, is replaced by the root. Without a YAML the split is
    the folder's below `images/`, else `all`. Where the image is absent (`missing="keep"`), fractions cannot become
    pixels and the defects have no box.

    Args:
        files: The set's files.
        annotations: The YAML; by default the only one in the root.

    Raises:
        DataError: No names of classes, a line that is no label (with file and line), labels without image, no labels.
    """
    root = files.root
    config = annotations or _config(root)
    if config is None:
        names, images = _plain(root)
    else:
        names, images = _described(files, config)
    labels = {image.path: root / _label(image.path) for image in images}
    if not any(label.is_file() for label in labels.values()):
        raise DataError(
            f"no label file for any of {len(images)} images, such as {_label(images[0].path)}",
            where=str(root),
            hint=f"expected {SOURCE.tree}",
        )
    _refuse_lonely(files, set(labels.values()))
    drawings = [
        Drawing(path=path, split=split, where=where, shapes=_shapes(labels[path], names))
        for path, split, where in images
    ]
    yield from samples(files, drawings, source=SOURCE.title, tree=SOURCE.tree)


class _Listed(NamedTuple):
    """An image, its split, and where it is named."""

    path: str
    split: str
    where: str


def _config(root: Path) -> Path | None:
    found = [path for suffix in ("*.yaml", "*.yml") for path in sorted(root.glob(suffix))]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"several YAML files: {names}", where=str(root), hint="choose one with --annotations")
    return found[0] if found else None


def _plain(root: Path) -> tuple[dict[int, str], list[_Listed]]:
    """Classes, one a line, and all images below `images/` or, where there is none, below the root."""
    index = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    if index is None:
        raise wrong_layout(root, SOURCE.tree)
    lines = [line.strip() for line in _text(index).splitlines()]
    place = root / "images"
    images = _in_folder(root, place if place.is_dir() else root, None)
    if not images:
        raise wrong_layout(root, SOURCE.tree)
    return {number: words(line) for number, line in enumerate(lines) if line}, images


def _described(files: Files, config: Path) -> tuple[dict[int, str], list[_Listed]]:
    """Classes and images as the YAML names them."""
    where = str(config)
    try:
        content = yaml.safe_load(_text(config))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        raise DataError(f"not YAML: {' '.join(str(error).split())}", where=where) from error
    if not isinstance(content, dict) or "names" not in content:
        raise DataError("'names', the classes, is missing", where=where, hint=f"expected {SOURCE.tree}")
    images: list[_Listed] = []
    for split in _SPLIT_KEYS:
        places = content.get(split) or []
        for text in places if isinstance(places, list) else [places]:
            place = _place(files.root, content.get("path"), text)
            if place is not None:
                images += (
                    _in_list(files.root, place, split) if place.is_file() else _in_folder(files.root, place, split)
                )
            elif files.missing != "skip":
                raise DataError(f"{split}: no folder or list {text!r:.80} in {str(files.root)!r}", where=where)
    if not images:
        raise DataError("no images in train, val and test", where=where, hint=f"expected {SOURCE.tree}")
    return _names(content["names"], where), images


def _names(value: object, where: str) -> dict[int, str]:
    names = dict(enumerate(value)) if isinstance(value, list) else value
    if (
        not isinstance(names, dict)
        or not names
        or not all(type(key) is int and isinstance(name, str | int) for key, name in names.items())
    ):
        raise DataError(f"'names' is neither a list nor numbers with names: {value!r:.60}", where=where)
    return {key: words(str(name)) for key, name in names.items()}


def _place(root: Path, stated: object, text: object) -> Path | None:
    """The folder or list a split names, inside the root; None where there is none.

    Roboflow writes `../train/images` for the folder beside the YAML, which ultralytics forgives, and so does this.
    """
    if not isinstance(text, str):
        return None
    name = text.replace("\\", "/")
    base = stated.replace("\\", "/") if isinstance(stated, str) else ""
    for option in (f"{base}/{name}" if base else name, name, name.removeprefix("../")):
        try:
            place = root / path_in_set(option, base="", root=root, where="")
        except DataError:  # outside: the next reading
            continue
        if place.exists():
            return place
    return root if posixpath.normpath(name) == "." else None


def _in_folder(root: Path, place: Path, split: str | None) -> list[_Listed]:
    names = [path.relative_to(root).as_posix() for path in found_files(place, IMAGE_SUFFIXES)]
    return [_Listed(name, split or split_of(name), name) for name in names]


def _in_list(root: Path, index: Path, split: str) -> list[_Listed]:
    found: list[_Listed] = []
    own = index.parent.relative_to(root).as_posix()
    for number, line in enumerate(_text(index).splitlines(), start=1):
        if line.strip():
            where = f"{index}:{number}"
            path = path_in_set(line, base=own, root=root, where=where)
            if not (root / path).is_file() and not line.startswith("/"):
                path = path_in_set(line, base="", root=root, where=where)
            found.append(_Listed(path, split, where))
    return found


def _label(image: str) -> str:
    """The label file of an image: the last folder `images` becomes `labels`, the suffix `.txt`."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    last = max((place for place, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if last is not None:
        parts[last] = "labels"
    return "/".join(parts)


def _refuse_lonely(files: Files, labels: set[Path]) -> None:
    """Refuse label files without an image; what lies beside images may be any text and is left alone."""
    folders = sorted({label.parent for label in labels if "labels" in label.relative_to(files.root).parts})
    lonely = [
        path
        for folder in folders
        for path in sorted(folder.glob("*.txt"))
        if path not in labels and path.name != "classes.txt"
    ]
    if lonely and files.missing != "skip":
        raise DataError(
            f"{len(lonely)} label files have no image, such as {lonely[0].relative_to(files.root)}",
            where=str(files.root),
            hint="--missing skip leaves them out; images that are kept though absent must be named in a .txt list",
        )


def _shapes(label: Path, names: dict[int, str]) -> tuple[Shape, ...]:
    if not label.is_file():
        return ()
    first: dict[str, int] = {}
    for number, line in enumerate(_text(label).splitlines(), start=1):
        if line.strip():
            first.setdefault(" ".join(line.split()), number)
    return tuple(_shape(line, names, f"{label}:{number}") for line, number in first.items())


def _shape(line: str, names: dict[int, str], where: str) -> Shape:
    try:
        kind, *values = map(float, line.split())
    except ValueError as error:
        raise DataError(f"not a label: {line:.60}", where=where) from error
    if kind not in names:
        known = f"{min(names)}..{max(names)}"
        raise DataError(f"no class {kind:g}; there are {known}", where=where, hint="the classes are in 'names'")
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        hint = "a sixth number is a prediction's confidence" if len(values) == 5 else None
        raise DataError(f"{len(values) + 1} numbers are neither a box nor a polygon", where=where, hint=hint)
    if not are_numbers(values) or min(values) < -_TOLERANCE or max(values) > 1 + _TOLERANCE:
        raise DataError(f"not fractions of the image's sides: {line:.60}", where=where, hint="these may be pixels")
    if len(values) > 4:
        return Shape(type=names[int(kind)], where=where, rings=(ring(values, where),), relative=True)
    x, y, w, h = values
    if w <= 0 or h <= 0:
        raise DataError(f"the box {line} has no area", where=where)
    return Shape(type=names[int(kind)], where=where, box=(x - w / 2, y - h / 2, x + w / 2, y + h / 2), relative=True)


_TOLERANCE = 0.01
"""How far a fraction may lie outside 0..1 by rounding; what is outside is cut off."""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(path)) from error


SOURCE = Source(
    scan=scan,
    title="YOLO labels",
    licence=OWN_LICENCE,
    page=OWN_PAGE,
    citation="format: Redmon et al., darknet; Jocher et al., ultralytics",
    tree="data.yaml (or classes.txt), images/001.jpg, labels/001.txt",
    options=("annotations",),
)
