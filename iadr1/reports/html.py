"""`report.html` of a detection run: one self-contained file that opens anywhere, and `summary.csv` beside it."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from urllib.parse import quote

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from iadr1 import parallel
from iadr1.atomic import atomic
from iadr1.errors import ImageError, OutputError
from iadr1.images import open_image, open_mask
from iadr1.records import DetectedDefect, Detection
from iadr1.reports.overlay import draw_overlay, label_colours
from iadr1.reports.page import data_uri, write_page
from iadr1.reports.thumbnails import Thumbnails, make_thumbnails
from iadr1.reports.words import LANGUAGES, words
from iadr1.spreadsheet import guard

PAGE_BYTES = 28_000_000
"""Size of the file at which pictures are no longer put into it but linked."""
TEXT_BYTES = 8_000_000
"""What the reasons of all photos may take in it, and what the whole answers may; each photo gets an equal share."""
LEAST_TEXT, MOST_TEXT = 400, 20_000
"""Bounds of that share, in bytes."""
MOST_DEFECTS = 100
"""Defects listed of one photo; the others are counted."""
PICTURE_SIDES: Sequence[tuple[float, int]] = ((60, 1280), (250, 800), (math.inf, 480))
"""Number of photos up to which pictures of a side in pixels are taken."""
STATES: Mapping[str, str] = {"anomalous": "NG", "undecided": "Undecided", "error": "Error", "normal": "OK"}
"""State of a photo -> what the report calls it in English, the most urgent first."""
SCRIPTS = ("data", "cards", "review", "paper", "start")
"""The page's script, in the order of its parts."""

CSV_COLUMNS = ("image", "verdict", "score", "defects", "labels", "area_px", "width", "height", "parse", "error")

_QUALITY = 82
_PASSING = ("Date", "Versions")
"""What may differ where the report of the same results is written again."""
_dumps = partial(
    htmlsafe_json_dumps, dumps=partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
)


def state(detection: Detection) -> str:
    """The verdict, or `error` for a photo that could not be looked at; each photo has exactly one state."""
    return "error" if detection.error is not None else detection.verdict


def write_report(
    path: Path,
    detections: Sequence[Detection],
    *,
    images: Path,
    info: Mapping[str, str],
    title: str | None = None,
    language: str = "en",
    references: Path | None = None,
) -> None:
    """Write the report: counts, filters, and a card for each photo, the most suspicious first, to review and print.

    The pictures of the most suspicious photos are inside the file until it has about `PAGE_BYTES`; the others are
    linked relatively. Pictures are made one by one, so memory does not grow with their number.

    Args:
        path: The HTML file; overlays and masks are looked for in its folder, under the paths of the records.
        detections: The records of the run.
        images: The folder the records' `image` is relative to.
        info: What the head names, for example `{"Model": "tiny", "Date": "2026-01-31"}`. `Threshold` ("0.62", where
            a record has none of its own) and `Undecided between` ("0.41 and 0.58") are drawn into the scores as well.
            All but `Date` and `Versions` is the key under which a browser keeps the review.
        title: The head line; "Inspection report" in the page's language where it is None.
        language: That the page opens in, one of `words.LANGUAGES`; a reader can switch.
        references: The folder the records' `references` are relative to, for thumbnails; None for names only.

    Raises:
        OutputError: The file cannot be written.
        UsageError: The language is not known.
        ValueError: `Threshold` or `Undecided between` is not made of numbers from 0 to 1.
    """
    texts = words(language)
    counts = Counter(state(detection) for detection in detections)
    ordered = sorted(detections, key=_urgency)
    side = next(side for most, side in PICTURE_SIDES if len(ordered) <= most)
    run = {
        "key": _key(info),
        "title": title,
        "language": language,
        "side": side,
        "mb": round(PAGE_BYTES / 1e6),
        "threshold": _threshold(info),
        "band": _band(info),
        "calibrated": "Calibration" in info or any(detection.calibration for detection in detections),
    }
    thumbnails = make_thumbnails(ordered, references)
    script = "".join(_part(f"{name}.js") for name in SCRIPTS)
    style = _part("screen.css") + _part("print.css")
    write_page(
        path,
        "report.html.j2",
        title=title,
        words=texts,
        language=language,
        languages=LANGUAGES,
        info=info,
        total=len(detections),
        tiles=[(name, counts[name]) for name in STATES],
        calibrated=run["calibrated"],
        style=Markup(style),
        script=Markup(script),
        hashes={"style": _digest(style), "script": _digest(script)},
        run=_dumps(run),
        all_words=_dumps({code: words(code) for code in LANGUAGES}),
        thumbnails=_dumps(thumbnails.pictures),
        photos=_lines(ordered, thumbnails, side=side, links=_Links(path.parent, images)),
    )


