"""The photos of normal products that a photo is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from iadr1 import leaks, parallel, provenance
from iadr1.errors import ImageError, UsageError
from iadr1.images import file_sha256, find_images, image_size, open_image
from iadr1.jsonl import utf8
from iadr1.stages.inspection.photos import Photo, check_side, image_root

MOST_DISTANT = 24
"""A reference in the folder of another product is taken only where its hash of 64 bits differs in no more than this.

By chance 32 bits differ; of the drawn products' normal photos, two of different products differ in at least 22.
"""
_BITS = 64


class References:
    """Finds the photos of normal products that belong to a photo.

    Tried in this order, until there are enough: the same path (without suffix) below the folder; in the sub-folder
    that is called as one of the photo's parent folders, the same file name, then the first files; and only where
    none of these is there, the most similar by perceptual hash: those that lie directly in the folder, and those in
    sub-folders that are very similar. A photo `<id>_test` also finds `<id>_temp` (DeepPCB). No photo is its own
    reference, nor is a copy of it: beside itself every photo looks good. A file that would be refused as a photo (it
    cannot be read, has several pages, is too small) is chosen only where it has the photo's name, and is then the error
    of that photo.

    Args:
        folder: A folder of photos, or one photo.
        shots: How many belong to a photo; a photo gets fewer where its own folder holds no more.
        out: A folder of results, whose overlays and masks are no references; None for none.

    Raises:
        UsageError: The folder is missing or holds no images, or the file is none.
    """

    def __init__(self, folder: Path, *, shots: int = 1, out: Path | None = None) -> None:
        if not folder.exists():
            raise UsageError(f"no folder {str(folder)!r}", hint="--references names photos of good products")
        if folder.is_file():
            self._check(folder)
        self.shots = shots
        self._root = image_root(folder)
        self._paths = find_images(folder)
        if out is not None and self._root.resolve() in (results := out.resolve()).parents:
            self._paths = [path for path in self._paths if results not in path.resolve().parents]
        self._undecoded: dict[Path, str] = {}
        self._by_stem: dict[PurePosixPath, Path] = {}
        self._below: dict[PurePosixPath, list[Path]] = {}
        for path in self._paths:
            name = PurePosixPath(path.relative_to(self._root).as_posix())
            self._by_stem.setdefault(name.with_suffix(""), path)
            for parent in name.parents:
                self._below.setdefault(parent, []).append(path)

    def find(self, photo: Photo, image: Image.Image, *, sha256: str | None = None) -> list[Path]:
        """The paths of at most `shots` references; empty where none is similar enough.

        Args:
            photo: Which photo it is.
            image: The same, opened.
            sha256: Of its file; where it is not known, copies of the photo are not seen as such.
        """
        own = photo.path.resolve()

        def first(paths: Iterable[Path]) -> list[Path]:
            found: dict[Path, None] = {}
            for path in paths:
                if len(found) == self.shots:
                    break
                if path.resolve() != own and (sha256 is None or self._files[path].sha256 != sha256):
                    found[path] = None
            return list(found)

        return first(self._named(photo)) or first(self._similar(image))

    @staticmethod
    def _check(file: Path) -> None:
        try:
            _check_header(file)
        except ImageError as error:
            hint = "--references names a photo of a good product, or a folder of them"
            raise UsageError(f"{str(file)!r}: {error.message}", hint=hint) from error

    @property
    def most_pixels(self) -> int:
        """Most pixels that the references of one photo have together, by their headers."""
        return sum(sorted(parallel.ordered(_pixels, self._paths))[-self.shots :])

    def open(self, paths: Sequence[Path]) -> tuple[tuple[Image.Image, ...], tuple[str, ...]]:
        """References as the model is shown them, and what they are called in a record.

        Raises:
            ImageError: One of them cannot be read, or has several pages.
        """
        return tuple(open_image(path, single=True) for path in paths), tuple(map(self.name, paths))

    def name(self, path: Path) -> str:
        """The reference's path relative to the folder, as it is recorded."""
        return utf8(path.relative_to(self._root).as_posix())

    @cached_property
    def digest(self) -> str:
        """Tells apart what the folder holds: the names and contents of all files."""
        return provenance.digest([[self.name(path), self._files[path].sha256] for path in self._paths])

    @property
    def damaged(self) -> tuple[str, ...]:
        """Why files are left out, as far as it is known: by their headers, and where one was opened to compare it."""
        broken = (self._files[path].damage or self._undecoded.get(path) for path in self._paths)
        return tuple(why for why in broken if why is not None)

    def holds(self, sha256: str | None) -> bool:
        """Whether one of the files has these bytes."""
        return sha256 in self._contents

    def paired(self, photos: Sequence[Photo]) -> bool:
        """Whether each photo has one reference, of its own name, and each reference belongs to one of the photos."""
        if self.shots != 1 or len(photos) != len(self._paths):
            return False
        return set(parallel.ordered(self._own, photos)) == set(self._paths)

    def _own(self, photo: Photo) -> Path | None:
        itself, content = photo.path.resolve(), _sha256(photo.path)
        found = (path for place in self._places(photo) for path in self._same_name(photo, place))
        return next((path for path in found if path.resolve() != itself and self._files[path].sha256 != content), None)

    def _named(self, photo: Photo) -> Iterator[Path]:
        level, *folders = self._places(photo)
        for place in (level, *folders):
            yield from self._same_name(photo, place)
            if place in folders:
                yield from (path for path in self._below.get(place, ()) if self._files[path].damage is None)

    def _places(self, photo: Photo) -> list[PurePosixPath]:
        """Where the references of a photo may lie: as deep as the photo, then the folders called as one of its own."""
        level = PurePosixPath(photo.name).parent
        parents = level.parts or (photo.path.resolve().parent.name,)
        return [level, *(PurePosixPath(part) for part in reversed(parents))]

    def _same_name(self, photo: Photo, place: PurePosixPath) -> list[Path]:
        stem = PurePosixPath(photo.name).stem
        stems = [stem.removesuffix("_test") + "_temp", stem] if stem.endswith("_test") else [stem]
        return [self._by_stem[place / one] for one in stems if place / one in self._by_stem]

    def _similar(self, image: Image.Image) -> list[Path]:
        """All references that may show the same product, the most similar first."""
        wanted = leaks.perceptual_hash(image)
        distances = sorted((_distance(wanted, found), path) for path, found in self._hashes)
        return [path for distance, path in distances if path.parent == self._root or distance <= MOST_DISTANT]

    @cached_property
    def _files(self) -> dict[Path, _File]:
        """Each reference with what its bytes and its header say."""
        return dict(zip(self._paths, parallel.ordered(_look, self._paths), strict=True))

    @cached_property
    def _contents(self) -> frozenset[str]:
        return frozenset(file.sha256 for file in self._files.values() if file.sha256 is not None)

    @cached_property
    def _hashes(self) -> list[tuple[Path, str | None]]:
        """Each reference that can be read with its hash; computed only where a photo matches none by name."""
        paths = [path for path in self._paths if self._files[path].damage is None]
        hashes = list(zip(paths, parallel.ordered(self._hash, paths), strict=True))
        return [(path, found) for path, found in hashes if path not in self._undecoded]

    def _hash(self, path: Path) -> str | None:
        """None where it is of one tone, and where its header is whole but not the rest."""
        try:
            return leaks.perceptual_hash(open_image(path, single=True))
        except ImageError as error:
            self._undecoded[path] = str(error)
            return None


class _File(NamedTuple):
    """What is known of a reference before it is decoded: its content, and why it is none."""

    sha256: str | None
    damage: str | None


def _look(path: Path) -> _File:
    try:
        content = file_sha256(path)
        _check_header(path)
    except OSError as error:
        return _File(None, f"{path}: cannot read the file: {error.strerror}")
    except ImageError as error:
        return _File(content, str(error))
    return _File(content, None)


def _check_header(path: Path) -> None:
    check_side(image_size(path, single=True), what="reference", where=str(path))


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:  # told where it is looked at
        return None


def _pixels(path: Path) -> int:
    try:
        width, height = image_size(path)
    except ImageError:  # told where it is opened
        return 0
    return width * height


def _distance(a: str | None, b: str | None) -> int:
    return _BITS if a is None or b is None else (int(a, 16) ^ int(b, 16)).bit_count()
