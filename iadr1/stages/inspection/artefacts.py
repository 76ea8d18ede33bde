"""The files of one finding: masks and the overlay."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from iadr1.errors import OutputError
from iadr1.records import Detection
from iadr1.reports.overlay import draw_overlay
from iadr1.stages.inspection.inspector import Finding


def write(finding: Finding, out: Path, slug: str, *, overlays: bool) -> Detection:
    """Write `masks/<slug>_<n>.png` and `overlays/<slug>.png`; returns the record with their names.

    Args:
        finding: What was found in a photo.
        out: Folder of the results.
        slug: What the photo's files are called.
        overlays: Draw the overlay as well.

    Raises:
        OutputError: A file cannot be written.
    """
    record = finding.record
    if finding.image is None or record.error is not None:
        return record
    names = [f"masks/{slug}_{index}.png" for index in range(len(finding.masks))]
    for name, mask in zip(names, finding.masks, strict=True):
        _save(Image.fromarray(mask.astype(np.uint8) * 255), out / name)
    if names:
        named = zip(record.defects, names, strict=True)
        record = record.model_copy(
            update={"defects": tuple(defect.model_copy(update={"mask": name}) for defect, name in named)}
        )
    if not overlays:
        return record
    overlay = f"overlays/{slug}.png"
    _save(draw_overlay(finding.image, record.defects, finding.masks), out / overlay)
    return record.model_copy(update={"overlay": overlay})


def _save(picture: Image.Image, path: Path) -> None:
    """Write a picture that is there whole or not at all, also where the disk is full or the process is killed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            picture.save(temporary, format="PNG")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=str(path)) from error
