"""Several processes of one command on this machine, through torch's elastic launcher: one voice, one exit code."""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def launch(processes: int, command: list[str]) -> int:
    """Run Python with `command` as one machine's processes under torch's elastic launcher; the exit code.

    What process 0 says is passed on; what another one says is shown if it alone fails. Ctrl-C ends all of them.
    """
    # It logs each process that it ends; what matters of that is said by `failed`.
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
            return failed(error.failures, Path(logs))
        except SignalException as error:
            return 128 + int(error.sigval)
    return 0


def failed(failures: Mapping[int, Any], logs: Path) -> int:
    """The exit code of processes that failed; says on stderr why, where process 0 has not said it.

    Args:
        failures: By rank; torch's `ProcessFailure`.
        logs: Where the other processes' output is kept.
    """
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
