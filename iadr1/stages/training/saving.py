"""Writes that fail while a trainer saves: one clear error, whichever library the write was in."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from iadr1.errors import OutputError
from iadr1.stages.training.folder import whole_checkpoints

_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# What torch.save says; it does not pass on the system's reason.
_TORCH = ("PytorchStreamWriter failed", "inline_container.cc", "unexpected pos")


@contextmanager
def clear_errors(out: Path) -> Iterator[None]:
    """Turn a failed write into an `OutputError` that says where the run can go on from; others pass.

    Args:
        out: The run's folder.

    Raises:
        OutputError: The disk is full, over quota or read-only.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        last = max((checkpoint.step for checkpoint in whole_checkpoints(out)), default=None)
        begin = "from its beginning" if last is None else f"from checkpoint-{last}, which is whole"
        raise OutputError(
            f"cannot save: {reason}", where=str(out), hint=f"make room, then the same command goes on {begin}"
        ) from error


def _reason(error: Exception) -> str | None:
    """Why a write failed, in a few words; None where it is another kind of error."""
    text = str(error)
    if isinstance(error, OSError):
        return str(error.strerror) if error.errno in _CODES else None
    if isinstance(error, SafetensorError):
        return text.partition("I/O error: ")[2] or None
    return "the disk is full or cannot be written to" if any(mark in text for mark in _TORCH) else None
