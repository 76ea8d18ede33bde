"""The files that scoring reads, as far as it reads them: samples and predictions.

Only the fields that a figure depends on are validated: reading whole records would take three times as long as all of
the scoring.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iadr1.errors import DataError, UsageError
from iadr1.geometry import Size
from iadr1.records import Defect, PredictedBox, Task


class _Part(BaseModel):
    """Some fields of a record; the others are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Question(_Part):
    """What scoring needs of a `records.Sample`."""

    id: str
    dataset: str
    category: str
    split: str = ""
    image: str
    task: Task
    question: str
    options: dict[str, str] = {}
    answer: str = ""
    question_type: str
    subtask: str = ""
    is_anomalous: bool | None = None
    defects: tuple[Defect, ...] = ()
    held_out: bool = False
    image_size: Size | None = None

    @property
    def reported_as(self) -> str:
        """The subtask the question counts under."""
        return self.subtask or self.question_type


class _Choice(Question):
    """A multiple-choice question; what no figure depends on then is passed over, under a name that no field has."""

    split: str = Field("", validation_alias="-split")
    defects: tuple[Defect, ...] = Field((), validation_alias="-defects")
    image_size: Size | None = Field(None, validation_alias="-image_size")


class Answer(_Part):
    """What scoring needs of a `records.Prediction`."""

    sample_id: str
    protocol: str
    model: str
    engine: str
    rotation: int = 0
    order: str = ""
    raw: str = ""
    answer: str | None = None
    boxes: tuple[PredictedBox, ...] = ()
    score: float | None = None
    parse: str = ""
    finished: bool = True
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None

    @property
    def key(self) -> str:
        """As `records.Prediction.key`."""
        return f"{self.sample_id}#{self.rotation}" if self.rotation else self.sample_id


class Item(NamedTuple):
    """A question and its answer."""

    question: Question
    answer: Answer


P = TypeVar("P", bound=BaseModel)


def read_questions(path: Path) -> list[Question]:
    """The questions of a samples file, in its order; those of `choice` without their defects.

    Raises:
        UsageError: There is no such file.
        DataError: A line is no sample, an id occurs twice, or the samples are of several tasks.
    """
    kind = _Choice if _begins_with_choice(path) else Question
    questions: list[Question] = [*read_lines(path, kind, what="sample")]
    first: dict[str, int] = {}
    for number, question in enumerate(questions, start=1):
        if first.setdefault(question.id, number) != number:
            raise DataError(f"the id {question.id!r} occurs twice", where=f"{path}:{number}")
    if not questions:
        raise DataError("the samples file is empty", where=str(path))
    tasks = {question.task for question in questions}
    if len(tasks) > 1:
        raise DataError(f"its samples are of several tasks: {', '.join(sorted(tasks))}", where=str(path))
    return questions


def _begins_with_choice(path: Path) -> bool:
    """Whether the first sample is of the task `choice`; all have the same one, or are refused."""
    try:
        with path.open("rb") as file:
            return b'"task":"choice"' in file.readline().replace(b" ", b"")
    except OSError as error:
        raise UsageError(f"cannot read the file: {error.strerror}", where=str(path)) from error


def read_answers(path: Path) -> list[Answer]:
    """The predictions of a file, in its order, without a half line that a killed run left at its end.

    Raises:
        UsageError: There is no such file.
        DataError: A line is no prediction; `where` names it.
    """
    return read_lines(path, Answer, what="prediction", half_line=True)


def read_lines(path: Path, kind: type[P], *, what: str, half_line: bool = False) -> list[P]:
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
