"""The questions about a photo, and the looks that a photo is cut into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from iadr1 import prompts
from iadr1.errors import ImageError, NoProbabilitiesError
from iadr1.geometry import BoxFrame
from iadr1.models.base import Engine, Profile, Request
from iadr1.models.server_faults import Unweighed
from iadr1.records import Sample
from iadr1.stages.inspection.loading import Loaded
from iadr1.stages.inspection.tiles import Window, same_part, windows

YES, NO = "Yes", "No"
_NONE_GIVEN = "the engine gave no probabilities of Yes and No for this photo"
LEAST_SIDE = 16
"""Shortest side of a photo in pixels: fewer show nothing, and where no defect shows a product would pass for good."""
_PATIENCE = 3
"""Requests that may fail before an engine that never gave a probability counts as one that gives none."""


@dataclass(frozen=True)
class Look:
    """What one question is about: a photo, or one tile of it.

    Attributes:
        key: What tells it apart among all looks of a run; the photo's name for the whole photo.
        image: What the model is shown.
        references: The same part of the references.
        frame: How the model writes boxes in it.
        window: The tile in pixels of the photo; None for the whole photo.
    """

    key: str
    image: Image.Image
    references: tuple[Image.Image, ...]
    frame: BoxFrame
    window: Window | None = None

    def request(self, fmt: prompts.Format) -> Request:
        """The question whether and where there are defects, to be answered in a format."""
        names = tuple(f"reference-{number}" for number in range(len(self.references)))
        sample = Sample(
            id=self.key,
            dataset="photos",
            category="unknown",
            split="detect",
            image="photo",
            references=names,
            task="grounding",  # the one task whose samples have no answer yet
            question=prompts.DETECT_QUESTION,
            question_type="detect",
        )
        return Request(self.key, prompts.render_prompt(sample, fmt, shots=len(names)), (*self.references, self.image))


def looks_at(item: Loaded, image: Image.Image, profile: Profile, tiles: str) -> list[Look]:
    """The whole photo first, then its tiles.

    Raises:
        ImageError: The photo has a side below `LEAST_SIDE`, or the model cannot take it, a tile or a reference.
    """
    seen = profile.input_wh(image.size)
    if min(image.size) < LEAST_SIDE:
        told = f"the photo is {image.width} x {image.height} px, a side has to have at least {LEAST_SIDE}"
        raise ImageError(told, where=str(item.photo.path), hint="send the photo as the camera took it")
    parts: list[Window | None] = [None, *windows(tiles, image.size, seen)]
    looks = []
    for number, window in enumerate(parts):
        part, references = image, item.references
        if window is not None:
            part = image.crop(window)
            references = tuple(same_part(reference, window, image.size) for reference in item.references)
        for reference in references:
            profile.input_wh(reference.size)
        key = f"{item.photo.name}#{number}" if window is not None else item.photo.name
        looks.append(Look(key, part, references, profile.frame(part.size), window))
    return looks


class Scorer:
    """Gives P(Yes) of the bare question, as far as the engine gives it.

    Attributes:
        failure: Why the first request without a probability has none; None as long as all have one.
        scoreless: Whether the engine gives none at all.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scored, self._failed = False, 0
        self.failure: NoProbabilitiesError | None = None

    @property
    def scoreless(self) -> bool:
        """No request had a probability, and there were enough to say that none will."""
        return not self._scored and self._failed >= _PATIENCE

    def scores(self, requests: Sequence[Request]) -> list[float | str]:
        """P(Yes) of each request, or why there is none.

        Where a call gets none it is cut in halves, so that one bad request costs one score.

        Raises:
            ModelError: The model cannot be asked at all: nobody answers, a wrong key, no such model.
        """
        if not requests:
            return []
        if self.scoreless:
            return [str(self.failure)] * len(requests)
        try:
            shares = self._engine.probabilities(requests, (YES, NO))
        except NoProbabilitiesError as error:
            self.failure = self.failure or error
            if len(requests) == 1:
                self._failed += 1
                return [str(error)]
            middle = len(requests) // 2
            return [*self.scores(requests[:middle]), *self.scores(requests[middle:])]
        self._scored = self._scored or any(shares)
        return [words.get(YES, _why_none(words)) for words in shares]


def _why_none(words: Mapping[str, float]) -> str:
    """A server gives nothing for a request that it does not answer as asked, and says why."""
    return words.reason if isinstance(words, Unweighed) else _NONE_GIVEN
