"""The photos to inspect: which there are, and what their results are called."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from iadr1.errors import ImageError, UsageError
from iadr1.geometry import Size
from iadr1.images import IMAGE_SUFFIXES, find_images
from iadr1.jsonl import utf8

LEAST_SIDE = 16
"""Shortest side of a photo in pixels: fewer show nothing, and where no defect shows a product would pass for good."""
_NO_PHOTOS = frozenset(
    {
        *(".txt", ".md", ".log", ".ini", ".db", ".pdf", ".html", ".htm", ".py", ".sha256", ".md5"),
        *(".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".xls", ".xlsx"),
    }
)
"""Suffixes of what lies beside photos and nobody takes for one: notes, tables, annotations, results."""


@dataclass(frozen=True)
class Photo:
    """A file to look at: `name` is its path in the records, `slug` that of its masks and overlay, without suffix."""

    path: Path
    name: str
    slug: str


def check_side(size_wh: Size, *, what: str, where: str) -> None:
    """Refuse a picture that is too small to show anything.

    Args:
        size_wh: Its (width, height) in pixels.
        what: `photo` or `reference`.
        where: Its file or name.

    Raises:
        ImageError: It has a side below `LEAST_SIDE`.
    """
    if min(size_wh) < LEAST_SIDE:
        told = f"the {what} is {size_wh[0]} x {size_wh[1]} px, a side has to have at least {LEAST_SIDE}"
        raise ImageError(told, where=where, hint="send the photo as the camera took it")


def find_photos(images: Path, out: Path, *, glob: str = "*") -> list[Photo]:
    """The photos whose file name matches `glob`, in sorted order, without results of an earlier run in the folder.

    A photo has the same slug whatever `glob` is, so that runs over different photos of a folder can share an `out`.

    Raises:
        UsageError: There are none, or `out` is the folder of the photos itself.
    """
    root, results = image_root(images).resolve(), out.resolve()
    if results == root:
        raise UsageError(f"--out {str(out)!r} is the folder of the photos", hint="name another folder")
    paths, together = find_images(images, glob=glob), _all_photos(images)
    if root in results.parents:  # masks and overlays of an earlier run are no photos
        together = [path for path in together if results not in path.resolve().parents]
    relative = [PurePosixPath(path.relative_to(image_root(images)).as_posix()) for path in together]
    photos = {
        path: Photo(path, utf8(str(name)), slug)
        for path, name, slug in zip(together, relative, _slugs(relative), strict=True)
    }
    chosen = [photos[path] for path in paths if path in photos]
    if not chosen:
        raise UsageError(f"no images in {str(images)!r} besides the results in {str(out)!r}")
    return chosen


def _all_photos(images: Path) -> list[Path]:
    """All photos below a folder; for a single photo those that lie directly beside it, and itself."""
    if not images.is_file():
        return find_images(images)
    try:
        beside = [path for path in images.parent.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except OSError as error:
        raise UsageError(
            f"cannot look for images in {str(images.parent)!r}: {error.strerror}",
            hint="make the folder readable, or copy the photo into one that is",
        ) from error
    return sorted({images, *beside})


def left_out(images: Path, *, glob: str = "*") -> dict[str, int]:
    """Suffix -> how many files of a folder are not looked at, because no image that can be read has such a name.

    The most frequent suffix first. Hidden files do not count, nor what is plainly no photo (`_NO_PHOTOS`).

    Args:
        images: The folder, or one photo, beside which nothing is left out.
        glob: As for `find_photos`: what it does not name was not asked for.
    """
    found: Counter[str] = Counter()
    for _, folders, names in os.walk(images):  # of a file there are none
        folders[:] = [name for name in folders if not name.startswith(".")]
        named = (PurePosixPath(name) for name in names if not name.startswith(".") and fnmatch(name, glob))
        found.update(name.suffix.lower() for name in named)
    return {suffix: count for suffix, count in found.most_common() if suffix not in IMAGE_SUFFIXES | _NO_PHOTOS}


def told_left_out(files: Mapping[str, int]) -> str:
    """What `left_out` found in words: `3 files left out: 2 .heic, 1 without a suffix`; empty where it is nothing."""
    total = sum(files.values())
    if not total:
        return ""
    named = [utf8(suffix) or "without a suffix" for suffix in files]
    parts = ", ".join(f"{count} {name}" for name, count in zip(named, files.values(), strict=True))
    return f"{total} file{'' if total == 1 else 's'} left out: {named[0] if len(files) == 1 else parts}"


def image_root(images: Path) -> Path:
    """The folder the photos' names are relative to."""
    return images.parent if images.is_file() else images


def content_slug(name: str, sha256: str) -> str:
    """What the files of a photo are called where another photo may get its name: name and first digits of its hash."""
    return f"{_safe(PurePosixPath(name))}-{sha256[:12]}"


def _slugs(names: Sequence[PurePosixPath]) -> list[str]:
    """For each photo a path for its artefacts, different for all: the path without suffix where that is enough."""
    slugs = [_safe(name.with_suffix("")) for name in names]
    while True:
        counts = Counter(slug.casefold() for slug in slugs)
        if max(counts.values(), default=1) == 1:
            return slugs
        # `a.png` and `a.jpg` become `a.png-<hash>` and `a.jpg-<hash>`; the hash of the whole name ends the search.
        slugs = [
            slug if counts[slug.casefold()] == 1 else f"{_safe(name)}-{_hash(str(name))}"
            for slug, name in zip(slugs, names, strict=True)
        ]


def _safe(name: PurePosixPath) -> str:
    """The name with what no file system takes replaced, and parts too long for one cut, marked by a hash."""
    parts = []
    for part in name.parts:
        clean = "".join("_" if char in '\\:*?"<>|' or ord(char) < 32 else char for char in utf8(part))
        if clean != part or len(clean.encode()) > 180:
            clean = f"{clean.encode()[:160].decode(errors='ignore')}-{_hash(part)}"
        parts.append(clean)
    return "/".join(parts)


def _hash(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
