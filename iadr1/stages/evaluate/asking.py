"""Questions -> requests -> completions -> predictions, one batch at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from iadr1 import prompts, protocols
from iadr1.errors import ImageError, ModelError
from iadr1.geometry import BoxFrame
from iadr1.images import open_image
from iadr1.masks import Segmenter
from iadr1.models import Completion, Engine, Request
from iadr1.protocols import Protocol
from iadr1.records import PredictedBox, Prediction
from iadr1.stages.evaluate.masks import MaskRecord, draw
from iadr1.stages.evaluate.questions import Question

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
        root: Folder of the images.
        protocol: It may scale them.
        engine: The model; its input rules are checked before it is asked.
    """

    def __init__(self, root: Path, protocol: Protocol, engine: Engine) -> None:
        self._root, self._protocol, self._engine = root, protocol, engine
        self._opened: dict[str, Shown | ImageError] = {}

    def __getitem__(self, name: str) -> Shown:
        if name not in self._opened:
            try:
                self._opened[name] = self._open(name)
            except ImageError as error:
                self._opened[name] = error
        found = self._opened[name]
        if isinstance(found, ImageError):
            raise found
        return found

    def _open(self, name: str) -> Shown:
        stored = open_image(self._root / name)
        image = protocols.fit(stored, self._protocol)
        frame = self._engine.profile.frame(image.size)  # refuses an aspect ratio that no model input can have
        return Shown(stored, image, dataclasses.replace(frame, image_wh=stored.size))


class Asker:
    """Asks a model, and reads what it answers.

    Args:
        engine: The model.
        protocol: How answers are asked for and read.
        root: Folder of the images.
        logprob: Take the most probable option instead of reading what the model writes.
        segmenter: Draws the masks of predicted boxes; None for no masks.

    Attributes:
        no_score: Why yes/no answers have no anomaly score; None as long as the engine gives them.
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

    def answer(self, batch: Sequence[Question]) -> list[Answered]:
        """One prediction for each question, in order; where an image cannot be used, one that says so.

        Raises:
            ModelError: The model cannot be run, or gives no probabilities and they are what is asked for.
        """
        pictures = Pictures(self._root, self._protocol, self._engine)
        requests: dict[str, Request] = {}
        failed: dict[str, Prediction] = {}
        for question in batch:
            try:
                requests[question.turn.key] = _request(question, pictures)
            except ImageError as error:
                failed[question.turn.key] = self._failed(question, str(error), "no image", images=0)
        asked = [question for question in batch if question.turn.key in requests]
        answers = self._by_options(asked, requests) if self._logprob else self._by_text(asked, requests, pictures)
        found = {prediction.key: prediction for prediction in answers}
        predictions = (failed.get(question.turn.key) or found[question.turn.key] for question in batch)
        return [self._answered(question, one, pictures) for question, one in zip(batch, predictions, strict=True)]

    def _answered(self, question: Question, prediction: Prediction, pictures: Pictures) -> Answered:
        if self._segmenter is None or prediction.error is not None:
            return Answered(prediction)
        return Answered(prediction, draw(self._segmenter, prediction, pictures[question.sample.image].stored))

    # what the model writes

    def _by_text(
        self, asked: Sequence[Question], requests: Mapping[str, Request], pictures: Pictures
    ) -> list[Prediction]:
        completions = self._engine.generate(list(requests.values()), max_new_tokens=self._protocol.max_new_tokens)
        pairs = list(zip(asked, completions, strict=True))
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
            raw=completion.text,
            answer=reading.answer,
            parse=reading.parse,
            boxes=tuple(PredictedBox(box=item.box, label=item.label) for item in boxes),
            score=score,
            finished=completion.finished,
            **_cost(completion),
        )

    def _scores(self, asked: Sequence[Question], pictures: Pictures) -> dict[str, float]:
        """P(Yes) of the bare question; nothing for an engine without probabilities, such as stored answers."""
        wanted = [question for question in asked if question.sample.task == "anomaly"]
        if self.no_score is not None or not wanted:
            return {}
        requests = [_direct(question, pictures) for question in wanted]
        try:
            shares = self._engine.probabilities(requests, (YES, NO))
        except ModelError as error:
            self.no_score = str(error)
            return {}
        return {question.turn.key: words[YES] for question, words in zip(wanted, shares, strict=True)}

    # the most probable option

    def _by_options(self, asked: Sequence[Question], requests: Mapping[str, Request]) -> list[Prediction]:
        offered: dict[tuple[str, ...], list[Question]] = {}
        for question in asked:
            offered.setdefault(protocols.letters(question.turn) or (YES, NO), []).append(question)
        found = []
        for words, questions in offered.items():
            started = time.perf_counter()
            shares = self._engine.probabilities([requests[question.turn.key] for question in questions], words)
            seconds = (time.perf_counter() - started) / len(questions)
            found += [
                self._most_probable(question, given, seconds) for question, given in zip(questions, shares, strict=True)
            ]
        return found

    def _most_probable(self, question: Question, given: Mapping[str, float], seconds: float) -> Prediction:
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
        return self._prediction(question, parse=f"failed: {what}", error=error, **fields)

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


def _cost(completion: Completion) -> dict[str, Any]:
    return {
        "seconds": round(completion.seconds, 4),
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
