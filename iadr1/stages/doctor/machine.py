"""The machine: processors, memory, disk, threads and graphics cards; torch is not needed for any of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from iadr1.stages.doctor.rows import Row, gib

_GROUP = "machine"
_LEAST_MEMORY = 2 * 2**30
_LEAST_DISK = 2 * 2**30
_SMI = "name,memory.total,compute_cap,driver_version"
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def machine_rows() -> list[Row]:
    """Cores, memory, disk of the working folder, OpenMP's settings, and what the NVIDIA driver sees."""
    return [_cores(), _memory(), disk_row("disk here", Path.cwd(), _GROUP), _threads(), _driver()]


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def _cores() -> Row:
    return Row(_GROUP, "cpu", "ok", f"{cores()} of {os.cpu_count()} cores may be used")


def _memory() -> Row:
    """What this process may take: the machine's memory, or less where a container is given less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    most = _text(_CGROUP).strip()
    limit = int(most) if most.isdigit() and int(most) < total else None
    found = f"{gib(total)}, {gib(free)} available"
    found += f", of which this container may have {gib(limit)}" if limit is not None else ""
    if min(free, limit or free) < _LEAST_MEMORY:
        return Row(_GROUP, "memory", "warn", found, "close other programs, or lower --batch-size")
    return Row(_GROUP, "memory", "ok", found)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def disk_row(name: str, folder: Path, group: str) -> Row:
    """How much room a folder has, or its nearest parent that is there; whether it can be written to."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    found = f"{gib(free)} free in {folder}"
    if not os.access(place, os.W_OK):
        return Row(
            group, name, "warn", f"{found}, which cannot be written to", "use another folder, or change its rights"
        )
    if free < _LEAST_DISK:
        return Row(
            group, name, "warn", found, "make room: a model of 3B takes 7 GiB, a training run several times that"
        )
    return Row(group, name, "ok", found)


def _threads() -> Row:
    """OpenMP's settings, which torch reads when it is loaded."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    found = ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in names)
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > cores():
        return Row(
            _GROUP,
            "threads",
            "warn",
            f"{found}: more threads than the {cores()} cores wait for each other",
            f"export OMP_NUM_THREADS={cores()}",
        )
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        advice = "unset OMP_WAIT_POLICY: threads that wait busily slow down a shared machine"
        return Row(_GROUP, "threads", "warn", found, advice)
    return Row(_GROUP, "threads", "ok", found)


def driver_cards() -> list[str] | None:
    """The cards the NVIDIA driver sees, in words; None where there is no driver or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, f"--query-gpu={_SMI}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    cards = []
    for line in done.stdout.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == _SMI.count(",") + 1:
            cards.append(f"{fields[0]}, {fields[1]}, compute capability {fields[2]}, driver {fields[3]}")
    return cards


def _driver() -> Row:
    cards = driver_cards()
    if not cards:
        why = "no NVIDIA driver" if shutil.which("nvidia-smi") is None else "the NVIDIA driver names no card"
        return Row(_GROUP, "gpu", "skip", f"{why}: models run on the CPU")
    return Row(_GROUP, "gpu", "ok", "; ".join(cards))
