"""`--nproc N`: the same command again, as N processes that train together; and what holds under any launcher."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iadr1.errors import MissingExtraError, UsageError

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl(2)
_OURS = "IADR1_LAUNCHER"
"""Environment variable by which a process knows the launcher that started it; its value is the launcher's id."""


def relaunch(processes: int) -> None:
    """Start `processes` of the same command and end with their exit code.

    Returns where one process is enough, or where a launcher (this one, torchrun, accelerate) has already started this
    process. What process 0 says is shown; what another one says is shown if it alone fails.

    Raises:
        MissingExtraError: torch is not installed.
        UsageError: A launcher has started another number of processes than was asked for.
        SystemExit: The processes have ended.
    """
    if "LOCAL_RANK" in os.environ:
        _check_launched(processes)
        _die_with_launcher()
        return
    _check_accelerate()
    if processes == 1:
        return
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train", purpose="--nproc")
    # Each process computes with all cores otherwise.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ[_OURS] = str(os.getpid())
    sys.stdout.flush()
    sys.exit(_launch(processes, ["-m", "iadr1", *sys.argv[1:]]))


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


def _launch(processes: int, command: list[str]) -> int:
    """Run Python with `command` as one machine's processes under torch's elastic launcher; the exit code."""
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # It logs each process that it ends; what matters of that is said by `_failed`.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="iadr1-") as logs:
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            # Long enough that processes which fail alike are seen to.
            monitor_interval=0.5,
            logs_specs=DefaultLogsSpecs(logs, redirects=dict.fromkeys(range(1, processes), Std.ALL)),
        )
        try:
            elastic_launch(settings, sys.executable)(*command)
        except ChildFailedError as error:
            return _failed(error.failures, Path(logs))
        except SignalException as error:
            return 128 + int(error.sigval)
    return 0


def _failed(failures: Mapping[int, Any], logs: Path) -> int:
    """The exit code of processes that failed; says why, where process 0 has not said it."""
    # A process that the launcher ended because of another one has no say.
    own = {rank: failure for rank, failure in failures.items() if failure.exitcode != -signal.SIGTERM}
    rank, failure = min((own or failures).items(), key=lambda item: (item[0] != 0, item[1].timestamp))
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        sys.stderr.write(
            f"error: process {rank} was killed by {name}; the others were ended "
            "(SIGKILL often means that memory ran out: lower batch_size, or use --deepspeed zero3)\n"
        )
        return 128 - int(failure.exitcode)
    if rank != 0:
        said = "".join(path.read_text(errors="replace") for path in logs.glob(f"*/attempt_0/{rank}/stderr.log"))
        sys.stderr.write(f"process {rank} failed:\n{said[-8000:]}")
    return int(failure.exitcode)
