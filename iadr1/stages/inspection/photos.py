"""The photos to inspect: which there are, and what their results are called."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from iadr1.errors import UsageError
from iadr1.images import IMAGE_SUFFIXES, find_images


@dataclass(frozen=True)
class Photo:
    """A file to look at: `name` is its path in the records, `slug` that of its masks and overlay, without suffix."""

    path: Path
    name: str
    slug: str


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
    beside = (path for path in images.parent.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted({images, *beside})


def image_root(images: Path) -> Path:
    """The folder the photos' names are relative to."""
    return images.parent if images.is_file() else images


def utf8(text: str) -> str:
    """Text that can be written as UTF-8: half surrogates (odd file names, broken JSON escapes) become text."""
    return text.encode("utf-8", "backslashreplace").decode()


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
