"""What a config of `watch` asks for, and what is refused before a model is loaded."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Literal

from iadr1.config import WatchConfig
from iadr1.errors import UsageError, dashed
from iadr1.stages.inspection.setup import check_verdicts, refuse_unread
from iadr1.stages.watch.mqtt import Mqtt
from iadr1.stages.watch.outbox import SEND
from iadr1.stages.watch.sinks import Sink, Webhook, read_secret

_SINK = ("send", "send_timeout_s", "drain_s")


def check_settings(config: WatchConfig, *, engine_given: bool) -> None:
    """Refuse what cannot be, and what would silently be left out.

    Raises:
        UsageError: The setting and what to do.
    """
    check_verdicts(config, engine_given=engine_given)
    for name, value, low in (
        ("interval", config.interval, 0.0),
        ("settle", config.settle, 0.0),
        ("send_timeout_s", config.send_timeout_s, 0.0),
    ):
        if not (math.isfinite(value) and value > low):
            raise UsageError(f"{name} is {value}, it must be above {low:g} seconds")
    if not (math.isfinite(config.drain_s) and config.drain_s >= 0):
        raise UsageError(f"drain_s is {config.drain_s}, it must be at least 0 seconds")
    for setting, number, least in (("attempts", config.attempts, 1), ("max_photos", config.max_photos, 0)):
        if number < least:
            raise UsageError(f"{setting} is {number}, it must be at least {least}")
    if config.send not in SEND:
        raise UsageError(f"send is {config.send!r}", hint=f"it is one of {', '.join(SEND)}")
    unread = [
        (("webhook_secret_env",), config.webhook is None, "add --webhook"),
        (("mqtt_user_env", "mqtt_password_env"), config.mqtt is None, "add --mqtt"),
        (_SINK, config.webhook is None and config.mqtt is None, "nothing is sent, add --webhook or --mqtt"),
    ]
    for names, is_unread, why in unread:
        for name in names:
            if is_unread:
                refuse_unread(config, name, why)


def sinks_of(config: WatchConfig) -> list[Sink]:
    """The sinks of a config, with their secrets from the environment; nothing is connected yet.

    Raises:
        UsageError: An address that is none, or a variable that is not set.
        MissingExtraError: The package of a sink is not installed.
    """
    sinks: list[Sink] = []
    if config.webhook is not None:
        variable = config.webhook_secret_env
        sinks.append(Webhook(config.webhook, read_secret("--webhook-secret-env", variable) if variable else ""))
    if config.mqtt is not None:
        user, password = _login(config, "mqtt_user_env"), _login(config, "mqtt_password_env")
        if password and not user:
            raise UsageError(f"{config.mqtt_password_env!r} is set and {config.mqtt_user_env!r} is not")
        sinks.append(Mqtt(config.mqtt, user=user, password=password))
    return sinks


def _login(config: WatchConfig, setting: Literal["mqtt_user_env", "mqtt_password_env"]) -> str:
    """A part of the login; empty where nothing names its variable and the usual one is not set."""
    variable = getattr(config, setting)
    if variable == getattr(WatchConfig, setting):
        return os.environ.get(variable, "")
    return read_secret(f"--{dashed(setting)}", variable)


def without_secrets(config: WatchConfig, sinks: Sequence[Sink]) -> WatchConfig:
    """The config as it may be stored: a webhook's address without path and query, which may hold a token."""
    shown = {sink.kind: sink.shown for sink in sinks}
    return dataclasses.replace(config, webhook=shown.get("webhook"), mqtt=shown.get("mqtt"))
