"""A training run's folder: whose it is, where to go on from, and the log that holds each step once."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pydantic import ConfigDict

from iadr1.atomic import write_text_atomic
from iadr1.config import RunConfig, TrainingConfig
from iadr1.errors import DataError, UsageError
from iadr1.locks import LOCK, lock
from iadr1.provenance import describe, digest, plain, write_run
from iadr1.records import Record, RecordWriter, read_records, write_records
from iadr1.stages.training import processes


class Step(Record):
    """A line of a run's `log.jsonl`: the optimizer step it is about, from 1."""

    # JSON has no NaN; a run that lost its weights must still be able to read its own log.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    step: int


E = TypeVar("E", bound=Step)

BUSY = "another process is training in this folder"
MARKER = "iadr1.json"
"""Written into a checkpoint once it is whole; a checkpoint without it was cut off by a kill."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes:
        path: Its folder.
        step: Steps done.
        totals: What the run had added up by then, over all calls, by name.
    """

    path: Path
    step: int
    totals: Mapping[str, float] = field(default_factory=dict)


def open_run(command: str, config: RunConfig) -> dict[str, Any]:
    """Claim `config.out` for this run: it must be new, or belong to the same command, settings and files.

    The first process writes and holds a lock on the folder as long as it lives; the others only look. What a kill has
    left of an unfinished checkpoint is deleted.

    Returns:
        What `run.json` holds: of a new run a description with `state` `running`, else what the earlier call left
        (`state` `running` or `finished`). A run that stopped before its first step has no claim. A finished run whose
        weights are gone is `running` again, since its last checkpoint holds them.

    Raises:
        UsageError: `config.out` is a file, the folder belongs to another run or holds what is not this run's, another
            process is at work in it, or the weights of a finished run are gone and cannot be had back.
        OutputError: `config.out` cannot be written to.
    """
    if config.out.exists() and not config.out.is_dir():
        raise UsageError("this is a file, not a folder", where=str(config.out), hint="choose another --out")
    info = _description(command, config)
    path = config.out / "run.json"
    begun = any(config.out.glob("checkpoint-*")) or (config.out / "log.jsonl").exists()
    if begun and config.resume == "never":
        raise UsageError("the folder holds a run already, and resume=never", where=str(config.out), hint=_NEXT)
    if begun and not path.exists():
        raise UsageError("the folder holds a run, but no run.json that says whose", where=str(config.out), hint=_NEXT)
    if begun:
        info = _with_weights(config.out, _same_run(path, info))
    else:
        _check_free(command, config)
    if processes.is_first() and info["state"] != "finished":
        _lock(config.out)
        _drop_unfinished(config.out)
        if not begun:
            write_run(config.out, info)
    return info


_NEXT = "choose another --out, or delete the folder to start anew"


def _check_free(command: str, config: RunConfig) -> None:
    """Make sure that a folder in which no step was done holds nothing that this run would replace."""
    model, path, base = config.out / "model", config.out / "run.json", Path(config.model).expanduser()
    if base.is_dir() and any(place.exists() and base.samefile(place) for place in (config.out, model)):
        raise UsageError(
            f"the run starts from the model {str(base)!r} and would write into its folder",
            where=str(config.out),
            hint="choose another --out",
        )
    if model.exists():
        raise UsageError("the folder holds a model/ that is not of this run", where=str(config.out), hint=_NEXT)
    if path.exists() and (owner := _command_of(path)) != command:
        whose = "a run.json that is not of iadr1" if owner is None else f"the run.json of 'iadr1 {owner}'"
        raise UsageError(f"the folder holds {whose}", where=str(config.out), hint=_NEXT)


