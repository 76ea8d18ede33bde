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
    """Images directly inside a folder, sorted by name; empty where the folder is missing.

    A link that leads nowhere is one of them, so that it counts as a missing image.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and is_named_file(path))


def is_named_file(path: Path) -> bool:
    """Whether this is a file, or a link that may have been one."""
    return path.is_file() or (path.is_symlink() and not path.is_dir())


def words(name: str) -> str:
    """A folder name in words: `broken_large` -> `broken large`."""
    return name.replace("_", " ").strip()


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
