"""A run's answers beside the questions they answer: complete, of one protocol, one model and one data version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.metrics.counts import DETECTION, ChoiceRow
from iadr1.metrics.mmad import AnswerRecord
from iadr1.stages.score.reading import Answer, Question, RunInfo, read_answers, read_questions

PREDICTIONS = "predictions.jsonl"
_LISTED = 10
_LETTERS = {"Yes": "A", "No": "B"}
"""Yes/no answers as MMAD and IAD-R1 letter them."""


@dataclass(frozen=True)
class Gaps:
    """What keeps answers from being complete.

    Attributes:
        missing: Questions without an answer.
        doubled: Questions with several answers, of which the first counts.
    """

    missing: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.doubled)

    def describe(self) -> str:
        """Both in words, with the first ten of each."""
        parts = [
            f"{len(names)} questions {what}: {listed(names)}"
            for names, what in ((self.missing, "have no answer"), (self.doubled, "have more than one answer"))
            if names
        ]
        return "; ".join(parts)


@dataclass(frozen=True)
class Loaded:
    """A run that can be scored.

    Attributes:
        path: The file of its answers.
        rows: Key of the question -> row, in the benchmark's order.
        records: What the published script would read, in the order it would.
        about: What `metrics.json` says of the run: benchmark, model, hashes, and what is left out.
        gaps: What is missing or doubled; empty unless `partial` was asked for.
        task: `choice`, or `anomaly` for yes/no.
        leaks: What `run.json` says of trained images.
    """

    path: Path
    rows: Mapping[str, ChoiceRow]
    records: Sequence[AnswerRecord]
    about: Mapping[str, Any]
    gaps: Gaps
    task: str = "choice"
    leaks: Mapping[str, Any] = field(default_factory=dict)


def load_predictions(path: Path, *, data: Path | None = None, partial: bool = False) -> Loaded:
    """Read predictions and the questions they answer.

    Args:
        path: `predictions.jsonl`, or the folder it lies in.
        data: The samples file; by default the one that `run.json` beside the predictions names.
        partial: Score what is there where answers are missing or doubled.

    Raises:
        UsageError: A file is missing, or the answers are of another protocol, model or data version.
        DataError: A record is broken, or answers are missing, doubled or for questions that are not in the file.
    """
    path = path / PREDICTIONS if path.is_dir() else path
    answers = read_answers(path)
    run = RunInfo(path)
    protocol, model = _one_run(path, answers, run)
    data, digest = _samples_file(path, run, data)
    questions = run.asked(read_questions(data))
    task = _task(data, questions)
    by_id = _first_answers(path, data, answers, questions)
    gaps = find_gaps([question.id for question in questions], [answer.sample_id for answer in answers])
    refuse_gaps(gaps, path, partial=partial)
    answered = [(question, by_id[question.id]) for question in questions if question.id in by_id]
    name, _, fingerprint = model.rpartition("@")
    about = {
        "benchmark": run.entry("config").get("benchmark"),
        "model": name or fingerprint,
        "model_fingerprint": fingerprint if name else None,
        "engine": answers[0].engine,
        "protocol": protocol,
        "shots": run.entry("config").get("shots"),
        "data": {"path": str(data), "sha256": digest},
        "predictions": {"path": str(path), "sha256": file_sha256(path)},
        "errors": sum(answer.error is not None for _, answer in answered),
    }
    return Loaded(
        path=path,
        rows={question.id: _row(question, answer, data) for question, answer in answered},
        records=[_record(question, answer) for question, answer in answered],
        about=about,
        gaps=gaps,
        task=task,
        leaks=run.entry("leaks"),
    )


def listed(names: Sequence[str]) -> str:
    """The first ten of names, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def find_gaps(wanted: Sequence[str], given: Sequence[str]) -> Gaps:
    """What of `wanted` is not in `given`, and what stands there more than once."""
    times = Counter(given)
    missing = tuple(name for name in wanted if name not in times)
    return Gaps(missing, tuple(name for name, number in times.items() if number > 1))


