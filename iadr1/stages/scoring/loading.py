"""A run's answers beside the questions they answer: complete, of one protocol, one model and one data version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.metrics.mmad import AnswerRecord
from iadr1.records import Task
from iadr1.stages.scoring.gaps import Gaps, find_gaps, listed, refuse_gaps
from iadr1.stages.scoring.reading import Answer, Item, Question, read_answers, read_questions
from iadr1.stages.scoring.rows import offered
from iadr1.stages.scoring.runs import RunInfo, find_parts, one_run


@dataclass(frozen=True)
class Loaded:
    """A run that can be scored.

    Attributes:
        path: The file, or the folder of shards, that its answers are from.
        parts: The files of its answers.
        items: Key of the prediction -> question and answer, in the benchmark's order.
        about: What `metrics.json` says of the run: benchmark, model, protocol, hashes, and what is left out.
        gaps: What is missing or doubled; empty unless `partial` was asked for.
        task: The task of its questions.
        runs: What `run.json` says of each part; empty for answers of others.
        records: What the published script would read, in its order; None where that follows from `items`.
    """

    path: Path
    parts: tuple[Path, ...]
    items: Mapping[str, Item]
    about: Mapping[str, Any]
    gaps: Gaps
    task: Task
    runs: tuple[RunInfo, ...]
    records: Sequence[AnswerRecord] | None = None

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.path if self.path.is_dir() else self.path.parent


def load(path: Path, *, data: Path | None = None, partial: bool = False) -> Loaded:
    """Read predictions and the questions they answer.

    Args:
        path: `predictions.jsonl`, the folder it lies in, or the folder of a run's shards.
        data: The samples file; by default the one that `run.json` beside the predictions names.
        partial: Score what is there where answers, or whole shards, are missing or doubled.

    Raises:
        UsageError: A file is missing, or the answers are of another protocol, model or data version.
        DataError: A record is broken, or answers are missing, doubled or for questions that are not in the file.
    """
    parts, absent = find_parts(path)
    path = path if len(parts) + len(absent) > 1 else parts[0]
    answers = [answer for part in parts for answer in read_answers(part)]
    runs = one_run(parts)
    run = runs[0]
    protocol, model = _one_model(path, answers, run)
    data, digest = _samples_file(path, run, data)
    every = read_questions(data)
    questions = run.asked(every, whole=path.is_dir())
    _check_truth(data, questions)
    wanted = run.wanted(questions)
    keys = [answer.key for answer in answers]
    # Of several answers with one key the first counts: it is put in last.
    by_key = dict(zip(reversed(keys), reversed(answers), strict=True))
    _check_known(path, data, [key for key in dict.fromkeys(keys) if key not in wanted])
    _check_orders(parts, answers, wanted)
    gaps = find_gaps(list(wanted), keys, shards=absent)
    refuse_gaps(gaps, path, partial=partial)
    items = {key: Item(question, by_key[key]) for key, question in wanted.items() if key in by_key}
    name, _, fingerprint = model.rpartition("@")
    about = {
        "benchmark": run.entry("config").get("benchmark"),
        "model": name or fingerprint,
        "model_fingerprint": fingerprint if name else None,
        "engine": answers[0].engine,
        "protocol": {**{key: run.entry("protocol").get(key) for key in ("name", "version")}, "hash": protocol},
        "shots": run.definition.get("shots", run.entry("config").get("shots")),
        "scoring": run.values.get("scoring", run.entry("config").get("scoring")),
        "domain_knowledge": run.values.get("domain_knowledge"),
        "data": {"path": str(data), "sha256": digest},
        "predictions": _described(path, parts),
    }
    return Loaded(
        path=path,
        parts=tuple(parts),
        items=items,
        about=about,
        gaps=gaps,
        task=questions[0].task,
        runs=tuple(runs),
    )


def _described(path: Path, parts: Sequence[Path]) -> dict[str, Any]:
    if path.is_dir():
        return {"path": str(path), "shards": {part.parent.name: file_sha256(part) for part in parts}}
    return {"path": str(path), "sha256": file_sha256(path)}


def _one_model(path: Path, answers: Sequence[Answer], run: RunInfo) -> tuple[str, str]:
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


def _check_truth(data: Path, questions: Sequence[Question]) -> None:
    """Refuse questions whose answer is not among the offered ones, or that name no box to find."""
    for question in questions:
        if question.task == "grounding":
            if not any(defect.box for defect in question.defects):
                raise DataError(f"the sample {question.id!r} has no box to find", where=str(data))
        elif question.answer not in offered(question):
            raise DataError(
                f"the answer {question.answer!r} of the question {question.id!r} is not among "
                f"{sorted(offered(question))}",
                where=str(data),
            )


def _check_orders(parts: Sequence[Path], answers: Sequence[Answer], wanted: Mapping[str, Question]) -> None:
    """Refuse an order that is none of the question's options, which a file that was changed may have."""
    for place, answer in enumerate(answers):
        if answer.order and sorted(answer.order) != sorted("".join(wanted[answer.key].options)):
            raise DataError(
                f"the order {answer.order!r} of the answer {answer.key!r} is none of the options "
                f"{', '.join(wanted[answer.key].options) or '(there are none)'}",
                where=_line(parts, place),
                hint="delete the line, and 'iadr1 eval' asks the question again",
            )


def _line(parts: Sequence[Path], place: int) -> str:
    """File and line of the answer at a place, counted from 0 over all parts."""
    for part in parts:
        number = len(read_answers(part))
        if place < number:
            return f"{part}:{place + 1}"
        place -= number
    return str(parts[-1])


def _check_known(path: Path, data: Path, strange: Sequence[str]) -> None:
    if strange:
        raise DataError(
            f"{len(strange)} answers are to questions that {data} does not have, or that the run did not ask: "
            f"{listed(strange)}",
            where=str(path),
            hint="give the samples file that was asked with --data",
        )
