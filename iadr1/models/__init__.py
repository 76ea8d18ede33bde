"""The models: engines that run one, found by name in a literal table, and where a model's name leads to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from iadr1.errors import MissingExtraError, ModelChoiceError, ModelError
from iadr1.models.base import Completion, Engine, Profile, Request

__all__ = [
    "ENGINES",
    "Completion",
    "Engine",
    "LoadOptions",
    "Profile",
    "Request",
    "ServerOptions",
    "VllmOptions",
    "attention",
    "load_engine",
    "resolve_model",
]

ENGINES: dict[str, str] = {
    "local": "iadr1.models.local:load",
    "replay": "iadr1.models.replay:load",
    "server": "iadr1.models.server:load",
    "vllm": "iadr1.models.vllm:load",
}
"""Engine name -> its loader `(model, LoadOptions) -> Engine`, as `module:function`; `local` and `vllm` import torch."""

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the models that come inside the package."""

MODEL_PACKAGES = ("torch", "torchvision", "transformers")
"""What the extra `model` installs and reading a model needs."""

ADAPTER = "adapter_config.json"
"""PEFT's file in a folder of LoRA adapters."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class LoadOptions:
    """How an engine that computes here runs; an engine that computes elsewhere has nothing to do with them.

    Attributes:
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto` (bfloat16 on CUDA, float32 on the CPU), `float32`, `bfloat16` or `float16`.
        attention: `auto` or an attention implementation of transformers, see `attention`.
        batch_size: Most requests in one forward pass.
        server: Where and how the engine `server` asks; the other engines do not read it.
        vllm: What the engine `vllm` takes of the GPUs; the other engines do not read it.
    """

    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    batch_size: int = 8
    server: ServerOptions | None = None
    vllm: VllmOptions | None = None


@dataclass(frozen=True)
class ServerOptions:
    """How the engine `server` talks to an OpenAI-compatible server.

    Attributes:
        base_url: Address of the API, for example `http://localhost:8000/v1`.
        key_env: Name of the environment variable with the key, which is sent to `base_url`; where it is not set, no key
            is sent.
        family: The family of the served model (a key of `profiles.PROFILES`), or a model of the same sizes (its
            folder or hub id), which says how its boxes are written; empty where no boxes are asked for.
        concurrency: Most requests under way at a time.
        timeout_s: Seconds until an answer counts as lost.
        retries: How often a request is sent again after a failure that may pass (429, 5xx, a broken connection).
        requests_per_minute: Most requests begun in a minute; 0 for no limit.
    """

    base_url: str
    key_env: str = "OPENAI_API_KEY"
    family: str = ""
    concurrency: int = 16
    timeout_s: float = 120.0
    retries: int = 5
    requests_per_minute: int = 0


@dataclass(frozen=True)
class VllmOptions:
    """What the engine `vllm` takes of the GPUs; the names are vLLM's.

    Attributes:
        tensor_parallel_size: GPUs that the weights are spread over.
        gpu_memory_utilization: Share of each GPU's memory, above 0 up to 1.
        max_model_len: Longest prompt and answer together, in tokens; None for the model's own limit.
    """

    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None


def load_engine(name: str, model: str, options: LoadOptions | None = None) -> Engine:
    """The engine `name` with `model` loaded.

    Args:
        name: A key of `ENGINES`.
        model: What `resolve_model` takes; for `replay` the JSONL file of answers.
        options: Device, dtype, attention, batch size; all automatic where not given.

    Raises:
        ModelError: Unknown engine, or the model cannot be found or loaded.
        MissingExtraError: The engine's packages are not installed.
    """
    if name not in ENGINES:
        raise ModelChoiceError(f"no engine {name!r}", hint=f"known engines: {', '.join(ENGINES)}")
    module, _, function = ENGINES[name].partition(":")
    try:
        load = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name not in MODEL_PACKAGES:
            raise
        raise MissingExtraError(error.name, "model", purpose=f"the engine {name!r}") from error
    engine: Engine = load(model, options or LoadOptions())
    return engine


def resolve_model(name: str) -> Path | str:
    """Where a model's name leads: an embedded model's folder, an existing folder, or a hub id (`org/name`).

    Raises:
        ModelError: None of the three; the hint says what there is.
    """
    if name == "tiny":
        return _embedded(name)
    path = Path(name).expanduser()
    if path.is_dir():
        if (path / ADAPTER).is_file():
            raise ModelChoiceError(
                f"the folder {name!r} holds LoRA adapters, not a whole model",
                hint=f"'iadr1 model merge {name} --out FOLDER' makes one of adapters and base",
            )
        if not (path / "config.json").is_file():
            raise ModelChoiceError(f"the folder {name!r} holds no model (no config.json)", hint=_models_near(path))
        return path
    if path.is_file():
        raise ModelChoiceError(f"{name!r} is a file, a model is a folder with a config.json")
    # "runs/train" looks like a hub id, but whoever has a folder "runs" means a folder.
    if _HUB_ID.fullmatch(name) and not Path(name.partition("/")[0]).is_dir():
        return name
    raise ModelChoiceError(f"no model {name!r}", hint=_models_near(path.parent))


def _embedded(name: str) -> Path:
    folder = EMBEDDED / name
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"the embedded model {name!r} has no weights in this installation",
            where=str(folder),
            hint="install the package again, or name a folder or hub id with --model",
        )
    return folder


def _models_near(folder: Path) -> str:
    """What could have been meant instead."""
    found = sorted(str(config.parent) for config in folder.glob("*/config.json"))[:5] if folder.is_dir() else []
    near = f"; models in {str(folder)!r}: {', '.join(found)}" if found else ""
    return f"use 'tiny' (embedded), a folder with a config.json, or a hub id such as Qwen/Qwen2.5-VL-3B-Instruct{near}"


def attention(choice: str, device: str, dtype: str) -> str:
    """The attention implementation: `choice` as given, or for `auto` the fastest one that works here.

    `auto` is `flash_attention_2` on a CUDA device of compute capability 8.0 or more with 16-bit weights and an
    installed flash-attn package, else `sdpa`.
    """
    if choice != "auto":
        return choice
    if not device.startswith("cuda") or dtype not in ("bfloat16", "float16"):
        return "sdpa"
    import torch
    from transformers.utils.import_utils import is_flash_attn_2_available

    if not torch.cuda.is_available() or torch.cuda.get_device_capability(device) < (8, 0):
        return "sdpa"
    if not is_flash_attn_2_available():
        return "sdpa"
    try:
        import_module("flash_attn")  # found, but built for another torch: its kernels do not load
    except (ImportError, OSError):
        return "sdpa"
    return "flash_attention_2"
