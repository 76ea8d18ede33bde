"""The request log: one line for each request for a result, whatever became of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from iadr1.errors import OutputError
from iadr1.records import Record, RecordWriter, Verdict


class Entry(Record):
    """One request.

    `outcome` is `answered` or what it was refused with, `sha256` that of the photo where it was read.
    """

    id: str
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    outcome: str
    status: int
    ms: float
    sha256: str | None = None
    name: str = ""
    verdict: Verdict | None = None
    score: float | None = None


class RequestLog:
    """Appends entries to a file, each with one write, so that a killed server loses none of those it answered.

    Args:
        path: A JSONL file, whose folder is made where only the folder itself is missing (what lacks more is taken for
            a typing error); an unfinished last line of a killed server is cut off.

    Raises:
        OutputError: It cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise self._failure(error) from error
        with RecordWriter(path):  # cuts an unfinished line
            pass
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, entry: Entry) -> None:
        """Append an entry.

        Raises:
            OutputError: It cannot be written.
        """
        line = entry.model_dump_json().encode() + b"\n"
        try:
            written = os.write(self._file, line)
            if written < len(line):  # a full disk: nothing shall follow half a line
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError("the disk is full")
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Write it through to the disk and close it.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failure(error) from error
        finally:
            os.close(self._file)

    def _failure(self, error: OSError) -> OutputError:
        told = f"cannot write the request log: {error.strerror or error}"
        return OutputError(told, where=str(self._path), hint="name a file in a folder that is there with --log")
