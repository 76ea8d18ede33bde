"""What the configs of all commands that look at photos have in common: checks, engine, batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from iadr1.config import InspectConfig
from iadr1.errors import UsageError
from iadr1.models import ENGINES, Engine, load_engine
from iadr1.stages.engines import load_options

SERVER = ("base_url", "key_env", "family", "concurrency", "timeout_s", "retries", "requests_per_minute")
LOCAL = ("dtype", "attention")
_LEAST = {"batch_size": 1, "concurrency": 1, "retries": 0, "requests_per_minute": 0}
_CHUNK = 4
"""Photos handed to a server at a time, as a multiple of the requests under way: none waits for the slowest of a few."""


def check_config(config: InspectConfig, *, engine_given: bool = False, computes: bool = False) -> None:
    """Refuse values out of range, and settings that were given and that nothing would read.

    Args:
        config: The command's config.
        engine_given: The engine is already loaded, so its settings are not checked.
        computes: Something besides the model is computed here (masks), which reads `device`.

    Raises:
        UsageError: The setting, its value, and why.
    """
    if config.references is not None and config.shots < 1:
        raise UsageError(f"shots is {config.shots}, it must be at least 1", hint="or leave --references out")
    for name, least in _LEAST.items():
        if getattr(config, name) < least:
            raise UsageError(f"{name} is {getattr(config, name)}, it must be at least {least}")
    if not config.timeout_s > 0:
        raise UsageError(f"timeout_s is {config.timeout_s}, it must be above 0")
    for name, why in _unread(config, computes=computes):
        refuse_unread(config, name, why)
    if engine_given:
        return
    if config.engine not in ENGINES:
        raise UsageError(f"no engine {config.engine!r}", hint=f"known engines: {', '.join(ENGINES)}")
    if config.engine == "server" and not config.base_url:
        raise UsageError("the engine 'server' needs --base-url", hint="for example http://localhost:8000/v1")
    if config.engine == "server" and not config.family:
        raise UsageError(
            "a server does not say how its model sees photos and writes boxes",
            hint="name its family with --family, e.g. qwen2_5_vl",
        )


def refuse_unread(config: InspectConfig, name: str, why: str) -> None:
    """Refuse a setting that is not at its default, because nothing would read it.

    Raises:
        UsageError: It is not.
    """
    default = next(item.default for item in dataclasses.fields(config) if item.name == name)
    value = getattr(config, name)
    if value != default:
        raise UsageError(f"--{name.replace('_', '-')} {value} would not be read: {why}")


def _unread(config: InspectConfig, *, computes: bool) -> Iterator[tuple[str, str]]:
    rules: list[tuple[tuple[str, ...], bool, str]] = [
        (SERVER, config.engine != "server", f"it is for --engine server, the engine is {config.engine!r}"),
        (LOCAL, config.engine != "local", f"it is for --engine local, the engine is {config.engine!r}"),
        (("device",), config.engine != "local" and not computes, "nothing is computed here"),
        (("batch_size",), config.engine == "server", "a server is asked as much at a time as --concurrency says"),
        (("shots",), config.references is None, "add --references"),
    ]
    for names, unread, why in rules:
        yield from ((name, why) for name in names if unread)


def engine_of(config: InspectConfig) -> Engine:
    """The engine of a config, loaded.

    Raises:
        ModelError: It cannot be loaded.
    """
    return load_engine(config.engine, config.model, load_options(config))


def photos_at_a_time(config: InspectConfig) -> int:
    """How many photos are in memory at a time; `loading.BATCH_PIXELS` may close a batch earlier."""
    return _CHUNK * config.concurrency if config.engine == "server" else config.batch_size
