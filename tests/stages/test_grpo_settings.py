"""Every setting reaches TRL: GRPO's and SFT's, each with a value that is not the trainer's own, and each recipe's."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig

from iadr1.cli.recipes import find_recipe, packaged_recipes
from iadr1.config import SftConfig, TrainConfig, TrainingConfig
from iadr1.rewards import resolve_reward
from iadr1.stages.grpo.trainer import trainer_settings as grpo_settings
from iadr1.stages.recipes import check
from iadr1.stages.sft.trainer import trainer_settings as sft_settings
from iadr1.stages.training import session

COMMON: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    "out": (Path("runs/elsewhere"), {"output_dir": "runs/elsewhere"}),
    "batch_size": (12, {"per_device_train_batch_size": 12}),
    "gradient_accumulation": (3, {"gradient_accumulation_steps": 3}),
    "learning_rate": (0.125, {"learning_rate": 0.125}),
    "lr_schedule": ("cosine", {"lr_scheduler_type": "cosine"}),
    "warmup_steps": (7, {"warmup_steps": 7}),
    "weight_decay": (0.25, {"weight_decay": 0.25}),
    "max_grad_norm": (0.5, {"max_grad_norm": 0.5}),
    "bf16": (False, {"bf16": False}),
    "gradient_checkpointing": (False, {"gradient_checkpointing": False}),
    "save_steps": (9, {"save_steps": 9}),
    "log_to": ("wandb", {"report_to": ["wandb"]}),
    "seed": (11, {"seed": 11, "data_seed": 11}),
}
"""Key -> a value, and what it is in TRL's settings; the values are other than TRL's defaults."""
GRPO: Mapping[str, tuple[Any, Mapping[str, Any]]] = {
    **COMMON,
    "reward": ("roam=0.75,format=0.125", {"reward_weights": [0.75, 0.125]}),
    "generations": (6, {"num_generations": 6}),
    "iterations": (3, {"num_iterations": 3}),
    "beta": (0.5, {"beta": 0.5}),
    "epsilon": (0.125, {"epsilon": 0.125}),
    "epsilon_high": (0.375, {"epsilon_high": 0.375}),
    "temperature": (0.75, {"temperature": 0.75}),
    "top_p": (0.5, {"top_p": 0.5}),
    "top_k": (17, {"top_k": 17}),
    "loss": ("dr_grpo", {"loss_type": "dr_grpo"}),
    "scale_rewards": ("batch", {"scale_rewards": "batch"}),
    "importance": ("sequence", {"importance_sampling_level": "sequence"}),
    "mask_truncated": (True, {"mask_truncated_completions": True}),
    "max_new_tokens": (77, {"max_completion_length": 77}),
    "vllm": ("server", {"use_vllm": True, "vllm_mode": "server"}),
    "vllm_url": ("http://host:8000", {"vllm_server_base_url": "http://host:8000"}),
}
RECORDS: Mapping[str, Any] = {
    "logging_steps": 1,
    "logging_first_step": True,
    "logging_nan_inf_filter": False,
    "save_strategy": "steps",
    "save_total_limit": 2,
    "disable_tqdm": True,
    "remove_unused_columns": False,
}
"""What every run sets alike."""
NOT_OF_THE_TRAINER = {
    *("model", "data", "root", "limit", "shots", "max_pixels"),  # what is read; `max_pixels` below
    *("steps", "epochs"),  # become one number, which the trainer gets
    *("freeze", "lora_rank", "lora_alpha", "lora_dropout", "lora_parts", "attention"),  # of the model
    *("deepspeed", "nproc", "resume", "push_to_hub"),  # how it is run
    *("difficulty", "completions", "vision_cache", "answer_format"),  # around the trainer, or of the rows
}
"""Settings that are tested where they take effect."""


@pytest.fixture(autouse=True)
def _with_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of the settings of vLLM and wandb does not depend on whether they are installed."""
    real, named = importlib.util.find_spec, ("vllm", "wandb")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in named else real(name))


