"""Writing files so that a second run changes nothing and nobody else's file is ever overwritten."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iadr1.errors import OutputError
from iadr1.images import file_sha256
from iadr1.records import write_text_atomic


class Ledger:
    """A folder's files with the SHA-256 they were written with, kept in a manifest.

    A file that is already there and not, byte for byte, what the manifest or the new content says is never touched.

    Args:
        root: The folder all paths are relative to.
        manifest: POSIX path of the manifest.
        world: JSON values that say what is written; when they change, the files are written anew.

    Attributes:
        written: Files written by this run.
        unchanged: Files that were already there with the same bytes.
        removed: Files of an earlier run that no longer belong and were removed.

    Raises:
        OutputError: The manifest is there but not one.
    """

    def __init__(self, root: Path, manifest: str, world: Mapping[str, Any]) -> None:
        self._root, self._manifest, self._world = root, root / manifest, dict(world)
        self._old_world, self._old = self._read()
        self._new: dict[str, str] = {}
        self.written = self.unchanged = self.removed = 0

    def _read(self) -> tuple[Any, dict[str, str]]:
        if not self._manifest.exists():
            return None, {}
        try:
            value = json.loads(self._manifest.read_text(encoding="utf-8"))
            return value["world"], dict(value["files"])
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise OutputError(
                "not a manifest written by iadr1",
                where=str(self._manifest),
                hint="move it away or choose another --out",
            ) from error

    def is_current(self) -> bool:
        """Whether an earlier run wrote all of this world and every file is still there.

        Raises:
            OutputError: A file was changed since.
        """
        if self._old_world != self._world:
            return False
        present = [path for path in self._old if (self._root / path).exists()]
        for path in present:
            if file_sha256(self._root / path) != self._old[path]:
                raise _foreign(self._root / path)
        return len(present) == len(self._old)

    def files(self) -> dict[str, str]:
        """Path -> SHA-256 of every file of this run so far; of the last run where nothing was written yet."""
        return dict(self._new or self._old)

    def write(self, path: str, content: bytes) -> None:
        """Write one file atomically, unless it is there already.

        Raises:
            OutputError: Another file of this name is there, or the folder cannot be written to.
        """
        target, digest = self._root / path, hashlib.sha256(content).hexdigest()
        try:
            current = file_sha256(target) if target.exists() else None
            if current not in (None, digest, self._old.get(path)):
                raise _foreign(target)
            self._new[path] = digest
            if current == digest:
                self.unchanged += 1
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            try:
                temporary.write_bytes(content)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", where=str(target)) from error
        self.written += 1

    def prune(self, under: str) -> None:
        """Remove what an earlier run wrote below a folder and this one did not.

        Raises:
            OutputError: Such a file was changed since.
        """
        for path in [path for path in self._old if path.startswith(under) and path not in self._new]:
            target = self._root / path
            if target.exists():
                if file_sha256(target) != self._old[path]:
                    raise _foreign(target)
                target.unlink()
                self.removed += 1
            del self._old[path]

    def save(self, *, complete: bool) -> None:
        """Write the manifest; an incomplete run's files are remembered, but its world does not count as written."""
        value = {"world": self._world if complete else None, "files": dict(sorted({**self._old, **self._new}.items()))}
        write_text_atomic(self._manifest, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _foreign(path: Path) -> OutputError:
    return OutputError(
        "the file was not written by 'iadr1 prepare', or was changed since; it is left as it is",
        where=str(path),
        hint="move it away or choose another --out",
    )
