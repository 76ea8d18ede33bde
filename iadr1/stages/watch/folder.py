"""The folder of the results of `watch`: who may write into it, and what it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iadr1.errors import OutputError, UsageError
from iadr1.locks import lock
from iadr1.provenance import RUN, read_run
from iadr1.stages.watch.journal import RECORDS

_OTHER = "name another folder with --out"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second watcher out of a folder, which would look at every photo once more.

    The lock is let go of by the system when the process ends, however it ends.

    Raises:
        UsageError: Another process holds it.
        OutputError: The folder cannot be written to, or its file system has no locks.
    """
    held = lock(out, busy="another process is watching into this folder", busy_hint=_OTHER, hint=_OTHER)
    if held is None:
        raise OutputError(
            "the file system has no locks, so a second watcher could not be kept out",
            where=str(out),
            hint="name a folder on a local disk with --out",
        )
    with held:
        yield


def check_places(root: Path, out: Path) -> None:
    """Make sure that there is a folder to watch, and that its photos are no results.

    Args:
        root: The watched folder, resolved.
        out: The folder of the results, resolved.

    Raises:
        UsageError: There is no such folder, it may not be looked at, or it is, or lies in, the folder of the results,
            which is a file or would be made in one.
    """
    try:
        if not root.is_dir():
            raise UsageError(f"no folder {str(root)!r} to watch", hint="make it first, so that a typing error shows")
        nearest = next(place for place in (out, *out.parents) if place.exists())
    except PermissionError as error:
        raise UsageError(f"may not be looked at: {error.strerror}", where=str(error.filename)) from error
    if not nearest.is_dir():
        raise UsageError("this is a file, not a folder for the results", where=str(nearest), hint=_OTHER)
    if out == root or out in root.parents:
        raise UsageError(
            f"the watched folder {str(root)!r} is, or lies in, the folder of the results {str(out)!r}", hint=_OTHER
        )


def check_owner(root: Path, out: Path) -> None:
    """Make sure that the results in a folder are of the same watched folder.

    Settings may change from one run to the next, since every record says what it was made with; the names of the
    photos have to mean the same files.

    Raises:
        UsageError: They are another command's, of another folder, or of nobody knows what.
    """
    earlier = read_run(out, kind=UsageError, hint=_OTHER)
    if earlier is None:
        if (out / RECORDS).exists():
            raise UsageError(f"{str(out)!r} holds a {RECORDS} without a {RUN}", hint=_OTHER)
        return
    if earlier.get("command") != "watch":
        raise UsageError(f"{str(out)!r} holds the results of another command", hint=_OTHER)
    if earlier.get("watched") != str(root):
        raise UsageError(f"{str(out)!r} holds the results of the folder {earlier.get('watched')!r}", hint=_OTHER)
