"""The model to train: loaded from the base or from a checkpoint, with the parts that stay as they are."""

from __future__ import annotations

from typing import Any

from iadr1.config import TrainingConfig
from iadr1.errors import MissingExtraError, ModelError, UsageError
from iadr1.models import attention
from iadr1.models.base import Profile
from iadr1.models.parts import PartRow, check_trainable, freeze, lora_config, parameter_table
from iadr1.stages.training.folder import Checkpoint
from iadr1.stages.training.limits import part_names

try:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "train", purpose="training") from error

# The auto classes carry partial annotations that contradict `output_loading_info`.
_MODEL: Any = AutoModelForImageTextToText
_PROCESSOR: Any = AutoProcessor


def load_processor(model: str) -> Any:
    """The model's processor, padding on the left as generation needs it.

    Raises:
        ModelError: There is none.
    """
    try:
        return _PROCESSOR.from_pretrained(model, padding_side="left")
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the processor: {_first_line(error)}", where=model) from error


def load_policy(base: str, config: TrainingConfig, checkpoint: Checkpoint | None) -> Any:
    """The model to train, in float32 (with `bf16` the arithmetic is bfloat16, the weights are not).

    Below LoRA's adapters nothing is updated, so with `bf16` those weights are bfloat16; the adapters are float32.

    On resuming the weights come from the checkpoint's folder through `from_pretrained`: the trainer's own loading
    silently keeps the base weights, because the saved names differ from the module's. DeepSpeed and LoRA checkpoints
    are restored by the trainer, after the base has been loaded.

    Raises:
        ModelError: The model cannot be loaded, or weights are missing from it or cut off.
    """
    source = base if checkpoint is None or restored_by_trainer(config) else str(checkpoint.path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, report = _MODEL.from_pretrained(
            source,
            dtype=torch.bfloat16 if config.bf16 and config.lora_rank else torch.float32,
            attn_implementation=attention(config.attention, device, "bfloat16" if config.bf16 else "float32"),
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise ModelError(f"cannot load the model: {_first_line(error)}", where=source) from error
    if report["missing_keys"] or report["mismatched_keys"]:
        names = ", ".join(sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))[:5])
        raise ModelError(f"weights are missing or of another shape: {names}", where=source)
    # Under ZeRO-3 transformers also keeps the renamings that no weight needed, and would save doubled prefixes.
    if getattr(model, "_weight_conversions", None):
        model._weight_conversions = [item for item in model._weight_conversions if item.was_used()]
    # TRL loads the KL term's reference model from this name: it must be the base, not the checkpoint.
    model.config._name_or_path = base
    if not config.lora_rank:
        freeze(model, part_names(config.freeze))
    return model


def restored_by_trainer(config: TrainingConfig) -> bool:
    """Whether a checkpoint's weights are restored by the trainer: DeepSpeed's and PEFT's are, into the base."""
    return config.deepspeed is not None or config.lora_rank > 0


def adapters(config: TrainingConfig, profile: Profile) -> Any:
    """PEFT's `LoraConfig` as the settings ask for it; None where the weights themselves are trained.

    Raises:
        UsageError: A part that is none, or `freeze` together with LoRA.
    """
    if not config.lora_rank:
        return None
    if config.freeze:
        raise UsageError("freeze says nothing where LoRA is on", hint="lora_parts names the parts that are adapted")
    return lora_config(
        profile,
        r=config.lora_rank,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        adapted=part_names(config.lora_parts),
    )


def check_parts(model: Any, config: TrainingConfig) -> list[PartRow]:
    """The table of what is trained, after a check that it is what was asked for.

    Raises:
        ModelError: Something is trainable that should not be, or the other way round.
    """
    if config.lora_rank:
        check_trainable(model, adapted=part_names(config.lora_parts))
    else:
        check_trainable(model, frozen=part_names(config.freeze))
    return parameter_table(model)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def fingerprint(model: Any) -> float:
    """A number that changes when a weight does: each tensor's sum and absolute sum, in double precision."""
    total = 0.0
    for number, tensor in enumerate(model.state_dict().values(), start=1):
        values = tensor.detach().double().flatten()
        total += number * float(values.abs().sum()) + float(values.sum())
    return total
