"""The lines of a samples file, the broken ones too: what is wrong with one never hides the next."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from iadr1.errors import DataError, UsageError
from iadr1.records import Record, Sample, meta_path

Level = Literal["error", "warning"]
"""An error must be mended before the file is used; a warning should be looked at."""

Progress = Callable[[str, int, int], None]
"""Takes a name, how many are done and how many there are (0: not known)."""


class Fault(NamedTuple):
    """One thing that is wrong: what it is, the offending value, what to do."""

    level: Level
    kind: str
    message: str
    value: str
    hint: str


class Finding(Record):
    """A fault with its place, as `--out` writes it; `where` is `file:line`."""

    level: Level
    kind: str
    where: str
    id: str
    message: str
    value: str
    hint: str


@dataclass(frozen=True)
class Line:
    """One line of a samples file: the sample, or what keeps it from being one.

    Attributes:
        number: From 1.
        id: The record's id where it has one that is text, else empty.
        sample: None where the line is no sample.
        faults: Why it is none; empty where it is one.
    """

    number: int
    id: str
    sample: Sample | None
    faults: tuple[Fault, ...] = ()


def count_lines(path: Path) -> int:
    """How many lines a file has, a last one without a line break included.

    Raises:
        UsageError: There is no such file.
        DataError: The file cannot be read, or is empty.
    """
    lines, last = 0, b"\n"
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                lines, last = lines + block.count(b"\n"), block[-1:]
    except FileNotFoundError as error:
        raise UsageError(f"no file {str(path)!r}") from error
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    lines += last != b"\n"
    if not lines:
        raise DataError("the file holds no sample", where=str(path), hint="'iadr1 prepare' writes samples files")
    return lines


def check_out(path: Path, *outs: Path | None) -> None:
    """Make sure that results may be written: not over the samples or their sidecar, and not over a folder.

    Args:
        path: The samples file that is read.
        outs: Where results are to be written; None for none.

    Raises:
        UsageError: They may not.
    """
    for out in outs:
        if out is not None and out.is_dir():
            raise UsageError(f"{str(out)!r} is a folder", hint="name the file to write")
        if out is not None and out.resolve() in (path.resolve(), meta_path(path).resolve()):
            raise UsageError(f"{str(out)!r} is what is read, and would be overwritten", hint="name another file")


def read_lines(path: Path) -> Iterator[Line]:
    """Every line of a samples file, read one by one.

    Raises:
        UsageError: There is no such file.
        DataError: The file cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _line(number, line)
    except FileNotFoundError as error:
        raise UsageError(f"no file {str(path)!r}") from error
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error


def _line(number: int, line: bytes) -> Line:
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(name for name in found if names.count(name) > 1)
        return found

    try:
        value = json.loads(line, object_pairs_hook=unique)  # of bytes: a byte order mark is skipped
        if _SURROGATE.search(line):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        text = line.decode("utf-8", "replace").strip()
        fault = _broken(f"not JSON: {error.msg} in column {error.colno}" if text else "an empty line", text)
        return Line(number, "", None, (fault,))
    except (ValueError, RecursionError) as error:
        # ValueError: not UTF-8, a number of thousands of digits, or half a character.
        return Line(number, "", None, (_broken(f"not JSON that can be read: {error}", repr(line[:40])),))
    name = value.get("id") if isinstance(value, dict) else None
    name = name if isinstance(name, str) else ""
    if repeated:
        hint = "only the last one would be read; keep one"
        fault = Fault("error", "schema", "a key stands twice in one object", ", ".join(repeated), hint)
        return Line(number, name, None, (fault,))
    try:
        return Line(number, name, Sample.model_validate(value))
    except ValidationError as error:
        return Line(number, name, None, tuple(map(_schema_fault, error.errors())))


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character beyond U+FFFF, which is no text when alone."""


def _broken(message: str, value: str) -> Fault:
    return Fault("error", "json", message, value[:120], "each line must be one whole JSON object")


def _schema_fault(item: Any) -> Fault:
    if not item["loc"] and item["type"] == "value_error":
        # The one rule over several fields: the answer fits the task and its options.
        given = item["input"] if isinstance(item["input"], dict) else {}
        hint = "a choice answers with one of its option letters, a yes/no question with Yes or No"
        return Fault("error", "answer", item["msg"].removeprefix("Value error, "), repr(given.get("answer")), hint)
    field = ".".join(map(str, item["loc"])) or "record"
    hint = "see iadr1/records.py: Sample" if item["type"] != "extra_forbidden" else "remove the key or mend its name"
    return Fault("error", "schema", f"{field}: {item['msg']}", repr(item["input"])[:120], hint)
