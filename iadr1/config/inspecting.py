"""The configs of the commands that look at photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path

SERVER_FIELDS = ("base_url", "key_env", "family", "concurrency", "timeout_s", "retries", "requests_per_minute")
"""Settings of the engine `server`, in every config of a command that runs a model."""

VLLM_FIELDS = ("tensor_parallel_size", "gpu_memory_utilization", "max_model_len")
"""Settings of the engine `vllm`, likewise."""


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """What every command takes that looks at photos: the model, how it is run, and what it is shown.

    `shots` is for `references`. `tiles` is `off`, `auto` or columns x rows such as `3x2`. The settings from `base_url`
    to `requests_per_minute` are for the engine `server`, those after it for the engine `vllm`.
    """

    model: str = "tiny"
    engine: str = "local"
    references: Path | None = None
    shots: int = 1
    tiles: str = "off"
    batch_size: int = 8
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    family: str = ""
    concurrency: int = 16
    timeout_s: float = 120.0
    retries: int = 5
    requests_per_minute: int = 0
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None


@dataclasses.dataclass(frozen=True)
class VerdictConfig(InspectConfig):
    """What every command takes that draws verdicts: the model's question, the threshold, and masks.

    `mode` is `direct`, `think` or `two-pass`; `reasoning` is `boxes` or `structured`. Scores above `threshold` are
    anomalous; a `calibration` brings its own.
    """

    mode: str = "two-pass"
    reasoning: str = "boxes"
    threshold: float | None = None
    calibration: Path | None = None
    masks: bool = False
    segmenter: str = "tiny-sam2"
    max_new_tokens: int = 512


@dataclasses.dataclass(frozen=True)
class DetectConfig(VerdictConfig):
    """`iadr1 detect IMAGES`: verdict, reasoning, boxes and masks for every photo.

    `language` is that of the report. `shard` is `i/n`, counted from 1. With `join` no photo is looked at: the shards in
    `out` are joined.
    """

    images: Path = Path("images")
    glob: str = "*"
    out: Path = Path("runs/detect")
    overlays: bool = True
    report: bool = True
    language: str = "en"
    shard: str | None = None
    join: bool = False
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class CalibrateConfig(InspectConfig):
    """`iadr1 calibrate`: a threshold on the anomaly score for a budget of false alarms, from photos of good products.

    `fpr` is the budget, the share of good products that may be called anomalous. `anomalies` are photos of bad ones;
    they change no threshold, they say how many it finds. Of both only files whose names match `glob` are taken.
    A calibration in `out` that says something else is replaced with `overwrite` only.
    """

    normals: Path = Path("normals")
    anomalies: Path | None = None
    glob: str = "*"
    fpr: float = 0.05
    out: Path = Path("calibration.json")
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class DoctorConfig(InspectConfig):
    """`iadr1 doctor`: what is installed, how the commands would run here, whether the model's boxes can be trusted.

    `scenes` is how many pictures the grounding self-test shows; 0 leaves it out. `segmenter` is the one to try; where
    None the default of `detect --masks` is tried, and missed only with the engine `local`.
    """

    segmenter: str | None = None
    scenes: int = 12
    max_new_tokens: int = 512


@dataclasses.dataclass(frozen=True)
class WatchConfig(VerdictConfig):
    """`iadr1 watch DIR`: looks at every photo that a camera drops into a folder, each exactly once.

    Times are in seconds. A file has arrived when its size and time did not change for `settle`. `send` is `all`,
    `anomalous` or `bad` (all that are not normal). Secrets are read from the environment variables named here.
    `max_photos` is 0 for no limit.
    """

    folder: Path = Path("photos")
    glob: str = "*"
    out: Path = Path("runs/watch")
    overlays: bool = True
    interval: float = 1.0
    settle: float = 2.0
    attempts: int = 5
    keep: bool = False
    once: bool = False
    max_photos: int = 0
    webhook: str | None = None
    webhook_secret_env: str | None = None
    mqtt: str | None = None
    mqtt_user_env: str = "MQTT_USER"
    mqtt_password_env: str = "MQTT_PASSWORD"
    send: str = "all"
    send_timeout_s: float = 10.0
    drain_s: float = 10.0


@dataclasses.dataclass(frozen=True)
class ServeConfig(VerdictConfig):
    """`iadr1 serve`: a server for photos.

    `queue` are the requests that may wait beside the batch that is worked on. A request is given up `deadline_s` after
    its arrival; `drain_s` is the time to finish what is queued when the server is stopped. `token_env` names the
    variable with the token; without one, `no_token` permits other addresses than those of this machine.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    queue: int = 64
    max_wait_ms: float = 5.0
    deadline_s: float = 30.0
    drain_s: float = 30.0
    max_mb: float = 32.0
    max_megapixels: float = 64.0
    token_env: str | None = None
    no_token: bool = False
    log: Path | None = None
