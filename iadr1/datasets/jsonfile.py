"""Reading a data set's JSON file: one error kind, with the place, for whatever is wrong in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from iadr1.errors import DataError


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: It cannot be read, is nested too deeply, is not UTF-8 or not JSON (`where` holds file, line and
            column), holds a number of thousands of digits or half a character, or an object has the same key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(path)) from error
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise DataError(f"not JSON: {error.msg} in column {error.colno}", where=where) from error
    except RecursionError as error:
        raise DataError("nested too deeply to be read", where=str(path)) from error
    except ValueError as error:  # Python refuses whole numbers of more than 4300 digits
        raise DataError(f"not JSON that can be read: {error}", where=str(path)) from error
    except _DuplicateKeyError as error:
        raise DataError(f"the key {error.key!r} occurs twice in one object", where=str(path)) from error
    if _SURROGATE.search(text):
        _check_text(value, path)
    return value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a character beyond U+FFFF: sound in pairs, and no text that could be written when alone."""


def _check_text(value: Any, path: Path) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        lone = error.object[error.start]
        raise DataError(f"not text: a lone {lone!r}, which is half a character", where=str(path)) from error


class _DuplicateKeyError(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found