def _key(info: Mapping[str, str]) -> str:
    lasting = {name: value for name, value in info.items() if name not in _PASSING}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:16]


def _part(name: str) -> str:
    # Files of the package, without a character that a parser of HTML would change: the policy holds their hash.
    return resources.files("iadr1.reports").joinpath("templates", "report", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _threshold(info: Mapping[str, str]) -> float | None:
    return _share(info["Threshold"]) if "Threshold" in info else None


def _band(info: Mapping[str, str]) -> list[float] | None:
    if "Undecided between" not in info:
        return None
    low, found, high = info["Undecided between"].partition(" and ")
    if not found:
        raise ValueError(f"'Undecided between' is {info['Undecided between']!r}, not of the form '0.41 and 0.58'")
    return [_share(low), _share(high)]


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a number from 0 to 1")
    return value


def _urgency(detection: Detection) -> tuple[int, float, str]:
    score = _finite(detection.score)
    return list(STATES).index(state(detection)), -score if score is not None else 1.0, detection.image


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class _Links:
    """Where the photos and the run lie, and addresses of their files relative to the report."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.images = folder, images
        self._photos = Path(os.path.relpath(images.resolve(), folder.resolve())).as_posix()

    def photo(self, name: str) -> str:
        return self.local((PurePosixPath(self._photos) / name).as_posix())

    def local(self, name: str) -> str:
        """In it no character means anything but itself."""
        return f"./{quote(name, errors='replace')}"


def _lines(ordered: Sequence[Detection], thumbnails: Thumbnails, *, side: int, links: _Links) -> Iterator[Markup]:
    """The photos as JSON, a line for each; with pictures as long as there is room."""
    share = min(MOST_TEXT, max(LEAST_TEXT, TEXT_BYTES // max(1, len(ordered))))
    entries = [_entry(detection, share, links) for detection in ordered]
    for entry, detection in zip(entries, ordered, strict=True):
        if beside := thumbnails.beside(detection):
            entry["thumbnails"] = beside
    taken = sum(len(_dumps(entry).encode("utf-8", "replace")) for entry in entries)
    room = PAGE_BYTES - taken - sum(map(len, thumbnails.pictures))
    drawn = parallel.ordered(lambda detection: _pictures(detection, links.folder, links.images, side), ordered)
    for place, entry in enumerate(entries):
        pictures = next(drawn) if room > 0 else []
        room -= sum(map(len, pictures))
        if room > 0 and pictures:
            entry["pictures"] = pictures
        comma = "," if place + 1 < len(entries) else ""
        yield _dumps(entry) + f"{comma}\n"


def _entry(detection: Detection, share: int, links: _Links) -> dict[str, Any]:
    """What the page knows of a photo; what is None or empty is left out."""
    colours = label_colours(defect.label for defect in detection.defects)
    areas = [defect.area_px for defect in detection.defects if defect.area_px is not None]
    pixels = detection.width * detection.height
    whole = {"reasoning": detection.reasoning or "", "raw": detection.raw}
    texts = {name: _cut(text, share) for name, text in whole.items()}
    entry = {
        "image": detection.image,
        "sha256": detection.image_sha256,
        "state": state(detection),
        "score": _finite(detection.score),
        "size": [detection.width, detection.height] if pixels else None,
        **texts,
        "cut": [name for name, text in texts.items() if text != whole[name]],
        "parse": detection.parse,
        "error": detection.error,
        "references": detection.references,
        "threshold": _finite(detection.threshold),
        "mode": detection.mode,
        "looks": detection.tiles if detection.tiles > 1 else None,
        "area": sum(areas) if areas else None,
        "defects": [
            _defect(defect, "#{:02x}{:02x}{:02x}".format(*colours[defect.label]), pixels)
            for defect in detection.defects[:MOST_DEFECTS]
        ],
        "more": max(0, len(detection.defects) - MOST_DEFECTS),
        "photo": links.photo(detection.image),
        "overlay": links.local(detection.overlay) if detection.overlay is not None else None,
    }
    return {
        name: value
        for name, value in entry.items()
        if value or (name in ("score", "area", "threshold") and value is not None)
    }


def _defect(defect: DetectedDefect, colour: str, pixels: int) -> dict[str, Any]:
    area = defect.area_px
    return {
        "label": defect.label,
        "colour": colour,
        "box": [round(value) if math.isfinite(value) else None for value in defect.box],
        "area": area,
        "share": area / pixels if area is not None and pixels else None,
        "score": _finite(defect.mask_score),
        "source": defect.mask_source,
        "agreement": _finite(defect.agreement),
    }


def _cut(text: str, share: int) -> str:
    data = text.encode("utf-8", "replace")
    return text if len(data) <= share else data[:share].decode("utf-8", "ignore")


def _pictures(detection: Detection, folder: Path, images: Path, side: int) -> list[str]:
    """With findings and without as data URIs, one where they are the same; none for a photo that cannot be read."""
    same = detection.overlay is not None and not detection.defects
    photo = None if same else _opened(images / detection.image)
    if detection.overlay is not None:
        picture = _opened(folder / detection.overlay)
    else:
        picture = _drawn(photo, detection, folder) if photo is not None else None
    found = [picture, photo] if detection.defects else [picture]
    return [data_uri(one, (side, side), quality=_QUALITY) for one in found if one is not None]


def _opened(path: Path) -> Image.Image | None:
    try:
        return open_image(path)
    except ImageError:
        return None


def _drawn(photo: Image.Image, detection: Detection, folder: Path) -> Image.Image | None:
    try:
        masks = [open_mask(folder / defect.mask) if defect.mask else None for defect in detection.defects]
        return draw_overlay(photo, detection.defects, masks)
    except ImageError:
        return None


def write_csv(path: Path, detections: Iterable[Detection]) -> None:
    """Write `CSV_COLUMNS`, a line for each photo, for a spreadsheet; labels are joined by `; `.

    A text that would be taken for a formula has an apostrophe before it, and every cell is quoted: where a spreadsheet
    takes `;` or a tab for the separator, what stands behind one in a name is no cell of its own.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic(path) as file:
        writer = _csv_writer(file)
        writer.writerow(CSV_COLUMNS)
        writer.writerows(_rows(detections))


def append_csv(path: Path, detections: Iterable[Detection]) -> None:
    """Add lines to a file of `write_csv`.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            _csv_writer(file).writerows(_rows(detections))
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error


def _csv_writer(file: TextIO) -> Any:  # csv's own type has no name
    return csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)


def _rows(detections: Iterable[Detection]) -> Iterator[tuple[object, ...]]:
    for record in detections:
        areas = [defect.area_px for defect in record.defects if defect.area_px is not None]
        yield (
            guard(record.image),
            record.verdict,
            "" if record.score is None else f"{record.score:.9g}",  # tells it from a threshold of the same model
            len(record.defects),
            guard("; ".join(defect.label for defect in record.defects)),
            sum(areas) if areas else "",
            record.width,
            record.height,
            guard(record.parse),
            guard(record.error or ""),
        )
