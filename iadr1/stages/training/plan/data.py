"""The data of a plan: how long the prompts are, from the real samples where they are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iadr1.config import SftConfig, TrainingConfig
from iadr1.models.base import Profile
from iadr1.stages.training.context import (
    Prompt,
    answer_room,
    context_limit,
    estimated,
    measure,
    questions_of,
    tokenized,
)
from iadr1.stages.training.data import slots
from iadr1.stages.training.job import load_data
from iadr1.stages.training.plan.model import PlannedModel

ASSUMED_TEXT = 256
"""Tokens of a prompt's text, and of an SFT answer, where there is no data file yet."""


@dataclass(frozen=True)
class Spread:
    """Least, median, 95th percentile and most of a number over the samples."""

    least: int
    median: int
    p95: int
    most: int


@dataclass(frozen=True)
class PlannedData:
    """What the run asks.

    Attributes:
        file: The samples file.
        samples: How many samples; None where there is no such file yet, and all else is assumed.
        images: Distinct image files.
        exact: Text was counted with the model's tokenizer; else it is estimated.
        prompts: Each sample's prompt, with the answer for SFT.
        answer: Room for an answer in tokens; 0 for SFT.
        limit: What the model's context holds, in tokens.
    """

    file: Path
    samples: int | None
    images: int
    exact: bool
    prompts: tuple[Prompt, ...]
    answer: int
    limit: int

    def longest(self, profile: Profile) -> Prompt:
        """The prompt with most tokens."""
        return max(self.prompts, key=lambda prompt: prompt.tokens(profile))

    def text(self) -> Spread:
        """Tokens of text."""
        return _spread([prompt.text_tokens for prompt in self.prompts])

    def pictures(self, profile: Profile) -> Spread:
        """Tokens of images, those of one prompt together."""
        return _spread([prompt.image_tokens(profile) for prompt in self.prompts])

    def tokens(self, profile: Profile) -> Spread:
        """Tokens of whole prompts."""
        return _spread([prompt.tokens(profile) for prompt in self.prompts])


def plan_data(config: TrainingConfig, model: PlannedModel) -> PlannedData:
    """Measure the prompts of `config.data`; where there is no such file, assume one of the largest image.

    Raises:
        UsageError: The settings do not fit the samples.
        DataError: Broken samples, missing images, or a text that holds the model's own mark of an image.
        ImageError: An image's header cannot be read, or the model cannot take its size.
    """
    answer = answer_room(config)
    limit = context_limit(model.architecture.config)
    exact = model.processor is not None
    if not config.data.is_file():
        text = ASSUMED_TEXT * (2 if isinstance(config, SftConfig) else 1)
        prompt = Prompt("assumed", text, (model.profile.cap_wh,) * (config.shots + 1))
        return PlannedData(config.data, None, 0, False, (prompt,), answer, limit)
    samples, root = load_data(config)
    questions = questions_of(config, samples, root)
    prompts = measure(questions, model.profile, tokenized(model.processor) if exact else estimated)
    images = len({path for sample in samples for path in slots(sample, config.shots)})
    return PlannedData(config.data, len(samples), images, exact, tuple(prompts), answer, limit)


def _spread(values: Sequence[int]) -> Spread:
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Spread(ordered[0], int(np.median(ordered)), p95, ordered[-1])