def _command_of(path: Path) -> str | None:
    """The command whose `run.json` this is; None where it is somebody else's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(content, dict) and "iadr1" in content and isinstance(content.get("command"), str)
    return str(content["command"]) if ours else None


def _with_weights(out: Path, info: dict[str, Any]) -> dict[str, Any]:
    """The run as it is, but not finished where its weights are gone; its last checkpoint holds them as well."""
    if info["state"] != "finished" or any((out / "model").glob("*.safetensors")):
        return info
    last = last_checkpoint(out, info["config_hash"])
    if last is None or last.step != info["steps"]:
        raise UsageError(
            f"this run is finished, but model/ holds no weights and checkpoint-{info['steps']}, which held them too, "
            "is gone",
            where=str(out),
            hint=_NEXT,
        )
    return info | {"state": "running"}


_NEUTRAL = ("out", "nproc", "resume", "log_to", "push_to_hub", "completions")
"""Settings that may change when a run goes on; the number of processes is compared by itself."""


def _description(command: str, config: RunConfig) -> dict[str, Any]:
    files = [config.data]
    if isinstance(config, TrainingConfig) and config.deepspeed is not None and Path(config.deepspeed).is_file():
        files.append(Path(config.deepspeed))
    extra = {"state": "running", "processes": processes.count()}
    settings = {key: value for key, value in plain(config).items() if key not in _NEUTRAL}
    return describe(command, config, data=files, extra=extra) | {"config_hash": digest(settings)}


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


def _differences(earlier: dict[str, Any], info: dict[str, Any]) -> str:
    if earlier["command"] != info["command"]:
        return f"the folder belongs to a run of 'iadr1 {earlier['command']}', this is 'iadr1 {info['command']}'"
    if earlier["processes"] != info["processes"]:
        before, now = earlier["processes"], info["processes"]
        return f"the run was begun with {_plural(before)}, this is {now}: it would see other samples in each step"
    hashes = f"the folder belongs to run {earlier['config_hash']}, this is run {info['config_hash']}"
    old, new = earlier["config"], info["config"]
    keys = [
        f"{key} {old.get(key)!r} -> {new.get(key)!r}"
        for key in new
        if key not in _NEUTRAL and old.get(key) != new.get(key)
    ]
    if earlier["data"] != info["data"] and not keys:
        changed = [name for name, sha256 in info["data"].items() if earlier["data"].get(name) != sha256]
        return f"the folder belongs to a run on other data: {', '.join(changed)} has changed since"
    return f"{hashes}: {', '.join(keys)}"


def _plural(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


_LOCKS: dict[tuple[int, int], TextIO] = {}
"""Locks this process holds until it ends, by device and inode of their files."""


def _lock(out: Path) -> None:
    """Keep other processes out of a run's folder: two that write into it would spoil each other's checkpoints."""
    if _file_id(out / LOCK) in _LOCKS:
        return
    held = lock(out, busy=BUSY, busy_hint="wait for it, or choose another --out")
    if held is not None and (key := _file_id(out / LOCK)) is not None:
        _LOCKS[key] = held


def _file_id(path: Path) -> tuple[int, int] | None:
    """Device and inode; None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


_CHECKPOINT = re.compile(r"checkpoint-\d+")


def _drop_unfinished(out: Path) -> None:
    """Delete checkpoints that a kill or a full disk has cut off: they hold room and are of no use."""
    for folder in out.glob("checkpoint-*"):
        if _CHECKPOINT.fullmatch(folder.name) and folder.is_dir() and not (folder / MARKER).exists():
            with suppress(OSError):  # the trainer writes over what is left
                shutil.rmtree(folder)


def mark_checkpoint(path: Path, *, config_hash: str, step: int, totals: Mapping[str, float] | None = None) -> None:
    """Say that a checkpoint folder is whole, of which run, and what the run had added up by then."""
    content = {"config_hash": config_hash, "step": step, "totals": dict(totals or {})}
    write_text_atomic(path / MARKER, json.dumps(content) + "\n")


def whole_checkpoints(out: Path, config_hash: str | None = None) -> list[Checkpoint]:
    """The whole checkpoints in `out`, of one run or of any."""
    found = []
    for marker in out.glob(f"checkpoint-*/{MARKER}"):
        content = json.loads(marker.read_text(encoding="utf-8"))
        if config_hash in (None, content["config_hash"]):
            found.append(Checkpoint(marker.parent, content["step"], content.get("totals", {})))
    return found


def last_checkpoint(out: Path, config_hash: str) -> Checkpoint | None:
    """The newest whole checkpoint of this run in `out`; None where there is none."""
    return max(whole_checkpoints(out, config_hash), key=lambda checkpoint: checkpoint.step, default=None)


def rewind_log(path: Path, step: int, kind: type[E], *, rewrite: bool) -> list[E]:
    """The log up to `step`; with `rewrite` what came after is cut from the file, since these steps are done again.

    Every process calls it; those that do not rewrite read when the one that does is done.

    Args:
        path: `log.jsonl`; it may be absent.
        step: The last step that is kept.
        kind: The record of a line; it has a field `step`.
        rewrite: Whether this process may change the file.
    """
    if rewrite and path.exists():
        with RecordWriter(path):
            pass  # opening cuts off a half-written last line
        write_records(path, [entry for entry in read_records(path, kind) if entry.step <= step])
    processes.wait_for_all()
    return list(read_records(path, kind)) if path.exists() else []
