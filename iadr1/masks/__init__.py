"""Masks for boxes: the table of segmenters and the clean-up chain."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from iadr1.errors import ModelError, UsageError
from iadr1.masks.base import MaskResult, Segmenter, segment_many
from iadr1.masks.cleanup import clean
from iadr1.masks.drawing import Drawn, draw

__all__ = [
    "SEGMENTERS",
    "Drawn",
    "MaskResult",
    "Segmenter",
    "check_segmenter",
    "clean",
    "draw",
    "licence_of",
    "load_segmenter",
    "segment_many",
]

SAM2_DEFAULT = "facebook/sam2.1-hiera-tiny"
"""Hub id that the bare name `sam2` stands for (38.9 M parameters, Apache-2.0)."""

TINY = Path(__file__).parent / "embedded" / "tiny-sam2"
"""Folder of the embedded segmenter, made by `iadr1 train-segmenter`; its MODEL_CARD.md says what it was trained on."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def _load_grabcut(device: str) -> Segmenter:
    from iadr1.masks.grabcut import GrabCutSegmenter

    del device  # OpenCV runs on the CPU, whatever the model runs on
    return GrabCutSegmenter()


def _load_sam2(device: str) -> Segmenter:
    from iadr1.masks.sam2 import Sam2Segmenter

    return Sam2Segmenter(SAM2_DEFAULT, device=device, name="sam2")


def _load_tiny(device: str) -> Segmenter:
    from iadr1.masks.sam2 import Sam2Segmenter

    if not (TINY / "model.safetensors").is_file():
        raise ModelError(
            "the embedded segmenter 'tiny-sam2' has no weights in this installation",
            where=str(TINY),
            hint="install the package again, or use --segmenter grabcut",
        )
    return Sam2Segmenter(str(TINY), device=device, name="tiny-sam2")


SEGMENTERS: Mapping[str, Callable[[str], Segmenter]] = {
    "tiny-sam2": _load_tiny,
    "grabcut": _load_grabcut,
    "sam2": _load_sam2,
}
"""Name -> loader that takes a device."""


def licence_of(choice: str) -> str:
    """The licence of what draws the masks, as far as its name says; Meta's SAM 2 models are under Apache-2.0."""
    if choice == "grabcut":
        return "Apache-2.0 (OpenCV, no weights)"
    if choice == "tiny-sam2":
        return "part of iadr1; learned in part from photos whose set states no licence"
    return "Apache-2.0" if choice == "sam2" or choice.startswith("facebook/sam2") else "see the model card"


def check_segmenter(choice: str) -> None:
    """Make sure that a segmenter's name can be one, without loading it.

    Raises:
        UsageError: It is neither a name of `SEGMENTERS`, nor a folder of a model, nor a hub id.
    """
    if choice not in SEGMENTERS and Path(choice).is_file():
        raise UsageError(
            f"the segmenter {choice!r} is a file, not a folder",
            hint="a checkpoint of Meta becomes one with: iadr1 model convert-sam2 FILE --out FOLDER",
        )
    if choice not in SEGMENTERS and Path(choice).is_dir() and not (Path(choice) / "config.json").is_file():
        raise UsageError(
            f"the segmenter {choice!r} is a folder without a config.json",
            hint="name the folder of a SAM 2 model in the transformers layout, which "
            "'iadr1 model convert-sam2' and 'iadr1 train-segmenter' write",
        )
    if choice not in SEGMENTERS and not Path(choice).is_dir() and not _HUB_ID.fullmatch(choice):
        raise UsageError(
            f"no segmenter {choice!r}",
            hint=f"known: {', '.join(SEGMENTERS)}, or a folder or hub id of a SAM 2 model such as {SAM2_DEFAULT}",
        )


def load_segmenter(choice: str, *, device: str = "auto") -> Segmenter:
    """The segmenter a user named.

    Args:
        choice: A name of `SEGMENTERS`, a folder with a SAM 2 model in the transformers layout, or its hub id.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; only SAM 2 uses it.

    Raises:
        UsageError: The choice is none of these.
        ModelError: The SAM 2 model cannot be found or loaded.
        ModelChoiceError: There is no such device.
        MissingExtraError: A package the segmenter needs is not installed.
    """
    check_segmenter(choice)
    if choice in SEGMENTERS:
        return SEGMENTERS[choice](device)
    from iadr1.masks.sam2 import Sam2Segmenter

    return Sam2Segmenter(choice, device=device)
