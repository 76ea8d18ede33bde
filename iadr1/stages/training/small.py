"""Settings of `iadr1 model new` and `iadr1 pretrain`: which can work. Nothing here loads torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from iadr1.config import NewModelConfig, PretrainConfig
from iadr1.errors import UsageError
from iadr1.prompts import Format
from iadr1.stages.training.limits import ANSWER_FORMATS, RESUME, SEEDS

PATCH, MERGE, TEMPORAL = 14, 2, 2
"""Pixels a patch, patches a token along a side, frames a patch: as in every Qwen2.5-VL."""
BYTES = 256
"""Tokens that a byte-level tokenizer holds before it has learned any."""


def check_pretrain(config: PretrainConfig) -> None:
    """Make sure that a pretraining's settings can work, before anything is read.

    Raises:
        UsageError: One cannot.
    """
    ones = dict.fromkeys(("steps", "batch_size", "lessons", "save_steps", "threads"), 1)
    zeros = dict.fromkeys(("vision_steps", "drills", "dense", "warmup_steps", "weight_decay", "seed"), 0)
    _check_least(config, ones | zeros)
    _check_positive(config, "learning_rate", "muon_rate", "max_grad_norm")
    _check_seed(config.seed)
    if config.resume not in RESUME:
        raise UsageError(f"no resume {config.resume!r}", hint=f"known: {', '.join(RESUME)}")
    if config.vision_steps > config.steps:
        raise UsageError(f"vision_steps is {config.vision_steps}, there are {config.steps} steps in all")
    if not 0 <= config.reference_share <= 1:
        raise UsageError(f"reference_share is {config.reference_share}, it must be within 0 and 1")
    read_formats(config.formats)


def read_formats(text: str) -> dict[Format, float]:
    """Shares of the formats that verdicts are written in, from `boxes=6,structured=3,direct=2`.

    Raises:
        UsageError: An unknown format or one that stands twice, a share that is no positive number, or nothing.
    """
    shares: dict[Format, float] = {}
    known: Mapping[str, Format] = {fmt: fmt for fmt in ANSWER_FORMATS}
    for part in filter(None, (word.strip() for word in text.split(","))):
        name, _, share = part.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = 0.0
        if name not in known or known[name] in shares or not 0 < value < math.inf:
            raise UsageError(
                f"formats holds {part!r}", hint=f"for example boxes=6,structured=3; known: {', '.join(ANSWER_FORMATS)}"
            )
        shares[known[name]] = value
    if not shares:
        raise UsageError("formats is empty", hint="for example boxes=6,structured=3,direct=2")
    return shares


def check_new_model(config: NewModelConfig) -> None:
    """Make sure that a new model's sizes fit together.

    Raises:
        UsageError: They do not.
    """
    names = [f"vision_{part}" for part in ("depth", "width", "heads", "mlp")]
    names += [f"text_{part}" for part in ("layers", "width", "heads", "kv_heads", "mlp")]
    _check_least(config, {**dict.fromkeys(names, 1), "limit": 1, "vocabulary": BYTES, "seed": 0})
    _check_positive(config, "rope_theta")
    _check_seed(config.seed)
    factor = PATCH * MERGE
    if config.side < factor or config.side % factor:
        raise UsageError(f"side is {config.side}, it must be a multiple of {factor}")
    # A head's width is halved by the rotary embedding, and once more between rows and columns in the vision tower.
    if config.vision_width % (4 * config.vision_heads):
        raise UsageError(
            f"vision_width is {config.vision_width}, it must be a multiple of 4 for each of {config.vision_heads} heads"
        )
    if config.text_width % (2 * config.text_heads):
        raise UsageError(
            f"text_width is {config.text_width}, it must be a multiple of 2 for each of {config.text_heads} heads"
        )
    if config.text_heads % config.text_kv_heads:
        raise UsageError(
            f"text_kv_heads is {config.text_kv_heads}, which does not divide text_heads {config.text_heads}"
        )
    half = config.text_width // config.text_heads // 2
    if sum(read_sections(config.mrope_section)) != half:
        raise UsageError(
            f"mrope_section is {config.mrope_section!r}, its parts must add up to {half}",
            hint="half of text_width over text_heads",
        )
    heads, kv_heads = config.text_heads, config.text_kv_heads
    if config.circuits and (config.text_layers < 3 or kv_heads < 2 or heads // kv_heads < 2):
        raise UsageError(
            "the circuits have no room: they take three layers and two pairs of keys and values with two heads each",
            hint="text_layers, text_heads and text_kv_heads, or circuits=false",
        )
    if config.vision and not config.vision.is_dir():
        raise UsageError(f"no model folder {str(config.vision)!r}", hint="vision is the folder of a pretrained model")


def read_sections(text: str) -> list[int]:
    """How many rotary frequencies carry time, row and column: `2,11,11` as numbers.

    Raises:
        UsageError: They are not three whole numbers from 1 on.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UsageError(f"mrope_section is {text!r}", hint="three whole numbers from 1 on, such as 2,11,11")
    return [int(part) for part in parts]


def _check_least(config: Any, least: Mapping[str, float]) -> None:
    for name, smallest in least.items():
        # Written so that NaN is refused as well.
        if not smallest <= (value := getattr(config, name)) < math.inf:
            raise UsageError(f"{name} is {value}, it must be at least {smallest} and finite")


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if not 0 < (value := getattr(config, name)) < math.inf:
            raise UsageError(f"{name} is {value}, it must be above 0 and finite")


def _check_seed(seed: int) -> None:
    if seed >= SEEDS:
        raise UsageError(f"seed is {seed}, it must be below {SEEDS}")
