"""Whether a run's settings fit its samples: asked before a model is loaded, since the trainers ask batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iadr1.config import SftConfig, TrainConfig, TrainingConfig
from iadr1.errors import UsageError
from iadr1.records import Sample, Task
from iadr1.rewards import TABLE, OwnReward, WeightedReward, resolve_reward

_TASKS: Mapping[str, tuple[Task, ...]] = {
    "options": ("choice",),
    "verdict": ("anomaly",),
    "answer": ("choice", "anomaly"),
    "boxes": ("grounding",),
    "any": ("choice", "anomaly", "grounding"),
}
"""What a reward needs (`RewardInfo.needs`) -> the tasks that have it, in the formats they are trained in."""


def check_fit(config: TrainingConfig, samples: Sequence[Sample]) -> None:
    """Make sure that each sample can be rewarded, or that the format that is asked for is that of some sample.

    Raises:
        UsageError: A sample that no reward applies to is named, or `answer_format` is read for none.
    """
    if isinstance(config, TrainConfig):
        _check_rewards(resolve_reward(config.reward), samples, where=str(config.data))
    elif isinstance(config, SftConfig):
        _check_answer_format(config, samples)


def _check_rewards(rewards: Sequence[WeightedReward], samples: Sequence[Sample], *, where: str) -> None:
    if any(isinstance(function, OwnReward) for _, function, _ in rewards):
        return  # what it applies to is known when it is called
    for sample in samples:
        if not any(applies(name, sample) for name, _, _ in rewards):
            raise no_reward(rewards, sample, where=where)


def applies(name: str, sample: Sample) -> bool:
    """Whether a reward of the table gives a number for a sample, in the format that its task is trained in."""
    needs = TABLE[name].needs
    boxed = all(defect.box is not None for defect in sample.defects)
    return sample.task in _TASKS[needs] and (needs != "boxes" or boxed)


def no_reward(rewards: Sequence[WeightedReward], sample: Sample, *, where: str | None = None) -> UsageError:
    """The error about a sample that no reward applies to."""
    names = ", ".join(name for name, _, _ in rewards)
    return UsageError(
        f"no reward of {names} applies to sample {sample.id!r} (task {sample.task!r})",
        where=where,
        hint="yes/no samples take --reward sc-grpo, boxes --reward grounding; 'iadr1 prepare fewshot' makes multiple "
        "choice of yes/no samples",
    )


def _check_answer_format(config: SftConfig, samples: Sequence[Sample]) -> None:
    default = type(config)().answer_format
    if config.answer_format != default and not any(sample.task == "anomaly" for sample in samples):
        raise UsageError(
            f"answer_format is {config.answer_format!r}, but says nothing where no sample is a yes/no question",
            where=str(config.data),
            hint=f"answer_format={default}, which is the default",
        )
