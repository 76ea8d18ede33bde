"""Whether the settings of `iadr1 train-segmenter` can work, told before anything is read."""

from __future__ import annotations

from iadr1.config import SegmenterConfig
from iadr1.errors import UsageError

_AT_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "min_side": 1,
    "context": 1.0,
    "stretch": 1.0,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "average": 0.0,
    "jitter": 0.0,
    "log_steps": 1,
}
_ABOVE_0 = ("learning_rate", "max_grad_norm")
_BELOW = {"average": 1.0, "jitter": 0.5}
_MULTIPLES = {"side": 64, "hidden": 32, "width": 8}
"""Windows, attention heads and the encodings of places need these."""


def check_segmenter(config: SegmenterConfig) -> tuple[float, ...]:
    """Make sure that the settings can work; returns how often each data file is drawn from, adding up to 1.

    Raises:
        UsageError: A number out of range, or not as many shares as data files.
    """
    _check_numbers(config)
    if config.save_steps < 1 or config.save_steps % config.log_steps:
        raise UsageError(
            f"save_steps is {config.save_steps}, it must be a multiple of log_steps ({config.log_steps})",
            hint="a run that goes on after a kill could not write the line it was in",
        )
    if config.resume not in ("auto", "never"):
        raise UsageError(f"resume is {config.resume!r}", hint="use auto or never")
    shares = config.shares or (1.0,) * len(config.data)
    if not config.data or len(shares) != len(config.data) or not all(share > 0 for share in shares):
        raise UsageError(
            f"{len(config.data)} data files and {len(shares)} shares {list(shares)}",
            hint="give at least one file, and a number above 0 for each, in their order",
        )
    return tuple(share / sum(shares) for share in shares)


def _check_numbers(config: SegmenterConfig) -> None:
    rules = [
        *((name, getattr(config, name) >= limit, f"at least {limit}") for name, limit in _AT_LEAST.items()),
        *((name, getattr(config, name) > 0, "above 0") for name in _ABOVE_0),
        *((name, getattr(config, name) < limit, f"below {limit}") for name, limit in _BELOW.items()),
        *(
            (name, getattr(config, name) > 0 and getattr(config, name) % multiple == 0, f"a multiple of {multiple}")
            for name, multiple in _MULTIPLES.items()
        ),
    ]
    for name, fits, what in rules:
        if not fits:
            raise UsageError(f"{name} is {getattr(config, name)}, it must be {what}")
