"""RefCOCO, RefCOCO+ and RefCOCOg (Yu et al., arXiv 1608.00272; Mao et al., arXiv 1511.02283), in three forms.

Licence: code of `lichengunc/refer` and VLM-R1 Apache-2.0; images under COCO's terms (Flickr licences); none stated
for the expressions. All splits use COCO's train2014 images, which lie in `train2014/`, `images/train2014/` or
`[data/]images/mscoco/images/train2014/`. Each source takes its own files only:

    set/
      [data/]refcoco+/refs(unc).p, instances.json    the release; a pickle, of which plain values are read and nothing
                                                     is run (`pickles.py`)
      [refcoco+/][data/]*.parquet                    jxu124's and lmms-lab's tables (needs pyarrow, `parquet.py`)
      [rec_jsons_processed/]refcocop_train.json      VLM-R1's JSON: `refcoco_`, `refcocop_` (RefCOCO+), `refcocog_`

Google's, unc's and umd's splits differ for the same expressions: release and tables have them in `split` (`unc-testA`)
and `id`, in the same words. `category` is COCO's name from `instances.json`; the other forms have COCO's id only, or
nothing (`unknown`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from iadr1.datasets.base import Hub, Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import subfolders, wrong_layout
from iadr1.datasets.refcoco import parquet, refer, vlmr1
from iadr1.datasets.refcoco.common import Expression, Family, image_folder, samples
from iadr1.errors import DataError
from iadr1.records import Sample

LICENCE = "COCO terms of use (images); Apache-2.0 (VLM-R1)"

_PLAIN = Family(
    name="refcoco",
    folders=("refcoco",),
    prefix="refcoco",
    benchmark="refcoco",
    by="unc",
    mixed={"val": "google+unc", "test": "google", "testA": "unc", "testB": "unc"},
)
_PLUS = Family(
    name="refcoco+",
    folders=("refcoco+", "refcocoplus"),
    prefix="refcocop",
    benchmark="refcoco_plus",
    by="unc",
    mixed={"val": "unc", "testA": "unc", "testB": "unc"},
)
_G = Family(
    name="refcocog",
    folders=("refcocog",),
    prefix="refcocog",
    benchmark="refcocog",
    by="umd",
    mixed={"val": "google+umd", "test": "umd"},
)
_FAMILIES = (_PLAIN, _PLUS, _G)

_Expressions = Callable[[], Iterator[Expression]]


def scan(files: Files, *, family: Family) -> Iterator[Sample]:
    """One grounding sample per referring expression, file by file in sorted order.

    The named region is the only entry of `defects`, with the expression as its type, clipped to the image; whether
    anything is anomalous is unknown. Boxes are xyxy, made from COCO's x, y, width, height by adding.

    Args:
        files: The files.
        family: Which of the three sets.

    Raises:
        DataError: No form of the set, or several; a broken file or entry; a box outside its image; missing images.
        MissingExtraError: The set is there as parquet, and pyarrow is not.
    """
    found = _forms(files.root, family)
    if not found:
        raise wrong_layout(files.root, _tree(family))
    if len(found) > 1:
        raise DataError(
            f"{family.name} is there in several forms: {', '.join(found)}",
            where=str(files.root),
            hint="keep one of them, or give the folder of one as --root",
        )
    ((name, load),) = found.items()
    yield from samples(files, load(), licence=LICENCE, source=name)


def _forms(root: Path, family: Family) -> dict[str, Callable[[], _Expressions]]:
    """Name -> how to load it, for each form of a set that a folder holds."""
    own = [folder for parent in (root, root / "data") for folder in subfolders(parent) if _is_of(folder, family)]
    if not any(_is_of(root.resolve(), other) for other in _FAMILIES if other is not family):
        own.append(root)
    found: dict[str, Callable[[], _Expressions]] = {}
    images = image_folder(root)
    for home in own:
        place = f" in {home.relative_to(root)}/"
        # refs(unc).p does not say which set it is of: its folder must.
        if any(home.glob(refer.PATTERN)) and _is_of(home.resolve(), family):
            found[f"refer{place}"] = partial(refer.load, home, dataset=family.name, images=images)
        tables = parquet.tables(home, family)
        if tables:
            found[f"parquet{place}"] = partial(parquet.load, tables, family, images=images)
    indexes = sorted(
        path
        for folder in (root, root / vlmr1.FOLDER)
        for path in folder.glob("*.json")
        if path.stem.rpartition("_")[0] == family.prefix
    )
    if indexes:
        found["VLM-R1 REC"] = partial(vlmr1.load, indexes)
    return found


def _is_of(folder: Path, family: Family) -> bool:
    return folder.name.lower() in family.folders


def _tree(family: Family) -> str:
    return (
        f"{family.prefix}_train.json (or {vlmr1.FOLDER}/*.json), {family.name}/refs(*).p with instances.json, "
        f"or {family.name}/*.parquet, beside train2014/"
    )


def _source(family: Family, title: str, citation: str) -> Source:
    return Source(
        scan=partial(scan, family=family),
        title=title,
        licence=LICENCE,
        page="https://github.com/lichengunc/refer",
        citation=citation,
        tree=_tree(family),
        hub=Hub("omlab/VLM-R1", ("rec_jsons_processed.zip", "train2014.zip")),
    )


REFCOCO = _source(_PLAIN, "RefCOCO", "Yu et al., ECCV 2016, arXiv 1608.00272")
REFCOCO_PLUS = _source(_PLUS, "RefCOCO+", "Yu et al., ECCV 2016, arXiv 1608.00272")
REFCOCOG = _source(_G, "RefCOCOg", "Mao et al., CVPR 2016, arXiv 1511.02283")
SOURCE = REFCOCO
