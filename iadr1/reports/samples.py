"""A page of samples to look at: each with its boxes and masks drawn, its question, options, answer and references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1 import parallel, rle
from iadr1.errors import ImageError
from iadr1.geometry import Size, box_mask, clip_box
from iadr1.images import open_image, open_mask
from iadr1.records import Defect, DetectedDefect, Sample
from iadr1.reports.overlay import draw_overlay, label_colours
from iadr1.reports.page import data_uri, write_page

PICTURE_WH = (560, 560)
"""Bounds of a sample's picture in the page, in pixels."""
REFERENCE_WH = (150, 150)
REFERENCES = 4
"""References shown of each sample."""

_STATES: Mapping[bool | None, tuple[str, str]] = {
    True: ("anomalous", "Anomalous"),
    False: ("normal", "Normal"),
    None: ("open", "Not stated"),
}
_REGION = "region"
"""What a box of a grounding sample is called on the picture; its type is a whole sentence."""


@dataclass(frozen=True)
class Shown:
    """A sample and the line of the file it stands in."""

    line: int
    sample: Sample


def write_samples_page(
    path: Path,
    shown: Iterable[Shown],
    *,
    root: Path,
    info: Mapping[str, str],
    on_card: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the page, one self-contained file; pictures are written one by one.

    Args:
        path: The HTML file.
        shown: The samples, in the order of the page.
        root: The folder their paths are relative to.
        info: What the head names, for example `{"File": "data/mmad.jsonl"}`.
        on_card: Called after each sample with how many are done.

    Raises:
        OutputError: The file cannot be written.
    """
    cards = parallel.ordered(lambda item: _card(item, root), shown)
    write_page(path, "samples.html.j2", info=info, cards=_reported(cards, on_card))


def _reported(cards: Iterator[dict[str, Any]], on_card: Callable[[int], None]) -> Iterator[dict[str, Any]]:
    for done, card in enumerate(cards, start=1):
        yield card
        on_card(done)


def _card(item: Shown, root: Path) -> dict[str, Any]:
    sample = item.sample
    labels = [_label(sample, defect) for defect in sample.defects]
    colours = label_colours(labels)
    drawn = iter(range(1, len(labels) + 1))
    picture, problem, size = _picture(sample, labels, root)
    state, badge = _STATES[sample.is_anomalous]
    return {
        "line": item.line,
        "sample": sample,
        "state": state,
        "badge": badge,
        "picture": picture,
        "problem": problem,
        "size": size or sample.image_size,
        "answers": _answers(sample),
        "references": [(name, _small(root / name)) for name in sample.references[:REFERENCES]],
        "has_masks": any(defect.mask or defect.mask_rle for defect in sample.defects),
        "more_references": max(0, len(sample.references) - REFERENCES),
        "defects": [
            {
                "number": next(drawn) if defect.box else "",
                "type": defect.type,
                "colour": "#{:02x}{:02x}{:02x}".format(*colours[label]) if defect.box else "transparent",
                "box": ", ".join(f"{value:g}" for value in defect.box) if defect.box else "no box",
                "location": defect.location or "",
                "mask": _mask_text(defect),
            }
            for defect, label in zip(sample.defects, labels, strict=True)
        ],
    }


def _label(sample: Sample, defect: Defect) -> str:
    return _REGION if sample.task == "grounding" else defect.type


def _answers(sample: Sample) -> list[tuple[str, str, bool]]:
    """Letter, text and whether it is right, of each answer that is offered."""
    if sample.options:
        return [(letter, text, letter == sample.answer) for letter, text in sample.options.items()]
    return [("", word, word == sample.answer) for word in ("Yes", "No")] if sample.task == "anomaly" else []


def _mask_text(defect: Defect) -> str:
    if defect.mask is not None:
        name = PurePosixPath(defect.mask).name
        return f"{name} above {defect.mask_threshold}" if defect.mask_threshold else name
    return "" if defect.mask_rle is None else "run lengths"


def _picture(sample: Sample, labels: Sequence[str], root: Path) -> tuple[str | None, str, Size | None]:
    """The drawn photo as a data URI and its size; or None and why there is none."""
    try:
        photo = open_image(root / sample.image)
    except ImageError as error:
        return None, error.message, None
    found: list[DetectedDefect] = []
    masks: list[NDArray[np.bool_] | None] = []
    problems = []
    for defect, label in zip(sample.defects, labels, strict=True):
        if defect.box is None:
            continue
        if clip_box(defect.box, photo.size) is None:
            problems.append(f"the box {defect.box} lies outside the image")
        found.append(DetectedDefect(label=label, box=defect.box))
        try:
            masks.append(_mask(defect, root, photo.size))
        except ImageError as error:
            masks.append(None)
            problems.append(str(error))
    picture = draw_overlay(photo, found, masks)
    return data_uri(picture, PICTURE_WH), "; ".join(dict.fromkeys(problems)), photo.size


def _mask(defect: Defect, root: Path, size: Size) -> NDArray[np.bool_] | None:
    """The mask of one defect: its own run lengths, or the part of its mask file inside its box."""
    if defect.mask_rle is not None:
        try:
            mask = rle.decode(rle.parse(defect.mask_rle))
        except ValueError as error:
            raise ImageError(str(error), where="mask_rle") from error
    elif defect.mask is not None:
        mask = open_mask(root / defect.mask, threshold=defect.mask_threshold)
    else:
        return None
    if mask.shape != (size[1], size[0]):
        raise ImageError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]} px, its image {size[0]}x{size[1]}",
            where=defect.mask or "mask_rle",
        )
    return mask & box_mask(defect.box, size) if defect.box is not None else mask


def _small(path: Path) -> str | None:
    try:
        return data_uri(open_image(path), REFERENCE_WH)
    except ImageError:  # the page says that there is no picture
        return None
