"""What all formats share: a photo with its defects on the way out, and what a format is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iadr1.geometry import Box, Size
from iadr1.records import Detection
from iadr1.rle import Rle

PhotoUse = Literal["named", "linked", "needed"]
"""What a format does with the photos: only names them; takes them in where their folder is given; cannot do without."""


@dataclass(frozen=True)
class Shape:
    """One defect.

    Attributes:
        label: Its type: one line of printable text.
        box: In pixels of the stored image, x2 and y2 exclusive, inside the image.
        mask: Its pixels; None where there are none, so that the box is all that is known.
        score: The defect's own score, else the photo's, 0..1; None where the engine gave none.
        area_px: Pixels of the mask, else the box's area.
    """

    label: str
    box: Box
    mask: Rle | None
    score: float | None
    area_px: float

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """The box as x, y, width, height."""
        x1, y1, x2, y2 = self.box
        return x1, y1, x2 - x1, y2 - y1


@dataclass(frozen=True)
class Entry:
    """One photo.

    Attributes:
        number: Running number from 0 among the photos that are exported.
        record: What was found; its `image` is a relative POSIX path inside its folder.
        shapes: Its defects; none for a normal photo.
        photo: The file, where the folder of the photos was given.
        where: File and line of the record, for errors.
    """

    number: int
    record: Detection
    shapes: tuple[Shape, ...]
    photo: Path | None
    where: str

    @property
    def size(self) -> Size:
        """(width, height) in pixels after EXIF orientation."""
        return self.record.width, self.record.height


@dataclass(frozen=True)
class Job:
    """What a format is given to write.

    Attributes:
        out: The file or folder.
        entries: Yields the photos, always the same in the same order; each call reads them anew.
        labels: All labels of the defects, sorted.
        total: Number of photos.
    """

    out: Path
    entries: Callable[[], Iterator[Entry]]
    labels: tuple[str, ...]
    total: int

    @property
    def numbers(self) -> dict[str, int]:
        """Label -> its number from 0."""
        return {label: number for number, label in enumerate(self.labels)}


@dataclass(frozen=True)
class AnnotationFormat:
    """The format of an annotation tool.

    Attributes:
        name: What `--format` calls it.
        suffix: Of the file it writes; empty where it writes a folder.
        write: Writes the job and returns lines to tell the user.
        polygons: Whether masks become polygons, which needs OpenCV.
        empty_is_normal: Whether a photo without a shape is a normal one to whoever reads the format, so that another
            one without a shape cannot be told apart.
        all_states: Whether it says of every photo what became of it, so that none is left out by its verdict.
        only_decided: Whether it has no place for undecided photos.
        photos: What it does with the photos.
        slot: The part of a photo's path that must be no other photo's, where that is not the whole of it.
    """

    name: str
    suffix: str
    write: Callable[[Job], tuple[str, ...]]
    polygons: bool = False
    empty_is_normal: bool = False
    all_states: bool = False
    only_decided: bool = False
    photos: PhotoUse = "named"
    slot: Callable[[str], str] | None = None
