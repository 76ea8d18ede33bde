"""`iadr1 serve`: verdicts over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import SHOTS, option, server_options

EPILOG = (
    "Example: `iadr1 serve --masks`, then `curl -F image=@part.jpg -F masks=true http://127.0.0.1:8000/v1/detect`.\n\n"
    "For other machines, with a token: `export IADR1_TOKEN=$(openssl rand -hex 32)`, then "
    "`iadr1 serve --host 0.0.0.0 --token-env IADR1_TOKEN --log requests.jsonl`.\n\n"
    "In front of a served model: `iadr1 serve --engine server --base-url http://localhost:8001/v1 --family qwen2_5_vl "
    "--model NAME`.\n\n"
    "Exit code: 0 stopped and all requests answered, 1 some were refused at the end, or the model cannot be loaded, 2 "
    "called wrongly."
)

_CONFIG = configs.ServeConfig
_DRAIN = "Seconds to finish what is queued when stopped; what is left then is refused (503)."


@server_options(_CONFIG)
def serve(
    host: Annotated[str | None, option(_CONFIG, "host")] = None,
    port: Annotated[int | None, option(_CONFIG, "port")] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    engine: Annotated[str | None, option(_CONFIG, "engine")] = None,
    mode: Annotated[str | None, option(_CONFIG, "mode")] = None,
    reasoning: Annotated[str | None, option(_CONFIG, "reasoning")] = None,
    threshold: Annotated[float | None, option(_CONFIG, "threshold")] = None,
    calibration: Annotated[Path | None, option(_CONFIG, "calibration")] = None,
    masks: Annotated[
        bool | None, option(_CONFIG, "masks", "--masks/--no-masks", text="Draw masks for requests that ask for them.")
    ] = None,
    segmenter: Annotated[str | None, option(_CONFIG, "segmenter")] = None,
    references: Annotated[Path | None, option(_CONFIG, "references")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots", text=SHOTS)] = None,
    tiles: Annotated[str | None, option(_CONFIG, "tiles")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    max_wait_ms: Annotated[float | None, option(_CONFIG, "max_wait_ms")] = None,
    queue: Annotated[int | None, option(_CONFIG, "queue")] = None,
    deadline_s: Annotated[float | None, option(_CONFIG, "deadline_s")] = None,
    drain_s: Annotated[float | None, option(_CONFIG, "drain_s", text=_DRAIN)] = None,
    max_mb: Annotated[float | None, option(_CONFIG, "max_mb")] = None,
    max_megapixels: Annotated[float | None, option(_CONFIG, "max_megapixels")] = None,
    token_env: Annotated[str | None, option(_CONFIG, "token_env")] = None,
    no_token: Annotated[bool | None, option(_CONFIG, "no_token", "--no-token")] = None,
    log: Annotated[Path | None, option(_CONFIG, "log")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    **server: Any,
) -> None:
    """Answer photos over HTTP with verdict, score, reasons, boxes and masks, as `detect` would.

    POST /v1/detect takes a photo, GET /health says whether photos are looked at, GET /metrics is for Prometheus, GET
    /docs lists the interface. Photos that come together are looked at together. Every request is answered or refused
    with a reason.

    SIGTERM and Ctrl-C finish what is queued; the second one refuses it.
    """
    given = locals()
    config = configs.build(_CONFIG, given=given | given.pop("server"))
    from iadr1.stages import serve as stage

    summary = stage.run(config, announce=terminal.say)
    code = 0 if summary.finished else 1
    terminal.say("stopped" if summary.finished else "stopped; what was left has been refused")
    if not summary.idle:
        # A thread that hangs in the engine would keep the interpreter from ending, or crash it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        raise typer.Exit(code)
