"""DeepPCB: pairs of a defect-free template and an aligned, tested board (Tang et al., arXiv 1902.06197).

Licence: MIT by its LICENSE file; its README adds "research purpose only". 1,500 pairs of 640x640 px, binarised.

    DeepPCB/
      PCBData/
        trainval.txt, test.txt              `group20085/20085/20085000.jpg group20085/20085_not/20085000.txt`
        group20085/20085/20085000_test.jpg, 20085000_temp.jpg ...
        group20085/20085_not/20085000.txt   `x1 y1 x2 y2 type` for each defect, apart by spaces (its README: by commas)
      trainval.txt                          some copies have the lists here

The `.jpg` that a list names is not there: `_test` and `_temp` are put into the name. The pixels of a box's `x2` and
`y2` are taken for the first ones outside of it; types are 1 to 6, and type 0 (background) is not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import wrong_layout
from iadr1.datasets.masked import Photo, yes_no
from iadr1.errors import DataError
from iadr1.geometry import location_word
from iadr1.records import Defect, Sample

TYPES = ("open", "short", "mousebite", "spur", "spurious copper", "pin-hole")
"""The defect types in words; the files number them from 1."""

SIZE = (640, 640)
"""Width and height of every image in pixels."""

_SPLITS = ("trainval", "test")
_DEFECTIVE = "defect"
_CATEGORY = "printed circuit board"


def scan(files: Files) -> Iterator[Sample]:
    """Two yes/no samples per pair, in the order of `trainval.txt`, then `test.txt`: the tested board, its template.

    The reference of a tested board is its own template; a template has none, since every other one shows another
    piece of the board. The category is `printed circuit board` (the group stands in the path); one defect per box.

    Raises:
        DataError: No list of pairs, a line or a box that is none, or missing files.
    """
    photos = [photo for split, table in _tables(files.root) for photo in _pairs(files.root, split, table)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    twice = [path for path, count in Counter(photo.path for photo in photos).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} images are listed twice, the first is {twice[0]!r}", where=str(files.root))
    yield from yes_no(files, photos, dataset="DeepPCB", licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)


def _tables(root: Path) -> list[tuple[str, Path]]:
    """The lists of pairs; they lie beside the groups or one folder higher."""
    found = []
    for split in _SPLITS:
        places = [path for folder in (root, root / "PCBData") if (path := folder / f"{split}.txt").is_file()]
        if len(places) > 1 and places[0].read_bytes().split() != places[1].read_bytes().split():
            raise DataError(f"{split}.txt is there twice, with other lines: {places[1]}", where=str(places[0]))
        found += [(split, path) for path in places[:1]]
    return found


def _pairs(root: Path, split: str, table: Path) -> Iterator[Photo]:
    base = root / "PCBData" if (root / "PCBData").is_dir() else root
    prefix = "" if base == root else "PCBData/"
    for number, line in _lines(table):
        match = re.fullmatch(r"(\S+)\.jpg\s+(\S+\.txt)", line.strip())
        if match is None:
            raise DataError(f"{line!r:.80} is not '<image>.jpg <boxes>.txt'", where=f"{table}:{number}")
        image, boxes = match.groups()
        template, tested = f"{prefix}{image}_temp.jpg", f"{prefix}{image}_test.jpg"
        found = _defects(base, boxes, where=f"{table}:{number}")
        yield Photo(tested, category=_CATEGORY, split=split, kind=_DEFECTIVE, defects=found, references=(template,))
        yield Photo(template, category=_CATEGORY, split=split, kind=None)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(path)) from error


def _defects(base: Path, boxes: str, *, where: str) -> tuple[Defect, ...]:
    if PurePosixPath(boxes).is_absolute() or ".." in PurePosixPath(boxes).parts:
        raise DataError(f"the path {boxes!r} is not relative to the set's folder or leaves it", where=where)
    path = base / boxes
    found = tuple(_defect(line, f"{path}:{number}") for number, line in _lines(path))
    if not found:
        raise DataError("no box; every tested board has a defect", where=str(path))
    return found


def _defect(line: str, where: str) -> Defect:
    match = re.fullmatch(r"\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+([1-6])\s*", line)
    if match is None:
        raise DataError(f"{line!r:.60} is not 'x1 y1 x2 y2 type' with a type from 1 to 6", where=where)
    x1, y1, x2, y2, kind = map(int, match.groups())
    if not (x1 < x2 <= SIZE[0] and y1 < y2 <= SIZE[1]):
        raise DataError(
            f"the box {(x1, y1, x2, y2)} is empty or leaves the image of {SIZE[0]}x{SIZE[1]} px", where=where
        )
    box = (float(x1), float(y1), float(x2), float(y2))
    return Defect(type=TYPES[kind - 1], box=box, location=location_word(box, SIZE))


SOURCE = Source(
    scan=scan,
    title="DeepPCB",
    licence="MIT; research purpose only",
    page="https://github.com/tangsanli5201/DeepPCB",
    citation="Tang et al., Online PCB defect detector on a new PCB defect dataset, arXiv 1902.06197",
    tree="PCBData/trainval.txt, PCBData/test.txt, PCBData/group00041/00041/00041000_{test,temp}.jpg, "
    "PCBData/group00041/00041_not/00041000.txt",
)
