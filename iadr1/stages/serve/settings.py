"""What a config of `serve` asks for, and what is refused before anything is loaded or bound."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass

from iadr1.config import ServeConfig
from iadr1.errors import UsageError
from iadr1.images import MAX_PIXELS
from iadr1.models import Engine
from iadr1.stages.inspection import References
from iadr1.stages.inspection.setup import check_verdicts, check_way, references_of

_LEAST = {
    **{"queue": 1, "port": 0, "max_wait_ms": 0.0, "drain_s": 0.0},
    **dict.fromkeys(("deadline_s", "max_mb", "max_megapixels"), 0.001),
}
_MOST = {
    **{"port": 65535, "max_wait_ms": 60000, "drain_s": 86400, "deadline_s": 86400},
    **{"max_mb": 100_000, "max_megapixels": MAX_PIXELS / 1e6},
}


@dataclass(frozen=True)
class Limits:
    """What the server takes.

    Attributes:
        queue: Most requests in the house beside the batch that is worked on; the next one is refused.
        batch: Most photos the engine gets at once.
        wait_s: Longest wait for a batch to fill.
        deadline_s: Seconds from a request's arrival until it is given up.
        max_bytes: Longest body of a request.
        max_pixels: Largest photo or reference, in pixels.
    """

    queue: int = 64
    batch: int = 8
    wait_s: float = 0.005
    deadline_s: float = 30.0
    max_bytes: int = 32_000_000
    max_pixels: int = 64_000_000

    @property
    def places(self) -> int:
        """Requests that may be in the house at a time."""
        return self.queue + self.batch


def check_settings(config: ServeConfig, *, engine_given: bool) -> None:
    """Refuse what cannot be, and what would silently be left out.

    Args:
        config: The stage's settings.
        engine_given: The engine is already loaded.

    Raises:
        UsageError: The setting and what to do.
    """
    check_verdicts(config, engine_given=engine_given)
    for name, least in _LEAST.items():
        if not getattr(config, name) >= least:  # a NaN is not
            raise UsageError(f"{name} is {getattr(config, name)}, it must be at least {least:g}")
    for name, most in _MOST.items():
        if getattr(config, name) > most:
            raise UsageError(f"{name} is {getattr(config, name)}, it must be at most {most:g}")
    if config.token_env and config.no_token:
        raise UsageError("--token-env and --no-token contradict each other", hint="leave one of them out")
    if not config.token_env and not config.no_token and not _is_loopback(config.host):
        raise UsageError(
            f"on {config.host!r} other machines could send photos and read verdicts without a token",
            hint="name a variable that holds one with --token-env, listen on 127.0.0.1, or permit it with --no-token",
        )


def check_files(
    config: ServeConfig, engine: Engine | None = None, on_note: Callable[[str], None] | None = None
) -> References | None:
    """Refuse a model and references that are not there, and a calibration of another way of asking.

    What only a loaded model tells is compared when it is loaded (`inspection.setup.check_way`).

    Args:
        config: The stage's settings, checked.
        engine: A loaded engine instead of the one `config` names.
        on_note: Told, in a line, how many of the references cannot be read.

    Returns:
        The config's references.

    Raises:
        UsageError: The folder or file and what to do, or in what the calibration differs.
        ModelError: There is no such model.
    """
    references = references_of(config, on_note)
    check_way(config, engine, references)
    return references


def limits_of(config: ServeConfig) -> Limits:
    """The limits of a config; a served model is asked about as many photos at once as it takes requests."""
    return Limits(
        queue=config.queue,
        batch=config.concurrency if config.engine == "server" else config.batch_size,
        wait_s=config.max_wait_ms / 1000,
        deadline_s=config.deadline_s,
        max_bytes=int(config.max_mb * 1e6),
        max_pixels=int(config.max_megapixels * 1e6),
    )


def read_token(config: ServeConfig) -> str | None:
    """The token that requests have to bring; None where none is asked for.

    Raises:
        UsageError: The variable is not set, is empty, or holds what no HTTP header can.
    """
    if not config.token_env:
        return None
    token = os.environ.get(config.token_env, "")
    if not token:
        raise UsageError(
            f"the environment variable {config.token_env!r} of --token-env is not set or empty",
            hint=f"for example: export {config.token_env}=$(openssl rand -hex 32)",
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"the token in {config.token_env!r} holds a space or a sign that no HTTP header takes",
            hint="use printable ASCII without spaces, for example of: openssl rand -hex 32",
        )
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
