"""Files that are no photos, moved aside with the reason."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path, PurePosixPath

from iadr1.errors import UsageError
from iadr1.stages.watch.arrivals import QUARANTINE, Stamp, stamp_of


class Quarantine:
    """`quarantine/` in the watched folder: a move within one file system is whole or not done, and needs no room.

    Args:
        root: The watched folder, resolved.

    Raises:
        UsageError: `quarantine` is a symbolic link or a file.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._folder = root, root / QUARANTINE
        if self._folder.is_symlink() or (self._folder.exists() and not self._folder.is_dir()):
            raise UsageError(
                f"{str(self._folder)!r} is not a folder of its own, and bad files would be moved there",
                hint="rename it, or leave bad files where they are with --keep",
            )

    def take(self, name: str, stamp: Stamp, reason: str) -> Path | None:
        """Move a file to the same place below `quarantine/`, and write `<file>.reason.txt` beside it.

        A number is added to the name where it is taken; nothing is ever replaced.

        Args:
            name: Of the file, relative to the watched folder.
            stamp: As it was when it was found bad.
            reason: What is wrong with it.

        Returns:
            Where it is now; None where it is gone, or was replaced by another file that is yet to be looked at.

        Raises:
            OSError: It cannot be moved, or its place would be outside the folder.
        """
        source = self._root / name
        place = self._folder / PurePosixPath(name).parent
        there = next(path for path in (place, *place.parents) if os.path.lexists(path))
        if there.resolve() != there:
            raise OSError(f"{str(there)!r} leads elsewhere by a symbolic link")
        place.mkdir(parents=True, exist_ok=True)
        target = _free(place / PurePosixPath(name).name)
        told = _reason_file(target)
        try:
            if stamp_of(source.lstat()) != stamp:
                return None
            told.unlink(missing_ok=True)  # a reason without its file, as a killed run leaves it
            with told.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(
                    f"{reason}\nfile: {name}\nmoved: {datetime.now().astimezone().isoformat(timespec='seconds')}\n"
                )
            source.rename(target)
        except FileNotFoundError:
            told.unlink(missing_ok=True)
            return None
        except OSError:
            told.unlink(missing_ok=True)
            raise
        return target


def _free(path: Path) -> Path:
    number, found = 0, path
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _reason_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.reason.txt")
