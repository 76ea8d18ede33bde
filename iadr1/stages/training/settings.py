"""Our settings in the terms of transformers' `TrainingArguments`, which GRPO's and SFT's settings both extend."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import iadr1
from iadr1.config import TrainingConfig
from iadr1.errors import MissingExtraError, UsageError
from iadr1.stages.training import processes

_DEEPSPEED = Path(iadr1.__file__).parent / "recipes" / "deepspeed"


def common_settings(config: TrainingConfig, *, steps: int) -> dict[str, Any]:
    """What every run passes on; what is not named here is the trainer's default.

    Args:
        config: The run's settings.
        steps: Optimizer steps in all.

    Raises:
        MissingExtraError: DeepSpeed, or the package that `log_to` names, is not installed.
        UsageError: GPUs are asked for that are not there, no such DeepSpeed file, or accelerate's own settings
            contradict the run's.
    """
    import torch

    processes.check_cards()
    processes.check_accelerate(bf16=config.bf16)
    on_cpu = not torch.cuda.is_available()
    if on_cpu and config.attention.startswith("flash_attention"):
        raise UsageError(f"attention={config.attention} needs a GPU, there is none here", hint="attention=auto")
    return {
        "output_dir": str(config.out),
        "use_cpu": on_cpu,
        "bf16": config.bf16,
        "gradient_checkpointing": config.gradient_checkpointing,
        "deepspeed": _deepspeed(config),
        # Optimisation.
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_schedule,
        "warmup_steps": config.warmup_steps,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "max_steps": steps,
        "seed": config.seed,
        "data_seed": config.seed,
        "dataloader_pin_memory": not on_cpu,
        # Records.
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # a loss that is not a number is to be seen
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "report_to": _report_to(config),
    }


def _deepspeed(config: TrainingConfig) -> str | None:
    """The DeepSpeed file, with its communication started: ZeRO-3 asks for the number of processes before the trainer.

    Raises:
        MissingExtraError: DeepSpeed is not installed.
        UsageError: No such file, one that cannot work, or no launcher has started this process.
    """
    if config.deepspeed is None:
        return None
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("deepspeed", "deepspeed", purpose=f"deepspeed={config.deepspeed}")
    path = deepspeed_file(config.deepspeed)
    _check_file(path)
    if "LOCAL_RANK" not in os.environ:  # it would look for MPI
        raise UsageError(
            "DeepSpeed needs a launcher, for one process too", hint="the command line has one; in Python use torchrun"
        )
    _start_deepspeed()
    return str(path)


def deepspeed_file(name: str) -> Path:
    """The file of settings that come with the package, or that are named by their path.

    Raises:
        UsageError: There is neither.
    """
    path = _DEEPSPEED / f"{name}.json"
    path = path if path.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in _DEEPSPEED.glob("*.json")))
        raise UsageError(f"no DeepSpeed settings {name!r}", hint=f"known: {known}, or a JSON file")
    return path


_AUTO = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_GATHER = "stage3_gather_16bit_weights_on_model_save"


def _check_file(path: Path) -> None:
    """Make sure that a DeepSpeed file leaves the batch to the run, and that ZeRO-3 saves weights that can be loaded.

    Raises:
        UsageError: It does not, or is not a JSON object.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        zero = settings.get("zero_optimization", {})
    except (ValueError, AttributeError) as error:
        raise UsageError("not a JSON object of DeepSpeed settings", where=str(path)) from error
    for key in _AUTO:
        if settings.get(key) != "auto":
            raise UsageError(
                f"{key} is {settings.get(key)!r}, it must be 'auto'",
                where=str(path),
                hint="batch_size and gradient_accumulation of the run count",
            )
    if zero.get("stage") == 3 and zero.get(_GATHER) is not True:
        raise UsageError(f"ZeRO-3 without {_GATHER}: true saves no usable model", where=str(path))


def _start_deepspeed() -> None:
    """Join the processes: without this ZeRO-3 takes itself for alone while the model is loaded."""
    import torch

    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        _check_compiler()
    # Its calls of torch go by names that the next version renames.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed\.")
    deepspeed: Any = importlib.import_module("deepspeed")
    deepspeed.init_distributed(dist_backend="gloo" if on_cpu else "nccl")


def _check_compiler() -> None:
    """On the CPU several processes talk through a library that DeepSpeed builds when it is first used.

    Raises:
        UsageError: It cannot be built here.
    """
    if shutil.which("ninja") is None and importlib.util.find_spec("ninja") is not None:
        # Installed, but its environment is not activated.
        os.environ["PATH"] = f"{importlib.import_module('ninja').BIN_DIR}{os.pathsep}{os.environ.get('PATH', '')}"
    for program in (os.environ.get("CXX", "g++"), "ninja"):
        if processes.count() > 1 and shutil.which(program) is None:
            raise UsageError(
                f"DeepSpeed without a GPU needs the program {program!r}, which is not found",
                hint="apt install g++, pip install ninja",
            )


LOG_TO = ("tensorboard", "wandb", "trackio", "none")
"""Where the figures of each step go besides `log.jsonl`."""


def has_tensorboard() -> bool:
    """Whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def _report_to(config: TrainingConfig) -> str:
    """TensorBoard is left out where it is not installed, as it only draws what `log.jsonl` holds as well.

    `job.begin` says so.

    Raises:
        UsageError: It is none of `LOG_TO`.
        MissingExtraError: Its package is not installed.
    """
    if config.log_to not in LOG_TO:
        raise UsageError(f"no log_to {config.log_to!r}", hint=f"known: {', '.join(LOG_TO)}")
    if config.log_to == "tensorboard":
        return "tensorboard" if has_tensorboard() else "none"
    if config.log_to != "none" and importlib.util.find_spec(config.log_to) is None:
        error = MissingExtraError(config.log_to, config.log_to, purpose=f"log_to={config.log_to}")
        error.hint = f"install it with: pip install {config.log_to}"  # it is no extra of ours
        raise error
    return config.log_to
