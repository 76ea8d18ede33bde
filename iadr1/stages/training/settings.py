"""Our settings in the terms of transformers' `TrainingArguments`, which GRPO's and SFT's settings both extend."""

from __future__ import annotations

import importlib.util
from typing import Any

from iadr1.config import TrainingConfig
from iadr1.errors import MissingExtraError


def common_settings(config: TrainingConfig, *, steps: int) -> dict[str, Any]:
    """What every run passes on; what is not named here is the trainer's default.

    Args:
        config: The run's settings.
        steps: Optimizer steps in all.

    Raises:
        MissingExtraError: DeepSpeed, or the package that `log_to` names, is not installed.
    """
    import torch

    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(config.out),
        "use_cpu": on_cpu,
        "bf16": config.bf16,
        "gradient_checkpointing": config.gradient_checkpointing,
        "deepspeed": _deepspeed(config),
        # Optimisation.
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_schedule,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "max_steps": steps,
        "seed": config.seed,
        "data_seed": config.seed,
        "dataloader_pin_memory": not on_cpu,
        # Records.
        "logging_steps": 1,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "report_to": _report_to(config),
    }


def _deepspeed(config: TrainingConfig) -> str | None:
    if config.deepspeed is None:
        return None
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("deepspeed", "deepspeed", purpose=f"deepspeed={config.deepspeed}")
    return config.deepspeed


def _report_to(config: TrainingConfig) -> str:
    """TensorBoard is left out where it is not installed, as it only draws what `log.jsonl` holds as well."""
    if config.log_to == "tensorboard":
        return "tensorboard" if importlib.util.find_spec("tensorboard") else "none"
    if config.log_to != "none" and importlib.util.find_spec(config.log_to) is None:
        raise MissingExtraError(config.log_to, config.log_to, purpose=f"log_to={config.log_to}")
    return config.log_to
