"""The processes of a run: how many there are, which one writes files, and waiting for one another."""

from __future__ import annotations

import os

from iadr1.errors import UsageError


def count() -> int:
    """Processes that train together, as the launcher says; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes the run's files; on several machines there is one in all."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_all() -> None:
    """Return when every process has come here; all of them must."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def part() -> None:
    """Let go of the others once all have come here; one that ends while others hold on to it may be aborted."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def check_joined() -> None:
    """Make sure, once the trainer's settings are made, that the processes have found each other.

    Raises:
        UsageError: They have not: each would train for itself, in the same folder.
    """
    from torch import distributed

    joined = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if joined != count():
        raise UsageError(
            f"the launcher has started {count()} processes, {joined} of them train together",
            hint="start them with --nproc or torchrun",
        )


def check_accelerate(*, bf16: bool) -> None:
    """Make sure that accelerate's own configuration asks for nothing that the run's settings do not say.

    What it sets on the side would stand in no run.json, and a resumed run could not know of it.

    Raises:
        UsageError: It asks for DeepSpeed, FSDP or another number format.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16" if bf16 else "no"):
        raise UsageError(
            f"accelerate's configuration asks for mixed_precision {asked}, this run has bf16={str(bf16).lower()}",
            hint="bf16=true here, or mixed_precision: 'no' there",
        )
    # Set by its launcher only; ACCELERATE_USE_DEEPSPEED it sets itself when a run has asked for DeepSpeed.
    for variable, name in (("ACCELERATE_DEEPSPEED_ZERO_STAGE", "DeepSpeed"), ("ACCELERATE_USE_FSDP", "FSDP")):
        if os.environ.get(variable, "false").lower() not in ("false", "0", "no"):
            raise UsageError(
                f"accelerate's configuration asks for {name}, which the run itself must ask for",
                hint="--deepspeed zero2, zero3 or a file here, distributed_type: MULTI_GPU there; no FSDP",
            )


def check_cards() -> None:
    """Make sure that the GPUs that are asked for are there, one for each process.

    Raises:
        UsageError: Fewer GPUs than processes, several for a single process, or none where CUDA_VISIBLE_DEVICES
            names some.
    """
    import torch

    cards, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not cards and named not in ("", "-1", "NoDevFiles"):
        raise UsageError(
            f"CUDA_VISIBLE_DEVICES is {named!r}, but no GPU can be used",
            hint="look at nvidia-smi and at 'python -m torch.utils.collect_env'; unset it to train on the CPU",
        )
    if 0 < cards < here:
        raise UsageError(f"{here} processes, but {cards} GPUs on this machine", hint=f"--nproc {cards}")
    # The trainer would split each batch over the GPUs within one process, which breaks GRPO's groups.
    if cards > 1 and count() == 1:
        raise UsageError(
            f"one process, but {cards} GPUs", hint=f"--nproc {cards} takes all, CUDA_VISIBLE_DEVICES=0 takes one"
        )
