"""How the local engine and the segmenter would run: device, number format, attention, flash-attn, masks.

Every choice is made by the function that the commands use.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from iadr1.config import DoctorConfig
from iadr1.errors import MissingExtraError
from iadr1.geometry import iou, mask_box
from iadr1.masks import SAM2_DEFAULT, SEGMENTERS, load_segmenter
from iadr1.models import MODEL_PACKAGES, attention
from iadr1.models.choices import check_attention
from iadr1.stages.doctor import hub
from iadr1.stages.doctor.grounding import draw_scenes
from iadr1.stages.doctor.machine import driver_cards
from iadr1.stages.doctor.rows import Row, attempt, first_line, gib

if TYPE_CHECKING:
    import torch

_ENGINE, _MASKS = "engine", "masks"
_IMPORT_LIMIT_S = 120


def running_rows(config: DoctorConfig) -> list[Row]:
    """Device, number format and attention of the local engine, and whether flash-attn could be used."""
    try:
        from iadr1.models.loading import device_of, dtype_of
    except ModuleNotFoundError as error:
        if error.name not in MODEL_PACKAGES:
            raise
        missing = MissingExtraError(error.name, "model", purpose="the engine 'local'")
        return [Row(_ENGINE, "device", "fail", missing.message, missing.hint or "")]
    except (ImportError, OSError) as error:
        # Torch is there and does not load.
        return [Row(_ENGINE, "device", "fail", f"torch does not load: {first_line(error)}", "install torch again")]

    device = ""

    def device_row() -> Row:
        nonlocal device
        device = device_of(config.device)
        return _device(config, device)

    rows = [attempt(_ENGINE, "device", device_row)]
    if not device:
        return rows

    def dtype_row() -> Row:
        return _dtype(config, device, dtype_of(config.dtype, device))

    def attention_row() -> Row:
        check_attention(config.attention)
        dtype = str(dtype_of(config.dtype, device)).removeprefix("torch.")
        found = attention(config.attention, device, dtype)
        return Row(_ENGINE, "attention", "ok", f"{found}, {_why('attention', config.attention)}")

    rows += [attempt(_ENGINE, "dtype", dtype_row), attempt(_ENGINE, "attention", attention_row)]
    return [*rows, flash_row(device)]


def _why(option: str, choice: str) -> str:
    return f"the best that works here (--{option} auto)" if choice == "auto" else f"as --{option} says"


def _device(config: DoctorConfig, device: str) -> Row:
    import torch

    why = _why("device", config.device)
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        free, total = torch.cuda.mem_get_info(device)
        found = f"{device}, {card.name}, {gib(free)} of {gib(total)} free, compute capability {card.major}.{card.minor}"
        if free < total / 2:
            advice = "another process holds much of its memory: nvidia-smi names it, --device cuda:N takes another card"
            return Row(_ENGINE, "device", "warn", f"{found}, {why}", advice)
        return Row(_ENGINE, "device", "ok", f"{found}, {why}")
    cards = driver_cards()
    if config.device == "auto" and cards:
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        found = f"cpu, although the driver sees {cards[0]}: torch {torch.__version__} is built for {build}"
        advice = "install the torch that fits the driver: https://pytorch.org/get-started/locally"
        return Row(_ENGINE, "device", "warn", found, advice)
    threads = torch.get_num_threads()
    return Row(_ENGINE, "device", "ok", f"cpu with {threads} thread{'' if threads == 1 else 's'}, {why}")


def _dtype(config: DoctorConfig, device: str, dtype: torch.dtype) -> Row:
    import torch

    name = str(dtype).removeprefix("torch.")
    found = f"{name}, {_why('dtype', config.dtype)}"
    if dtype is torch.bfloat16 and device.startswith("cuda"):
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        if not native:
            return Row(_ENGINE, "dtype", "warn", f"{found}, which this card only emulates", "--dtype float16")
        found += ", which this card has in hardware"
    if device == "cpu" and dtype is not torch.float32:
        return Row(_ENGINE, "dtype", "warn", f"{found}: most processors are slower in it", "--dtype float32")
    return Row(_ENGINE, "dtype", "ok", found)


def flash_row(device: str) -> Row:
    """Whether flash-attn can be used: looked for, and imported in a process of its own, where it may crash."""
    import torch

    name = "flash-attn"
    able = device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        installed = version("flash-attn")
    except PackageNotFoundError:
        if not able:
            return Row(_ENGINE, name, "skip", "not installed, and needs a GPU of compute capability 8.0 or more")
        found = "not installed: sdpa is used, which is nearly as fast"
        return Row(_ENGINE, name, "skip", found, f'pip install --no-build-isolation "iadr1[flash]", or {wheel("*")}')
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import flash_attn"],
            capture_output=True,
            text=True,
            timeout=_IMPORT_LIMIT_S,
            check=False,
        )
        said = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        fault = (said or [f"it ended with {done.returncode}"])[0] if done.returncode else ""
    except subprocess.TimeoutExpired:
        fault = f"importing it took more than {_IMPORT_LIMIT_S} s"
    if fault:
        found = f"{installed} does not load, so sdpa is used: {fault[:200]}"
        return Row(_ENGINE, name, "warn", found, f"the wheel for this machine is {wheel(installed)}")
    if not able:
        return Row(_ENGINE, name, "skip", f"{installed} loads, but needs a GPU of compute capability 8.0 or more")
    return Row(_ENGINE, name, "ok", f"{installed} loads")


def wheel(release: str) -> str:
    """The name of the wheel of flash-attn's release page that fits this Python, torch and CUDA."""
    import torch

    digits = re.match(r"(\d+)\.(\d+)", torch.__version__)
    torch_part = f"torch{digits[1]}.{digits[2]}" if digits else "torch*"
    cuda = f"cu{torch.version.cuda.partition('.')[0]}" if torch.version.cuda else "cu*"
    abi = str(torch.compiled_with_cxx11_abi()).upper()
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tags = f"{python}-{python}-{sys.platform}_{platform.machine()}"
    return f"flash_attn-{release}+{cuda}{torch_part}cxx11abi{abi}-{tags}.whl"


def segmenter_row(choice: str, *, device: str, asked: bool) -> Row:
    """Load a segmenter and let it draw the outline of a rectangle.

    Args:
        choice: What `load_segmenter` takes.
        device: What it runs on.
        asked: Whether it is needed, so that doing without is a failure.
    """
    row = attempt(_MASKS, "segmenter", lambda: _segmenter(choice, device))
    return row if asked or row.state != "fail" else Row(row.group, row.name, "skip", row.found, row.advice)


def _segmenter(choice: str, device: str) -> Row:
    place = SAM2_DEFAULT if choice == "sam2" else choice
    if place not in SEGMENTERS and not Path(place).is_dir() and hub.cached_folder(place) is None:
        return hub.absent(_MASKS, "segmenter", place)
    started = time.perf_counter()
    segmenter = load_segmenter(choice, device=device)
    scene = draw_scenes(1)[0]
    result = segmenter.segment(scene.request.images[0], [scene.box])[0]
    around = mask_box(result.mask)
    overlap = iou(scene.box, around) if around is not None else 0.0
    seconds = time.perf_counter() - started
    found = f"{choice}: the outline of a plain rectangle has IoU {overlap:.2f} with it, {seconds:.1f} s"
    if result.source == "box" or overlap < 0.5:
        return Row(_MASKS, "segmenter", "warn", found, "it does not see a plain rectangle: use --segmenter grabcut")
    return Row(_MASKS, "segmenter", "ok", found)
