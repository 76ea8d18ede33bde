"""The questions about a photo, and the looks that a photo is cut into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from iadr1 import prompts
from iadr1.errors import NoProbabilitiesError
from iadr1.geometry import BoxFrame
from iadr1.models.base import Engine, Profile, Request, why_none
from iadr1.records import Sample
from iadr1.stages.inspection.loading import Loaded
from iadr1.stages.inspection.photos import check_side
from iadr1.stages.inspection.tiles import Window, same_part, windows

YES, NO = "Yes", "No"
_NONE_GIVEN = "the engine gave no probabilities of Yes and No for this photo"
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
        ImageError: The photo or a reference has a side below `LEAST_SIDE`, or the model cannot take one of them, or a
            tile.
    """
    seen = profile.input_wh(image.size)
    check_side(image.size, what="photo", where=str(item.photo.path))
    for reference in item.references:
        check_side(reference.size, what="reference", where=str(item.photo.path))
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
        failure: Why the engine gave none, to a whole call or to all requests so far; None where that never happened.
        scoreless: Whether the engine gives none at all.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scored, self._failed = False, 0
        self._each_failed = False  # `failure` is that of single requests
        self.failure: NoProbabilitiesError | None = None

    @property
    def why(self) -> str:
        """The failure in words, without what else could be done about it."""
        return self.failure.message if self.failure else _NONE_GIVEN

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
        given = [_score(words) for words in shares]
        self._scored = self._scored or any(not isinstance(score, str) for score in given)
        if self._scored and self._each_failed:
            self.failure, self._each_failed = None, False
        elif not self._scored and self.failure is None:
            self.failure, self._each_failed = NoProbabilitiesError(str(given[0])), True
        return given


def _score(shares: Mapping[str, float]) -> float | str:
    """P(Yes), or why there is none that a verdict could be drawn from."""
    if YES not in shares:
        return why_none(shares, _NONE_GIVEN)
    score = shares[YES]
    if not 0 <= score <= 1:  # a NaN is not within either
        return f"the engine gave {score:g} for the probability of {YES}, it must be within 0 and 1"
    return score
