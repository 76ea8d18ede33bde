"""What is checked before the first question: the settings, the samples, and the folder's earlier answers."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1 import prompts
from iadr1.config import EvalConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.metrics import choice
from iadr1.models import Profile
from iadr1.records import Prediction, Sample, Task, done_keys, read_records, write_records

_READING_VERSION = 1
"""Raised whenever `prompts` reads answers differently, so that old predictions are not mixed with new ones."""


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark asks: samples of one task, in one answer format.

    Attributes:
        task: The task its samples must have.
        fmt: The answer format.
        data: Name of its default samples file in `data/`.
    """

    task: Task
    fmt: prompts.Format
    data: str


BENCHMARKS: dict[str, Benchmark] = {
    "mmad": Benchmark("choice", "choice", "mmad"),
    "mvtec3d": Benchmark("choice", "choice", "mvtec3d"),
    "anomaly": Benchmark("anomaly", "structured", "anomaly"),
    "detection": Benchmark("anomaly", "boxes", "anomaly"),
    "grounding": Benchmark("grounding", "grounding", "grounding"),
}


def check_settings(config: EvalConfig) -> Benchmark:
    """The benchmark of a config.

    Raises:
        UsageError: Unknown benchmark, or a number out of range.
    """
    if config.benchmark not in BENCHMARKS:
        raise UsageError(f"no benchmark {config.benchmark!r}", hint=f"known benchmarks: {', '.join(BENCHMARKS)}")
    for name, least in (("batch_size", 1), ("max_new_tokens", 1), ("limit", 1), ("shots", 0), ("seed", 0)):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UsageError(f"{name} is {value}, it must be at least {least}")
    return BENCHMARKS[config.benchmark]


def read_samples(data: Path, benchmark: Benchmark, *, shots: int, limit: int | None, seed: int) -> list[Sample]:
    """The samples to ask, in the file's order; with `limit` that many, drawn at random.

    Raises:
        UsageError: The file is missing or empty.
        DataError: A sample cannot be asked or scored; `where` names it.
    """
    if not data.is_file():
        raise UsageError(f"no samples file {str(data)!r}", hint="run 'iadr1 prepare' first or give --data")
    every = list(_checked(data, benchmark, shots))
    if not every:
        raise UsageError("the samples file is empty", where=str(data), hint="run 'iadr1 prepare' again")
    if limit is None or limit >= len(every):
        return every
    return [every[index] for index in sorted(random.Random(seed).sample(range(len(every)), limit))]


def _checked(data: Path, benchmark: Benchmark, shots: int) -> Iterator[Sample]:
    seen: set[str] = set()
    for number, sample in enumerate(read_records(data, Sample), start=1):
        where = f"{data}: sample {number} ({sample.id!r})"
        if sample.id in seen:
            raise DataError("its id occurs twice", where=where)
        if shots > len(sample.references):
            raise DataError(
                f"it has {len(sample.references)} references, {shots} are asked for", where=where, hint="lower --shots"
            )
        fault = _fault(sample, benchmark)
        if fault:
            raise DataError(fault, where=where)
        seen.add(sample.id)
        yield sample


def _fault(sample: Sample, benchmark: Benchmark) -> str:
    """Why a sample cannot be asked or scored; empty where it can."""
    if sample.task != benchmark.task:
        return f"its task is {sample.task!r}, the benchmark asks {benchmark.task!r}"
    if benchmark.task == "grounding":
        return "" if any(defect.box for defect in sample.defects) else "it has no box to find"
    if benchmark.task == "choice" and sample.reported_as not in choice.SUBTASKS:
        known = ", ".join(choice.SUBTASKS)
        old = "files of older versions must be prepared again"
        return f"its subtask {sample.reported_as!r} is none of MMAD's: {known}; {old}"
    needs_truth = benchmark.task == "anomaly" or sample.reported_as == choice.DETECTION
    if needs_truth and sample.is_anomalous is None:
        return "it does not say whether the image is anomalous"
    return ""


