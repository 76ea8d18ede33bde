"""Loading a vision-language model and its processor from a folder or the hub, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig, PreTrainedConfig
from transformers.utils import logging as hf_logging

from iadr1.errors import ModelChoiceError, ModelError
from iadr1.models import attention
from iadr1.models.choices import check_device, check_dtype, no_cuda
from iadr1.models.files import check_files
from iadr1.models.processors import check_tokens
from iadr1.models.profiles import check_family


def device_of(choice: str) -> str:
    """The device `choice` (`auto`, `cpu`, `cuda`, `cuda:N`) stands for.

    Raises:
        ModelChoiceError: There is no such device.
    """
    check_device(choice)
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice != "cpu" and not torch.cuda.is_available():
        raise no_cuda(choice)
    return choice


def dtype_of(choice: str, device: str) -> torch.dtype:
    """The dtype `choice` stands for; `auto` is bfloat16 on CUDA and float32 on the CPU.

    Raises:
        ModelChoiceError: None of `choices.DTYPES`.
    """
    if choice == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    check_dtype(choice)
    found: torch.dtype = getattr(torch, choice)
    return found


def load_weights(place: Path | str, device: str, dtype: torch.dtype, choice: str) -> tuple[Any, Any]:
    """Model and processor, ready for inference. No remote code is ever run.

    Args:
        place: A folder or a hub id.
        device: Of the weights.
        dtype: Of the weights.
        choice: `auto` or an attention implementation.

    Raises:
        ModelChoiceError: The attention was named and does not work here.
        ModelError: The model cannot be loaded, lacks weights, or is no vision-language model.
    """
    implementation = attention(choice, device, str(dtype).removeprefix("torch."))
    with _explained(place, choice):
        _config(place)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=dtype,
            attn_implementation=implementation,
            trust_remote_code=False,
            output_loading_info=True,
        )
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)  # type: ignore[no-untyped-call]
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        # transformers only warns and fills them with random numbers.
        raise ModelError(f"{len(missing)} weights are missing in {str(place)!r}, the first is {missing[0]!r}")
    return model.to(device).eval().requires_grad_(False), processor


def load_processor(place: Path | str) -> tuple[Any, Any]:
    """Config and processor of a model that another program runs; its weights are not read.

    Args:
        place: A folder or a hub id.

    Raises:
        ModelError: They cannot be loaded, or belong to no vision-language model.
    """
    with _explained(place):
        config = _config(place)
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)  # type: ignore[no-untyped-call]
    check_tokens(config, processor)
    return config, processor


def load_generation(place: Path | str) -> GenerationConfig | None:
    """The generation config of a model; None where it has none.

    Args:
        place: A folder or a hub id.
    """
    try:
        return GenerationConfig.from_pretrained(place)
    except OSError:
        return None


def _config(place: Path | str) -> Any:
    stored, _ = PreTrainedConfig.get_config_dict(place)
    check_family(stored.get("model_type"), where=str(place))
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    if type(config) not in AutoModelForImageTextToText._model_mapping:
        raise ModelError(f"{str(place)!r} is a {config.model_type!r}, not a vision-language model")
    return config


@contextmanager
def _explained(place: Path | str, choice: str = "auto") -> Iterator[None]:
    """What goes wrong inside is told in the project's words; a folder is read without a progress bar."""
    shows_bars = hf_logging.is_progress_bar_enabled()
    if isinstance(place, Path):
        check_files(place)
        # A download is worth a bar, reading a folder is not.
        hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        if choice != "auto" and (isinstance(error, ImportError) or "attention" in str(error)):
            why = brief(error).partition(". ")[0].rstrip(".")
            raise ModelChoiceError(
                f"the attention {choice!r} does not work here: {why}", hint="use --attention auto"
            ) from error
        raise ModelError(f"cannot load the model {str(place)!r}: {brief(error)}", hint=_hint(place)) from error
    finally:
        if shows_bars:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def brief(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]


def _hint(place: Path | str) -> str:
    if isinstance(place, Path):
        return "the folder must be a whole transformers checkpoint: config, weights, tokenizer and processor"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set, so only models already downloaded can be used; or name a local folder"
    return "check the spelling and the network, log in for a gated model, or name a local folder"


def end_ids(generation: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a completion: those of the model's generation config, the tokenizer's, and padding.

    Args:
        generation: The generation config; None where the model has none.
        tokenizer: The model's tokenizer.
    """
    configured = generation.eos_token_id if generation is not None else None
    ids = [] if configured is None else [configured] if isinstance(configured, int) else list(configured)
    ids += [token for token in (tokenizer.eos_token_id, tokenizer.pad_token_id) if token is not None]
    return list(dict.fromkeys(int(token) for token in ids))
