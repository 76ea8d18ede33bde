"""What a GRPO run's `log.jsonl` holds."""

from __future__ import annotations

from typing import Any

from iadr1.stages.training.folder import Step


class StepLog(Step):
    """One optimizer step in `log.jsonl`.

    `reward` is the mean weighted sum over the step's completions, `reward_std` the mean spread within a group,
    `parse_rate` the share of completions an answer was found in, `completion_length` in tokens, `clipped` the share
    cut off at the token limit, `flat_groups` the share of groups whose answers all got one reward (nothing is
    learned from them), `seconds` the time of the step, `rewards` each reward's own mean.
    """

    reward: float
    reward_std: float
    parse_rate: float
    completion_length: float
    clipped: float
    flat_groups: float
    loss: float
    grad_norm: float
    learning_rate: float
    entropy: float
    kl: float | None = None
    seconds: float
    rewards: dict[str, float | None]


def step_log(step: int, logs: dict[str, Any]) -> StepLog | None:
    """The line of one step from TRL's figures; None for its closing summary, which holds no reward."""
    if "reward" not in logs:
        return None
    rewards = {
        name.split("/")[1]: value
        for name, value in logs.items()
        if name.startswith("rewards/") and name.endswith("/mean")
    }
    return StepLog(
        step=step,
        reward=logs["reward"],
        reward_std=logs["reward_std"],
        parse_rate=logs["parse_rate"],
        completion_length=logs["completions/mean_length"],
        clipped=logs["completions/clipped_ratio"],
        flat_groups=logs["frac_reward_zero_std"],
        loss=logs["loss"],
        grad_norm=logs["grad_norm"],
        learning_rate=logs["learning_rate"],
        entropy=logs["entropy"],
        kl=logs.get("kl"),
        seconds=logs["step_time"],
        rewards=rewards,
    )
