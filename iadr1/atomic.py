"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from iadr1.errors import OutputError


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file so that readers see either the old or the whole new content.

    Raises:
        OutputError: The folder cannot be written to.
    """
    with atomic(path) as file:
        file.write(text)


@contextmanager
def atomic(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """A text file that appears whole or not at all: written beside its place, then renamed.

    Args:
        path: The file; its folder is made where it is missing.
        errors: What becomes of text that UTF-8 cannot hold (half a surrogate pair), as `open` takes it.

    Raises:
        OutputError: The folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", errors=errors) as file:
                yield file
            temporary.replace(path)
        finally:
            if temporary.exists():
                temporary.unlink()
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error
