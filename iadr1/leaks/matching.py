"""An evaluation's images against a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from iadr1 import parallel
from iadr1.errors import ImageError
from iadr1.images import file_sha256, open_image
from iadr1.leaks.manifest import LeakManifest, Phash, Sha256, perceptual_hash
from iadr1.records import Record, RelativePath, Sample

SAME = 0
"""Bits in which two perceptual hashes may differ and still be of the same image."""
NEAR = 4
"""Bits in which they may differ for an image to be reported as near; see the module's table."""

_HASH_BITS = 64

Split = Literal["trained images", "held-out images", "held-out categories"]
"""Held-out images are those of trained categories: the three splits are disjoint and together all images."""
TRAINED_IMAGES: Split = "trained images"
HELD_OUT_IMAGES: Split = "held-out images"
HELD_OUT_CATEGORIES: Split = "held-out categories"
SPLITS = (HELD_OUT_IMAGES, HELD_OUT_CATEGORIES, TRAINED_IMAGES)


class ImageMatch(Record):
    """What a manifest says of one evaluation image; `match` is the nearest trained image within `NEAR` bits.

    `sha256` is None where the file cannot be read and had no hash before; `phash` where the image cannot be read, is
    of one tone, or need not be looked at because its very file was trained on (`same_file`).
    """

    image: RelativePath
    sha256: Sha256 | None
    phash: Phash | None
    same_file: bool = False
    match: RelativePath | None = None
    distance: int | None = None

    @property
    def trained(self) -> bool:
        """Whether this is an image the model was trained on."""
        return self.distance is not None and self.distance <= SAME

    @property
    def near(self) -> bool:
        """Whether it merely looks like one."""
        return self.match is not None and not self.trained


@dataclass(frozen=True)
class LeakReport:
    """An evaluation's images compared with a manifest.

    Attributes:
        matches: Image path -> what was found.
        categories: Trained categories, as `category_key` writes them.
        marked: Whether the evaluation's samples themselves say which of them are held out.
    """

    matches: Mapping[str, ImageMatch]
    categories: frozenset[str]
    marked: bool

    def split(self, sample: Asked) -> Split:
        """Where a sample counts. Its category is held out where neither the manifest nor the sample's mark objects."""
        if self.matches[sample.image].trained:
            return TRAINED_IMAGES
        if category_key(sample.category) in self.categories or (self.marked and not sample.held_out):
            return HELD_OUT_IMAGES
        return HELD_OUT_CATEGORIES

    @property
    def trained(self) -> list[ImageMatch]:
        """The images that were trained on."""
        return [match for match in self.matches.values() if match.trained]

    @property
    def near(self) -> list[ImageMatch]:
        """The images that look like a trained one without being it."""
        return [match for match in self.matches.values() if match.near]


class Asked(Protocol):
    """What a split depends on: of a `Sample`, or of as much of it as scoring reads."""

    @property
    def image(self) -> str:
        """The image's path."""

    @property
    def category(self) -> str:
        """The product shown."""

    @property
    def held_out(self) -> bool:
        """Whether the category was kept out of training."""


def category_key(name: str) -> str:
    """A category's name as it is compared: `Metal_Nut` -> `metal nut`."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def compare(
    manifest: LeakManifest,
    samples: Sequence[Sample],
    root: Path,
    *,
    known: Mapping[str, str | None] | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> LeakReport:
    """Look for trained images among the images of samples.

    Each image is read once; files on several cores. An image that is missing or cannot be read matches by its
    SHA-256 at most (a missing one by the hash it had when the sample was made).

    Args:
        manifest: What was trained on.
        samples: The evaluation's samples.
        root: The folder their paths are relative to.
        known: SHA-256 -> perceptual hash of files that were looked at before.
        tick: Called with (images looked at, all).
    """
    recorded = {sample.image: sample.image_sha256 for sample in samples}
    look = partial(_look_up, _Index(manifest), root=root, known=known or {})
    matches = {}
    for number, match in enumerate(parallel.ordered(lambda item: look(*item), recorded.items()), start=1):
        matches[match.image] = match
        if tick is not None:
            tick(number, len(recorded))
    trained = {*manifest.categories, *(image.category for image in manifest.images)}
    marked = any(sample.held_out for sample in samples)
    return LeakReport(matches, frozenset(map(category_key, trained)), marked)


class _Index:
    """A manifest's images, ready to be searched."""

    def __init__(self, manifest: LeakManifest) -> None:
        self.files = {image.sha256: image.path for image in manifest.images}
        hashed = [(image.path, image.phash) for image in manifest.images if image.phash is not None]
        self._paths = [path for path, _ in hashed]
        self._hashes = np.array([int(phash, 16) for _, phash in hashed], dtype=np.uint64)

    def nearest(self, phash: str) -> tuple[str, int] | None:
        """The image with the most similar hash and the number of differing bits; None where all are beyond `NEAR`."""
        if not self._paths:
            return None
        distances = _bits(self._hashes ^ np.uint64(int(phash, 16)))
        place = int(distances.argmin())
        return (self._paths[place], int(distances[place])) if distances[place] <= NEAR else None


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The number of bits set in each value."""
    spread = np.unpackbits(values.view(np.uint8)).reshape(len(values), _HASH_BITS)
    counts: NDArray[np.int64] = spread.sum(axis=1, dtype=np.int64)
    return counts


def _look_up(
    index: _Index, image: str, recorded: str | None, *, root: Path, known: Mapping[str, str | None]
) -> ImageMatch:
    path = root / image
    digest = (file_sha256(path) if path.is_file() else recorded) or ""
    if digest in index.files:
        return ImageMatch(image=image, sha256=digest, phash=None, same_file=True, match=index.files[digest], distance=0)
    phash = known[digest] if digest in known else _hash_of(path)
    found = index.nearest(phash) if phash is not None else None
    match, distance = found or (None, None)
    return ImageMatch(image=image, sha256=digest or None, phash=phash, match=match, distance=distance)


def _hash_of(path: Path) -> str | None:
    try:
        return perceptual_hash(open_image(path))
    except ImageError:
        return None  # what cannot be read cannot be asked about either; the evaluation records it