def protocol_of(fmt: prompts.Format, profile: Profile, *, shots: int, max_new_tokens: int) -> dict[str, Any]:
    """Everything that decides which answer a given model gives to a given sample, and how it is read."""
    return {
        "format": fmt,
        "instruction": prompts.instruction(fmt),
        "shots": shots,
        "input_factor": profile.factor,
        "input_pixels": [profile.min_pixels, profile.max_pixels],
        "input_cap_wh": list(profile.cap_wh),
        "tiling": repr(profile.tiling),
        "pads": profile.pads,
        "box_space": profile.box_space.value,
        "max_new_tokens": max_new_tokens,
        "decoding": "greedy",
        "reading": _READING_VERSION,
    }


def check_folder(out: Path) -> None:
    """Make sure, before a model is loaded, that a folder can be written to and is free or holds an evaluation.

    Raises:
        OutputError: It, or a folder it would be made in, is a file or may not be written to.
        UsageError: It holds another command's run.
    """
    nearest = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise OutputError("this is a file, not a folder", where=str(nearest), hint=_OTHER)
    if not os.access(nearest, os.W_OK):
        raise OutputError("this folder cannot be written to", where=str(nearest), hint=_OTHER)
    run_file = out / "run.json"
    if run_file.exists():
        command = _read_run(run_file).get("command")
        if command != "eval":
            raise UsageError(f"the folder holds a run of another command ({command})", where=str(out), hint=_OTHER)


def refuse_other_answers(path: Path, now: Mapping[str, Any], *, protocol: str, fingerprint: str) -> None:
    """Make sure that the answers an earlier run left are of the same protocol, model, samples, images and dtype.

    Args:
        path: `predictions.jsonl`; it may be absent.
        now: What this run's `run.json` will hold.
        protocol: Hash of this run's protocol.
        fingerprint: This run's model.

    Raises:
        UsageError: They are of another one.
    """
    if not done_keys(path, Prediction, lambda prediction: prediction.sample_id):
        return
    for prediction in read_records(path, Prediction):
        theirs = prediction.model.rpartition("@")[2]
        for name, before, this in (("protocol", prediction.protocol, protocol), ("model", theirs, fingerprint)):
            _refuse_other(f"of the {name}", before, this, path)
    run_file = path.with_name("run.json")
    try:
        earlier = {name: read(_read_run(run_file)) for name, read in _CONDITIONS.items()}
    except (KeyError, AttributeError, TypeError) as error:
        raise UsageError(
            "it does not say which samples were asked, and how", where=str(run_file), hint=_NEXT
        ) from error
    for name, read in _CONDITIONS.items():
        _refuse_other(name, earlier[name], read(now), path)


def drop_failed(path: Path) -> set[str]:
    """The ids an earlier run has answered; those whose image could not be used are removed, to be asked again.

    Args:
        path: `predictions.jsonl`; it may be absent.
    """
    every = done_keys(path, Prediction, lambda prediction: prediction.sample_id)
    if not every:
        return every
    failed = {prediction.sample_id for prediction in read_records(path, Prediction) if prediction.error}
    if failed:
        write_records(path, (prediction for prediction in read_records(path, Prediction) if not prediction.error))
    return every - failed


_OTHER = "give another --out"
_NEXT = "give another --out, or delete the folder to start again"

_CONDITIONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "for the samples file": lambda info: "".join(info["data"].values())[:16],
    "about the images in": lambda info: str(info["root"]),
    "of the dtype": lambda info: str(info["config"]["dtype"]),
}
"""What else must be equal for answers to be of one run, and where `run.json` holds it."""


def _read_run(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read: {error}", where=str(path), hint=_NEXT) from error
    return value if isinstance(value, dict) else {}


def _refuse_other(what: str, before: str, now: str, path: Path) -> None:
    if before != now:
        raise UsageError(f"its answers are {what} {before}, this run's is {now}", where=str(path), hint=_NEXT)
