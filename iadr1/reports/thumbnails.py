"""The references of a report's photos as small pictures: each once, however many photos it stands beside."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from iadr1 import parallel
from iadr1.errors import ImageError
from iadr1.images import open_image
from iadr1.records import Detection
from iadr1.reports.page import data_uri

SIDE = 160
"""Longest side of a thumbnail, in pixels."""
MOST_BYTES = 3_000_000
"""What all of them may take in the page; the references of less suspicious photos are then named only."""
MOST_BESIDE = 8
"""References shown beside one photo; the others are named only."""
_QUALITY = 75


@dataclass(frozen=True)
class Thumbnails:
    """The thumbnails of a report.

    Attributes:
        pictures: Data URIs.
        places: Reference -> place of its thumbnail in `pictures`.
    """

    pictures: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def beside(self, detection: Detection) -> list[int | None]:
        """For each reference of a photo the place of its thumbnail or None; empty where it has none at all."""
        found = [self.places.get(name) for name in detection.references[:MOST_BESIDE]]
        return found if any(place is not None for place in found) else []


def make_thumbnails(ordered: Sequence[Detection], folder: Path | None) -> Thumbnails:
    """The thumbnails of the photos' references, those of the first photos first, until there are `MOST_BYTES`.

    Args:
        ordered: The photos, the most important first.
        folder: What the names of references are relative to; None for no thumbnails.

    Returns:
        Without those that cannot be read, or that do not lie in the folder.
    """
    found = Thumbnails()
    if folder is None:
        return found
    names = dict.fromkeys(name for detection in ordered for name in detection.references[:MOST_BESIDE])
    room = MOST_BYTES
    with closing(_drawn(list(names), folder)) as drawn:
        for name, picture in drawn:
            room -= len(picture)
            if room < 0:
                break
            if picture:
                found.places[name] = len(found.pictures)
                found.pictures.append(picture)
    return found


def _drawn(names: Sequence[str], folder: Path) -> Generator[tuple[str, str]]:
    yield from zip(names, parallel.ordered(lambda name: _small(name, folder), names), strict=True)


def _small(name: str, folder: Path) -> str:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        return ""
    try:
        return data_uri(open_image(folder / relative), (SIDE, SIDE), quality=_QUALITY)
    except ImageError:
        return ""
