"""The model of a plan: its architecture on the meta device, with the parts that the settings train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoProcessor

from iadr1.config import TrainConfig, TrainingConfig
from iadr1.errors import ModelChoiceError, ModelError, UsageError
from iadr1.models import meta, resolve_model
from iadr1.models.base import Profile
from iadr1.models.parts import PartRow, freeze
from iadr1.models.processors import make_ready
from iadr1.models.profiles import PROFILES, profile_of
from iadr1.stages.training import policy
from iadr1.stages.training.limits import part_names
from iadr1.stages.training.plan.memory import Facts

_PROCESSOR: Any = AutoProcessor  # its annotations are partial


@dataclass(frozen=True)
class PlannedModel:
    """What is known of the model without its weights.

    Attributes:
        architecture: Its config and where that comes from.
        parts: Parameters by part, and how many of them are trained; the total is last.
        profile: How it sees images, within the run's `max_pixels`.
        processor: Its processor; None where it is not on this machine.
        facts: What memory depends on.
    """

    architecture: meta.Architecture
    parts: tuple[PartRow, ...]
    profile: Profile
    processor: Any
    facts: Facts


def plan_model(config: TrainingConfig) -> PlannedModel:
    """Build the settings' model on the meta device and freeze or adapt it as the run would.

    Raises:
        ModelError: Its architecture is not known here, or its layout is not.
        UsageError: `freeze` or the LoRA parts name no part, or `max_pixels` is below the model's least.
        MissingExtraError: PEFT is needed and not installed.
    """
    architecture = _architecture(config.model)
    model = meta.on_meta(architecture.config)
    processor = _processor(config.model, model)
    family = architecture.config.model_type
    profile = PROFILES[family] if processor is None else profile_of(architecture.config, processor)
    profile = _within(profile, config.max_pixels)
    language, vision = meta.language_stack(model), meta.vision_stack(model)
    lora = policy.adapters(config, profile)
    if lora is None:
        freeze(model, part_names(config.freeze))
    else:
        model = meta.add_adapters(model, lora)
    parts = tuple(policy.check_parts(model, config))
    trained = tuple(row.part for row in parts[:-1] if row.trainable)
    facts = Facts(
        parameters=parts[-1].parameters,
        trainable=parts[-1].trainable,
        language=language,
        vision=vision,
        projector=meta.projector_width(model),
        vocabulary=architecture.config.get_text_config().vocab_size,
        trained_parts=trained,
        head_trained=lora is None and "language" in trained,
        reference=isinstance(config, TrainConfig) and config.beta > 0 and lora is None,
        # PEFT asks for gradients at the inputs of all parts where checkpointing is on.
        vision_gradients="vision" in trained or (lora is not None and config.gradient_checkpointing),
    )
    return PlannedModel(architecture, parts, profile, processor, facts)


def _architecture(name: str) -> meta.Architecture:
    try:
        return meta.architecture(name)
    except ModelChoiceError as error:
        hint = "to plan a run before the one that makes its model, name that one's base with --model"
        raise ModelChoiceError(error.message, where=error.where, hint=f"{error.hint}; {hint}") from error


def _within(profile: Profile, max_pixels: int | None) -> Profile:
    if max_pixels is None:
        return profile
    if max_pixels < profile.min_pixels:
        raise UsageError(f"max_pixels is {max_pixels}, the model's least is {profile.min_pixels}")
    return replace(profile, max_pixels=min(max_pixels, profile.max_pixels))


def _processor(name: str, model: Any) -> Any:
    """The model's processor as the run will use it; None where its files are not on this machine."""
    place = resolve_model(name)
    try:
        processor = _PROCESSOR.from_pretrained(place, padding_side="left", local_files_only=True)
    except (OSError, ValueError) as error:
        if isinstance(place, Path):
            raise ModelError("the folder has no usable processor", where=str(place)) from error
        return None
    return make_ready(model, processor)
