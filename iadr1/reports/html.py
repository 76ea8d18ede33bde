"""`report.html` of a detection run: one self-contained file that opens anywhere, and `summary.csv` beside it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iadr1.atomic import write_text_atomic
from iadr1.errors import ImageError
from iadr1.images import open_image, open_mask
from iadr1.records import Detection
from iadr1.reports.overlay import draw_overlay, label_colours
from iadr1.reports.page import data_uri, write_page

THUMBNAIL_WH = (480, 480)
"""Bounds of the pictures inside the report, in pixels."""
STATES: Mapping[str, str] = {"anomalous": "NG", "undecided": "Undecided", "error": "Error", "normal": "OK"}
"""State of a photo -> what the report calls it, the most urgent first."""

CSV_COLUMNS = ("image", "verdict", "score", "defects", "labels", "area_px", "width", "height", "parse", "error")


def state(detection: Detection) -> str:
    """The verdict, or `error` for a photo that could not be looked at; each photo has exactly one state."""
    return "error" if detection.error is not None else detection.verdict


def write_report(
    path: Path,
    detections: Sequence[Detection],
    *,
    images: Path,
    info: Mapping[str, str],
    title: str = "Inspection report",
) -> None:
    """Write the report: counts, then a card for each photo, the most suspicious first.

    Pictures are written one by one, so memory does not grow with their number.

    Args:
        path: The HTML file; overlays and masks are looked for in its folder, under the paths of the records.
        detections: The records of the run.
        images: The folder the records' `image` is relative to, for photos without an overlay.
        info: What the head names, for example `{"Model": "tiny", "Date": "2026-01-31"}`.
        title: The head line.

    Raises:
        OutputError: The file cannot be written.
    """
    counts = Counter(state(detection) for detection in detections)
    write_page(
        path,
        "report.html.j2",
        title=title,
        info=info,
        total=len(detections),
        tiles=[(name, text, counts[name]) for name, text in STATES.items()],
        cards=(_card(detection, path.parent, images) for detection in sorted(detections, key=_urgency)),
    )


def _urgency(detection: Detection) -> tuple[int, float, str]:
    score = detection.score if detection.score is not None else -1.0
    return list(STATES).index(state(detection)), -score, detection.image


def _card(detection: Detection, folder: Path, images: Path) -> dict[str, Any]:
    colours = label_colours(defect.label for defect in detection.defects)
    folder_name, _, file_name = detection.image.rpartition("/")
    return {
        "record": detection,
        "state": state(detection),
        "badge": STATES[state(detection)],
        "folder": folder_name,
        "file": file_name,
        "picture": _picture(detection, folder, images),
        "defects": [
            {
                "label": defect.label,
                "colour": "#{:02x}{:02x}{:02x}".format(*colours[defect.label]),
                "box": ", ".join(str(round(value)) for value in defect.box),
                "area": defect.area_px,
                "share": 100 * defect.area_px / (detection.width * detection.height) if defect.area_px else None,
                "mask_score": defect.mask_score,
                "mask_source": defect.mask_source,
            }
            for defect in detection.defects
        ],
    }


def _picture(detection: Detection, folder: Path, images: Path) -> str | None:
    """The overlay (or the photo, drawn on anew) as a data URI; None for a photo that cannot be read."""
    try:
        if detection.overlay is not None:
            picture = open_image(folder / detection.overlay)
        else:
            photo = open_image(images / detection.image)
            masks = [open_mask(folder / d.mask) if d.mask else None for d in detection.defects]
            picture = draw_overlay(photo, detection.defects, masks)
    except ImageError:
        return None
    return data_uri(picture, THUMBNAIL_WH)


def write_csv(path: Path, detections: Sequence[Detection]) -> None:
    """Write `CSV_COLUMNS`, a line for each photo, for a spreadsheet; labels are joined by `; `.

    Raises:
        OutputError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_rows(detections))
    write_text_atomic(path, text.getvalue())


def _rows(detections: Sequence[Detection]) -> Iterator[tuple[object, ...]]:
    for record in detections:
        areas = [defect.area_px for defect in record.defects if defect.area_px is not None]
        yield (
            record.image,
            record.verdict,
            "" if record.score is None else f"{record.score:.4f}",
            len(record.defects),
            "; ".join(defect.label for defect in record.defects),
            sum(areas) if areas else "",
            record.width,
            record.height,
            record.parse,
            record.error or "",
        )
