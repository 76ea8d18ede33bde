"""How an engine of the settings runs: no stage, but what `eval`, `detect` and `calibrate` share."""

from __future__ import annotations

from iadr1.config import EvalConfig, InspectConfig
from iadr1.models import LoadOptions, ServerOptions


def load_options(config: EvalConfig | InspectConfig) -> LoadOptions:
    """Device, number format, attention and batch size, and for a served model where and how it is asked."""
    server = None
    if config.engine == "server":
        server = ServerOptions(
            base_url=config.base_url or "",
            key_env=config.key_env,
            family=config.family,
            concurrency=config.concurrency,
            timeout_s=config.timeout_s,
            retries=config.retries,
            requests_per_minute=config.requests_per_minute,
        )
    return LoadOptions(config.device, config.dtype, config.attention, config.batch_size, server)
