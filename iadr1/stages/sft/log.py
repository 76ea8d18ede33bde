"""What an SFT run's `log.jsonl` holds."""

from __future__ import annotations

from typing import Any

from iadr1.stages.training.folder import Step


class SftStep(Step):
    """One optimizer step: `loss` in nats a token of the completions, `token_accuracy` the share foretold rightly."""

    loss: float
    token_accuracy: float | None = None
    grad_norm: float
    learning_rate: float


def step_log(step: int, logs: dict[str, Any]) -> SftStep | None:
    """The line of one step from TRL's figures; None for its closing summary."""
    if "loss" not in logs or "grad_norm" not in logs:
        return None
    return SftStep(
        step=step,
        loss=logs["loss"],
        token_accuracy=logs.get("mean_token_accuracy"),
        grad_norm=logs["grad_norm"],
        learning_rate=logs["learning_rate"],
    )
