"""`--nproc N`: the same command again, as N processes that train together."""

from __future__ import annotations

import importlib.util
import os
import sys

from iadr1.errors import MissingExtraError


def relaunch(processes: int) -> None:
    """Replace this process by torch's launcher with `processes` of the same command.

    Returns where one process is enough, or where a launcher (torchrun, accelerate, SLURM with torchrun) has already
    started this one.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if processes == 1 or "LOCAL_RANK" in os.environ:
        return
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "train", purpose="--nproc")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, "-m", "iadr1", *sys.argv[1:]]
    # Each process computes with all cores otherwise.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    sys.stdout.flush()
    os.execv(sys.executable, command)
