"""Times `iadr1 prepare mmad` and `iadr1 data check` on an MMAD tree of full size, as whole processes.

    python benchmarks/prepare_mmad.py [--tree FOLDER] [--out FOLDER]

Without `--tree` one is made first (benchmarks/mmad_tree.py). Each step is a process of its own: the first run reads
every file, the second finds what the first learned of them, the check looks at every record again. Printed are wall
time, processor time, peak memory, records per second and the share of the limits: 60 s and 500 MB for preparing and
checking on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

QUESTIONS = 39_672
LIMIT_S = 60.0
LIMIT_MB = 500.0


@dataclass(frozen=True)
class Measured:
    """What one process took: wall and processor seconds, peak memory in MB (10^6 bytes)."""

    name: str
    wall_s: float
    cpu_s: float
    peak_mb: float

    def line(self) -> str:
        """One row of the table."""
        return (
            f"{self.name:<22}{self.wall_s:>8.1f} s{self.cpu_s:>8.1f} s{self.peak_mb:>8.0f} MB"
            f"{QUESTIONS / self.wall_s:>10,.0f}/s"
        )


def measure(name: str, *arguments: str) -> Measured:
    """Run `iadr1` with arguments in a process of its own; stops the benchmark where it fails."""
    command = [sys.executable, "-m", "iadr1", *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # wait4 gives this child's own peak; RUSAGE_CHILDREN would give the highest of all so far.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    # Linux counts the peak in units of 1024 bytes.
    return Measured(name, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, help="a tree made before (default: make one in a temporary folder)")
    parser.add_argument("--out", type=Path, help="folder for the samples file (default: a temporary folder)")
    options = parser.parse_args()
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tree: Path = options.tree or temporary / "MMAD"
        if options.tree is None:
            # In a process of its own: the peak of this one would count as its children's.
            maker = Path(__file__).with_name("mmad_tree.py")
            subprocess.run([sys.executable, str(maker), str(tree)], check=True)
        out = (options.out or temporary) / "mmad.jsonl"
        if out.exists():
            sys.exit(f"{out} is there already: the first run would not be a first one")
        prepare = ("prepare", "mmad", "--root", str(tree), "--out", str(out))
        say(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        say(f"{'':<22}{'wall':>10}{'processor':>10}{'peak':>11}{'records':>12}")
        steps = []
        for name, arguments in (
            ("prepare, first run", prepare),
            ("data check", ("data", "check", str(out))),
            ("prepare, second run", prepare),
        ):
            steps.append(measure(name, *arguments))
            say(steps[-1].line())
        wall, peak = sum(step.wall_s for step in steps[:2]), max(step.peak_mb for step in steps)
        say(f"first run and check: {wall:.1f} s, {wall / LIMIT_S:.0%} of the limit of {LIMIT_S:.0f} s")
        say(f"peak: {peak:.0f} MB, {peak / LIMIT_MB:.0%} of the limit of {LIMIT_MB:.0f} MB")
        if wall > LIMIT_S or peak > LIMIT_MB:
            sys.exit("above the limits")


if __name__ == "__main__":
    main()
