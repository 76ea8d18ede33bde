"""MMAD's own answers file (`answers_*.json` of `jam-cc/MMAD`), also as AnomalyR1 and IAD-R1 write it.

A JSON list of `{"image", "question", "question_type", "correct_answer", "gpt_answer"}`; `question` is an object with
`text` and `options`, or the text alone. It names no protocol, model or data version, and which questions are missing
can only be told with the samples at hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.images import file_sha256
from iadr1.metrics.mmad import FOLDED, LETTERS, AnswerRecord
from iadr1.stages.scoring.gaps import find_gaps, refuse_gaps
from iadr1.stages.scoring.loading import Loaded
from iadr1.stages.scoring.reading import Answer, Item, Question, read_questions
from iadr1.stages.scoring.runs import RunInfo

NORMAL = "good"
"""Folder of MMAD's normal images; those of MVTec 3D-AD lie one deeper, in `good/rgb`."""

_NUMBER = re.compile(r"\s*Question (\d+):\s*")


@dataclass(frozen=True)
class _Entry:
    """One record of the file; `options` is empty where it does not say what was offered."""

    where: str
    image: str
    kind: str
    text: str
    options: Mapping[str, str]
    truth: object
    given: object

    @property
    def key(self) -> str:
        """What tells a question from the others: image, type, text and options; without a text only its place."""
        if not self.text:
            return self.where
        options = ", ".join(f"{letter}: {text}" for letter, text in self.options.items())
        return " | ".join(filter(None, (self.image, self.kind, " ".join(self.text.split()), options)))

    def record(self) -> AnswerRecord:
        """The entry as the published script reads it."""
        return AnswerRecord(self.image.split("/")[0], self.kind, self.truth, self.given, self.image)

    def asked(self, name: str) -> Question:
        """The question as far as the entry tells: by the image's path, and with all letters where it has no options."""
        path = PurePosixPath(self.image)
        return Question(
            id=name,
            dataset=path.parts[0],
            category=path.parts[1],
            image=self.image,
            task="choice",
            question=self.text,
            options={letter: str(text) for letter, text in self.options.items()} or dict.fromkeys(sorted(LETTERS), ""),
            answer=str(self.truth),
            question_type=FOLDED.get(self.kind, self.kind),
            is_anomalous=NORMAL not in path.parts[:-1],
        )

    def item(self, name: str, sample: Question | None) -> Item:
        """The entry as a question and its answer; options and right letter are its own, since they may be permuted."""
        asked = self.asked(name)
        if sample is not None:
            asked = sample.model_copy(update={"options": asked.options, "answer": asked.answer})
        given = self.given if isinstance(self.given, str) else None
        return Item(asked, Answer(sample_id=name, protocol="", model="", engine="", answer=given))


def load_answers(path: Path, *, data: Path | None = None, partial: bool = False) -> Loaded:
    """Read an answers file.

    Without samples an image is normal where it lies below a folder `good`, and nothing is known to be missing. A
    question whose `correct_answer` is no letter cannot be scored: it is left out of everything but `mmad_compat`.

    Args:
        path: The file.
        data: The samples that were asked, to tell what is missing.
        partial: Score what is there where answers are missing or doubled.

    Raises:
        UsageError: A file is missing.
        DataError: A record is broken, or answers are missing, doubled or to questions that the samples do not have.
    """
    entries = list(_entries(path))
    if not entries:
        raise DataError("there is no answer in it", where=str(path))
    questions = read_questions(data) if data else []
    matched = _match(entries, questions) if data else [None] * len(entries)
    names = [question.id if question else entry.key for entry, question in zip(entries, matched, strict=True)]
    wanted = [question.id for question in questions]
    gaps = find_gaps(wanted, names)
    refuse_gaps(gaps, path, partial=partial)
    items: dict[str, Item] = {}
    for name, entry, question in zip(names, entries, matched, strict=True):
        if entry.truth in LETTERS:
            items.setdefault(name, entry.item(name, question))
    if not items:
        raise DataError("no record has a 'correct_answer' that is a letter", where=str(path))
    about = {
        "benchmark": "mmad",
        "model": path.stem,
        "model_fingerprint": None,
        "engine": None,
        "protocol": None,
        "shots": None,
        "scoring": None,
        "data": {"path": str(data), "sha256": file_sha256(data)} if data else None,
        "predictions": {"path": str(path), "sha256": file_sha256(path)},
        "without_truth": sum(entry.truth not in LETTERS for entry in entries),
    }
    return Loaded(
        path=path,
        parts=(path,),
        items=items,
        about=about,
        gaps=gaps,
        task="choice",
        runs=(RunInfo(path),),
        records=[entry.record() for entry in entries],
    )


def _entries(path: Path) -> Iterator[_Entry]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deeply
        raise DataError(f"not JSON: {error}", where=str(path)) from error
    if not isinstance(values, list):
        raise DataError("not a list of answers", where=str(path), hint="predictions.jsonl is read without --from mmad")
    for number, value in enumerate(values, start=1):
        yield _entry(value, f"{path}: record {number}")


def _entry(value: Any, where: str) -> _Entry:
    if not isinstance(value, dict):
        raise DataError(f"not an object: {value!r:.60}", where=where)
    absent = [name for name in ("image", "question_type", "correct_answer", "gpt_answer") if name not in value]
    if absent:
        raise DataError(f"it has no {', '.join(map(repr, absent))}", where=where)
    image, kind = value["image"], value["question_type"]
    # Not printable is, above all, half of a character, which no file could be written with.
    if not isinstance(image, str) or len(PurePosixPath(image).parts) < 3 or not image.isprintable():
        raise DataError(f"'image' is no path <dataset>/<class>/.../<file>: {image!r:.80}", where=where)
    if not isinstance(kind, str):
        raise DataError(f"'question_type' is no text: {kind!r:.60}", where=where)
    question = value.get("question", "")
    question = question if isinstance(question, dict) else {"text": question}
    text, options = question.get("text", ""), question.get("options") or {}
    if not isinstance(text, str) or not isinstance(options, dict):
        raise DataError(f"'question' has no text, or its options are no object: {question!r:.80}", where=where)
    truth = value["correct_answer"]
    truth = truth if isinstance(truth, str) else None
    return _Entry(where, image, kind, text, options, truth, value["gpt_answer"])


def _match(entries: Sequence[_Entry], questions: Sequence[Question]) -> list[Question | None]:
    """The sample of each entry, by image and text; of several with one text, by the number before it."""
    by_image: dict[str, list[Question]] = {}
    for question in questions:
        by_image.setdefault(question.image, []).append(question)
    return [_find(entry, by_image.get(entry.image, [])) for entry in entries]


def _find(entry: _Entry, asked: Sequence[Question]) -> Question:
    number = _NUMBER.match(entry.text)
    text = _NUMBER.sub("", entry.text, count=1).lstrip()
    found = [question for question in asked if text.startswith(question.question.strip())]
    if len(found) > 1 and number:
        found = [question for question in found if question.id.endswith(f"#{int(number[1]) - 1}")]
    if len(found) != 1:
        raise DataError(
            f"{'several samples ask' if found else 'no sample asks'} {text[:60]!r} about {entry.image}",
            where=entry.where,
            hint="give the samples that were asked with --data, or none",
        )
    return found[0]
