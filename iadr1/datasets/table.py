"""A user's own data as a table (the source `csv`): one row per image, or one per box.

Licence: the user's own data, none stated.

    image,label,split,type,mask
    pump/001.png,normal,train,,
    pump/003.png,abnormal,test,scratch,masks/003.png

| column (or its other names) | holds |
|---|---|
| `image` (`image_path`, `path`, `file_name`) | the image, relative to the folder given as root |
| `label` | `normal`, `good`, `ok` or 0; `abnormal`, `anomalous`, `anomaly`, `defect`, `bad`, `ng` or 1; or a type |
| `label_index` | 0 normal, 1 defective; with or instead of `label` |
| `split` | train, val or test; left empty it is `all` |
| `category`, `type` | the product (else the root's name); the type of defect (else `label`, else "defect") |
| `mask` (`mask_path`) | an image of the defect, defective above 0 (JPEG: above 127); not looked at on normal rows |
| `x1`, `y1`, `x2`, `y2` | a box in pixels, x2 and y2 exclusive; an image may have several rows |

These are the names of anomalib's tabular data sets as well, whose label `normal_test` is known too. Separated by
comma, semicolon, tab or bar, as the header shows; UTF-8 with or without BOM. An apostrophe that keeps a spreadsheet
from taking a text for a formula (`'=x`, `'-x`) is taken off. Other columns are not read, but one whose name is almost a
known one is refused.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.drawn import (
    NO_SPLIT,
    NORMAL,
    OWN_LICENCE,
    OWN_PAGE,
    SPLITS,
    Drawing,
    path_in_set,
    samples,
    set_name,
)
from iadr1.datasets.files import Files
from iadr1.datasets.layout import words, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.datasets.polygons import Shape, are_numbers
from iadr1.errors import DataError, closest
from iadr1.geometry import Box
from iadr1.records import Sample
from iadr1.spreadsheet import unguard

_COLUMNS = {
    **dict.fromkeys(("image", "image_path", "path", "file_name"), "image"),
    **dict.fromkeys(("mask", "mask_path"), "mask"),
    **{name: name for name in ("label", "label_index", "split", "category", "type", "x1", "y1", "x2", "y2")},
}
_BOX = ("x1", "y1", "x2", "y2")
_NORMAL_LABELS = NORMAL | {"normal_test", "0"}
_DEFECT_LABELS = frozenset({"abnormal", "anomalous", "anomaly", "defect", "defective", "bad", "ng", "1"})
_UNNAMED = "defect"
_UNCLEAR = frozenset({"true", "false", "yes", "no", "nan", "none", "null"})
_UNDECIDED = (
    "say normal or abnormal, or take the row out; in a table of 'iadr1 export --format csv' it is empty where the "
    "verdict is undecided: decide, or export with --only anomalous or --only normal"
)
_JPEG = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True)
class _Row:
    """One row; `kind` is None for a normal image."""

    where: str
    image: str
    kind: str | None
    split: str
    category: str
    mask: str | None
    box: Box | None


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image in the order of the rows; `id` is the image's path.

    A table has masks or boxes, or neither (then a defect has no place). The reference of an image is the first other
    normal image of its category that is not of the splits val and test.

    Args:
        files: The set's files.
        annotations: The table; by default the only .csv or .tsv in the root.

    Raises:
        DataError: No table or several, no columns for image and label, a row that is not what its columns say (with
            file and line), an image twice, files missing, masks of another size, boxes outside their image.
    """
    index = annotations or _only(files.root)
    rows = list(_rows(files.root, index))
    if not rows:
        raise DataError("the table has no rows", where=str(index))
    masks, boxes = any(row.mask for row in rows), any(row.box for row in rows)
    if masks and boxes:
        raise DataError(
            "both masks and boxes are given", where=str(index), hint="a mask's boxes are made from it: rename x1 to y2"
        )
    if masks:
        photos = _photos(rows)
        yield from yes_no(
            files,
            photos,
            dataset=set_name(files.root),
            licence=OWN_LICENCE,
            source=SOURCE.title,
            tree=SOURCE.tree,
        )
    else:
        yield from samples(files, _drawings(rows), source=SOURCE.title, tree=SOURCE.tree)


def _only(root: Path) -> Path:
    found = [path for pattern in ("*.csv", "*.tsv") for path in sorted(root.glob(pattern))]
    if not found:
        raise wrong_layout(root, SOURCE.tree)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"several tables: {names}", where=str(root), hint="choose one with --annotations")
    return found[0]


def _rows(root: Path, index: Path) -> Iterator[_Row]:
    try:
        with index.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            separator, columns = _header(header, f"{index}:1")
            reader = csv.reader(file, delimiter=separator)
            for cells in reader:
                where = f"{index}:{reader.line_num + 1}"
                if any(cell.strip() for cell in cells):
                    if len(cells) != len(columns):
                        raise DataError(f"{len(cells)} cells, but {len(columns)} columns", where=where)
                    named = zip(columns, cells, strict=True)
                    yield _row({name: unguard(cell.strip()) for name, cell in named if name}, root, where)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read the table: {error}", where=str(index), hint="it must be text in UTF-8 (not .xlsx)"
        ) from error


