"""Questions -> requests -> completions -> predictions, one batch at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from iadr1 import parallel, prompts, protocols, provenance
from iadr1.errors import ImageError, NoProbabilitiesError
from iadr1.geometry import BoxFrame
from iadr1.images import open_image
from iadr1.jsonl import utf8
from iadr1.masks import Segmenter
from iadr1.models import Completion, Engine, Request
from iadr1.models.base import why_none
from iadr1.protocols import Protocol
from iadr1.records import PredictedBox, Prediction, Sample
from iadr1.stages.evaluate.masks import masks_of
from iadr1.stages.evaluate.questions import Question
from iadr1.stages.scoring import MaskRecord

YES, NO = "Yes", "No"


@dataclass(frozen=True)
class Shown:
    """An image as it is stored and as the model is shown it, and the frame of the boxes that are written for it."""

    stored: Image.Image
    image: Image.Image
    frame: BoxFrame


@dataclass(frozen=True)
class Answered:
    """A prediction, and the masks of its boxes where they are drawn."""

    prediction: Prediction
    masks: MaskRecord | None = None


class Pictures:
    """The images of one batch, each opened once, as the protocol wants them.

    Args:
        names: Paths relative to `root`.
        root: Folder of the images.
        protocol: It may scale them.
        engine: The model; its input rules are checked before it is asked.
    """

    def __init__(self, names: Iterable[str], root: Path, protocol: Protocol, engine: Engine) -> None:
        self._root, self._protocol, self._engine = root, protocol, engine
        distinct = list(dict.fromkeys(names))
        self._opened = dict(zip(distinct, parallel.ordered(self._try, distinct), strict=True))

    def __getitem__(self, name: str) -> Shown:
        found = self._opened[name]
        if isinstance(found, ImageError):
            raise found
        return found

    def _try(self, name: str) -> Shown | ImageError:
        try:
            stored = open_image(self._root / name)
            image = protocols.fit(stored, self._protocol)
            frame = self._engine.profile.frame(image.size)  # refuses an aspect ratio that no model input can have
        except ImageError as error:
            return error
        return Shown(stored, image, dataclasses.replace(frame, image_wh=stored.size))


@dataclass(frozen=True)
class Batch:
    """Questions that are ready to be asked: all but the asking itself is done.

    Attributes:
        questions: All of the batch.
        pictures: Their images.
        requests: By the key of the turn.
        failed: Predictions of those whose image cannot be used, by key.
    """

    questions: Sequence[Question]
    pictures: Pictures
    requests: Mapping[str, Request]
    failed: Mapping[str, Prediction]

    @property
    def asked(self) -> list[Question]:
        """The questions that have a request."""
        return [question for question in self.questions if question.turn.key in self.requests]


class Asker:
    """Asks a model, and reads what it answers.

    Args:
        engine: The model.
        protocol: How answers are asked for and read.
        root: Folder of the images.
        logprob: Take the most probable option instead of reading what the model writes.
        segmenter: Draws the masks of predicted boxes; None for no masks.

    Attributes:
        no_score: Why the first yes/no answer without an anomaly score has none; None as long as all have one.
    """

    def __init__(
        self,
        engine: Engine,
        protocol: Protocol,
        root: Path,
        *,
        logprob: bool = False,
        segmenter: Segmenter | None = None,
    ) -> None:
        self._engine, self._protocol, self._root, self._logprob = engine, protocol, root, logprob
        self._segmenter = segmenter
        self._common = {
            "protocol": protocol.digest,
            "model": f"{engine.model}@{engine.fingerprint}",
            "engine": engine.name,
        }
        self.no_score: str | None = None
        self._scored = self._scoreless = False

    def prepare(self, questions: Sequence[Question]) -> Batch:
        """Open the images of a batch and make its requests; leaves the model alone, so a thread may run ahead."""
        names = [name for question in questions for name in question.turn.images]
        pictures = Pictures(names, self._root, self._protocol, self._engine)
        requests: dict[str, Request] = {}
        failed: dict[str, Prediction] = {}
        for question in questions:
            try:
                requests[question.turn.key] = _request(question, pictures)
            except ImageError as error:
                failed[question.turn.key] = self._failed(question, str(error), "no image", images=0)
        return Batch(questions, pictures, requests, failed)

    def answer(self, batch: Batch) -> list[Answered]:
        """One prediction for each question, in order; where an image cannot be used, one that says so.

        Raises:
            ModelError: The model cannot be run, or gives no probabilities and they are what is asked for.
        """
        answers = self._by_options(batch) if self._logprob else self._by_text(batch)
        found = {**batch.failed, **{prediction.key: prediction for prediction in answers}}
        return [self._answered(question, found[question.turn.key], batch.pictures) for question in batch.questions]

    def _answered(self, question: Question, prediction: Prediction, pictures: Pictures) -> Answered:
        if self._segmenter is None or prediction.error is not None:
            return Answered(prediction)
        return Answered(prediction, masks_of(self._segmenter, prediction, pictures[question.sample.image].stored))

    # what the model writes

    def _by_text(self, batch: Batch) -> list[Prediction]:
        requests, pictures = list(batch.requests.values()), batch.pictures
        completions = self._engine.generate(requests, max_new_tokens=self._protocol.max_new_tokens)
        pairs = list(zip(batch.asked, completions, strict=True))
        scores = self._scores([question for question, completion in pairs if completion.error is None], pictures)
        return [
            self._failed(question, completion.error, "no answer", **_cost(completion))
            if completion.error is not None
            else self._read(question, completion, pictures, scores.get(question.turn.key))
            for question, completion in pairs
        ]

    def _read(self, question: Question, completion: Completion, pictures: Pictures, score: float | None) -> Prediction:
        sample, turn = question
        frame = pictures[sample.image].frame
        reading = protocols.read(completion.text, sample, turn, self._protocol, frame=frame)
        boxes = reading.answer_object.boxes or ()
        return self._prediction(
            question,
            raw=utf8(completion.text),
            answer=reading.answer,
            parse=utf8(reading.parse),
            boxes=tuple(PredictedBox(box=item.box, label=item.label) for item in boxes),
            score=score,
            finished=completion.finished,
            **_cost(completion),
        )

    def _scores(self, asked: Sequence[Question], pictures: Pictures) -> dict[str, float]:
        """P(Yes) of the bare question, as far as the engine gives it."""
        wanted = [question for question in asked if question.sample.task == "anomaly"]
        shares = self._yes([_direct(question, pictures) for question in wanted] if not self._scoreless else [])
        return {question.turn.key: share for question, share in zip(wanted, shares, strict=False) if share is not None}

    def _yes(self, requests: Sequence[Request]) -> list[float | None]:
        """P(Yes) of each request; None where the engine gives none."""
        if self._scoreless or not requests:
            return [None] * len(requests)
        try:
            shares = self._engine.probabilities(requests, (YES, NO))
        except NoProbabilitiesError as error:
            if self._scored:  # it can, so that something else is wrong
                raise
            # Stored answers, and servers without log-probabilities, never give one.
            self.no_score, self._scoreless = str(error), True
            return [None] * len(requests)
        self._scored = self._scored or any(shares)
        if not all(shares):
            first = next(words for words in shares if not words)
            self.no_score = self.no_score or why_none(first, "the engine gave no probability of Yes or No")
        return [words.get(YES) for words in shares]

    # the most probable option

    def _by_options(self, batch: Batch) -> list[Prediction]:
        offered: dict[tuple[str, ...], list[Question]] = {}
        for question in batch.asked:
            offered.setdefault(protocols.letters(question.turn) or (YES, NO), []).append(question)
        found = []
        for words, questions in offered.items():
            started = time.perf_counter()
            shares = self._engine.probabilities([batch.requests[one.turn.key] for one in questions], words)
            seconds = (time.perf_counter() - started) / len(questions)
            found += [
                self._most_probable(question, given, seconds) for question, given in zip(questions, shares, strict=True)
            ]
        return found

    def _most_probable(self, question: Question, given: Mapping[str, float], seconds: float) -> Prediction:
        if not given:
            why = why_none(given, "the engine gave no probabilities")
            return self._failed(question, why, "no answer", seconds=round(seconds, 4))
        own = dict(given)
        if question.turn.options:
            own = {protocols.own_letter(word, question.turn): share for word, share in given.items()}
        return self._prediction(
            question,
            answer=max(own, key=lambda word: own[word]),
            parse="ok",
            probabilities=dict(sorted(own.items())),
            score=own.get(YES) if question.sample.task == "anomaly" else None,
            seconds=round(seconds, 4),
        )

    # records

    def _failed(self, question: Question, error: str, what: str, **fields: Any) -> Prediction:
        return self._prediction(question, parse=f"failed: {what}", error=utf8(error), **fields)

    def _prediction(self, question: Question, **fields: Any) -> Prediction:
        turn = question.turn
        sent = {"rotation": turn.rotation, "order": turn.order, "images": len(turn.images)}
        return Prediction(sample_id=turn.sample_id, **{**self._common, **sent, **fields})


def batches(images: Iterable[list[Question]], size: int) -> Iterator[list[Question]]:
    """Batches of at most `size` questions, of whole images where an image has no more than that.

    Args:
        images: The questions of each image.
        size: Most questions of a batch, at least 1.
    """
    batch: list[Question] = []
    for image in images:
        if batch and len(batch) + len(image) > size:
            yield batch
            batch = []
        batch += image
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch


def _request(question: Question, pictures: Pictures) -> Request:
    turn = question.turn
    images = tuple(pictures[name].image for name in turn.images)
    return Request(turn.key, turn.messages, images, prefix=turn.prefix, plain=turn.plain)


def _direct(question: Question, pictures: Pictures) -> Request:
    """The bare yes/no question with the same images, references first."""
    sample, turn = question
    references = list(turn.images)
    references.remove(sample.image)
    shown = sample.model_copy(update={"references": tuple(references)})
    messages = prompts.render_prompt(shown, "direct", shots=len(references))
    images = tuple(pictures[name].image for name in (*references, sample.image))
    return Request(turn.key, messages, images)


def score_prompt() -> str:
    """A digest of how the anomaly score is asked for, which no protocol's hash holds: its words and their slots."""
    fields: dict[str, Any] = {"task": "anomaly", "question": "{question}", "references": ("{reference}",)}
    any_sample = Sample.model_construct(**fields)
    asked = [prompts.render_prompt(any_sample, "direct", shots=shots) for shots in (0, 1)]
    return provenance.digest([asked, YES, NO])


def _cost(completion: Completion) -> dict[str, Any]:
    return {
        "seconds": round(completion.seconds, 4),
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
