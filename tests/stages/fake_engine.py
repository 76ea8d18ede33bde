"""An engine with canned answers, for tests of the stages: it implements the protocol and records what it was asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

from iadr1.errors import NoProbabilitiesError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Completion, Profile, Request

NORMAL = "<think>Even surface.</think><answer>[]</answer>"
BAD = '<think>A dark line.</think><answer>[{"bbox_2d": [28, 28, 56, 84], "label": "scratch"}]</answer>'
YES = 0.75
"""The probability of `Yes` where `Yes` and `No` are offered."""


def share(key: str, word: str) -> float:
    """A number from 0 to 1 that depends on both and on nothing else."""
    return int(hashlib.sha256(f"{key}\n{word}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


class FakeEngine:
    """Answers by the request's id, else with `default`; every image is seen as 112 x 112 px.

    Args:
        texts: Request id -> answer.
        default: The answer of all others, or what makes one of a request.
        model: Its name.
        errors: Request id -> why there is no answer, as of a server.
        no_probabilities: Why it gives none, as stored answers do not.
        unweighable: Only requests of these ids get none.

    Attributes:
        asked: The requests for texts.
        weighed: The requests for probabilities, each with the words.
        batches: How many requests each call for texts held.
        refused: Calls for probabilities that were refused.
    """

    name = "fake"
    fingerprint = "0123"

    def __init__(
        self,
        texts: Mapping[str, str] | None = None,
        *,
        default: str | Callable[[Request], str] = BAD,
        model: str = "fake",
        errors: Mapping[str, str] | None = None,
        no_probabilities: str = "",
        unweighable: Collection[str] = (),
    ) -> None:
        self.texts, self.default, self.model = dict(texts or {}), default, model
        self.errors, self.no_probabilities = dict(errors or {}), no_probabilities
        self.unweighable, self.refused = unweighable, 0
        self.profile = Profile("qwen2_5_vl", BoxSpace.INPUT_PX, 28, 112 * 112, 112 * 112)
        self.asked: list[Request] = []
        self.weighed: list[tuple[Request, tuple[str, ...]]] = []
        self.batches: list[int] = []

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        self.asked += requests
        self.batches.append(len(requests))
        return [self._complete(request, max_new_tokens) for request in requests]

    def _complete(self, request: Request, max_new_tokens: int) -> Completion:
        if request.id in self.errors:
            return Completion(request.id, "", error=self.errors[request.id])
        text = self.texts.get(request.id)
        if text is None:
            text = self.default if isinstance(self.default, str) else self.default(request)
        words = len(text.split())
        return Completion(request.id, text, words <= max_new_tokens, 10 * (1 + len(request.images)), words, 0.25)

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        if self.no_probabilities:
            self.refused += 1
            raise NoProbabilitiesError(self.no_probabilities)
        self.weighed += [(request, tuple(words)) for request in requests]
        if tuple(words) == ("Yes", "No"):
            return [{} if one.id in self.unweighable else {"Yes": YES, "No": 1 - YES} for one in requests]
        shares = [{word: share(request.id, word) for word in words} for request in requests]
        return [
            {} if one.id in self.unweighable else {word: part / sum(row.values()) for word, part in row.items()}
            for one, row in zip(requests, shares, strict=True)
        ]