def _header(line: str, where: str) -> tuple[str, list[str]]:
    """The separator, and for each column the name it is known by ("" for one that is not read)."""
    for separator in ",;\t|":
        cells = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=separator), [])]
        columns = [_COLUMNS.get(cell, "") for cell in cells]
        if "image" in columns:
            break
    twice = [name for name in columns if name and columns.count(name) > 1]
    lost = [name for name in ("image", "label or label_index") if not set(name.split(" or ")) & set(columns)]
    if lost or twice:
        fault = f"no column {', '.join(lost)}" if lost else f"two columns for {twice[0]!r}"
        raise DataError(f"{fault} in the header {line.strip():.120}", where=where, hint=f"known: {', '.join(_COLUMNS)}")
    boxes = set(_BOX) & set(columns)
    if boxes and len(boxes) < len(_BOX):
        raise DataError(f"a box needs x1, y1, x2, y2; there is only {', '.join(sorted(boxes))}", where=where)
    for cell, name in zip(cells, columns, strict=True):
        near = None if name else closest(cell, _COLUMNS, cutoff=0.85)
        if near is not None:
            raise DataError(f"unknown column {cell!r}", where=where, hint=f"did you mean {near!r}?")
    return separator, columns


def _row(cells: dict[str, str], root: Path, where: str) -> _Row:
    kind = _kind(cells, where)
    box = _box([cells.get(name, "") for name in _BOX], where)
    if kind is None and box is not None:
        raise DataError("a normal image has a box", where=where, hint="mend the label or empty the box")
    split = cells.get("split", "")
    return _Row(
        where=where,
        image=path_in_set(cells["image"], base="", root=root, where=where),
        kind=kind,
        split=SPLITS.get(split.lower(), split or NO_SPLIT),
        category=cells.get("category") or set_name(root),
        mask=path_in_set(cells["mask"], base="", root=root, where=where) if kind and cells.get("mask") else None,
        box=box,
    )


def _kind(cells: dict[str, str], where: str) -> str | None:
    """The type of defect in words; None for a normal image."""
    label, index, kind = (cells.get(name, "") for name in ("label", "label_index", "type"))
    if label.lower() in _UNCLEAR or (label.isdigit() and label not in ("0", "1")):
        raise DataError(f"the label {label!r} does not say what it means", where=where, hint="normal or abnormal")
    if index not in ("", "0", "1", "0.0", "1.0"):
        raise DataError(f"label_index is {index!r}", where=where, hint="0 is normal, 1 defective")
    said = [label.lower() not in _NORMAL_LABELS] * bool(label) + [index.startswith("1")] * bool(index)
    if not said or len(set(said)) > 1:
        empty = " and ".join(name for name in ("label", "label_index") if name in cells)
        fault = f"no label for {cells['image']!r}: {empty} is empty"
        if said:
            fault = f"label {label!r} and label_index {index} contradict each other"
        raise DataError(fault, where=where, hint="say normal or abnormal" if said else _UNDECIDED)
    if not said[0]:
        if kind and kind.lower() not in NORMAL:
            raise DataError(f"a normal image has the type {kind!r}", where=where, hint="mend the label or the type")
        return None
    own = "" if label.lower() in _DEFECT_LABELS else label
    return words(kind or own or _UNNAMED)


def _box(cells: Sequence[str], where: str) -> Box | None:
    if not any(cells):
        return None
    try:
        values = [float(cell) for cell in cells]
    except ValueError as error:
        raise DataError(f"the box {', '.join(cells)} is not four numbers", where=where) from error
    x1, y1, x2, y2 = values
    if not are_numbers(values) or x2 <= x1 or y2 <= y1:
        raise DataError(
            f"the box {', '.join(cells)} has no area",
            where=where,
            hint="x2 and y2 are corners, not width and height",
        )
    return x1, y1, x2, y2


def _by_image(rows: Sequence[_Row], *, several: bool) -> Iterator[list[_Row]]:
    """The rows of each image; several only where each is a box and all agree."""
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(row.image, []).append(row)
    for group in found.values():
        first = group[0]
        for row in group[1:]:
            if not several or row.box is None or first.box is None:
                raise DataError(
                    f"the image {row.image!r} is there twice; first in {first.where}",
                    where=row.where,
                    hint="an image has several rows only where each holds a box",
                )
            if (row.split, row.category) != (first.split, first.category):
                raise DataError(f"another split or category than in {first.where}", where=row.where)
        yield group


def _drawings(rows: Sequence[_Row]) -> Iterator[Drawing]:
    for group in _by_image(rows, several=True):
        shapes = [
            Shape(type=row.kind, where=row.where, box=row.box, placed=row.box is not None) for row in group if row.kind
        ]
        row = group[0]
        yield Drawing(row.image, row.split, row.where, tuple(shapes), category=row.category)


def _photos(rows: Sequence[_Row]) -> list[Photo]:
    groups = [group[0] for group in _by_image(rows, several=False)]
    templates: dict[str, list[str]] = {}
    for row in groups:
        if row.kind is None and row.split not in ("val", "test"):
            templates.setdefault(row.category, []).append(row.image)
    return [
        Photo(
            path=row.image,
            category=row.category,
            split=row.split,
            kind=row.kind,
            masks=() if row.mask is None else (row.mask,),
            threshold=127 if row.mask is not None and Path(row.mask).suffix.lower() in _JPEG else 0,
            references=other_than(row.image, templates.get(row.category, ())),
        )
        for row in groups
    ]


SOURCE = Source(
    scan=scan,
    title="Table",
    licence=OWN_LICENCE,
    page=OWN_PAGE,
    citation="columns: Akcay et al., anomalib, ICIP 2022, arXiv 2202.08341",
    tree="table.csv with the columns image and label (mask, or x1 y1 x2 y2; split, category, type)",
    options=("annotations",),
)
