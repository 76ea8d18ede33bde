"""`--nproc N`: the same command again, as N processes that train together; and what holds under any launcher."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import sys

from iadr1.errors import MissingExtraError, UsageError

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl(2)
_OURS = "IADR1_LAUNCHER"
"""Environment variable by which a process knows the launcher that started it; its value is the launcher's id."""


def relaunch(processes: int, *, deepspeed: bool = False) -> None:
    """Start `processes` of the same command and end with their exit code.

    Returns where this process is enough, or where a launcher (this one, torchrun, accelerate) has already started it.
    DeepSpeed needs a launcher for a single process too. What process 0 says is shown; what another one says is shown
    if it alone fails.

    Raises:
        MissingExtraError: torch is not installed.
        UsageError: No process at all is asked for, or a launcher has started another number than was asked for.
        SystemExit: The processes have ended.
    """
    if processes < 1:
        raise UsageError(f"nproc is {processes}, it must be at least 1")
    if "LOCAL_RANK" in os.environ:
        _check_launched(processes)
        _die_with_launcher()
        return
    _check_accelerate()
    if processes == 1 and not deepspeed:
        return
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train", purpose="--nproc")
    # Each process computes with all cores otherwise.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ[_OURS] = str(os.getpid())
    sys.stdout.flush()
    from iadr1.stages.training.launcher import launch

    sys.exit(launch(processes, ["-m", "iadr1", *sys.argv[1:]]))


def _check_launched(processes: int) -> None:
    here = os.environ.get("LOCAL_WORLD_SIZE")
    if processes > 1 and here is not None and int(here) != processes:
        raise UsageError(
            f"nproc is {processes}, but the launcher has started {here} processes on this machine",
            hint="leave nproc out where torchrun or accelerate starts the processes",
        )


def _check_accelerate() -> None:
    """`accelerate launch --cpu` and its MULTI_CPU setting start one process, however many are asked for."""
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ and "WORLD_SIZE" not in os.environ
    # Its launcher of a single process says where the others would meet only if there should be others.
    if by_accelerate and "MASTER_ADDR" in os.environ:
        raise UsageError(
            "accelerate was asked for several processes, but has started one",
            hint="without GPUs use --nproc or torchrun, with GPUs accelerate launch --multi_gpu; "
            "if one is meant, unset MASTER_ADDR",
        )


def _die_with_launcher() -> None:
    """Let the system end this process when its launcher is killed: torch's workers outlive a `kill -9` otherwise.

    They would go on training, hold the GPUs and write into the folder that the resumed run works in.
    """
    if sys.platform != "linux" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != int(os.environ.get(_OURS, os.getppid())):
        sys.exit(1)  # it was killed before the line above
