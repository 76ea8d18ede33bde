"""Training commands in processes of their own, for the tests that start several, kill them, or limit them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iadr1.records import Sample, write_records

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 240
"""Seconds after which a command counts as hung; a machine that is shared may be ten times slower than a quiet one."""

# The random model's answers differ, so do their rewards: every step has something to learn.
REWARDS_FILE = """
import math, zlib

def checksum(answer, sample):
    return zlib.crc32(answer.text.encode()) % 97 / 97

def broken(answer, sample):
    return math.nan if sample.id == "s3" else checksum(answer, sample)
"""


@dataclass(frozen=True)
class Result:
    """How a command ended: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


def prepare(folder: Path) -> Path:
    """Eight multiple-choice samples with images of different sizes, and a module of rewards; returns the samples."""
    (folder / "images").mkdir()
    noise = np.random.default_rng(0)
    for number in range(8):
        pixels = noise.integers(0, 255, (60 + 10 * number, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    (folder / "rewards_of_scale_test.py").write_text(REWARDS_FILE, encoding="utf-8")
    samples = [
        Sample(
            id=f"s{number}",
            dataset="t",
            category="c",
            split="train",
            image=f"images/{number}.png",
            task="choice",
            question="Is there any defect in the object?",
            options={"A": "Yes.", "B": "No."},
            answer="AB"[number % 2],
            question_type="Anomaly Detection",
        )
        for number in range(8)
    ]
    write_records(folder / "samples.jsonl", samples)
    return folder / "samples.jsonl"


def words(stage: str, folder: Path, model: Path, out: str, *more: str) -> list[str]:
    """The command line of a short run of `stage` on the samples in `folder`."""
    common = [f"model={model}", f"data={folder / 'samples.jsonl'}", f"out={folder / out}", "learning_rate=1e-3"]
    own = {
        "sft": ["batch_size=2"],
        "train": ["reward=rewards_of_scale_test:checksum", "generations=4", "batch_size=8", "max_new_tokens=12"],
    }[stage]
    return [stage, *common, *own, "log_to=none", *more]


def python(*arguments: str) -> list[str]:
    """A command of this Python."""
    return [sys.executable, *arguments]


def start(command: Sequence[str], folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a command in `folder`, in a process group of its own."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATE_", "TORCHELASTIC_"))}
    # On the CPU wherever the tests run.
    ours = {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = outside | ours | variables
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Result:
    """Wait for a command; one that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"hung for {PATIENCE} s: {err[-2000:]}") from None
    return Result(process.returncode, out, err)


def run(command: Sequence[str], folder: Path, **variables: str) -> Result:
    """Start a command and wait for it."""
    return finish(start(command, folder, **variables))


def kill_after_checkpoint(command: Sequence[str], folder: Path, out: str, *, delay: float) -> int:
    """Start a run and kill its process group, without warning, `delay` seconds after its first whole checkpoint.

    Returns:
        The launcher's exit code: -9, or 0 where the run was faster.
    """
    process = start(command, folder)
    until = time.monotonic() + PATIENCE
    while process.poll() is None and not any((folder / out).glob("checkpoint-*/iadr1.json")):
        assert time.monotonic() < until, "no checkpoint"
        time.sleep(0.02)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    wait_until_gone(folder / out)
    result = finish(process)
    assert result.code in (0, -signal.SIGKILL), result.err[-2000:]
    return result.code


def wait_until_gone(out: Path) -> None:
    """Make sure that no process that names the run's folder is left; one that is, is ended and fails the test."""
    until = time.monotonic() + 10
    while left := list(_naming(str(out))):
        if time.monotonic() > until:
            for number in left:
                os.kill(number, signal.SIGKILL)
            raise AssertionError(f"still there: {left}")
        time.sleep(0.05)


def _naming(text: str) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found = text.encode() in path.read_bytes()
        except OSError:
            continue  # it has just ended
        if found and int(path.parent.name) != os.getpid():
            yield int(path.parent.name)


def weights(model: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of a run's result, or its adapters."""
    from safetensors.numpy import load_file

    adapters = model / "adapter_model.safetensors"
    return load_file(adapters if adapters.exists() else model / "model.safetensors")


def difference(first: Path, second: Path) -> float:
    """The largest difference between two models' weights, by name.

    The names are the same, but for the copy of a tied weight that DeepSpeed writes.
    """
    a, b = weights(first), weights(second)
    assert a.keys() ^ b.keys() <= {"lm_head.weight"}, a.keys() ^ b.keys()
    return max(float(np.abs(a[key] - b[key]).max()) for key in a.keys() & b.keys())
