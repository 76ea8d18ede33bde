"""The photos of a detection run: which there are, what their results are called, and what they are compared with."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from iadr1.errors import ImageError, UsageError
from iadr1.images import IMAGE_SUFFIXES, file_sha256, find_images, open_image

BATCH_PIXELS = 100_000_000
"""A batch is closed early at this many pixels, so that a few huge photos do not fill the memory."""


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


class References:
    """Finds the photo of a normal product that belongs to a photo.

    Tried in this order: the same path (without suffix) below the folder; then in the sub-folder that is called as
    one of the photo's parent folders, the same file name, else the first file; then the first file that lies directly
    in the folder. A photo `<id>_test` also finds `<id>_temp` (DeepPCB). No photo is its own reference.

    Raises:
        UsageError: The folder is missing or holds no images.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise UsageError(f"no folder {str(folder)!r}", hint="--references names photos of good products")
        self._root = folder.parent if folder.is_file() else folder
        self._by_stem: dict[PurePosixPath, Path] = {}
        self._first: dict[PurePosixPath, list[Path]] = {}
        for path in find_images(folder):
            name = PurePosixPath(path.relative_to(self._root).as_posix())
            self._by_stem.setdefault(name.with_suffix(""), path)
            # Only files that lie directly in the folder count for the folder itself, all below for a sub-folder.
            for parent in [parent for parent in name.parents if parent.name] or [name.parent]:
                firsts = self._first.setdefault(parent, [])
                if len(firsts) < 2:  # the second one is for the photo that is itself the first
                    firsts.append(path)

    def find(self, photo: Photo) -> Path | None:
        """The reference's path, or None."""
        name = PurePosixPath(photo.name)
        stems = [name.stem.removesuffix("_test") + "_temp"] if name.stem.endswith("_test") else []
        stems.append(name.stem)
        parents = name.parent.parts or (photo.path.resolve().parent.name,)
        folders = [PurePosixPath(part) for part in reversed(parents)]
        candidates = [self._by_stem.get(name.parent / stem) for stem in stems]
        for folder in folders:
            candidates += [self._by_stem.get(folder / stem) for stem in stems]
            candidates += self._first.get(folder, [])
        candidates += self._first.get(PurePosixPath(), [])
        own = photo.path.resolve()
        return next((path for path in candidates if path is not None and path.resolve() != own), None)

    def name(self, path: Path) -> str:
        """The reference's path relative to the folder, as it is recorded."""
        return utf8(path.relative_to(self._root).as_posix())


@dataclass(frozen=True)
class Loaded:
    """A photo in memory; `image` is None and `error` says why where it (or its reference) cannot be read."""

    photo: Photo
    image: Image.Image | None = None
    reference: Image.Image | None = None
    reference_name: str | None = None
    error: str | None = None
    sha256: str | None = None

    @property
    def pixels(self) -> int:
        """Pixels held in memory."""
        return sum(image.width * image.height for image in (self.image, self.reference) if image is not None)


def load_batches(photos: Sequence[Photo], references: References | None, size: int) -> Iterator[list[Loaded]]:
    """The photos in batches of at most `size` and about `BATCH_PIXELS`; only one batch is in memory at a time."""
    batch: list[Loaded] = []
    for photo in photos:
        batch.append(_load(photo, references))
        if len(batch) >= size or sum(item.pixels for item in batch) >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _load(photo: Photo, references: References | None) -> Loaded:
    path = references.find(photo) if references else None
    try:
        image = open_image(photo.path)
        if references is None or path is None:
            return Loaded(photo, image, sha256=file_sha256(photo.path))
        return Loaded(photo, image, open_image(path), references.name(path), sha256=file_sha256(photo.path))
    except ImageError as error:
        return Loaded(photo, error=utf8(str(error)))
