"""The bridge to TRL's `GRPOTrainer`, which is used unchanged."""

from __future__ import annotations

import importlib.util
from typing import Any

from iadr1.config import TrainConfig
from iadr1.errors import MissingExtraError, UsageError
from iadr1.rewards import WeightedReward
from iadr1.stages.training.settings import common_settings

try:
    from transformers import TrainerCallback
    from transformers.trainer_callback import PrinterCallback
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "train", purpose="training") from error


def trainer_settings(config: TrainConfig, rewards: list[WeightedReward], *, steps: int) -> Any:
    """TRL's `GRPOConfig` written out from ours; what is not named here is TRL's default.

    Raises:
        MissingExtraError: A package that the settings ask for is not installed.
        UsageError: Values that TRL refuses.
    """
    if config.vllm != "off" and importlib.util.find_spec("vllm") is None:
        raise UsageError(
            f"vllm={config.vllm} needs the package 'vllm'",
            hint="docs/scale-training.md says which versions fit together",
        )
    try:
        return GRPOConfig(
            **common_settings(config, steps=steps),
            shuffle_dataset=False,  # the rows come in the order of `asking_order`
            # The objective.
            loss_type=config.loss,
            beta=config.beta,
            epsilon=config.epsilon,
            epsilon_high=config.epsilon_high,
            scale_rewards=config.scale_rewards,
            importance_sampling_level=config.importance,
            mask_truncated_completions=config.mask_truncated,
            num_iterations=config.iterations,
            reward_weights=[weight for _, _, weight in rewards],
            # Sampling.
            num_generations=config.generations,
            max_completion_length=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            use_vllm=config.vllm != "off",
            vllm_mode=config.vllm if config.vllm != "off" else "colocate",
            vllm_server_base_url=config.vllm_url,
            log_multimodal=False,
        )
    except ValueError as error:
        raise UsageError(f"these training settings do not fit together: {error}") from error


def make_trainer(
    model: Any,
    settings: Any,
    *,
    rows: Any,
    processor: Any,
    functions: list[Any],
    callback: TrainerCallback,
    peft_config: Any,
) -> Any:
    """TRL's `GRPOTrainer`, without the callback that prints every log line."""
    trainer: Any = GRPOTrainer(
        model=model,
        reward_funcs=functions,
        args=settings,
        train_dataset=rows,
        processing_class=processor,
        callbacks=[callback],
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda *_, **__: None  # ours says more, and lies beside the weights
    return trainer
