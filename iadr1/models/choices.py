"""What can be told about a choice of engine, model, device and number format before torch is loaded for it."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

from iadr1.errors import ModelChoiceError
from iadr1.models import LoadOptions, resolve_model
from iadr1.models.files import check_files

DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention")
"""What transformers knows; which of them work on a machine and with a family, loading says."""

_AMD = Path("/dev/kfd")
"""The driver of AMD's cards, whose torch calls them CUDA too."""


def check_choice(engine: str, model: str, options: LoadOptions) -> None:
    """Refuse at once what the engine would refuse after half a minute of loading.

    Args:
        engine: A key of `ENGINES`.
        model: What the engine takes for a model.
        options: How it would run.

    Raises:
        ModelChoiceError: No such model, device, number format, attention or file of answers, or the engine's package
            is not installed.
        ModelError: The model's folder is not whole.
    """
    if engine == "replay":
        check_answers(model)
    if engine not in ("local", "vllm"):
        return
    if engine == "local":
        check_device(options.device)
        check_attention(options.attention)
    elif sys.modules.get("vllm") is None and find_spec("vllm") is None:
        raise no_vllm()
    check_dtype(options.dtype)
    place = resolve_model(model)
    if isinstance(place, Path):
        check_files(place)


def check_device(choice: str) -> None:
    """Make sure that a device can be there; whether it is, torch says.

    Raises:
        ModelChoiceError: No name of a device, or CUDA on a machine without its driver.
    """
    if choice not in ("auto", "cpu") and not choice.startswith("cuda"):
        raise ModelChoiceError(f"no device {choice!r}", hint="use auto, cpu, cuda or cuda:N")
    if choice.startswith("cuda") and not _has_driver():
        raise no_cuda(choice)


def check_dtype(choice: str) -> None:
    """Make sure that a number format is `auto` or one of `DTYPES`.

    Raises:
        ModelChoiceError: It is not.
    """
    if choice != "auto" and choice not in DTYPES:
        raise ModelChoiceError(f"no dtype {choice!r}", hint=f"use auto, {', '.join(DTYPES)}")


def check_attention(choice: str) -> None:
    """Make sure that an attention implementation is `auto`, one of `ATTENTIONS`, or a kernel on the hub.

    Raises:
        ModelChoiceError: It is not.
    """
    if choice not in ("auto", *ATTENTIONS) and "/" not in choice:  # a name with a slash is a kernel
        raise ModelChoiceError(f"no attention {choice!r}", hint=f"use auto, {', '.join(ATTENTIONS)}")


def check_answers(model: str) -> None:
    """Make sure that the file of stored answers is there.

    Raises:
        ModelChoiceError: It is not.
    """
    if not Path(model).is_file():
        hint = '--model FILE names it: JSONL, one {"id", "text"} a line'
        raise ModelChoiceError(f"no file of stored answers {model!r}", hint=hint)


def no_cuda(choice: str) -> ModelChoiceError:
    """The error where a CUDA device was asked for and none is seen."""
    return ModelChoiceError(f"the device {choice!r} is not there: no CUDA device is seen", hint="use --device cpu")


def no_vllm() -> ModelChoiceError:
    """The error where vLLM is not installed."""
    return ModelChoiceError(
        "the engine 'vllm' needs the package 'vllm'",
        hint='in an environment of its own, since it asks for other versions: pip install vllm "iadr1[model]"; or '
        "run 'vllm serve' there and use --engine server here",
    )


def _has_driver() -> bool:
    """Whether a GPU's driver is installed; True where that cannot be told."""
    if sys.platform != "linux" or _AMD.exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
