"""From images with shapes drawn on them to yes/no samples: what the readers of annotation tools' files share."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from iadr1 import parallel
from iadr1.datasets.files import Files
from iadr1.datasets.layout import is_named_file
from iadr1.datasets.polygons import Shape
from iadr1.errors import DataError
from iadr1.geometry import Size
from iadr1.prompts import DETECT_QUESTION
from iadr1.records import Sample

OWN_LICENCE = "own data"
"""Licence of samples made from a user's own files."""
OWN_PAGE = "your own data"

NORMAL = frozenset({"good", "ok", "normal"})
"""Names that mean "no defect", in any letter case."""

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Words in the names of folders and files that say the split."""
NO_SPLIT = "all"
"""The split of samples whose set is not split."""


@dataclass(frozen=True)
class Drawing:
    """One image with what was drawn on it; an image without a shape is normal.

    Attributes:
        path: The image, relative to the set's root.
        split: The set's own split, or `NO_SPLIT`.
        where: The file or entry that speaks of it.
        shapes: Its defects.
        size: (width, height) in pixels as stated beside the shapes; None where nothing is stated.
        category: The product; None takes the root folder's name.
    """

    path: str
    split: str
    where: str
    shapes: tuple[Shape, ...] = ()
    size: Size | None = None
    category: str | None = None


def is_normal(name: str) -> bool:
    """Whether a folder, label or category name means "no defect"."""
    return name.strip().lower() in NORMAL


def set_name(root: Path) -> str:
    """The name of a user's own set: its folder's."""
    return root.resolve().name or "own"


def split_word(name: str) -> str | None:
    """The split a file or folder name speaks of (`instances_val2017`: val); None where it names none, or several."""
    found = {SPLITS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLITS}
    return found.pop() if len(found) == 1 else None


def split_of(path: str) -> str:
    """The split of an image by the folders on the way to it, the nearest first; `NO_SPLIT` where none names one."""
    found = [split_word(part) for part in reversed(posixpath.dirname(path).split("/"))]
    return next((split for split in found if split is not None), NO_SPLIT)


def found_files(folder: Path, suffixes: Container[str]) -> list[Path]:
    """All files below a folder with one of the suffixes (lower-case), links that lead nowhere among them; sorted.

    Hidden ones are left out.

    Raises:
        DataError: A folder cannot be read: what lies in it would silently be missing.
    """
    errors: list[OSError] = []
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(place, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in suffixes and is_named_file(path)]
    if errors:
        raise DataError(
            f"cannot be read: {errors[0].strerror}", where=str(errors[0].filename), hint="make the folder readable"
        )
    return sorted(found)


def path_in_set(name: object, *, base: str, root: Path, where: str) -> str:
    """A path as written in an annotation file, as a POSIX path relative to the set's root.

    Backslashes are taken for the separators of Windows; an absolute path is accepted where it lies in the root.

    Args:
        name: What is written there.
        base: The folder it counts from, relative to the root ("" for the root itself).
        root: The set's folder.
        where: File and line or entry.

    Raises:
        DataError: It is not text, or leads out of the root.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"the image's path is {name!r:.80}", where=where)
    text = name.strip().replace("\\", "/")
    if text.startswith("/"):
        own = root.resolve().as_posix().rstrip("/") + "/"
        base, text = ("", text[len(own) :]) if text.startswith(own) else ("", text)
    found = posixpath.normpath(posixpath.join(base, text))
    if found.startswith("/") or found in ("..", ".") or found.startswith("../") or re.match(r"[A-Za-z]:/", text):
        raise DataError(
            f"the path {name!r} leads out of {str(root)!r}",
            where=where,
            hint="write paths relative to the folder given as --root",
        )
    return found


def samples(files: Files, drawings: Iterable[Drawing], *, source: str, tree: str) -> Iterator[Sample]:
    """One yes/no sample ("Are there any defects ...") per image, in the order given; `id` is the image's path.

    A shape whose type means "normal" is no defect. The reference of an image is the first other normal image of its
    category that is not of the splits val and test.

    Args:
        files: The set's files; all images are added and checked first.
        drawings: The images; at least one.
        source: The format's name in full.
        tree: The layout in one line, for the error about missing files.

    Raises:
        DataError: An image is there twice, is missing, is of another size than stated, or a shape has no area.
    """
    kept = [_without_normal(drawing, files.root) for drawing in drawings]
    seen: dict[str, str] = {}
    for drawing in kept:
        files.add(drawing.path, where=drawing.where)
        if drawing.path in seen:
            raise DataError(
                f"the image {drawing.path!r} is there twice; first in {seen[drawing.path]}", where=drawing.where
            )
        seen[drawing.path] = drawing.where
    files.check(hint=f"expected {tree}")
    templates = _templates(files, kept)

    def sample(drawing: Drawing) -> Sample | None:
        return _sample(files, drawing, templates[str(drawing.category)], source)

    for found in parallel.ordered(sample, kept):
        if found is not None:
            yield found


def _without_normal(drawing: Drawing, root: Path) -> Drawing:
    shapes = tuple(shape for shape in drawing.shapes if not is_normal(shape.type))
    return replace(drawing, shapes=shapes, category=drawing.category or set_name(root))


def _templates(files: Files, drawings: Sequence[Drawing]) -> dict[str, list[str]]:
    """Category -> its first two normal images for training."""
    found: dict[str, list[str]] = {str(drawing.category): [] for drawing in drawings}
    for drawing in drawings:
        names = found[str(drawing.category)]
        usable = files.missing != "skip" or files.has(drawing.path)
        if usable and not drawing.shapes and drawing.split not in ("val", "test") and len(names) < 2:
            names.append(drawing.path)
    return found


def _sample(files: Files, drawing: Drawing, templates: Sequence[str], source: str) -> Sample | None:
    if files.missing == "skip" and not files.has(drawing.path):
        return None
    size = drawing.size
    if files.has(drawing.path):
        size = files.image(drawing.path).size
        if drawing.size not in (None, size):
            raise DataError(
                f"the annotation was made on {drawing.size} px, the image {drawing.path!r} has {size} px",
                where=drawing.where,
                hint="the image was resized or turned after it was annotated; width and height count after EXIF",
            )
    return files.sample(
        drawing.where,
        id=drawing.path,
        dataset=set_name(files.root),
        category=drawing.category,
        split=drawing.split,
        image=drawing.path,
        references=tuple(path for path in templates if path != drawing.path)[:1],
        task="anomaly",
        question=DETECT_QUESTION,
        answer="Yes" if drawing.shapes else "No",
        question_type="Anomaly Detection",
        is_anomalous=bool(drawing.shapes),
        defects=tuple(shape.defect(size) for shape in drawing.shapes),
        licence=OWN_LICENCE,
        source=source,
    )
