"""The files that samples name: each looked at once, its header only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from iadr1 import rle
from iadr1.errors import ImageError
from iadr1.geometry import Size
from iadr1.images import file_sha256, image_size
from iadr1.records import Defect, Sample
from iadr1.stages.inspect.lines import Fault


@dataclass(frozen=True)
class Look:
    """What a file turned out to be: an image of a size, or nothing to be used and why."""

    size: Size | None
    problem: str = ""


class Disk:
    """The files below a root.

    What was seen is kept by path, so that a file that many samples name is opened once. Called from several threads.

    Args:
        root: The folder the samples' paths are relative to.
        hashes: Whether images are read whole and compared with `image_sha256`.
    """

    def __init__(self, root: Path, *, hashes: bool) -> None:
        self._root = root
        self._hashes = hashes
        self._looks: dict[str, Look] = {}
        self._locks: dict[str, Lock] = {}
        self._sums: dict[str, str] = {}

    def look(self, path: str) -> Look:
        """What the file is."""
        # A lock for each path: the file is opened once even where two threads ask at the same moment.
        with self._locks.setdefault(path, Lock()):
            if path not in self._looks:
                self._looks[path] = self._open(path)
        return self._looks[path]

    def _open(self, path: str) -> Look:
        full = self._root / path
        if not full.is_file():
            other = _lower_names(full.parent).get(full.name.lower())
            return Look(None, f"no such file; there is {other!r}" if other else "no such file")
        try:
            return Look(image_size(full))
        except ImageError as error:
            return Look(None, error.message)

    def size_of(self, sample: Sample) -> Size | None:
        """The size of a sample's image: the file's, or what the sample says of an absent one."""
        return (None if sample.missing else self.look(sample.image).size) or sample.image_size

    def faults_of(self, sample: Sample) -> Iterator[Fault]:
        """Everything that is wrong with the files a sample names; of a sample marked `missing` only that."""
        if sample.missing:
            there = (self._root / sample.image).is_file()
            message = "marked as missing, but the image is there now" if there else "the image was missing"
            hint = "prepare the set again" if there else "get the image and prepare the set again, or leave it out"
            yield Fault("warning", "missing", message, sample.image, hint)
            return
        yield from self._image(sample)
        for path in dict.fromkeys((*sample.references, *sample.similar_references)):
            problem = self.look(path).problem
            if problem:
                yield Fault("error", "file", f"a reference cannot be used: {problem}", path, _FILE_HINT)
        size = self.size_of(sample)
        for mask in dict.fromkeys(defect.mask for defect in sample.defects if defect.mask):
            yield from self._mask(mask, size)
        for defect in sample.defects:
            yield from _rle(defect, size)

    def _image(self, sample: Sample) -> Iterator[Fault]:
        found = self.look(sample.image)
        if found.size is None:
            yield Fault("error", "file", f"the image cannot be used: {found.problem}", sample.image, _FILE_HINT)
            return
        if sample.image_size is not None and found.size != sample.image_size:
            message = f"the image is {_text(found.size)} px, the sample says {_text(sample.image_size)}"
            hint = "the file was exchanged or resized: prepare the set again, its boxes are no longer sure"
            yield Fault("error", "image size", message, sample.image, hint)
        if self._hashes and sample.image_sha256 is not None:
            if sample.image not in self._sums:
                self._sums[sample.image] = file_sha256(self._root / sample.image)
            if self._sums[sample.image] != sample.image_sha256:
                message = f"the file's SHA-256 is {self._sums[sample.image]}, the sample says {sample.image_sha256}"
                yield Fault("error", "hash", message, sample.image, "the file was changed: prepare the set again")

    def _mask(self, path: str, size: Size | None) -> Iterator[Fault]:
        found = self.look(path)
        if found.size is None:
            yield Fault("error", "file", f"a mask cannot be used: {found.problem}", path, _FILE_HINT)
        elif size is not None and found.size != size:
            message = f"the mask is {_text(found.size)} px, its image {_text(size)}"
            yield Fault("error", "mask", message, path, "a mask must show its image pixel by pixel")


_FILE_HINT = "say with --root what the paths are relative to, or get the file"


def _rle(defect: Defect, size: Size | None) -> Iterator[Fault]:
    if defect.mask_rle is None:
        return
    hint = 'COCO RLE is {"size": [height, width], "counts": runs that fill it}'
    try:
        found = rle.parse(defect.mask_rle)
    except ValueError as error:
        yield Fault("error", "mask", f"`mask_rle` is not COCO RLE: {error}", repr(defect.mask_rle)[:120], hint)
        return
    if size is not None and rle.size_of(found) != size:
        message = f"`mask_rle` is {_text(rle.size_of(found))} px, its image {_text(size)}"
        yield Fault("error", "mask", message, f"size {found['size']}", hint)


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


@lru_cache(maxsize=64)
def _lower_names(folder: Path) -> dict[str, str]:
    """The names in a folder by their lower-case form; empty where it is missing."""
    return {path.name.lower(): path.name for path in folder.iterdir()} if folder.is_dir() else {}
