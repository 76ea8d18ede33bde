"""Which photos have been looked at: `detections.jsonl`, where a record is what makes a photo done, and its table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from iadr1.errors import DataError
from iadr1.records import Detection, RecordWriter, read_records
from iadr1.reports.html import append_csv, write_csv

RECORDS, TABLE = "detections.jsonl", "summary.csv"
_DIGEST = 16


class Journal:
    """The records of a folder, and in memory no more than two digests for each (about 200 bytes a photo).

    Half a line at the end, as a killed run leaves it, is cut off when it is opened; the table is then written anew.

    Args:
        out: The folder of the results.

    Raises:
        DataError: The records cannot be read.
        OutputError: The folder cannot be written to.
    """

    def __init__(self, out: Path) -> None:
        self.path, self._table = out / RECORDS, out / TABLE
        self._done: dict[bytes, bytes] = {}
        self._failed: set[bytes] = set()
        self._unwritten: list[Detection] = []
        self._writer = RecordWriter(self.path)
        write_csv(self._table, self._read())
        self.committed = self.path.stat().st_size

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return sum(len(contents) // _DIGEST for contents in self._done.values())

    def _read(self) -> Iterator[Detection]:
        for record in read_records(self.path, Detection):
            if not record.image:
                raise DataError("a record without the name of its photo", where=str(self.path))
            self._remember(record)
            yield record

    def _remember(self, record: Detection) -> None:
        name, content = _digest(record.image), _digest(record.image_sha256 or "")
        self._done[name] = self._done.get(name, b"") + content
        if record.error is not None:
            self._failed.add(name + content)

    def knows(self, name: str) -> bool:
        """Whether a photo of this name has been looked at, whatever it showed."""
        return _digest(name) in self._done

    def has(self, name: str, sha256: str) -> bool:
        """Whether this photo has a record: the same bytes under the same name."""
        contents, wanted = self._done.get(_digest(name), b""), _digest(sha256)
        return any(contents[place : place + _DIGEST] == wanted for place in range(0, len(contents), _DIGEST))

    def failed(self, name: str, sha256: str) -> bool:
        """Whether its record says that it could not be looked at."""
        return _digest(name) + _digest(sha256) in self._failed

    def write(self, record: Detection) -> None:
        """Add a record; it counts once `commit` returns.

        Raises:
            OutputError: It cannot be written.
        """
        self._writer.write(record)
        self._unwritten.append(record)

    def commit(self) -> list[Detection]:
        """Write what was added through to the disk; returns the records that count from now on.

        Raises:
            OutputError: They cannot be written.
        """
        if not self._unwritten:
            return []
        self._writer.flush()
        self.committed = self.path.stat().st_size
        written, self._unwritten = self._unwritten, []
        for record in written:
            self._remember(record)
        append_csv(self._table, written)
        return written


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_DIGEST).digest()