def plain(value: Any) -> Any:
    """An enumeration's value."""
    return getattr(value, "value", value)


def of_trl(config: TrainingConfig, *, steps: int = 5) -> Any:
    if isinstance(config, TrainConfig):
        return grpo_settings(config, resolve_reward(config.reward), steps=steps)
    assert isinstance(config, SftConfig)
    return sft_settings(config, steps=steps)


@pytest.mark.parametrize(
    ("kind", "table", "default"),
    [(TrainConfig, GRPO, GRPOConfig), (SftConfig, COMMON, SFTConfig)],
    ids=["grpo", "sft"],
)
def test_every_setting_becomes_trl_s(
    kind: type[TrainingConfig], table: Mapping[str, tuple[Any, Mapping[str, Any]]], default: Any, tmp_path: Path
) -> None:
    config = dataclasses.replace(kind(), **{key: value for key, (value, _) in table.items()})
    made, own = of_trl(config, steps=23), default(output_dir=str(tmp_path), use_cpu=True)
    assert made.max_steps == 23
    assert {name: plain(getattr(made, name)) for name in RECORDS} == RECORDS
    for key, (value, wanted) in table.items():
        assert value != getattr(kind(), key) or key in ("bf16", "gradient_checkpointing"), key  # both are TRL's
        for name, expected in wanted.items():
            assert plain(getattr(made, name)) == expected, key
            assert plain(getattr(own, name)) != expected, f"{name}: this value shows nothing"


@pytest.mark.parametrize("kind", [TrainConfig, SftConfig])
def test_every_setting_is_of_the_trainer_or_tested_elsewhere(kind: type[TrainingConfig]) -> None:
    names = {field.name for field in dataclasses.fields(kind)}
    assert names - NOT_OF_THE_TRAINER == set(GRPO if kind is TrainConfig else COMMON)


@pytest.mark.parametrize(
    "name", [name for name in packaged_recipes() if isinstance(check(find_recipe(name)), TrainingConfig)]
)
def test_a_recipe_s_objective_reaches_trl(name: str) -> None:
    recipe = check(find_recipe(name))
    assert isinstance(recipe, TrainingConfig)
    config = dataclasses.replace(recipe, deepspeed=None, log_to="none")
    made = of_trl(config)
    table = GRPO if isinstance(config, TrainConfig) else COMMON
    for key, (_, names) in table.items():
        if key in ("out", "reward", "log_to", "vllm"):
            continue
        for field in names:
            assert plain(getattr(made, field)) == getattr(config, key), key
    if isinstance(config, TrainConfig):
        assert made.reward_weights == [weight for _, _, weight in resolve_reward(config.reward)]
        assert made.use_vllm is False
        # Left to their defaults these would make it another objective than the recipe's.
        assert (made.shuffle_dataset, made.sync_ref_model) == (False, False)
    else:
        assert (made.max_length, plain(made.train_sampling_strategy)) == (None, "sequential")


@pytest.mark.parametrize("kind", [TrainConfig, SftConfig])
def test_max_pixels_lowers_what_the_model_is_shown(kind: type[TrainingConfig], tmp_path: Path) -> None:
    from tests.tiny_vlms import build

    folder = build("qwen2_5_vl", tmp_path / "model")
    config = dataclasses.replace(kind(), model=str(folder), log_to="none", out=tmp_path / "run")
    of_trl(config)
    free = session.load(config, str(folder), None).profile
    image = (400, 300)
    width, height = free.input_wh(image)
    limit = width * height // 2
    held = session.load(dataclasses.replace(config, max_pixels=limit), str(folder), None).profile
    assert held.max_pixels == limit
    width, height = held.input_wh(image)
    assert width * height <= limit
    # It is a limit: more than the model takes changes nothing.
    large = dataclasses.replace(config, max_pixels=free.max_pixels + 1)
    assert session.load(large, str(folder), None).profile == free
