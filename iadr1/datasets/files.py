"""The files a data set names: checked against the disk, each opened once, what was learned kept for the next run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from iadr1.atomic import write_text_atomic
from iadr1.datasets.layout import make_sample
from iadr1.datasets.regions import Region, regions
from iadr1.errors import DataError, ImageError
from iadr1.geometry import Size
from iadr1.images import hash_and_size, open_mask
from iadr1.records import Sample

Missing = Literal["error", "skip", "keep"]
"""What happens to samples whose files are absent: refuse the set, leave them out, or keep them marked."""

_LISTED = 10


@dataclass(frozen=True)
class ImageFacts:
    """SHA-256 of the file, and (width, height) in pixels after EXIF orientation."""

    sha256: str
    size: Size


@dataclass(frozen=True)
class MaskFacts:
    """Size of a mask as (width, height) in pixels, its regions, and whether it is empty.

    Regions leave out what is smaller than a few pixels, so that a mask without regions need not be empty.
    """

    size: Size
    regions: tuple[Region, ...]
    empty: bool


class Facts:
    """What is known about files from an earlier run; an entry holds while the file's size and time stay the same.

    Args:
        path: The JSON file it is kept in; it may be absent or broken (then everything is looked at again). None
            keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        self._used: dict[str, dict[str, Any]] = {}
        if path is not None and path.is_file():
            try:
                value = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):  # a cache: whatever cannot be read is made again
                value = None
            self._known = value if isinstance(value, dict) else {}

    def entry(self, name: str, file: Path) -> dict[str, Any]:
        """What is known about a file, as a dictionary to be added to; new where the file changed."""
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        found = self._used.get(name) or self._known.get(name)
        if not isinstance(found, dict) or found.get("stat") != stamp:
            found = {"stat": stamp}
        return self._used.setdefault(name, found)

    def save(self, *, complete: bool = True) -> None:
        """Write down what this run used, for the next one; of a run that was cut short also what it did not reach."""
        if self._path is not None:
            kept = self._used if complete else self._known | self._used
            write_text_atomic(self._path, json.dumps(kept, ensure_ascii=False) + "\n")


class Files:
    """The files of one data set.

    First every file the set names is added, then `check` counts the missing ones before the first sample is made.

    Args:
        root: The folder all paths are relative to.
        missing: What to do about absent files.
        facts: What an earlier run learned about the files.

    Attributes:
        broken: Image -> why it, or a mask of it, cannot be read; its samples are left out.
    """

    def __init__(self, root: Path, *, missing: Missing = "error", facts: Facts | None = None) -> None:
        self.root = root
        self.missing: Missing = missing
        self.facts = facts or Facts()
        self._real = root.resolve()
        self._seen: set[str] = set()
        self._absent: dict[str, None] = {}
        self.broken: dict[str, str] = {}
        self._inside: dict[Path, bool] = {}

    def add(self, path: str, *, where: str) -> None:
        """Check one path, written as POSIX and relative to the root.

        Raises:
            DataError: The path leaves the root, be it by `..`, as an absolute path or through a link.
        """
        if path in self._seen:
            return
        self._seen.add(path)
        parts = path.split("/")
        if parts[0] in ("", ".") or ":" in parts[0] or ".." in parts or "\\" in path or "\0" in path:
            raise DataError(
                f"the path {path!r} is not relative to the root or leaves it",
                where=where,
                hint=f"paths count from {str(self.root)!r}, the folder given as --root",
            )
        full = self.root / path
        if not full.is_file():
            self._absent[path] = None
        elif not self._is_inside(full):
            raise DataError(
                f"the path {path!r} leads out of {str(self.root)!r} through a link",
                where=where,
                hint="give the folder that really holds the files as --root, or copy them",
            )

    def _is_inside(self, full: Path) -> bool:
        if full.is_symlink():
            return full.resolve().is_relative_to(self._real)
        # Folders hold many files: each is resolved once.
        if full.parent not in self._inside:
            self._inside[full.parent] = full.parent.resolve().is_relative_to(self._real)
        return self._inside[full.parent]

    def check(self, *, hint: str) -> None:
        """Refuse a set with missing files, unless they are to be skipped or kept.

        Raises:
            DataError: Says how many are missing and names the first ten, also where only the letter case differs.
        """
        if self._absent and self.missing == "error":
            raise DataError(
                f"{self.absent_text()}",
                where=str(self.root),
                hint=f"{hint}; --missing skip leaves their samples out, --missing keep keeps them without hash",
            )

    def absent_text(self) -> str:
        """How many of the files that were added are missing, and the first ten of them; empty where none is."""
        if not self._absent:
            return ""
        first = [self._name_absent(path) for path in list(self._absent)[:_LISTED]]
        more = len(self._absent) - len(first)
        return f"{len(self._absent)} of {len(self._seen)} files are missing: {', '.join(first)}" + (
            f" and {more} more" if more else ""
        )

    def _name_absent(self, path: str) -> str:
        folder = (self.root / path).parent
        if folder.is_dir():
            other = next((item.name for item in folder.iterdir() if item.name.lower() == Path(path).name.lower()), None)
            if other is not None:
                return f"{path} (there is {other!r}: the letter case differs)"
        return path

    def has(self, path: str) -> bool:
        """Whether a path that was added is there."""
        return path in self._seen and path not in self._absent

    def usable(self, path: str) -> bool:
        """Whether an image that is there can be read, as far as its header tells; one that cannot is in `broken`."""
        if path not in self.broken:
            try:
                self.image(path)
            except ImageError as error:
                self.broken[path] = error.message
        return path not in self.broken

    def image(self, path: str) -> ImageFacts:
        """Hash and size of an image; the file is opened once, and only its header is decoded.

        Raises:
            ImageError: It is not an image, or cannot be read.
        """
        entry = self.facts.entry(path, self.root / path)
        if "sha256" not in entry:
            entry["sha256"], entry["size"] = hash_and_size(self.root / path)
        return ImageFacts(entry["sha256"], (entry["size"][0], entry["size"][1]))

    def mask(self, path: str, *, threshold: int = 0) -> MaskFacts:
        """Size and regions of a mask, defective where its value is above `threshold`; the file is decoded once.

        Raises:
            ImageError: It is not an image, or cannot be read.
        """
        entry = self.facts.entry(path, self.root / path)
        key, empty = f"regions>{threshold}", f"empty>{threshold}"
        if key not in entry or empty not in entry:
            pixels = open_mask(self.root / path, threshold=threshold)
            entry["mask_size"] = (pixels.shape[1], pixels.shape[0])
            entry[empty] = not pixels.any()
            entry[key] = [[*region.box, region.area_px] for region in regions(pixels)]
        found = tuple(Region((x1, y1, x2, y2), area) for x1, y1, x2, y2, area in entry[key])
        return MaskFacts((entry["mask_size"][0], entry["mask_size"][1]), found, entry[empty])

    def sample(self, where: str, **fields: Any) -> Sample | None:
        """A `Sample` from its fields, by the rule for absent files; its image and references must have been added.

        An absent image: None where samples are skipped, marked `missing` where they are kept. Absent references are
        left out where samples are skipped, and stay named where they are kept.

        Raises:
            DataError: A field is not what a sample needs; `where` says in which record.
        """
        if not self.has(fields["image"]):
            if self.missing == "skip":
                return None
            fields["missing"] = True
        if self.missing == "skip":
            for name in ("references", "similar_references"):
                fields[name] = tuple(path for path in fields.get(name, ()) if self.has(path))
        return make_sample(where, **fields)
