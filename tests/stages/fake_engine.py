"""An engine with canned answers, for tests of the stage: it implements the protocol and records what it was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iadr1.geometry import BoxSpace
from iadr1.models.base import Completion, Profile, Request

NORMAL = "<think>Even surface.</think><answer>[]</answer>"
BAD = '<think>A dark line.</think><answer>[{"bbox_2d": [28, 28, 56, 84], "label": "scratch"}]</answer>'


class FakeEngine:
    """Answers by photo name, else with `default`; every image is seen as 112 x 112 px."""

    name = "fake"
    fingerprint = "0123"

    def __init__(self, texts: Mapping[str, str] | None = None, *, default: str = BAD, model: str = "fake") -> None:
        self.texts, self.default, self.model = dict(texts or {}), default, model
        self.profile = Profile("qwen2_5_vl", BoxSpace.INPUT_PX, 28, 112 * 112, 112 * 112)
        self.asked: list[Request] = []
        self.batches: list[int] = []

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        self.asked += requests
        self.batches.append(len(requests))
        return [Completion(request.id, self.texts.get(request.id, self.default)) for request in requests]

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        assert tuple(words) == ("Yes", "No")
        return [{"Yes": 0.75, "No": 0.25} for _ in requests]
