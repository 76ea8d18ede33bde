"""`iadr1 recipes check`: whether a recipe's settings can work, without data and model."""

from __future__ import annotations

from pathlib import Path

from iadr1 import config as configs
from iadr1.config import GroundConfig, NewModelConfig, PretrainConfig, SegmenterConfig, SftConfig, TrainConfig
from iadr1.errors import ConfigError, UsageError
from iadr1.rewards import resolve_reward
from iadr1.stages.training.limits import check_grpo, check_sft
from iadr1.stages.training.segmenting import check_segmenter
from iadr1.stages.training.small import check_new_model, check_pretrain

RecipeConfig = NewModelConfig | PretrainConfig | GroundConfig | SftConfig | TrainConfig | SegmenterConfig
"""What a recipe can become."""

STAGES: dict[str, type[RecipeConfig]] = {
    kind.STAGE: kind for kind in (NewModelConfig, PretrainConfig, GroundConfig, SftConfig, TrainConfig, SegmenterConfig)
}
"""What a recipe's `stage` can be."""


def check(recipe: Path) -> RecipeConfig:
    """The settings a recipe stands for.

    Raises:
        ConfigError: It cannot be read, says no known `stage`, or has an unknown key or a value of the wrong type.
        UsageError: A number out of range, an unknown reward, settings that do not fit together.
    """
    stage = configs.read_stage(recipe)
    if stage not in STAGES:
        raise ConfigError(
            f"the recipe says stage: {stage}" if stage else "the recipe does not say its stage",
            where=str(recipe),
            hint=f"add a line 'stage: ...' with one of {', '.join(STAGES)}",
        )
    config = configs.build(STAGES[stage], recipe=recipe)
    try:
        if isinstance(config, TrainConfig):
            check_grpo(config)
            resolve_reward(config.reward)
        elif isinstance(config, SftConfig):
            check_sft(config)
        elif isinstance(config, PretrainConfig):
            check_pretrain(config)
        elif isinstance(config, NewModelConfig):
            check_new_model(config)
        elif isinstance(config, SegmenterConfig):
            check_segmenter(config)
    except UsageError as error:
        raise UsageError(error.message, where=error.where or str(recipe), hint=error.hint) from error
    return config
