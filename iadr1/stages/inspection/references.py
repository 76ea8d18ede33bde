"""The photos of normal products that a photo is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from PIL import Image

from iadr1 import leaks, parallel, provenance
from iadr1.errors import ImageError, UsageError
from iadr1.images import file_sha256, find_images, image_size, open_image
from iadr1.stages.inspection.photos import Photo, image_root, utf8

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
    reference.

    Args:
        folder: A folder of photos, or one photo.
        shots: How many belong to a photo; a photo gets fewer where its own folder holds no more.

    Raises:
        UsageError: The folder is missing or holds no images, or the file is none.
    """

    def __init__(self, folder: Path, *, shots: int = 1) -> None:
        if not folder.exists():
            raise UsageError(f"no folder {str(folder)!r}", hint="--references names photos of good products")
        if folder.is_file():
            self._check(folder)
        self.shots = shots
        self._root = image_root(folder)
        self._paths = find_images(folder)
        self._by_stem: dict[PurePosixPath, Path] = {}
        self._first: dict[PurePosixPath, list[Path]] = {}
        for path in self._paths:
            name = PurePosixPath(path.relative_to(self._root).as_posix())
            self._by_stem.setdefault(name.with_suffix(""), path)
            for parent in name.parents:
                firsts = self._first.setdefault(parent, [])
                if len(firsts) <= shots:  # one more, for the photo that is itself one of the first
                    firsts.append(path)

    def find(self, photo: Photo, image: Image.Image) -> list[Path]:
        """The paths of at most `shots` references; empty where none is similar enough.

        Args:
            photo: Which photo it is.
            image: The same, opened.
        """
        own = photo.path.resolve()
        named = dict.fromkeys(path for path in self._named(photo) if path.resolve() != own)
        return (
            list(named)[: self.shots] or [path for path in self._similar(image) if path.resolve() != own][: self.shots]
        )

    @staticmethod
    def _check(file: Path) -> None:
        try:
            image_size(file)
        except ImageError as error:
            hint = "--references names a photo of a good product, or a folder of them"
            raise UsageError(f"{str(file)!r}: {error.message}", hint=hint) from error

    @property
    def most_pixels(self) -> int:
        """Most pixels that the references of one photo have together, by their headers."""
        return sum(sorted(parallel.ordered(_pixels, self._paths))[-self.shots :])

    def name(self, path: Path) -> str:
        """The reference's path relative to the folder, as it is recorded."""
        return utf8(path.relative_to(self._root).as_posix())

    @cached_property
    def digest(self) -> str:
        """Tells apart what the folder holds: the names and contents of all files.

        Raises:
            UsageError: A file cannot be read.
        """
        try:
            contents = list(parallel.ordered(file_sha256, self._paths))
        except OSError as error:
            raise UsageError(f"cannot read a reference: {error}") from error
        return provenance.digest(
            [[self.name(path), content] for path, content in zip(self._paths, contents, strict=True)]
        )

    def paired(self, photos: Sequence[Photo]) -> bool:
        """Whether each photo has one reference, of its own name, and each reference belongs to one of the photos."""
        own = [self._own(photo) for photo in photos]
        return self.shots == 1 and len(own) == len(self._paths) and set(own) == set(self._paths)

    def _own(self, photo: Photo) -> Path | None:
        itself = photo.path.resolve()
        found = (path for place in self._places(photo) for path in self._same_name(photo, place))
        return next((path for path in found if path.resolve() != itself), None)

    def _named(self, photo: Photo) -> Iterator[Path]:
        level, *folders = self._places(photo)
        for place in (level, *folders):
            yield from self._same_name(photo, place)
            yield from self._first.get(place, ()) if place in folders else ()

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
    def _hashes(self) -> list[tuple[Path, str | None]]:
        """Each reference with its hash; computed only where a photo matches none by name."""
        return list(zip(self._paths, parallel.ordered(_hash, self._paths), strict=True))


def _pixels(path: Path) -> int:
    try:
        width, height = image_size(path)
    except ImageError:  # told where it is opened
        return 0
    return width * height


def _hash(path: Path) -> str | None:
    try:
        return leaks.perceptual_hash(open_image(path))
    except ImageError:  # it is like no photo; one that is named for a photo is told where it is opened
        return None


def _distance(a: str | None, b: str | None) -> int:
    return _BITS if a is None or b is None else (int(a, 16) ^ int(b, 16)).bit_count()
