"""Keeping the training libraries' own talk off the terminal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

_KNOWN_NOISE = (
    # The trainer's own loading on resume, superseded by load_policy and checked by its fingerprint.
    "There were missing keys in the checkpoint model loaded",
    "There were unexpected keys in the checkpoint model loaded",
    # Which of two orders old checkpoints are deleted in; both are right here.
    "mtime may not be reliable on this filesystem",
    # DeepSpeed, which TRL loads wherever it is installed, whether a run asks for it or not.
    "Setting accelerator to CPU",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and known harmless lines off the terminal; other warnings pass."""
    progress: Any = transformers_logging
    # A logger's own filters see what is logged to it by name alone, its handlers' also what comes from below.
    places = [*logging.getLogger("transformers").handlers, logging.getLogger("DeepSpeed")]

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_KNOWN_NOISE)

    bars = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    for place in places:
        place.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            # TRL and the trainer call each other by names that the next major version renames.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
            yield
    finally:
        for place in places:
            place.removeFilter(wanted)
        if bars:
            progress.enable_progress_bar()
