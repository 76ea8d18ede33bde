"""Files that appear in a folder: found by looking again and again, and taken when they no longer change.

Nothing but listing, `stat` and reading is asked of the file system, so network shares work as well as disks.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from iadr1.images import IMAGE_SUFFIXES

QUARANTINE = "quarantine"
"""Sub-folder of the watched folder for files that are no photos; it is not watched."""
_TEMPORARY = frozenset({"tmp", "temp", "part", "partial", "filepart", "crdownload", "swp"})


class Stamp(NamedTuple):
    """What shows that a file has changed; no inode, which some network shares number anew at every look."""

    size: int
    mtime_ns: int


@dataclass(slots=True)
class Tracked:
    """A file in the folder.

    Attributes:
        stamp: As last seen.
        since: When it was first seen like this, by the clock of `Arrivals`.
        not_before: It is left alone until then.
        tries: How often it could not be looked at for a reason of its own.
        pauses: How often it could not be looked at for any reason.
        answered: How many photos the model had answered when it last did not answer for this one.
        done: Nothing is to be done about it as it is now.
    """

    stamp: Stamp
    since: float
    not_before: float = 0.0
    tries: int = 0
    pauses: int = 0
    answered: int = -1
    done: bool = False


class Arrivals:
    """The photos of a folder and its sub-folders, each with how long it has not changed.

    Hidden and temporary names are left out, and symbolic links, so that nothing outside the folder is read.

    Args:
        root: The folder.
        settle: Seconds after which a file that did not change has arrived.
        glob: Shell pattern of the file names.
        left_out: Sub-folders that are not watched, as paths relative to the folder.
        clock: Seconds that never go back.

    Attributes:
        links: Symbolic links seen at the last look, relative to the folder.
        unread: Sub-folders that are there and could not be read at the last look, relative to the folder (`.` for
            itself), and why; what is in them is not seen.
    """

    def __init__(
        self,
        root: Path,
        *,
        settle: float,
        glob: str = "*",
        left_out: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._settle, self._glob, self._left_out, self._clock = settle, glob, frozenset(left_out), clock
        self._files: dict[str, Tracked] = {}
        self.links: set[str] = set()
        self.unread: dict[str, str] = {}

    def look(self) -> None:
        """See what is there now.

        Raises:
            OSError: The folder itself cannot be listed. What was known of its files stays.
        """
        now = self._clock()
        self.links, self.unread = set(), {}
        found = dict(self._walk())
        for name in self._files.keys() - found.keys():
            del self._files[name]
        for name, stamp in found.items():
            known = self._files.get(name)
            if known is None or known.stamp != stamp:
                self._files[name] = Tracked(stamp, now)

    def _walk(self) -> Iterator[tuple[str, Stamp]]:
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.root / folder) as listing:
                    for entry in listing:
                        name = f"{folder}/{entry.name}" if folder else entry.name
                        if is_temporary(entry.name) or name in self._left_out:
                            continue
                        try:
                            stamp = self._stamp(entry, name, folders)
                        except OSError as error:
                            self._tell(folder, error)
                            continue
                        if stamp is not None:
                            yield name, stamp
            except OSError as error:
                if not folder:
                    raise
                self._tell(folder, error)

    def _stamp(self, entry: os.DirEntry[str], name: str, folders: list[str]) -> Stamp | None:
        """Of a photo; a folder is added to those that are still to be listed."""
        if entry.is_symlink():
            self.links.add(name)
        elif entry.is_dir(follow_symlinks=False):
            folders.append(name)
        else:
            _, dot, suffix = entry.name.lower().rpartition(".")
            wanted = dot + suffix in IMAGE_SUFFIXES and fnmatch(entry.name, self._glob)
            if wanted and entry.is_file(follow_symlinks=False):
                return stamp_of(entry.stat(follow_symlinks=False))
        return None

    def _tell(self, folder: str, error: OSError) -> None:
        """Remember a folder that cannot be read; what was removed meanwhile is seen when it is back."""
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            self.unread[folder or "."] = error.strerror or str(error)

    def arrived(self) -> list[tuple[str, Tracked]]:
        """Files that no longer change and wait to be looked at, the oldest first."""
        now = self._clock()
        ready = [
            (name, file)
            for name, file in self._files.items()
            if not file.done and now - file.since >= self._settle and now >= file.not_before
        ]
        return sorted(ready, key=lambda item: (item[1].stamp.mtime_ns, item[0]))

    @property
    def waiting(self) -> int:
        """Files with which something is still to be done, those that still change among them."""
        return sum(not file.done for file in self._files.values())

    def put_off(self, file: Tracked, seconds: float) -> None:
        """Leave a file alone for a while."""
        file.not_before = self._clock() + seconds

    def unsettle(self, name: str) -> None:
        """A file changed, or went away, while it was read: it has to be still for `settle` seconds once more."""
        self._files[name] = Tracked(self._files[name].stamp, self._clock())


def is_temporary(name: str) -> bool:
    """Whether a name is one that programs give to files they have not finished, or to hide them."""
    return name.startswith((".", "~")) or name.endswith("~") or not _TEMPORARY.isdisjoint(name.lower().split(".")[1:])


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in what `stat` says."""
    return Stamp(status.st_size, status.st_mtime_ns)


def read_whole(path: Path, stamp: Stamp) -> str | None:
    """SHA-256 of a file's bytes; None where it is not, or not any more, as the stamp says.

    Raises:
        OSError: It cannot be read, is gone, or has become a link.
    """
    # A pipe put in the file's place would block without O_NONBLOCK.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if stamp_of(os.fstat(handle)) != stamp:
            return None
        found = hashlib.file_digest(file, "sha256").hexdigest()
        whole = file.tell() == stamp.size and stamp_of(os.fstat(handle)) == stamp
    return found if whole else None
