"""What has been sent and what has not: `detections.jsonl` is the queue, `delivery.json` says how far each sink is.

A record and the message about it are one and the same line, so neither is ever there without the other.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, UsageError
from iadr1.records import Detection, Record, RecordWriter
from iadr1.stages.watch.sinks import Message

CURSORS, UNDELIVERED = "delivery.json", "undelivered.jsonl"
SEND = {
    "all": frozenset({"anomalous", "normal", "undecided"}),
    "anomalous": frozenset({"anomalous"}),
    "bad": frozenset({"anomalous", "undecided"}),
}
"""Which verdicts each value of `--send` sends."""


class _Place(Record):
    """How far a sink is: everything before `offset` (bytes) has been sent, refused, or was not to be sent."""

    offset: int = Field(ge=0)
    delivered: int = 0
    refused: int = 0


class _Cursors(Record):
    """`delivery.json`. `stream` tells the messages of this folder from all others."""

    version: Literal[1] = 1
    stream: str
    sinks: dict[str, _Place] = Field(default_factory=dict)


class _Refusal(Record):
    """A line of `undelivered.jsonl`."""

    time: str
    sink: str
    reason: str
    id: str
    detection: dict[str, object]


class Entry(NamedTuple):
    """A record that is to be sent, and the bytes it is at."""

    key: str
    record: Detection
    start: int
    end: int

    @property
    def message(self) -> Message:
        """What is sent: the record without run lengths, which are the bulk of it; the files of the masks are named."""
        detection = self.record.model_dump(mode="json", exclude={"defects": {"__all__": {"mask_rle"}}})
        body = json.dumps({"id": self.key, "detection": detection}, ensure_ascii=False)
        return Message(self.key, body.encode())


@dataclass(frozen=True)
class Counts:
    """Of one sink: messages that are still to be sent, that arrived, and that were refused for good."""

    waiting: int
    delivered: int
    refused: int


class Outbox:
    """The messages of a folder.

    Args:
        records: `detections.jsonl`.
        committed: Its bytes that are whole records.
        kinds: The sinks there are. One that is new here gets what comes from now on.
        send: A key of `SEND`.

    Raises:
        UsageError: `delivery.json` cannot be read, or belongs to other records.
        OutputError: It cannot be written.
    """

    def __init__(self, records: Path, committed: int, *, kinds: list[str], send: str) -> None:
        self._records, self._wanted = records, SEND[send]
        self._path = records.with_name(CURSORS)
        self.refusals = records.with_name(UNDELIVERED)
        self._cursors = _read(self._path, committed)
        self.changed = threading.Condition()
        self._closed = False
        self._committed = committed
        new = {kind: _Place(offset=committed) for kind in kinds if kind not in self._cursors.sinks}
        self._cursors = self._cursors.model_copy(update={"sinks": self._cursors.sinks | new})
        self._read_to = {kind: self._cursors.sinks[kind].offset for kind in kinds}
        self._waiting = {
            kind: sum(1 for _ in self._entries(offset, committed)) for kind, offset in self._read_to.items()
        }
        if kinds:
            self._save(self._cursors)

    def announce(self, committed: int, written: list[Detection]) -> None:
        """There are more records; they have been written through to the disk."""
        wanted = sum(record.verdict in self._wanted for record in written)
        with self.changed:
            self._committed = committed
            for kind in self._waiting:
                self._waiting[kind] += wanted
            self.changed.notify_all()

    def next(self, kind: str) -> Entry | None:
        """The first message that a sink has not had; None where it has had all there are. For one thread a sink.

        Raises:
            DataError: The records cannot be read.
        """
        end = self._committed
        found = next(self._entries(self._read_to[kind], end), None)
        self._read_to[kind] = found.start if found is not None else end
        return found

    def has_news(self, kind: str) -> bool:
        """Whether there are records that `next` has not seen."""
        return self._read_to[kind] < self._committed

    def _entries(self, offset: int, end: int) -> Iterator[Entry]:
        if offset >= end:
            return
        try:
            with self._records.open("rb") as file:
                file.seek(offset)
                while offset < end:
                    line = file.readline()
                    record = Detection.model_validate_json(line)
                    if record.verdict in self._wanted:
                        yield Entry(f"{self._cursors.stream}-{offset}", record, offset, offset + len(line))
                    offset += len(line)
        except OSError as error:
            raise DataError(f"cannot read: {error.strerror}", where=str(self._records)) from error
        except ValidationError as error:
            raise DataError(f"no record at byte {offset}", where=str(self._records)) from error

    def deliver(self, kind: str, entry: Entry) -> None:
        """A message has arrived.

        Raises:
            OutputError: That cannot be written down; it will be sent again.
        """
        self._step(kind, entry, delivered=1)

    def refuse(self, kind: str, entry: Entry, reason: str) -> None:
        """A message was refused for good: it goes to `undelivered.jsonl`, and the next one is up.

        Raises:
            OutputError: That cannot be written down; it will be sent again.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        kept = _Refusal(time=now, sink=kind, reason=reason, **json.loads(entry.message.body))
        with self.changed:
            if self._closed:
                return
            with RecordWriter(self.refusals) as file:
                file.write(kept)
            self._step(kind, entry, refused=1)

    def _step(self, kind: str, entry: Entry, *, delivered: int = 0, refused: int = 0) -> None:
        with self.changed:
            if self._closed:  # the folder may be another watcher's by now
                return
            before = self._cursors.sinks[kind]
            place = _Place(offset=entry.end, delivered=before.delivered + delivered, refused=before.refused + refused)
            self._save(self._cursors.model_copy(update={"sinks": {**self._cursors.sinks, kind: place}}))
            self._waiting[kind] -= 1
            self._read_to[kind] = entry.end

    def _save(self, cursors: _Cursors) -> None:
        write_text_atomic(self._path, cursors.model_dump_json(indent=2) + "\n")
        self._cursors = cursors

    def close(self) -> None:
        """Write nothing any more."""
        with self.changed:
            self._closed = True

    def counts(self, kind: str) -> Counts:
        """How much has been sent and is waiting."""
        with self.changed:
            place = self._cursors.sinks[kind]
            return Counts(self._waiting[kind], place.delivered, place.refused)


def _read(path: Path, committed: int) -> _Cursors:
    hint = "remove it: sinks then get what comes from now on"
    try:
        found = _Cursors.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Cursors(stream=uuid.uuid4().hex[:12])
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise UsageError("cannot read how far the sinks are", where=str(path), hint=hint) from error
    if any(place.offset > committed for place in found.sinks.values()):
        raise UsageError("it belongs to other records: a sink is beyond their end", where=str(path), hint=hint)
    return found
