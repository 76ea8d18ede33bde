"""The parts of a vision-language model: which weights belong to the vision tower, the projector, the language model.

For freezing a part, for LoRA on a part, and for the table that shows what is trained. Nothing here imports torch: a
model is looked at through its named parameters only, so a model on the meta device and one inside PEFT's or DDP's
wrapper will do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from iadr1.errors import MissingExtraError, ModelError, UsageError
from iadr1.models.base import Profile
from iadr1.models.profiles import check_family

PARTS: tuple[str, ...] = ("vision", "projector", "language")


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its weights; names are dotted as transformers 5 has them in the loaded model.

    Attributes:
        prefixes: Beginnings of the parameters' names, by part; of two that match the longer one counts.
        lora: Regular expression of the linear layers' full names, by part.
    """

    prefixes: Mapping[str, tuple[str, ...]]
    lora: Mapping[str, str]


_DECODER = r"model\.language_model\.layers\.\d+\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)"
_ENCODER = (
    r"model\.vision_tower\.(?:vision_model\.)?encoder\.layers\.\d+\.(?:self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12])"
)


def _qwen(vision_mlp: str, projector: str) -> Layout:
    return Layout(
        prefixes={
            "vision": ("model.visual.",),
            "projector": ("model.visual.merger.", "model.visual.deepstack_merger_list."),
            "language": ("model.language_model.", "lm_head."),
        },
        lora={
            "vision": rf"model\.visual\.blocks\.\d+\.(?:attn\.(?:qkv|proj)|mlp\.(?:{vision_mlp}))",
            "projector": rf"model\.visual\.(?:{projector})",
            "language": _DECODER,
        },
    )


def _llava(vision: str = _ENCODER) -> Layout:
    return Layout(
        prefixes={
            "vision": ("model.vision_tower.",),
            "projector": ("model.multi_modal_projector.", "model.image_newline"),
            "language": ("model.language_model.", "lm_head."),
        },
        lora={"vision": vision, "projector": r"model\.multi_modal_projector\.linear_[12]", "language": _DECODER},
    )


LAYOUTS: Mapping[str, Layout] = {
    "qwen2_vl": _qwen("fc1|fc2", r"merger\.mlp\.[02]"),
    "qwen2_5_vl": _qwen("gate_proj|up_proj|down_proj", r"merger\.mlp\.[02]"),
    "qwen3_vl": _qwen("linear_fc1|linear_fc2", r"(?:merger|deepstack_merger_list\.\d+)\.linear_fc[12]"),
    "llava": _llava(),
    "llava_next": _llava(),
    "llava_onevision": _llava(),
    "internvl": _llava(
        r"model\.vision_tower\.encoder\.layer\.\d+\.(?:attention\.(?:[qkv]_proj|projection_layer)|mlp\.fc[12])"
    ),
}
"""By `model_type`. Qwen's merger counts as the projector; embeddings, final norm and output head as language."""

_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|base_model\.model\.(?=model\.|lm_head))+")
_ADAPTER = "lora_"


@dataclass(frozen=True)
class PartRow:
    """One line of the table of parameters.

    Attributes:
        part: `vision`, `projector`, `language` or `total`.
        parameters: Numbers the part holds; LoRA's count for the part they adapt, a tied weight once.
        trainable: How many of them an optimiser would change.
    """

    part: str
    parameters: int
    trainable: int


def parts(model: Any) -> dict[str, list[tuple[str, Any]]]:
    """Every parameter as (name, parameter) under the part it belongs to, in the model's order.

    Raises:
        ModelError: The family is unknown, or a parameter belongs to no part.
    """
    layout = LAYOUTS[check_family(getattr(_inner(model).config, "model_type", None))]
    prefixes = sorted(
        ((prefix, part) for part in PARTS for prefix in layout.prefixes[part]), key=lambda pair: -len(pair[0])
    )
    grouped: dict[str, list[tuple[str, Any]]] = {part: [] for part in PARTS}
    for name, parameter in model.named_parameters():
        plain = _WRAPPERS.sub("", name)
        part = next((part for prefix, part in prefixes if plain.startswith(prefix)), None)
        if part is None:
            raise ModelError(
                f"the parameter {name!r} belongs to none of {', '.join(PARTS)}",
                hint=f"the layout of the family {_inner(model).config.model_type!r} in iadr1/models/parts.py lacks it",
            )
        grouped[part].append((name, parameter))
    return grouped


