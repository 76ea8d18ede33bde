"""Writing files so that a second run changes nothing and nobody else's file is ever overwritten."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iadr1.atomic import write_text_atomic
from iadr1.errors import OutputError
from iadr1.images import file_sha256


class Ledger:
    """A folder's files with the SHA-256 they were written with, kept in a manifest.

    A file that is already there and not, byte for byte, what the manifest or the new content says is never touched.
    Until the manifest is saved, a journal beside it says what is written, so that a killed run's files are known.

    Args:
        root: The folder all paths are relative to.
        manifest: POSIX path of the manifest.
        world: JSON values that say what is written; when they change, the files are written anew.

    Attributes:
        written: Files written by this run.
        unchanged: Files that were already there with the same bytes.
        removed: Files of an earlier run that no longer belong and were removed.

    Raises:
        OutputError: The manifest or the journal is there but not one.
    """

    def __init__(self, root: Path, manifest: str, world: Mapping[str, Any]) -> None:
        self._root, self._manifest, self._world = root, root / manifest, dict(world)
        self._journal = self._manifest.with_suffix(".journal")
        self._old_world, self._old = self._read()
        self._read_journal()
        self._new: dict[str, str] = {}
        self._announced = False
        self.written = self.unchanged = self.removed = 0

    def _read(self) -> tuple[Any, dict[str, str]]:
        if not self._manifest.exists():
            return None, {}
        try:
            value = json.loads(self._manifest.read_text(encoding="utf-8"))
            return value["world"], dict(value["files"])
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise _not_ours("manifest", self._manifest) from error

    def _read_journal(self) -> None:
        """Take over what a killed run wrote."""
        if not self._journal.exists():
            return
        self._old_world = None
        try:
            # What follows the last line end is a line the kill cut off: its file was not written yet.
            lines = self._journal.read_text(encoding="utf-8").split("\n")[:-1]
            for path, digest in dict(map(json.loads, lines)).items():
                target = self._root / path
                # Killed between the line and the file, the old file stands.
                if target.exists() and file_sha256(target) == digest:
                    self._old[path] = digest
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError, ValueError) as error:
            raise _not_ours("journal", self._journal) from error

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
            if current == digest:
                self._new[path] = digest
                self.unchanged += 1
                return
            self._announce(path, digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            try:
                temporary.write_bytes(content)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", where=str(target)) from error
        self._new[path] = digest
        self.written += 1

    def _announce(self, path: str, digest: str) -> None:
        """Said before it is done: a kill in between leaves no file that nobody knows."""
        if not self._announced:
            self.save(complete=False)  # takes up what an earlier journal says, and begins a new one
            self._announced = True
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([path, digest]) + "\n")

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
        try:
            self._journal.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove: {error.strerror}", where=str(self._journal)) from error


def _not_ours(kind: str, path: Path) -> OutputError:
    return OutputError(f"not a {kind} written by iadr1", where=str(path), hint="move it away or choose another --out")


def _foreign(path: Path) -> OutputError:
    return OutputError(
        "the file was not written by 'iadr1 prepare', or was changed since; it is left as it is",
        where=str(path),
        hint="move it away or choose another --out",
    )
