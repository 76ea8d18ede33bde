"""From a line of JSON to a completion, its truth and its parsed answer, for `rewards try`.

A line is an object with `completion` and either `sample` (a whole `records.Sample`) or `solution` in one of the forms
that the papers' data use: an option letter (AnomalyR1), tagged text (IAD-R1), a box or a list of boxes (VLM-R1).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from iadr1.errors import DataError, ImageError, UsageError
from iadr1.geometry import Box, BoxFrame, BoxSpace, Size
from iadr1.models.profiles import PROFILES
from iadr1.prompts import FORMATS, Answer, Format, parse
from iadr1.prompts.published import Solution, read_solution
from iadr1.records import Defect, Sample
from iadr1.stages.training.data import FORMAT_OF_TASK

_LETTERED = re.compile(r"^\s*\(?([A-Z])[.):]\s*(\S.*?)\s*$", re.MULTILINE)
_UNBOUNDED = 2**30
"""Side of the image, in pixels, where its size is not known; a power of two, so that no coordinate is rounded."""
_FORMS = "an option letter, IAD-R1's tagged text, a box [x1, y1, x2, y2], or a list of boxes"


@dataclass(frozen=True)
class Case:
    """One line: its number, its object as read, the parsed answer, the truth, and the format it was read in."""

    number: int
    row: dict[str, Any]
    answer: Answer
    sample: Sample
    fmt: Format


def read_cases(path: Path) -> Iterator[Case]:
    """The lines of a JSONL file; empty lines are passed over.

    Raises:
        UsageError: There is no such file.
        DataError: The file or a line cannot be used; `where` holds `file:line`.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if raw.strip():
                    yield _case(raw, number, f"{path}:{number}")
    except FileNotFoundError as error:
        raise UsageError(f"no file {str(path)!r}") from error
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error


