"""How an engine of the settings runs: no stage, but what `eval`, `detect` and `calibrate` share."""

from __future__ import annotations

from collections.abc import Callable

from iadr1.config import EvalConfig, InspectConfig
from iadr1.models import LoadOptions, ServerOptions, VllmOptions
from iadr1.models.choices import check_choice


def announce(config: EvalConfig | InspectConfig, on_note: Callable[[str], None] | None = None) -> None:
    """Refuse what can be refused before torch is loaded, then say which model is about to be: that can take minutes.

    Args:
        config: The command's config.
        on_note: Told, in a line, where a model is loaded in this process.

    Raises:
        ModelChoiceError: No such model, device or number format, or the engine's package is not installed.
    """
    check_choice(config.engine, config.model, load_options(config))
    if on_note is not None and config.engine in ("local", "vllm"):
        on_note(f"loading {config.model} ...")


def load_options(config: EvalConfig | InspectConfig) -> LoadOptions:
    """Device, number format, attention and batch size, where and how a served model is asked, what vLLM takes."""
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
    vllm = VllmOptions(
        tensor_parallel_size=config.tensor_parallel_size,
        gpu_memory_utilization=config.gpu_memory_utilization,
        max_model_len=config.max_model_len,
    )
    return LoadOptions(config.device, config.dtype, config.attention, config.batch_size, server, vllm)
