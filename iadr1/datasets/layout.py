"""What all readers share: checking that a folder is what it should be, and that paths stay inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from iadr1.errors import DataError
from iadr1.images import IMAGE_SUFFIXES
from iadr1.records import Sample

GOOD = "good"
"""Name of the folder of normal products in all sets of MVTec's manner."""

_LISTED = 10


def wrong_layout(root: Path, expected: str) -> DataError:
    """The error for a folder of another layout: what is expected, and what is there."""
    if not root.is_dir():
        return DataError("no such folder", where=str(root), hint=f"expected {expected}")
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir())
    found = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return DataError(
        f"not the expected layout; found: {found or 'nothing'}", where=str(root), hint=f"expected {expected}"
    )


def subfolders(folder: Path) -> list[Path]:
    """Folders inside a folder, sorted by name, without hidden ones; empty where the folder is missing."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """Images directly inside a folder, sorted by name; empty where the folder is missing."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def words(name: str) -> str:
    """A folder name in words: `broken_large` -> `broken large`."""
    return name.replace("_", " ").strip()


class Files:
    """The files a set names, checked against the disk: all missing ones are counted before the first record.

    Args:
        root: The folder all paths are relative to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real = root.resolve()
        self._seen: set[str] = set()
        self._missing: list[str] = []
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
        if parts[0] in ("", ".") or ":" in parts[0] or ".." in parts or "\\" in path:
            raise DataError(f"the path {path!r} is not relative to the root or leaves it", where=where)
        full = self._root / path
        if not full.is_file():
            self._missing.append(path)
        elif not self._is_inside(full):
            raise DataError(
                f"the path {path!r} leads out of {str(self._root)!r} through a link",
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
        """Raise where a file is missing.

        Raises:
            DataError: Says how many are missing and names the first ten.
        """
        if self._missing:
            first = ", ".join(self._missing[:_LISTED])
            raise DataError(
                f"{len(self._missing)} of {len(self._seen)} files are missing: {first}",
                where=str(self._root),
                hint=hint,
            )


def make_sample(where: str, **fields: Any) -> Sample:
    """A `Sample` from its fields.

    Raises:
        DataError: A field is not what a sample needs; `where` says in which record.
    """
    try:
        return Sample(**fields)
    except ValidationError as error:
        item = error.errors()[0]
        name = ".".join(map(str, item["loc"])) or "record"
        raise DataError(f"{name}: {item['msg']} (got {item['input']!r:.80})", where=where) from error