def _case(raw: bytes, number: int, where: str) -> Case:
    try:
        row = _json(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8
        raise DataError(f"not JSON: {raw[:60]!r} ({error})", where=where) from error
    if not isinstance(row, dict):
        raise DataError(f"not an object but {raw[:60]!r}", where=where)
    line = _Line(row, where)
    completion = line.text("completion")
    sample = line.sample(number)
    fmt = line.format(sample)
    frame = line.frame(sample) if fmt in ("boxes", "grounding") else None
    return Case(number, row, parse(completion, fmt, options=sample.options, frame=frame), sample, fmt)


def _json(text: str) -> Any:
    """The value of a JSON text; what Python would take for JSON beyond that (NaN, 1e999) is refused with ValueError."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


class _Line:
    """Reads the members of one object; null is the same as none; every error names file, line and value."""

    def __init__(self, row: dict[str, Any], where: str) -> None:
        self._row = {key: value for key, value in row.items() if value is not None}
        self._where = where

    def fail(self, message: str, *, hint: str | None = None) -> NoReturn:
        raise DataError(message, where=self._where, hint=hint)

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._row.get(key, default)
        if value is None:
            self.fail(f"no {key!r}; the line has {', '.join(map(repr, self._row)) or 'nothing'}")
        if not isinstance(value, str):
            self.fail(f"{key!r} is no text but {value!r:.80}")
        return value

    def sample(self, number: int) -> Sample:
        """The truth of the line."""
        try:
            if "sample" in self._row:
                return Sample.model_validate(self._row["sample"])
            if "solution" not in self._row:
                self.fail("neither 'solution' nor 'sample'", hint=f"a solution is {_FORMS}")
            return self._from_solution(self._row["solution"], str(self._row.get("id", f"line-{number}")))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the record"
            self.fail(f"no valid Sample: {place}: {first['msg']} (got {first['input']!r:.80})")

    def _from_solution(self, solution: object, name: str) -> Sample:
        if not isinstance(solution, str):
            return self._with_boxes(solution, name)
        found = read_solution(solution)
        if found.answer in ("Yes", "No"):
            return self._with_verdict(found, name)
        if found.answer.startswith(("[", "{")):
            try:
                return self._with_boxes(_json(found.answer), name)
            except (ValueError, RecursionError) as error:
                self.fail(f"the solution {solution!r:.80} is not JSON: {error}")
        if not re.fullmatch(r"[A-Z]", found.answer):
            self.fail(f"the solution {solution!r:.80} is none that is known", hint=f"it is {_FORMS}")
        options = self._options()
        if found.answer not in options:
            self.fail(
                f"the solution {found.answer!r} is not among the options {', '.join(options)}",
                hint="give them as 'options': {letter: text}",
            )
        return self._build(name, task="choice", options=options, answer=found.answer)

    def _options(self) -> dict[str, str]:
        """The line's own; else those lettered in the question; else A to D without texts."""
        if "options" in self._row:
            options = self._row["options"]
            texts = isinstance(options, dict) and all(isinstance(text, str) for text in options.values())
            if not (texts and options and all(re.fullmatch(r"[A-Z]", letter) for letter in options)):
                self.fail(f"'options' is no object of capital letters and texts but {options!r:.80}")
            return dict(options)
        lettered = [match.groups() for match in _LETTERED.finditer(self._question())]
        in_order = [(letter, text) for place, (letter, text) in enumerate(lettered) if ord(letter) == 65 + place]
        return dict(in_order) if len(in_order) > 1 else dict.fromkeys("ABCD", "")

    def _question(self) -> str:
        return self.text("problem" if "problem" in self._row else "question", default="")

    def _with_verdict(self, found: Solution, name: str) -> Sample:
        defects: tuple[Defect, ...] = ()
        if found.answer == "Yes" and (found.type is not None or found.location is not None):
            defects = (Defect(type=found.type or "", location=found.location),)
        return self._build(name, task="anomaly", answer=found.answer, defects=defects)

    def _with_boxes(self, solution: object, name: str) -> Sample:
        """One box is a region to find, a list is the defects of a photo; an empty one says that it has none."""
        single = isinstance(solution, dict) or (
            isinstance(solution, list) and bool(solution) and not isinstance(solution[0], list | dict)
        )
        if not isinstance(solution, list | dict):
            self.fail(f"the solution {solution!r:.80} is none that is known", hint=f"it is {_FORMS}")
        defects = tuple(map(self._defect, [solution] if single else solution))
        if single:
            return self._build(name, task="grounding", defects=defects)
        return self._build(name, task="anomaly", answer="Yes" if defects else "No", defects=defects)

    def _defect(self, item: object) -> Defect:
        label = "defect"
        if isinstance(item, dict):
            label, item = str(item.get("label") or label), item.get("bbox_2d", item.get("bbox"))
        numbers = isinstance(item, list) and len(item) == 4 and all(map(_is_number, item))
        if not (numbers and isinstance(item, list) and item[0] < item[2] and item[1] < item[3]):
            self.fail(f"{item!r:.80} is no box", hint="a box is [x1, y1, x2, y2] in pixels, x1 < x2 and y1 < y2")
        box: Box = (float(item[0]), float(item[1]), float(item[2]), float(item[3]))
        return Defect(type=label, box=box)

    def _build(self, name: str, **truth: Any) -> Sample:
        anomalous = truth["answer"] == "Yes" if truth["task"] == "anomaly" else None
        reasoning = self.text("reasoning") if "reasoning" in self._row else None
        return Sample(
            id=name or "line",
            dataset="",
            category="",
            split="",
            image="image",
            question=self._question(),
            question_type="",
            is_anomalous=anomalous,
            reasoning=reasoning,
            image_size=self._size(),
            **truth,
        )

    def _size(self) -> Size | None:
        sides = self._row.get("image_size", [self._row.get("width"), self._row.get("height")])
        if sides == [None, None]:
            return None
        if not (isinstance(sides, list) and len(sides) == 2 and all(type(n) is int and n > 0 for n in sides)):
            self.fail(f"the image's size is no [width, height] in pixels but {sides!r:.80}")
        return sides[0], sides[1]

    def format(self, sample: Sample) -> Format:
        """The format the completion is read in: `answer_format`, else boxes for boxes, else as in training."""
        if "answer_format" in self._row:
            named = next((fmt for fmt in FORMATS if fmt == self._row["answer_format"]), None)
            if named is None:
                self.fail(f"no answer format {self._row['answer_format']!r}", hint=f"known: {', '.join(FORMATS)}")
            return named
        listed = "sample" not in self._row and sample.task == "anomaly" and self._is_box_list()
        return "boxes" if listed else FORMAT_OF_TASK[sample.task]

    def _is_box_list(self) -> bool:
        solution = self._row["solution"]
        return not isinstance(solution, str) or read_solution(solution).answer.startswith("[")

    def frame(self, sample: Sample) -> BoxFrame:
        """The frame of the completion's boxes: the model family's where one is named, else pixels of the image."""
        size, family = self._size() or sample.image_size, self._row.get("model")
        if family is None:
            size = size or (_UNBOUNDED, _UNBOUNDED)
            return BoxFrame(BoxSpace.INPUT_PX, size, size)
        if family not in PROFILES:
            self.fail(f"no model family {family!r:.80}", hint=f"known families: {', '.join(PROFILES)}")
        if size is None:
            self.fail(
                f"the boxes of {family!r} cannot be read without the image's size",
                hint="give 'image_size': [width, height]",
            )
        try:
            return PROFILES[family].frame(size)
        except ImageError as error:
            self.fail(error.message, hint=error.hint)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _UNBOUNDED
