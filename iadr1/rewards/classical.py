"""The two rewards of classical GRPO (DeepSeek-R1, VLM-R1), AnomalyR1's baseline: right answer, right format."""

from __future__ import annotations

from iadr1.prompts import Answer
from iadr1.records import Sample


def accuracy(answer: Answer, sample: Sample) -> float | None:
    """0 or 1: the answer is the true letter, or the true verdict; None for a grounding sample.

    An answer counts however it was written down; what could not be parsed is wrong.
    """
    if sample.task == "choice":
        return float(answer.letter == sample.answer)
    if sample.task == "anomaly":
        return float(answer.is_anomalous is not None and answer.is_anomalous == (sample.answer == "Yes"))
    return None


def format_reward(answer: Answer, sample: Sample) -> float | None:
    """0 or 1: the completion holds reasoning and an answer exactly as the format asks, right or wrong."""
    return float(answer.status == "ok" and bool(answer.think))
