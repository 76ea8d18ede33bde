"""From a batch of completions to reward values: the one place that parses, calls the rewards and names metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from iadr1.geometry import Size
from iadr1.models.base import Profile
from iadr1.prompts import Answer, LabelledBox, parse, render_boxes
from iadr1.records import Sample
from iadr1.rewards import WeightedReward, checked
from iadr1.stages.training.data import FORMAT_OF_TASK
from iadr1.stages.training.fit import no_reward

BatchReward = Callable[..., list[float | None]]
ROWS = "scored"
"""Name of the column under which TRL gathers what is known of each answer over all processes (`ScoredRow`)."""


@dataclass(frozen=True)
class ScoredRow:
    """What is known of one answer where it was scored: `step` counts from 1, `rewards` follow the run's rewards."""

    step: int
    sample_id: str
    image: str
    truth: str
    parse: str
    reason: str
    rewards: tuple[float | None, ...]
    tokens: int


class Scorer:
    """Wraps sample rewards into the batch functions that `GRPOTrainer` calls, and counts what could be parsed.

    Args:
        rewards: Name, function and weight of each reward.
        profile: The model's family, for reading its boxes.
        keep: Whether the functions hand every answer's row to TRL, for `completions.AnswerLog`.
    """

    def __init__(self, rewards: Sequence[WeightedReward], profile: Profile, *, keep: bool = False) -> None:
        self._rewards, self._profile, self._keep = rewards, profile, keep
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
            **given: Any,
        ) -> list[float | None]:
            # All functions of one step get the same list; it is parsed once.
            if completions is not self._batch:
                answers, self._table = self.score([turn[0]["content"] for turn in completions], sample, image_wh)
                log_metric("parse_rate", sum(answer.status != "failed" for answer in answers) / len(answers))
                self._batch = completions
                if self._keep:
                    step, ids = given["trainer_state"].global_step + 1, given["completion_ids"]
                    truths = self._truths(sample, image_wh)
                    given["log_extra"](ROWS, self._rows(step, truths, answers, [len(tokens) for tokens in ids]))
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
        # The answers of a group share their sample.
        samples = {text: Sample.model_validate_json(text) for text in dict.fromkeys(samples_json)}
        for text, sample_json, image_wh in zip(texts, samples_json, images_wh, strict=True):
            sample = samples[sample_json]
            answer = self._read(text, sample, image_wh)
            row = [
                checked(name, function(answer, sample), f"sample {sample.id!r}") for name, function, _ in self._rewards
            ]
            if all(value is None for value in row):
                raise no_reward(self._rewards, sample)
            answers.append(answer)
            table.append(row)
        return answers, table

    def _truths(self, samples_json: Sequence[str], images_wh: Sequence[Size]) -> list[tuple[Sample, str]]:
        """Each sample with its right answer: a letter, Yes or No, or the boxes as this model would write them."""
        found: dict[str, tuple[Sample, str]] = {}
        for text, image_wh in zip(samples_json, images_wh, strict=True):
            if text not in found:
                sample = Sample.model_validate_json(text)
                boxes = [LabelledBox(defect.box, defect.type) for defect in sample.defects if defect.box is not None]
                found[text] = sample, sample.answer or render_boxes(boxes, self._profile.frame(image_wh))
        return [found[text] for text in samples_json]

    def _rows(
        self, step: int, truths: Sequence[tuple[Sample, str]], answers: Sequence[Answer], tokens: Sequence[int]
    ) -> list[ScoredRow]:
        """What is kept of each answer of the batch that has just been scored."""
        return [
            ScoredRow(step, sample.id, sample.image, truth, answer.status, answer.reason, tuple(row), count)
            for (sample, truth), answer, row, count in zip(truths, answers, self._table, tokens, strict=True)
        ]

    def _read(self, text: str, sample: Sample, image_wh: Size) -> Answer:
        frame = self._profile.frame(image_wh) if sample.task == "grounding" else None
        return parse(text, FORMAT_OF_TASK[sample.task], options=sample.options, frame=frame)
