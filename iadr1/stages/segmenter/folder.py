"""A segmenter run's folder: whose it is, and where to go on from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from iadr1.config import SegmenterConfig
from iadr1.errors import DataError, UsageError
from iadr1.locks import lock
from iadr1.provenance import describe, digest, plain, write_run
from iadr1.stages.training.folder import BUSY

STATE = "state.pt"
"""Weights, their average and the optimiser's state; replaced as a whole."""
_NEUTRAL = ("out", "resume", "save_steps", "threshold")
_NEXT = "choose another --out, or delete the folder to start anew"


@contextmanager
def claimed(config: SegmenterConfig) -> Iterator[dict[str, Any]]:
    """What `run.json` holds of this run; meanwhile no other process may train in the folder.

    Raises:
        UsageError: The folder belongs to another run, or another process is at work in it.
        DataError: Its `run.json` cannot be read.
        OutputError: `config.out` is not a folder, or cannot be written to.
    """
    info = _description(config)
    held = lock(config.out, busy=BUSY, busy_hint="wait for it, or choose another --out")
    with held or nullcontext():
        earlier = _earlier(config, info)
        if earlier is None:
            write_run(config.out, info)
        yield earlier or info


def _description(config: SegmenterConfig) -> dict[str, Any]:
    settings = {key: value for key, value in plain(config).items() if key not in _NEUTRAL}
    weights = sorted(config.init.glob("*.safetensors")) if config.init is not None else []
    for path in config.data:
        if not path.is_file():
            raise UsageError(f"no samples file {str(path)!r}", hint="--data names files written by 'iadr1 prepare'")
    info = describe(SegmenterConfig.STAGE, config, data=[*config.data, *weights], extra={"state": "running"})
    return info | {"config_hash": digest([settings, info["data"]])}


def _earlier(config: SegmenterConfig, info: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier call of this very run left; None where the folder is new."""
    path = config.out / "run.json"
    if not path.exists():
        if (config.out / "model").exists() or (config.out / STATE).exists():
            raise UsageError("the folder holds a model, but no run.json", where=str(config.out), hint=_NEXT)
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        command, config_hash = found["command"], found["config_hash"]
        changed = _differences(found, info)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError("not a run.json of iadr1", where=str(path), hint=_NEXT) from error
    if command != info["command"]:
        raise UsageError(f"the folder belongs to a run of 'iadr1 {command}'", where=str(config.out), hint=_NEXT)
    if config_hash != info["config_hash"]:
        raise UsageError(f"the folder belongs to another run: {changed}", where=str(config.out), hint=_NEXT)
    if config.resume == "never":
        raise UsageError("the folder holds this run already, and resume=never", where=str(config.out), hint=_NEXT)
    return found


def _differences(earlier: dict[str, Any], info: dict[str, Any]) -> str:
    old, new = earlier["config"], info["config"]
    settings = [
        f"{key} {old.get(key)!r} -> {value!r}"
        for key, value in new.items()
        if key not in _NEUTRAL and old.get(key) != value
    ]
    files = [f"{name} has changed" for name, sha in info["data"].items() if earlier["data"].get(name, sha) != sha]
    return ", ".join(settings + files)
