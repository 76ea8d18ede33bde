"""Keeps other processes out of a folder; the system lets go of the lock when the process ends, however it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO

from iadr1.errors import OutputError, UsageError

LOCK = ".lock"


def lock(folder: Path, *, busy: str, busy_hint: str, hint: str | None = None) -> TextIO | None:
    """Lock a folder, which is made where it is not there, until the file that is returned is closed.

    Args:
        folder: The folder.
        busy: What is said where another process, or another call in this one, holds the lock.
        busy_hint: And what to do then.
        hint: What to do where the folder cannot be written to.

    Returns:
        The open file; None where the file system has no locks, so that nothing can be known.

    Raises:
        UsageError: Another process holds it.
        OutputError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(folder), hint=hint) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UsageError(busy, where=str(folder), hint=busy_hint) from error
    except OSError:
        file.close()
        return None
    return file