def refuse_gaps(gaps: Gaps, path: Path, *, partial: bool) -> None:
    """Raise a DataError that lists what is missing and doubled, unless `partial`."""
    if gaps and not partial:
        raise DataError(
            gaps.describe(),
            where=str(path),
            hint="let the run finish, or score what is there with --partial, where the first of several answers counts",
        )


def _one_run(path: Path, answers: Sequence[Answer], run: RunInfo) -> tuple[str, str]:
    """The protocol and the model of all answers."""
    if not answers:
        raise DataError("there is no prediction in it", where=str(path))
    for what, found in (("protocols", {a.protocol for a in answers}), ("models", {a.model for a in answers})):
        if len(found) > 1:
            raise UsageError(f"its answers are of {len(found)} {what}: {listed(sorted(found))}", where=str(path))
    protocol = answers[0].protocol
    if run.protocol not in (None, protocol):
        raise UsageError(
            f"its answers are of the protocol {protocol}, its run is of the protocol {run.protocol}",
            where=str(path),
            hint=f"{run.path} belongs to other predictions",
        )
    return protocol, answers[0].model


def _samples_file(path: Path, run: RunInfo, given: Path | None) -> tuple[Path, str]:
    """The samples file and its SHA-256, the one that was asked where this is known."""
    if given is None and run.data is None:
        raise UsageError("nothing says which samples it answers", where=str(path), hint="give the file with --data")
    data = given if given is not None else run.data[0] if run.data else Path()
    if not data.is_file():
        raise UsageError(f"no samples file {str(data)!r}", where=str(path), hint="say where it is with --data")
    digest = file_sha256(data)
    if run.data is not None and run.data[1] != digest:
        raise UsageError(
            f"its answers are for samples with the SHA-256 {run.data[1]}, {data} has {digest}",
            where=str(path),
            hint="give the samples file that was asked with --data",
        )
    return data, digest


def _task(data: Path, questions: Sequence[Question]) -> str:
    tasks = {question.task for question in questions}
    if len(tasks) > 1:
        raise DataError(f"its samples are of several tasks: {', '.join(sorted(tasks))}", where=str(data))
    task = tasks.pop()
    if task == "grounding":
        raise UsageError(
            "boxes are not scored by this command, only multiple choice and yes/no", where=str(data), hint="iadr1 eval"
        )
    return task


def _first_answers(
    path: Path, data: Path, answers: Sequence[Answer], questions: Sequence[Question]
) -> dict[str, Answer]:
    by_id: dict[str, Answer] = {}
    for answer in answers:
        by_id.setdefault(answer.sample_id, answer)
    known = {question.id for question in questions}
    strange = [name for name in by_id if name not in known]
    if strange:
        raise DataError(
            f"{len(strange)} answers are to questions that {data} does not have: {listed(strange)}",
            where=str(path),
            hint="give the samples file that was asked with --data",
        )
    return by_id


def _row(question: Question, answer: Answer, data: Path) -> ChoiceRow:
    offered = question.options if question.task == "choice" else _LETTERS
    subtask = question.reported_as if question.task == "choice" else DETECTION
    if question.answer not in offered:
        raise DataError(
            f"the answer {question.answer!r} of the question {question.id!r} is not among {sorted(offered)}",
            where=str(data),
        )
    return ChoiceRow(
        question.dataset,
        subtask,
        question.answer,
        answer.answer if answer.answer in offered else None,
        question.is_anomalous,
        question.image,
        question.category,
    )


def _record(question: Question, answer: Answer) -> AnswerRecord:
    if question.task == "choice":
        return AnswerRecord(question.dataset, question.reported_as, question.answer, answer.answer, question.image)
    given = None if answer.answer is None else _LETTERS.get(answer.answer)
    return AnswerRecord(question.dataset, DETECTION, _LETTERS[question.answer], given, question.image)
