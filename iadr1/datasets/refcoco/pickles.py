"""Reading a pickle without running it: only plain values, no class or function of any module.

A pickle is a program that may import and call anything. Numbers, texts, lists, dictionaries, tuples and sets need no
import, and nothing else is let in: whatever names a class or function is refused with that name, before it is looked
up. A pickle of plain values may still be large; it is read into memory as a whole.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from iadr1.errors import DataError


class _Plain(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise _ForeignClassError(f"{module_name}.{global_name}")


class _ForeignClassError(Exception):
    pass


def read_pickle(path: Path) -> Any:
    """The plain value of a pickle, text of Python 2 read as Latin-1.

    Raises:
        DataError: It names a class or function, is cut off, or is no pickle.
    """
    try:
        with path.open("rb") as file:
            return _Plain(file, encoding="latin1").load()
    except _ForeignClassError as error:
        raise DataError(
            f"the pickle wants to load {error}; only plain lists, dictionaries, texts and numbers are read",
            where=str(path),
            hint="it is not the file of the refer release; get it from a place you trust",
        ) from error
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:  # what the unpickler raises for broken programs
        raise DataError(f"not a readable pickle: {error or type(error).__name__}", where=str(path)) from error
