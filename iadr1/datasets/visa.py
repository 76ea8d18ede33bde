"""VisA, twelve objects (Zou et al., ECCV 2022, arXiv 2207.14315), as released or in the one-class layout.

Licence: CC BY 4.0 by the owners' repository `amazon-science/spot-diff` (anomalib states CC BY-NC-SA 4.0).

As released (`VisA_20220922.tar`):

    VisA/
      candle/
        Data/Images/Normal/0000.JPG ...
        Data/Images/Anomaly/000.JPG ...
        Data/Masks/Anomaly/000.png ...      small label ids (black to look at)
        image_anno.csv                      image,label,mask: the kinds of defect of an image, joined by commas
      pcb1/ ...
      split_csv/1cls.csv                    object,split,label,image,mask

One-class, made of it by the owners' script or by anomalib; also in MMAD and IAD-R1:

    VisA/
      candle/{train/good,test/good,test/bad}/*.JPG
      candle/ground_truth/bad/000.png ...   0 and 255: the kinds are lost
      pcb1/ ...
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.labels import by_label
from iadr1.datasets.layout import subfolders
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.datasets.mvtec_layout import Layout, scan_tree
from iadr1.datasets.published import scan_published
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

DATASET = "VisA"
SPLIT = "split_csv/1cls.csv"
KINDS = "image_anno.csv"
_UNKNOWN = "anomaly"
_VERDICTS = {"normal": None, "anomaly": _UNKNOWN}


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image: in the order of `split_csv/1cls.csv`, or as MVTec AD in the one-class layout.

    As released, a defect's type is what `image_anno.csv` says of the image. Where that is several kinds, each region
    has all of them as its type: nothing says which label id is which kind. `attributes` keep the id (`label`).
    Where that table is absent it is `anomaly`, and in the one-class layout `bad`, as its folder says and as MMAD and
    IAD-R1's test file have it.

    Args:
        files: The set's files.
        annotations: IAD-R1's `test_VisA_format.json`; its entries are then the samples, without boxes.

    Raises:
        DataError: Neither layout or both, a malformed table, or files are missing.
    """
    if annotations is not None:
        return scan_published(files, annotations, dataset=DATASET, licence=SOURCE.licence)
    folders = subfolders(files.root)
    raw = [folder.name for folder in folders if (folder / "Data" / "Images").is_dir()]
    one_class = [folder.name for folder in folders if (folder / "test").is_dir() or (folder / "train").is_dir()]
    if raw and one_class:
        raise DataError(
            f"two layouts at once: {raw[0]} as released, {one_class[0]} one-class",
            where=str(files.root),
            hint="give the folder of one of them",
        )
    if (files.root / SPLIT).is_file() and not one_class:
        return _released(files)
    return scan_tree(files, Layout(mask="{stem}.png"), SOURCE, dataset=DATASET)


def _released(files: Files) -> Iterator[Sample]:
    photos = list(_photos(files.root))
    if not photos:
        raise DataError("no images in the table", where=str(files.root / SPLIT))
    categories = {photo.category for photo in photos}
    kinds = {name: kind for category in categories for name, kind in _kinds(files.root / category / KINDS).items()}
    normal: dict[str, list[str]] = {category: [] for category in categories}
    for photo in photos:
        if photo.split == "train" and photo.kind is None:
            normal[photo.category].append(photo.path)
    photos = [
        replace(
            photo,
            kind=photo.kind and kinds.get(photo.path, photo.kind),
            references=other_than(photo.path, normal[photo.category]),
        )
        for photo in photos
    ]
    samples = yes_no(files, photos, dataset=DATASET, licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)
    return by_label(files, samples, _type_of, categories=categories)


def _type_of(_: str, defect: Defect, __: int) -> str:
    return defect.type


def _photos(root: Path) -> Iterator[Photo]:
    """The rows of the split table, without references."""
    seen: set[str] = set()
    for where, row in _rows(root / SPLIT, ("object", "split", "label", "image", "mask")):
        if row["label"] not in _VERDICTS:
            raise DataError(f"'label' is {row['label']!r}, neither 'normal' nor 'anomaly'", where=where)
        if row["image"] in seen:
            raise DataError(f"the image {row['image']!r} stands in two rows", where=where)
        seen.add(row["image"])
        kind = _VERDICTS[row["label"]]
        masks = (row["mask"],) if kind and row["mask"] else ()
        yield Photo(path=row["image"], category=row["object"], split=row["split"], kind=kind, masks=masks)


def _kinds(path: Path) -> dict[str, str]:
    """Image -> its kinds of defect, where an object's table is there."""
    if not path.is_file():
        return {}
    labels = {row["image"]: row["label"] for _, row in _rows(path, ("image", "label"))}
    return {image: ", ".join(part.strip() for part in label.split(",")) for image, label in labels.items() if label}


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table that has at least these columns, each with its place."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if absent := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise DataError(
                    f"no column {', '.join(absent)} in the header {','.join(reader.fieldnames or ())!r:.100}",
                    where=f"{path}:1",
                    hint=f"expected {','.join(columns)}",
                )
            for row in reader:
                yield f"{path}:{reader.line_num}", {name: row[name].strip() for name in columns}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the table: {error}", where=str(path)) from error


SOURCE = Source(
    scan=scan,
    title="VisA",
    licence="CC-BY-4.0",
    page="https://github.com/amazon-science/spot-diff",
    citation="Zou et al., ECCV 2022, arXiv 2207.14315",
    tree=f"{SPLIT} and OBJECT/Data/Images/Normal/0000.JPG, or OBJECT/train/good/0000.JPG, OBJECT/test/bad/000.JPG, "
    "OBJECT/ground_truth/bad/000.png",
    options=("annotations",),
)
