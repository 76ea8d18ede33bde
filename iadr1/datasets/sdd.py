"""KolektorSDD, KolektorSDD2, and the tiles of KolektorSDD that IAD-R1 calls SDD.

KolektorSDD: electrical commutators, 399 images of 50 items, 52 defective (Tabernik et al., Journal of Intelligent
Manufacturing 2019, doi 10.1007/s10845-019-01476-x). KolektorSDD2: coloured surfaces, 2,331 and 1,004 images, 246 and
110 defective (Bozic et al., Computers in Industry 2021, doi 10.1016/j.compind.2021.103459). Licence: CC BY-NC-SA 4.0
(stated by their owner, ViCoS Lab, University of Ljubljana).

    KolektorSDD/kos01/Part0.jpg, Part0_label.bmp ...        no official split
    KolektorSDD2/{train,test}/10000.png, 10000_GT.png ...
    SDD/{train/good, test/good, test/defect}/kos01_Part5_1.png, SDD/ground_truth/defect/kos01_Part5_1_mask.png

In the first two every image has a mask, and is defective where one pixel of it is not zero. The archive of
KolektorSDD2 holds `10301 (copy).png` and `10301_GT (copy).png`, which are no images of the set. The tiles are thirds
of KolektorSDD's images by height (AdaCLIP's `sdd-pre.py`); copies without `ground_truth` give verdicts without places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from iadr1 import parallel
from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.datasets.published import scan_published
from iadr1.errors import DataError
from iadr1.records import Sample

_DEFECT = "defect"


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, sorted by path; which of the three sets it is, the folder's layout says.

    `dataset` and `category` are `KolektorSDD` (split `all`), `KolektorSDD2` or `SDD`; the one type is `defect`. The
    reference is the first other normal image: of the training half, or of all where there is no split.

    Args:
        files: The set's files.
        annotations: IAD-R1's `test_SDD_format.json`: its 340 tiles instead of what the folders say.

    Raises:
        DataError: The folder is none of the three or several at once, or an image has no mask.
    """
    if annotations is not None:
        yield from scan_published(files, annotations, dataset="SDD", licence=SOURCE.licence)
        return
    layouts: dict[str, Callable[[Path], Iterable[Photo]]] = {
        "KolektorSDD": _kolektor1,
        "KolektorSDD2": _kolektor2,
        "SDD": _tiles,
    }
    found = {name: photos for name, look in layouts.items() if (photos := list(look(files.root)))}
    if len(found) > 1:
        raise DataError(f"the folder holds {' and '.join(found)}", where=str(files.root), hint="prepare one at a time")
    if not found:
        raise wrong_layout(files.root, SOURCE.tree)
    ((dataset, photos),) = found.items()
    if dataset != "SDD":
        photos = list(_judged(files, photos))
    photos = list(_with_references(photos))
    yield from yes_no(files, photos, dataset=dataset, licence=SOURCE.licence, source=dataset, tree=SOURCE.tree)


def _kolektor1(root: Path) -> Iterator[Photo]:
    for item in subfolders(root):
        for path in image_files(item) if re.fullmatch(r"kos\d+", item.name) else ():
            if not path.stem.endswith("_label"):
                name = path.relative_to(root).as_posix()
                mask = f"{item.name}/{path.stem}_label.bmp"
                yield Photo(path=name, category="KolektorSDD", split="all", kind=_DEFECT, masks=(mask,))


def _kolektor2(root: Path) -> Iterator[Photo]:
    for split in ("train", "test"):
        for path in image_files(root / split):
            if re.fullmatch(r"\d+", path.stem):
                name, mask = f"{split}/{path.name}", f"{split}/{path.stem}_GT.png"
                yield Photo(path=name, category="KolektorSDD2", split=split, kind=_DEFECT, masks=(mask,))


def _tiles(root: Path) -> Iterator[Photo]:
    with_masks = (root / "ground_truth" / _DEFECT).is_dir()
    for split, state in (("train", GOOD), ("test", _DEFECT), ("test", GOOD)):
        for path in image_files(root / split / state):
            mask = f"ground_truth/{_DEFECT}/{path.stem}_mask.png"
            yield Photo(
                path=path.relative_to(root).as_posix(),
                category="SDD",
                split=split,
                kind=None if state == GOOD else _DEFECT,
                masks=(mask,) if state == _DEFECT and with_masks else (),
            )


def _judged(files: Files, photos: Sequence[Photo]) -> Iterator[Photo]:
    """The photos with the verdict that their masks give; without masks there is none."""
    for photo in photos:
        files.add(photo.masks[0], where=photo.path)
    known = [photo for photo in photos if files.has(photo.masks[0])]
    if len(known) < len(photos) and files.missing != "skip":
        raise DataError(
            f"{files.absent_text()}; whether an image is defective stands in its mask only",
            where=str(files.root),
            hint="unpack the archive again, or leave these images out with --missing skip",
        )

    def judge(photo: Photo) -> Photo:
        return replace(photo, kind=None, masks=()) if files.mask(photo.masks[0]).empty else photo

    yield from parallel.ordered(judge, known)


def _with_references(photos: Sequence[Photo]) -> Iterator[Photo]:
    normal = (photo.path for photo in photos if photo.kind is None and photo.split in ("train", "all"))
    templates = list(islice(normal, 2))
    for photo in photos:
        yield replace(photo, references=other_than(photo.path, templates))


SOURCE = Source(
    scan=scan,
    title="KolektorSDD, KolektorSDD2 or SDD",
    licence="CC-BY-NC-SA-4.0",
    page="https://www.vicos.si/resources/kolektorsdd/",
    citation="Tabernik et al., JIM 2019, doi 10.1007/s10845-019-01476-x; Bozic et al., Computers in Industry 2021",
    tree="kos01/Part0.jpg with Part0_label.bmp (KolektorSDD), {train,test}/10000.png with 10000_GT.png (KolektorSDD2), "
    "or {train/good,test/good,test/defect}/kos01_Part5_1.png (SDD)",
    options=("annotations",),
)
