"""The files that scoring reads, as far as it reads them: samples, predictions, and the run they belong to.

Only the fields that a figure depends on are validated: reading whole records would take three times as long as all of
the scoring.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from iadr1.errors import DataError, UsageError
from iadr1.records import Task


class _Part(BaseModel):
    """Some fields of a record; the others are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Question(_Part):
    """What scoring needs of a `records.Sample`."""

    id: str
    dataset: str
    category: str
    image: str
    task: Task
    question: str
    options: dict[str, str] = {}
    answer: str = ""
    question_type: str
    subtask: str = ""
    is_anomalous: bool | None = None

    @property
    def reported_as(self) -> str:
        """The subtask the question counts under."""
        return self.subtask or self.question_type


class Answer(_Part):
    """What scoring needs of a `records.Prediction`."""

    sample_id: str
    protocol: str
    model: str
    engine: str
    answer: str | None = None
    error: str | None = None


P = TypeVar("P", bound=_Part)


def read_questions(path: Path) -> list[Question]:
    """The questions of a samples file, in its order.

    Raises:
        UsageError: There is no such file.
        DataError: A line is no sample, or an id occurs twice; `where` names the line.
    """
    questions = _read(path, Question, what="sample")
    seen: set[str] = set()
    for number, question in enumerate(questions, start=1):
        if question.id in seen:
            raise DataError(f"the id {question.id!r} occurs twice", where=f"{path}:{number}")
        seen.add(question.id)
    if not questions:
        raise DataError("the samples file is empty", where=str(path))
    return questions


def read_answers(path: Path) -> list[Answer]:
    """The predictions of a file, in its order, without a half line that a killed run left at its end.

    Raises:
        UsageError: There is no such file.
        DataError: A line is no prediction; `where` names it.
    """
    return _read(path, Answer, what="prediction", half_line=True)


def _read(path: Path, kind: type[P], *, what: str, half_line: bool = False) -> list[P]:
    """One record for each line; with `half_line` a last line that was not written to its end is passed over."""
    found: list[P] = []
    line = b""
    # The validator itself: `model_validate_json` around it costs a quarter more.
    validate = kind.__pydantic_validator__.validate_json
    try:
        with path.open("rb") as file:
            for line in file:
                found.append(validate(line))
    except ValidationError as error:
        if not half_line or line.endswith(b"\n"):
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "line"
            told = f"not a {what}: {field}: {first['msg']} (got {first['input']!r:.60})"
            raise DataError(told, where=f"{path}:{len(found) + 1}") from error
    except OSError as error:
        raise UsageError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    return found


class RunInfo:
    """What the `run.json` beside a predictions file says of the run; empty where there is none.

    Attributes:
        path: The file.
        values: Its content.
    """

    def __init__(self, predictions: Path) -> None:
        self.path = predictions.with_name("run.json")
        self.values: Mapping[str, Any] = self._read() if self.path.exists() else {}

    def _read(self) -> Mapping[str, Any]:
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read: {error}", where=str(self.path)) from error
        if not isinstance(value, dict):
            raise DataError("not an object", where=str(self.path))
        return value

    def entry(self, name: str) -> Mapping[str, Any]:
        """One of its objects; empty where it has none of this name."""
        value = self.values.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def protocol(self) -> str | None:
        """Hash of the protocol that was asked under."""
        value = self.entry("protocol").get("hash")
        return value if isinstance(value, str) else None

    @property
    def data(self) -> tuple[Path, str] | None:
        """The samples file that was asked, and its SHA-256."""
        entries = list(self.entry("data").items())
        return (Path(entries[0][0]), str(entries[0][1])) if len(entries) == 1 else None

    def asked(self, questions: list[Question]) -> list[Question]:
        """The questions that the run asked: all, or as many as its `limit`, drawn as `eval` draws them."""
        limit, seed = self.entry("config").get("limit"), self.entry("config").get("seed")
        if not isinstance(limit, int) or limit >= len(questions):
            return questions
        if not isinstance(seed, int):
            raise DataError("it names a limit without the seed of its draw", where=str(self.path))
        chosen = random.Random(seed).sample(range(len(questions)), limit)
        return [questions[place] for place in sorted(chosen)]