def freeze(model: Any, frozen: Collection[str]) -> None:
    """Let no optimiser change the named parts, and any optimiser change the others.

    For training all weights of a part; LoRA freezes what it adapts by itself. Call it before the trainer is made.

    Raises:
        UsageError: Not a part, or nothing would be left to train.
        ModelError: As `parts`.
    """
    _check_parts(frozen, option="freeze")
    if set(frozen) >= set(PARTS):
        raise UsageError(f"freeze names all of {', '.join(PARTS)}: nothing is left to train")
    for part, members in parts(model).items():
        for _, parameter in members:
            parameter.requires_grad_(part not in frozen)


def lora_config(
    profile: Profile, *, r: int, alpha: int, dropout: float = 0.0, adapted: Collection[str] = ("language",)
) -> Any:
    """PEFT's `LoraConfig` on all linear layers of the named parts, without embeddings and output head.

    Args:
        profile: Whose family's layer names are taken.
        r: Rank of the update.
        alpha: The update is scaled by alpha / r.
        dropout: Of the update's input, 0..1.
        adapted: Parts that get adapters.

    Raises:
        UsageError: No part, or something that is no part.
        ModelError: The family is unknown.
        MissingExtraError: PEFT is not installed.
    """
    _check_parts(adapted, option="lora parts")
    if not adapted:
        raise UsageError(f"LoRA on no part: name at least one of {', '.join(PARTS)}")
    targets = LAYOUTS[check_family(profile.family)].lora
    try:
        from peft import LoraConfig
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "train", purpose="LoRA") from error
    return LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        # PEFT matches a string against the whole name.
        target_modules="|".join(targets[part] for part in PARTS if part in adapted),
        task_type="CAUSAL_LM",
    )


def parameter_table(model: Any) -> list[PartRow]:
    """How much of each part is trained, and the total as the last row.

    Raises:
        ModelError: As `parts`.
    """
    rows = [
        PartRow(
            part,
            sum(_count(parameter) for _, parameter in members),
            sum(_count(parameter) for _, parameter in members if parameter.requires_grad),
        )
        for part, members in parts(model).items()
    ]
    return [*rows, PartRow("total", sum(row.parameters for row in rows), sum(row.trainable for row in rows))]


def check_trainable(model: Any, *, frozen: Collection[str] = (), adapted: Collection[str] = ()) -> None:
    """Make sure that exactly what was asked for is trainable; call it on the trainer's model before training.

    Args:
        model: The trainer's.
        frozen: Parts that were frozen, where all weights of the others are trained.
        adapted: Parts that were given LoRA adapters; then nothing but these is trained.

    Raises:
        UsageError: Not a part.
        ModelError: A parameter is trainable that should not be or the other way round, or a part has no adapters.
    """
    _check_parts(frozen, option="freeze")
    _check_parts(adapted, option="lora parts")
    grouped = parts(model)
    for part, members in grouped.items():
        if any(_ADAPTER in name for name, _ in members) != (part in adapted):
            raise ModelError(f"the {part} part has {'no' if part in adapted else 'unwanted'} LoRA adapters")
    for part, members in grouped.items():
        for name, parameter in members:
            wanted = _ADAPTER in name if adapted else part not in frozen
            if parameter.requires_grad != wanted:
                state = "not trainable, but should be" if wanted else "trainable, but should not be"
                raise ModelError(f"the parameter {name!r} of the {part} part is {state}")


def _check_parts(names: Collection[str], *, option: str) -> None:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise UsageError(f"{option}: no part {unknown[0]!r}", hint=f"parts: {', '.join(PARTS)}")


def _inner(model: Any) -> Any:
    """The model inside DDP's wrapper, which has no `config`."""
    return getattr(model, "module", model)


def _count(parameter: Any) -> int:
    # While ZeRO-3 has a parameter spread over the processes, its own count is 0.
    return int(getattr(parameter, "ds_numel", parameter.numel()))
