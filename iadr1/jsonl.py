"""JSONL files of records: read line by line with file and line in every error, appended to, or written as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import jsonlines
from pydantic import BaseModel, ConfigDict, ValidationError

from iadr1.atomic import atomic
from iadr1.errors import DataError, OutputError, UsageError


def utf8(text: str) -> str:
    """Text that can be written as UTF-8: half surrogates (odd file names, broken JSON escapes) become text."""
    return text.encode("utf-8", "backslashreplace").decode()


class Record(BaseModel):
    """Base of all records: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


R = TypeVar("R", bound=Record)


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a JSONL file one by one.

    Raises:
        UsageError: There is no such file.
        DataError: A line is not JSON or not a `kind`; `where` holds `file:line`.
    """
    try:
        with jsonlines.open(path) as reader:
            for number, value in enumerate(_numbered(reader, path), start=1):
                try:
                    yield kind.model_validate(value)
                except ValidationError as error:
                    raise DataError(
                        f"not a valid {kind.__name__}: {_explain(error)}", where=f"{path}:{number}"
                    ) from error
    except FileNotFoundError as error:
        raise UsageError("no such file", where=str(path)) from error
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text: {error.reason} at byte {error.start}", where=str(path)) from error


def _numbered(reader: jsonlines.Reader, path: Path) -> Iterator[object]:
    try:
        yield from reader
    except jsonlines.InvalidLineError as error:
        raise DataError(f"not JSON: {error.line[:80]!r}", where=f"{path}:{error.lineno}") from error
    except RecursionError as error:
        raise DataError("a line is nested too deeply to be read", where=str(path)) from error


def _explain(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'record'}: {item['msg']} (got {item['input']!r:.80})"
        for item in error.errors()[:3]
    )


class RecordWriter:
    """Append records to a JSONL file so that `kill -9` loses at most the records not yet flushed.

    A half-written last line left by a killed run is cut off when the file is opened. `flush` writes through to
    the disk; leaving the `with` block flushes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _drop_partial_line(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.flush()
        finally:
            # After a failed flush (disk full) closing tries once more to write and fails again.
            with suppress(OSError):
                self._file.close()

    def write(self, record: Record) -> None:
        """Append one record (buffered until `flush`)."""
        try:
            self._file.write(record.model_dump_json() + "\n")
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", where=str(self.path)) from error

    def flush(self) -> None:
        """Write what is buffered through to the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", where=str(self.path)) from error


def _drop_partial_line(path: Path) -> None:
    if not path.exists():
        return
    try:
        with path.open("rb+") as file:
            _truncate(file)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error


def _truncate(file: BinaryIO) -> None:
    """Cut off what stands behind the last line break."""
    size = file.seek(0, os.SEEK_END)
    keep, block = size, b""
    while keep and not block.endswith(b"\n"):
        start = max(0, keep - 65536)
        file.seek(start)
        block = file.read(keep - start)
        cut = block.rfind(b"\n")
        keep, block = start + cut + 1, block[: cut + 1]
    if keep < size:
        file.truncate(keep)


def done_keys(path: Path, kind: type[R], key: Callable[[R], str]) -> set[str]:
    """Keys of the records a run has already written, for resuming; empty where the file does not exist."""
    if not path.exists():
        return set()
    _drop_partial_line(path)
    return {key(record) for record in read_records(path, kind)}


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write all records atomically and streaming (temporary file, then rename); returns how many."""
    count = 0
    with atomic(path) as file:
        for record in records:
            file.write(record.model_dump_json() + "\n")
            count += 1
    return count
