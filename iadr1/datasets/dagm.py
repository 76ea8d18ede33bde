r"""DAGM 2007: grey textures with at most one artificial defect (Wieler and Hahn, DAGM symposium 2007).

Licence: none stated. Ten classes, 16,100 images, 2,100 of them defective, in both halves.

    DAGM_KaggleUpload/
      Class1/                               some archives have Class1/Class1/
        Train/0576.PNG ...
        Train/Label/Labels.txt              a header, then `2\t1\t0002.PNG\t0\t0002_label.PNG` for each image
        Train/Label/0579_label.PNG ...      for defective images only
        Test/ ...                           likewise
      Class10/ ...

The masks are filled ellipses around the defects, larger than these: their boxes are loose. IAD-R1 sorts the test half
anew, without masks: `Class1/good/0001.PNG`, `Class1/defect/0002.PNG`; that layout is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.datasets.published import scan_published
from iadr1.errors import DataError
from iadr1.records import Sample

DATASET = "DAGM"
_HALVES = ("Train", "Test")
_DEFECT = "defect"
_LABEL = "Label"


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, sorted by class (by number), half and file; `Train` becomes the split `train`.

    What is defective stands in `Labels.txt`; the one defect is of the type `defect`, in the ellipse of its label. The
    reference of an image is the class's first other normal image in `Train`.

    Args:
        files: The set's files.
        annotations: IAD-R1's `test_DAGM_format.json`: its 8,050 images instead of what the folders say.

    Raises:
        DataError: The folder is laid out otherwise, or `Labels.txt` and the images do not agree.
    """
    if annotations is not None:
        yield from scan_published(files, annotations, dataset=DATASET, licence=SOURCE.licence)
        return
    photos = [photo for folder in _classes(files.root) for photo in _class(files.root, folder)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    yield from yes_no(files, photos, dataset=DATASET, licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)


def _classes(root: Path) -> list[Path]:
    numbered = [(re.fullmatch(r"Class(\d+)", folder.name), folder) for folder in subfolders(root)]
    return [folder for _, folder in sorted((int(match[1]), folder) for match, folder in numbered if match)]


def _class(root: Path, folder: Path) -> Iterator[Photo]:
    inner = folder / folder.name if (folder / folder.name).is_dir() else folder
    halves = [inner / half for half in _HALVES if (inner / half).is_dir()]
    states = [inner / state for state in (GOOD, _DEFECT) if (inner / state).is_dir()]
    if halves and states:
        names = ", ".join(path.name for path in (*halves, *states))
        raise DataError(
            f"the class is in two layouts at once: {names}",
            where=str(inner),
            hint="give a folder that holds either Train and Test or IAD-R1's good and defect",
        )
    rows = [row for half in halves for row in _labels(root, half)]
    normal = [image for image, defective, _ in rows if not defective]
    templates = [image for image in normal if image.split("/")[-2] == _HALVES[0]]
    for image, defective, label in rows:
        yield Photo(
            path=image,
            category=folder.name,
            split=image.split("/")[-2].lower(),
            kind=_DEFECT if defective else None,
            masks=(label,) if label else (),
            references=other_than(image, templates),
        )
    for state in states:
        for path in image_files(state):
            kind = None if state.name == GOOD else _DEFECT
            yield Photo(path=path.relative_to(root).as_posix(), category=folder.name, split="test", kind=kind)


def _labels(root: Path, half: Path) -> list[tuple[str, bool, str | None]]:
    """Image, whether it is defective, and its label file, for each line of a `Labels.txt`."""
    table = half / _LABEL / "Labels.txt"
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(table), hint=f"expected {SOURCE.tree}") from error
    place = half.relative_to(root).as_posix()
    found: dict[str, tuple[str, bool, str | None]] = {}
    # The first line is a header.
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        image, defective, label = _fields(line, f"{table}:{number}")
        if image in found:
            raise DataError(f"the image {image!r} is listed twice", where=f"{table}:{number}")
        found[image] = (f"{place}/{image}", defective, f"{place}/{_LABEL}/{label}" if label else None)
    unlisted = [path.name for path in image_files(half) if path.name not in found]
    if unlisted:
        raise DataError(f"{len(unlisted)} images are not listed, the first is {unlisted[0]!r}", where=str(table))
    return sorted(found.values())


def _fields(line: str, where: str) -> tuple[str, bool, str | None]:
    """Image, flag and label file of one line; its first and fourth fields say nothing more."""
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) != 5 or fields[1] not in ("0", "1"):
        raise DataError(
            f"{line!r:.80} is not a line of Labels.txt",
            where=where,
            hint="five fields apart by tabs: number, 0 or 1 (defective), image, 0 or 1, label file or 0",
        )
    image, label = fields[2], None if fields[4] == "0" else fields[4]
    defective = fields[1] == "1"
    if defective != (label is not None):
        raise DataError(f"{image!r} has the flag {fields[1]} and the label {fields[4]!r}: they disagree", where=where)
    return image, defective, label


SOURCE = Source(
    scan=scan,
    title="DAGM 2007",
    licence="none stated",
    page="https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
    citation="Wieler and Hahn, Weakly supervised learning for industrial optical inspection, DAGM symposium 2007",
    tree="Class1/{Train,Test}/0001.PNG with Class1/{Train,Test}/Label/{Labels.txt,0002_label.PNG}, "
    "or Class1/{good,defect}/0001.PNG",
    options=("annotations",),
)
