"""Magnetic-tile defects, also MTD (Huang et al., The Visual Computer 2020, doi 10.1007/s00371-018-1588-5).

Licence: none stated. 1,344 grey images of many sizes, 952 of them normal (`MT_Free`); no official split.

    Magnetic-tile-defect-datasets./         the dot belongs to the repository's name
      MT_Blowhole/Imgs/exp1_num_108719.jpg  the photo: exposure 0 to 6, number of the shot
      MT_Blowhole/Imgs/exp1_num_108719.png  its mask, defective where > 127 (the edges are grey)
      MT_Break, MT_Crack, MT_Fray, MT_Free, MT_Uneven ...

Four masks of `MT_Uneven` are all zero, and two more have three pixels at most: defects without a place. Every tile
was taken at up to seven exposures, so a split by image leaks. The number is not the tile's, every image has its own:
see `tile_groups`. The splits `train` and `test` are ours, half of the groups each: see `halves`.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import image_files, subfolders, wrong_layout
from iadr1.datasets.masked import Photo, yes_no
from iadr1.errors import DataError
from iadr1.records import Sample

THRESHOLD = 127
"""A mask is defective where its value is above this."""

HALVES_SEED = 2
"""Seed of the halves. With it about as many regions fall on either side (128 and 116 in the 417 images at hand)."""
RETAKEN = ((85602, 88201),)
"""First and last shot of a tile of `MT_Crack` that was photographed three times, hundreds of shots apart: its photos in
the set correlate by .94 to 1.0."""

_NORMAL = "MT_Free"


class Shot(NamedTuple):
    """What the name of an image says: exposure 0 to 6, and the number of the shot, which rises over the whole set."""

    exposure: int
    number: int


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per photo, sorted by folder and name; the category is `magnetic tile`.

    A defect's type is its folder without `MT_`; one defect per region of the mask. The reference is the first normal
    photo of another tile.

    Raises:
        DataError: No `MT_*` folder with photos, a name of another form, or missing masks.
    """
    photos = [photo for folder in subfolders(files.root) for photo in _folder(files.root, folder)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    photos = list(_with_references(_with_splits(photos)))
    yield from yes_no(files, photos, dataset="MTD", licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)


def shot(path: str) -> Shot:
    """Exposure and number from the name of an image, `exp1_num_108719.jpg`.

    Raises:
        DataError: The name is of another form.
    """
    match = re.fullmatch(r"exp(\d)_num_(\d+)", PurePosixPath(path).stem)
    if match is None:
        raise DataError("the name is not exp<exposure>_num_<number>", where=path)
    return Shot(int(match[1]), int(match[2]))


def tile_groups(images: Iterable[str], *, gap: int = 300) -> dict[str, str]:
    """Image -> name of its group; a split by group keeps all exposures of a tile on one side.

    The exposures of a tile were taken one after another, and may lie in several folders (a defect may show in some
    of them only). A group therefore holds all images whose numbers follow each other by less than `gap`; it can hold
    more than one tile, which does no harm. Measured on 417 of the images: numbers of one tile are 10 to 260 apart.
    One tile of `MT_Crack` was taken three times, hundreds of shots apart; copies of that kind show in a perceptual
    hash only.

    Args:
        images: Paths or names of images; the names count.
        gap: Two images that are at least so many shots apart, with none between them, are in different groups.

    Raises:
        DataError: A name is not `exp<exposure>_num_<number>`.
    """
    groups: dict[str, str] = {}
    last: int | None = None
    name = ""
    for number, image in sorted((shot(image).number, image) for image in images):
        if last is None or number - last >= gap:
            name = f"tile-{number}"
        groups[image] = name
        last = number
    return groups


def halves(kinds: Mapping[str, str | None]) -> dict[str, str]:
    """Image -> `train` or `test`: half of the groups of `tile_groups` each, since no official split exists.

    Groups that show the same kinds of defects go to either side in turn, the first to `train`, in an order drawn with
    `HALVES_SEED`. A tile of `RETAKEN` stays where its first shot is.

    Args:
        kinds: Image -> kind of its defect, None for a normal one.

    Raises:
        DataError: A name is not `exp<exposure>_num_<number>`.
    """
    groups = tile_groups(kinds)
    shown: dict[str, set[str]] = defaultdict(set)
    for image, group in groups.items():
        shown[group] |= {kind for kind in (kinds[image],) if kind is not None}
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for group in sorted(shown, key=lambda name: hashlib.sha256(f"{HALVES_SEED}:{name}".encode()).digest()):
        alike[tuple(sorted(shown[group]))].append(group)
    side = {name: ("train", "test")[at % 2] for names in alike.values() for at, name in enumerate(names)}
    found = {image: side[group] for image, group in groups.items()}
    for first, last in RETAKEN:
        again = sorted((shot(image).number, image) for image in found if first <= shot(image).number <= last)
        found |= {image: found[again[0][1]] for _, image in again}
    return found


def _with_splits(photos: Sequence[Photo]) -> list[Photo]:
    split = halves({photo.path: photo.kind for photo in photos})
    return [replace(photo, split=split[photo.path]) for photo in photos]


def _folder(root: Path, folder: Path) -> Iterator[Photo]:
    if not folder.name.startswith("MT_"):
        return
    kind = None if folder.name == _NORMAL else folder.name.removeprefix("MT_").lower()
    for path in image_files(folder / "Imgs"):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            mask = path.with_suffix(".png").relative_to(root).as_posix()
            yield Photo(
                path=path.relative_to(root).as_posix(),
                category="magnetic tile",
                split="",  # known once all photos are
                kind=kind,
                masks=() if kind is None else (mask,),
                threshold=THRESHOLD,
            )


def _with_references(photos: list[Photo]) -> Iterator[Photo]:
    groups = tile_groups(photo.path for photo in photos)
    normal = [photo.path for photo in photos if photo.kind is None]
    first = normal[:1]
    other = [path for path in normal if groups[path] != groups[first[0]]][:1]
    for photo in photos:
        usable = [path for path in (*first, *other) if groups[path] != groups[photo.path]]
        yield replace(photo, references=tuple(usable[:1]))


SOURCE = Source(
    scan=scan,
    title="Magnetic-tile defects",
    licence="none stated",
    page="https://github.com/abin24/Magnetic-tile-defect-datasets.",
    citation="Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020, "
    "doi 10.1007/s00371-018-1588-5",
    tree="MT_{Blowhole,Break,Crack,Fray,Free,Uneven}/Imgs/exp1_num_108719.jpg with .png of the same name as its mask",
)
