"""The configs of the commands that look at photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """What every command takes that looks at photos: the model, how it is run, and what it is shown.

    `shots` is for `references`. `tiles` is `off`, `auto` or columns x rows such as `3x2`. The settings from `base_url`
    on are for the engine `server`.
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


@dataclasses.dataclass(frozen=True)
class DetectConfig(InspectConfig):
    """`iadr1 detect IMAGES`: verdict, reasoning, boxes and masks for every photo.

    `mode` is `direct`, `think` or `two-pass`; `reasoning` is `boxes` or `structured`. Scores above `threshold` are
    anomalous; a `calibration` brings its own. `language` is that of the report. `shard` is `i/n`, counted from 1.
    """

    images: Path = Path("images")
    glob: str = "*"
    out: Path = Path("runs/detect")
    mode: str = "two-pass"
    reasoning: str = "boxes"
    threshold: float | None = None
    calibration: Path | None = None
    masks: bool = False
    segmenter: str = "grabcut"
    overlays: bool = True
    report: bool = True
    language: str = "en"
    max_new_tokens: int = 512
    shard: str | None = None
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class CalibrateConfig(InspectConfig):
    """`iadr1 calibrate`: a threshold on the anomaly score for a budget of false alarms, from photos of good products.

    `fpr` is the budget, the share of good products that may be called anomalous. `anomalies` are photos of bad ones;
    they change no threshold, they say how many it finds.
    """

    normals: Path = Path("normals")
    anomalies: Path | None = None
    fpr: float = 0.05
    out: Path = Path("calibration.json")
