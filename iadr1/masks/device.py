"""Where SAM 2 runs and in which number format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from iadr1.errors import ModelChoiceError

if TYPE_CHECKING:
    import torch

_DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")


def pick_device(choice: str) -> str:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for.

    Raises:
        ModelChoiceError: There is no such device here.
    """
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    parts = _DEVICE.fullmatch(choice)
    if parts is None:
        raise ModelChoiceError(f"no device {choice!r}", hint="use auto, cpu, cuda or cuda:N")
    if choice == "cpu":
        return choice
    if not torch.cuda.is_available():
        raise ModelChoiceError(f"no device {choice!r}: PyTorch sees no CUDA GPU", hint="use cpu")
    count = torch.cuda.device_count()
    if parts[1] is not None and int(parts[1]) >= count:
        raise ModelChoiceError(f"no device {choice!r}: there are {count}, cuda:0 to cuda:{count - 1}")
    return choice


def pick_dtype(choice: str, device: str) -> torch.dtype:
    """The number format of the image encoder.

    Args:
        choice: `auto`, `float32`, `bfloat16` or `float16`.
        device: What `pick_device` gave.

    Returns:
        For `auto` bfloat16 on GPUs of compute capability 8.0 and above, float16 on older ones, float32 on the CPU.

    Raises:
        ModelChoiceError: An unknown format, float16 on the CPU, bfloat16 on a GPU without it.
    """
    import torch

    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if choice != "auto" and choice not in formats:
        raise ModelChoiceError(f"no dtype {choice!r}", hint=f"known: auto, {', '.join(formats)}")
    if device == "cpu":
        if choice == "float16":
            raise ModelChoiceError("dtype 'float16' needs a GPU", hint="use float32 or bfloat16 on the CPU")
        return formats["float32" if choice == "auto" else choice]
    has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    if choice == "bfloat16" and not has_bfloat16:
        raise ModelChoiceError(f"dtype 'bfloat16' needs a newer GPU than {device}", hint="use float16")
    return formats[("bfloat16" if has_bfloat16 else "float16") if choice == "auto" else choice]
