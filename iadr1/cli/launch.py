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
    command = [sys.executable, *launcher, "-m", "iadr1", *_without_nproc(sys.argv[1:]), f"nproc={processes}"]
    # Each process computes with all cores otherwise.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    sys.stdout.flush()
    os.execv(sys.executable, command)


def _without_nproc(words: list[str]) -> list[str]:
    """The command line without `--nproc N`, which torch's launcher would take for its own `--nproc-per-node`."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--nproc" and not word.startswith("--nproc="):
            kept.append(word)
        skip = word == "--nproc"
    return kept
