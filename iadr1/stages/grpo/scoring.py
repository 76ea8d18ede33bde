"""From a batch of completions to reward values: the one place that parses, calls the rewards and names metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from iadr1.errors import UsageError
from iadr1.geometry import Size
from iadr1.models.base import Profile
from iadr1.prompts import Answer, parse
from iadr1.records import Sample
from iadr1.rewards import WeightedReward
from iadr1.stages.training.data import FORMAT_OF_TASK

BatchReward = Callable[..., list[float | None]]
LogMetric = Callable[[str, float], None]


class Scorer:
    """Wraps sample rewards into the batch functions that `GRPOTrainer` calls, and counts what could be parsed.

    Args:
        rewards: Name, function and weight of each reward.
        profile: The model's family, for reading its boxes.
    """

    def __init__(self, rewards: Sequence[WeightedReward], profile: Profile) -> None:
        self._rewards, self._profile = rewards, profile
        self._batch: object = None
        self._table: list[list[float | None]] = []

    def functions(self) -> list[BatchReward]:
        """One batch function for each reward, carrying its name; a value of None is "not applicable"."""
        return [self._column(number, name) for number, (name, _, _) in enumerate(self._rewards)]

    def _column(self, number: int, name: str) -> BatchReward:
        def reward(
            *,
            completions: Any,
            sample: list[str],
            image_wh: list[Size],
            log_metric: Callable[[str, float], None],
            **_: Any,
        ) -> list[float | None]:
            # All functions of one step get the same list; it is parsed once.
            if completions is not self._batch:
                answers, self._table = self.score([turn[0]["content"] for turn in completions], sample, image_wh)
                log_metric("parse_rate", sum(answer.status != "failed" for answer in answers) / len(answers))
                self._batch = completions
            return [row[number] for row in self._table]

        reward.__name__ = name
        return reward

    def score(
        self, texts: Sequence[str], samples_json: Sequence[str], images_wh: Sequence[Size]
    ) -> tuple[list[Answer], list[list[float | None]]]:
        """The parsed answers, and for each the value of every reward (rows as `texts`, columns as the rewards).

        Raises:
            UsageError: A reward gave something that is not a finite number, or no reward applies to a sample.
        """
        answers, table = [], []
        for text, sample_json, image_wh in zip(texts, samples_json, images_wh, strict=True):
            sample = Sample.model_validate_json(sample_json)
            answer = self._read(text, sample, image_wh)
            row = [_checked(name, function(answer, sample), sample) for name, function, _ in self._rewards]
            if all(value is None for value in row):
                names = ", ".join(name for name, _, _ in self._rewards)
                raise UsageError(f"no reward of {names} applies to sample {sample.id!r} (task {sample.task!r})")
            answers.append(answer)
            table.append(row)
        return answers, table

    def _read(self, text: str, sample: Sample, image_wh: Size) -> Answer:
        frame = self._profile.frame(image_wh) if sample.task == "grounding" else None
        return parse(text, FORMAT_OF_TASK[sample.task], options=sample.options, frame=frame)


def _checked(name: str, value: object, sample: Sample) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(
            f"the reward {name!r} gave {value!r} for sample {sample.id!r}",
            hint="a reward is a finite number, or None where it does not apply",
        )
    return float(value)
