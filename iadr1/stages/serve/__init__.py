"""`iadr1 serve`: the server that an inspection line talks to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iadr1.config import ServeConfig
from iadr1.errors import MissingExtraError
from iadr1.models import Engine
from iadr1.stages.serve.settings import check_files, check_settings, limits_of, read_token

__all__ = ["ServeSummary", "run"]

_PACKAGES = {
    "fastapi": "fastapi",
    "starlette": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
"""Modules of the extra `serve`, and the packages they are in."""


@dataclass(frozen=True)
class ServeSummary:
    """How a server ended.

    Attributes:
        finished: Nothing was left to do when it ended.
        idle: The engine's thread has ended; where not, it hangs, and the process cannot end by itself.
    """

    finished: bool
    idle: bool


def run(
    config: ServeConfig, *, engine: Engine | None = None, announce: Callable[[str], None] | None = None
) -> ServeSummary:
    """Serve until SIGTERM or SIGINT; then finish what is queued, answer everything and return.

    Args:
        config: The stage's settings.
        engine: A loaded engine instead of the one `config` names.
        announce: Told what happens, a line at a time: where it listens, that it is ready, that it stops.

    Raises:
        UsageError: A setting that cannot be, an address that is taken, a calibration of another model.
        MissingExtraError: A package of the extra `serve` is not installed.
        ModelError: The model cannot be loaded.
        OutputError: The request log cannot be written to.
    """
    check_settings(config, engine_given=engine is not None)
    token = read_token(config)
    try:
        import python_multipart  # noqa: F401 # starlette asks for it only with the first form

        from iadr1.stages.serve.bench import loader
        from iadr1.stages.serve.server import serve
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise MissingExtraError(_PACKAGES[error.name], "serve", purpose="'iadr1 serve'") from error
    tell = announce or (lambda _: None)
    load = loader(config, engine, check_files(config, engine, tell))
    finished, idle = serve(config, limits_of(config), load, token=token, announce=tell)
    return ServeSummary(finished, idle)
