"""Writing an export so that nothing that is there already is ever changed.

A file appears whole or not at all. One that is there must hold the same content and then stays as it is: an export that
was stopped goes on when it is run again, and what somebody has edited since is never lost.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from iadr1.atomic import atomic, write_text_atomic
from iadr1.errors import OutputError, UsageError

MARK = ".iadr1-export.json"
"""The file that says which export a folder holds."""

_OTHER = "name another one with --out, or remove it"


def claim_folder(out: Path, key: Mapping[str, str]) -> None:
    """Make the folder, or make sure that it holds the same export.

    Args:
        out: The folder.
        key: What must be equal for an export to go on in a folder.

    Raises:
        UsageError: It holds something else.
        OutputError: It cannot be made.
    """
    mark = out / MARK
    if mark.is_file():
        try:
            found = json.loads(mark.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read: {error}", where=str(mark), hint=_OTHER) from error
        if found != dict(key):
            raise UsageError(f"{str(out)!r} holds another export", hint=_OTHER)
        return
    if out.exists() and not (out.is_dir() and all(path.name.startswith(f".{MARK}.") for path in out.iterdir())):
        raise UsageError(f"{str(out)!r} is there already, and no export of iadr1", hint=_OTHER)
    write_text_atomic(mark, json.dumps(dict(key), indent=1) + "\n")


@contextmanager
def new_text(path: Path) -> Iterator[TextIO]:
    """A text file to write piece by piece, which appears whole.

    Raises:
        OutputError: It cannot be written, or one of another content is there.
    """
    if not path.exists():
        with atomic(path) as file:
            yield file
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with atomic(draft) as file:
            yield file
        same = path.is_file() and filecmp.cmp(draft, path, shallow=False)
    finally:
        draft.unlink(missing_ok=True)
    if not same:
        raise _another(path)


def put_text(path: Path, text: str) -> None:
    """Write a small text file.

    Raises:
        OutputError: It cannot be written, or one of another content is there.
    """
    put_bytes(path, text.encode())


def put_bytes(path: Path, content: bytes) -> None:
    """Write a small file.

    Raises:
        OutputError: It cannot be written, or one of another content is there.
    """
    try:
        if path.exists():
            if not path.is_file() or path.read_bytes() != content:
                raise _another(path)
            return
        with _draft(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise _unwritable(path, error) from error


def put_photo(path: Path, photo: Path) -> None:
    """Put a photo into the export: a hard link where the file system allows one, else a copy.

    Raises:
        OutputError: It cannot be written, or another file is there.
    """
    try:
        if path.exists():
            if not path.samefile(photo) and not filecmp.cmp(path, photo, shallow=False):
                raise _another(path)
            return
        with _draft(path) as draft:
            try:
                # A link would stay a link: its target is what is wanted.
                os.link(photo.resolve(), draft)
            except OSError:  # another file system, or one without links
                shutil.copyfile(photo, draft)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name[:100]}.{os.getpid()}.new")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write: {error.strerror}", where=str(path))


def _another(path: Path) -> OutputError:
    return OutputError(
        "the file is there already with another content, and is left as it is", where=str(path), hint=_OTHER
    )
