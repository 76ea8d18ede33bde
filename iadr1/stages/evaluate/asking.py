"""Samples -> requests -> completions -> predictions, written down batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from iadr1 import prompts
from iadr1.errors import ImageError
from iadr1.images import open_image
from iadr1.models import Completion, Engine, Request
from iadr1.records import PredictedBox, Prediction, RecordWriter, Sample

Progress = Callable[[int, int], None]
"""Called with (answered, all)."""


@dataclass(frozen=True)
class Asker:
    """Turns samples into requests and completions into predictions.

    Attributes:
        engine: The model.
        fmt: The answer format asked for.
        shots: References shown before each query image.
        max_new_tokens: Where a completion is cut off.
        root: Folder of the images.
        protocol: Hash of the protocol, for the predictions.
        model: Name and fingerprint of the model, for the predictions.
    """

    engine: Engine
    fmt: prompts.Format
    shots: int
    max_new_tokens: int
    root: Path
    protocol: str
    model: str

    def answer(self, batch: Sequence[Sample]) -> Iterator[Prediction]:
        """One prediction for each sample; where an image cannot be used, one that says so."""
        opened: dict[str, Image.Image] = {}
        requests: dict[str, Request] = {}
        errors: dict[str, str] = {}
        for sample in batch:
            try:
                requests[sample.id] = self._request(sample, opened)
            except ImageError as error:
                errors[sample.id] = str(error)
        completions = self.engine.generate(list(requests.values()), max_new_tokens=self.max_new_tokens)
        written = {completion.id: completion for completion in completions}
        for sample in batch:
            if sample.id in errors:
                yield self._prediction(sample, error=errors[sample.id], parse="failed: no image")
            else:
                yield self._read(sample, written[sample.id], opened[sample.image])

    def _request(self, sample: Sample, opened: dict[str, Image.Image]) -> Request:
        """The questions about one image often follow each other, so a batch opens each file once."""
        names = [*sample.references[: self.shots], sample.image]
        for name in names:
            if name not in opened:
                image = open_image(self.root / name)
                self.engine.profile.input_wh(image.size)  # refuses an aspect ratio that no model input can have
                opened[name] = image
        messages = prompts.render_prompt(sample, self.fmt, shots=self.shots)
        return Request(sample.id, messages, tuple(opened[name] for name in names))

    def _read(self, sample: Sample, completion: Completion, image: Image.Image) -> Prediction:
        frame = self.engine.profile.frame(image.size)
        answer = prompts.parse(completion.text, self.fmt, options=sample.options, frame=frame)
        return self._prediction(
            sample,
            raw=completion.text,
            answer=_answer_word(answer, self.fmt),
            parse=f"{answer.status}: {answer.reason}" if answer.reason else answer.status,
            boxes=tuple(PredictedBox(box=item.box, label=item.label) for item in answer.boxes or ()),
            seconds=round(completion.seconds, 4),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )

    def _prediction(self, sample: Sample, **fields: Any) -> Prediction:
        return Prediction(
            sample_id=sample.id, protocol=self.protocol, model=self.model, engine=self.engine.name, **fields
        )


def _answer_word(answer: prompts.Answer, fmt: prompts.Format) -> str | None:
    """The answer as one word: a letter, Yes or No, or `box` where boxes were asked for and found."""
    if fmt == "choice":
        return answer.letter
    if fmt == "grounding":
        return "box" if answer.boxes else None
    return None if answer.is_anomalous is None else "Yes" if answer.is_anomalous else "No"


def answer_all(
    asker: Asker,
    samples: Sequence[Sample],
    path: Path,
    *,
    batch_size: int,
    resumed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Answer all samples and append the predictions to a file, written through to the disk after each batch.

    Args:
        asker: Asks the model.
        samples: What is left to ask.
        path: `predictions.jsonl`.
        batch_size: Samples whose images are held in memory at a time.
        resumed: How many an earlier run has answered.
        progress: Called with (answered, all) at the start and after every batch.
    """
    total = resumed + len(samples)
    if progress is not None:
        progress(resumed, total)
    remaining = iter(samples)
    with RecordWriter(path) as writer:
        answered = resumed
        while batch := list(islice(remaining, batch_size)):
            for prediction in asker.answer(batch):
                writer.write(prediction)
            writer.flush()
            answered += len(batch)
            if progress is not None:
                progress(answered, total)
