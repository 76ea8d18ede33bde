"""A training run's folder: whose it is, where to go on from, and the log that holds each step once."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from iadr1.config import TrainingConfig
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.provenance import describe, write_run
from iadr1.records import Record, RecordWriter, read_records, write_records, write_text_atomic


class Step(Record):
    """A line of a run's `log.jsonl`: the optimizer step it is about, from 1."""

    step: int


E = TypeVar("E", bound=Step)

MARKER = "iadr1.json"
"""Written into a checkpoint once it is whole; a checkpoint without it was cut off by a kill."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder and the number of steps done."""

    path: Path
    step: int


def open_run(command: str, config: TrainingConfig) -> dict[str, Any]:
    """Claim `config.out` for this run: it must be new, or belong to the same command, config and data.

    Returns:
        What `run.json` holds: of a new run a description with `state` `running`, else what the earlier call left
        (`state` `running` or `finished`). A run that stopped before its first step has no claim.

    Raises:
        UsageError: The folder belongs to another run.
        OutputError: `config.out` is not a folder.
    """
    if config.out.exists() and not config.out.is_dir():
        raise OutputError("this is a file, not a folder", where=str(config.out), hint="choose another --out")
    extra = {"state": "running", "processes": int(os.environ.get("WORLD_SIZE", "1"))}
    info = describe(command, config, data=[config.data], extra=extra)
    path = config.out / "run.json"
    begun = any(config.out.glob("checkpoint-*")) or (config.out / "log.jsonl").exists()
    if begun and config.resume == "never":
        raise UsageError("the folder holds a run already, and resume=never", where=str(config.out), hint=_NEXT)
    if path.exists() and begun:
        return _same_run(path, info)
    if begun:
        raise UsageError("the folder holds a run, but no run.json that says whose", where=str(config.out), hint=_NEXT)
    write_run(config.out, info)
    return info


def _same_run(path: Path, info: dict[str, Any]) -> dict[str, Any]:
    try:
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = all(earlier[key] == info[key] for key in ("command", "config_hash", "data", "processes"))
        different = "" if same else _differences(earlier, info)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError("not a run.json of iadr1", where=str(path), hint=_NEXT) from error
    if not same:
        raise UsageError(different, where=str(path.parent), hint=_NEXT)
    return earlier


_NEXT = "choose another --out, or delete the folder to start anew"


def _differences(earlier: dict[str, Any], info: dict[str, Any]) -> str:
    if earlier["command"] != info["command"]:
        return f"the folder belongs to a run of 'iadr1 {earlier['command']}', this is 'iadr1 {info['command']}'"
    if earlier["processes"] != info["processes"]:
        before, now = earlier["processes"], info["processes"]
        return f"the run was begun with {before} processes, this is {now}: it would see other samples in each step"
    hashes = f"the folder belongs to run {earlier['config_hash']}, this is run {info['config_hash']}"
    old, new = earlier["config"], info["config"]
    keys = [f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in new if old.get(key) != new.get(key)]
    if earlier["data"] != info["data"] and not keys:
        return f"the folder belongs to a run on other data: {', '.join(info['data'])} has changed since"
    return f"{hashes}: {', '.join(keys)}"


def mark_checkpoint(path: Path, *, config_hash: str, step: int) -> None:
    """Say that a checkpoint folder is whole, and of which run."""
    write_text_atomic(path / MARKER, json.dumps({"config_hash": config_hash, "step": step}) + "\n")


def last_checkpoint(out: Path, config_hash: str) -> Checkpoint | None:
    """The newest whole checkpoint of this run in `out`; None where there is none."""
    found = []
    for marker in out.glob(f"checkpoint-*/{MARKER}"):
        content = json.loads(marker.read_text(encoding="utf-8"))
        if content["config_hash"] == config_hash:
            found.append(Checkpoint(marker.parent, content["step"]))
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def rewind_log(path: Path, step: int, kind: type[E], *, rewrite: bool) -> list[E]:
    """The log up to `step`; with `rewrite` what came after is cut from the file, since these steps are done again.

    Args:
        path: `log.jsonl`; it may be absent.
        step: The last step that is kept.
        kind: The record of a line; it has a field `step`.
        rewrite: Whether this process may change the file.
    """
    if not path.exists():
        return []
    with RecordWriter(path):
        pass  # opening cuts off a half-written last line
    kept = [entry for entry in read_records(path, kind) if entry.step <= step]
    if rewrite:
        write_records(path, kept)
    return kept
