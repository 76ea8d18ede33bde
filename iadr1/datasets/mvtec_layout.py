"""Sets in MVTec AD's manner: CATEGORY/SPLIT/STATE/IMAGE, the masks in CATEGORY/ground_truth/STATE/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, words, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.errors import DataError
from iadr1.records import Sample

TREE = "CATEGORY/train/good/000.png, CATEGORY/test/TYPE/000.png, CATEGORY/ground_truth/TYPE/000_mask.png"
"""MVTec AD's own layout."""


@dataclass(frozen=True)
class Layout:
    """In what a set differs from MVTec AD.

    Attributes:
        splits: A category's folders of images -> the split each of them is.
        normal: The folder of normal products; every other state is a kind of defect.
        kind: The word for all defects where the folder's name is none; else the folder's name in words.
        truth: A category's folder of masks, with a folder for each kind of defect.
        mask: The name a mask has if the set keeps to its own rule; one of another name is taken as well, if its stem
            is the image's, alone or followed by more after a character that is neither letter nor digit.
        several: The masks of an image lie in a folder of the image's stem.
    """

    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    normal: str = GOOD
    kind: str | None = None
    truth: str = "ground_truth"
    mask: str = "{stem}_mask.png"
    several: bool = False


def scan_tree(files: Files, layout: Layout, about: Source, *, dataset: str) -> Iterator[Sample]:
    """One yes/no sample per image of a set, sorted by category, split, state and name; `id` is the image's path.

    Args:
        files: The set's files; the root holds one folder per category.
        layout: In what the set differs from MVTec AD.
        about: The set's title, licence and tree.
        dataset: Name in the samples.

    Raises:
        DataError: No category folder found, masks are missing, or it is not clear which mask is an image's.
    """
    photos = [photo for folder in subfolders(files.root) for photo in category_photos(files.root, folder, layout)]
    if not photos:
        raise wrong_layout(files.root, about.tree)
    yield from yes_no(files, photos, dataset=dataset, licence=about.licence, source=about.title, tree=about.tree)


def category_photos(
    root: Path, folder: Path, layout: Layout, *, templates: Sequence[str] | None = None
) -> Iterator[Photo]:
    """The images of one category.

    The reference of an image is the first other one of `templates`, by default the normal images of the set's first
    split. Normal is what lies in the folder of that name; whether there is a mask decides nothing.

    Args:
        root: What the paths are relative to.
        folder: The category's folder.
        layout: In what the set differs from MVTec AD.
        templates: Normal training images, where they do not lie in the set's first split.

    Raises:
        DataError: It is not clear which mask is an image's.
    """
    if templates is None:
        templates = [_name(root, path) for path in image_files(folder / next(iter(layout.splits)) / layout.normal)]
    for place, split in layout.splits.items():
        for state in subfolders(folder / place):
            normal = state.name == layout.normal
            images = image_files(state)
            masks = {} if normal else _masks(images, folder / layout.truth / state.name, layout)
            for path in images:
                yield Photo(
                    path=_name(root, path),
                    category=folder.name,
                    split=split,
                    kind=None if normal else layout.kind or words(state.name),
                    masks=tuple(_name(root, mask) for mask in masks.get(path, ())),
                    references=other_than(_name(root, path), templates),
                )


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _masks(images: Sequence[Path], folder: Path, layout: Layout) -> dict[Path, list[Path]]:
    """The masks of each image; where there is none, the path it should have."""
    stems: dict[str, Path] = {}
    for image in images:
        if image.stem in stems:
            raise DataError(
                f"{stems[image.stem].name!r} and {image.name!r} would have the same mask",
                where=str(image.parent),
                hint="keep one of the two images, or rename it and its mask",
            )
        stems[image.stem] = image
    if layout.several:
        return {
            image: image_files(folder / stem) or [folder / stem / layout.mask.format(stem=stem)]
            for stem, image in stems.items()
        }
    found: dict[str, list[Path]] = {}
    for path in image_files(folder):
        owner = _owner(path.stem, stems)
        if owner is not None:
            found.setdefault(owner, []).append(path)
    for stem, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{len(paths)} masks fit the image {stems[stem].name!r}: {', '.join(path.name for path in paths)}",
                where=str(folder),
                hint="keep the one that shows its defects",
            )
    return {image: found.get(stem) or [folder / layout.mask.format(stem=stem)] for stem, image in stems.items()}


def _owner(name: str, stems: Mapping[str, Path]) -> str | None:
    """The longest image stem that a mask's stem is, or begins with before a separator."""
    ends = [len(name), *(place for place in range(len(name) - 1, 0, -1) if not name[place].isalnum())]
    return next((name[:end] for end in ends if name[:end] in stems), None)
