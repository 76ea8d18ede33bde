"""MVTec AD, and every set in its layout (Bergmann et al., CVPR 2019, doi 10.1109/CVPR.2019.00982).

Licence: CC BY-NC-SA 4.0 (`license.txt` of the archive).

    mvtec_anomaly_detection/
      bottle/
        train/good/000.png ...
        test/good/000.png ...
        test/<type>/000.png ...
        ground_truth/<type>/000_mask.png ...    values 0 and 255; no folder for `good`
      cable/ ...

`grid`, `screw` and `zipper` are grey. In `combined` (cable, pill, wood, zipper) an image has several kinds of defect,
which the mask does not tell apart; the mask of `transistor/misplaced` covers the place where the part should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.mvtec_layout import TREE, Layout, scan_tree
from iadr1.datasets.published import scan_published
from iadr1.records import Sample

DATASET = "MVTec-AD"


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, `train/good` before `test`, sorted by category, type and number.

    The reference of an image is the category's first other image in `train/good`. Normal is what lies in a folder
    `good`; one defect per region of the mask, its type the folder's name in words.

    Args:
        files: The set's files.
        annotations: IAD-R1's `test_MVTec_format.json`; its entries are then the samples, without boxes.

    Raises:
        DataError: No category folder found, or masks are missing.
    """
    if annotations is not None:
        return scan_published(files, annotations, dataset=DATASET, licence=SOURCE.licence)
    return scan_tree(files, Layout(), SOURCE, dataset=DATASET)


SOURCE = Source(
    scan=scan,
    title="MVTec AD",
    licence="CC-BY-NC-SA-4.0",
    page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    citation="Bergmann et al., CVPR 2019, doi 10.1109/CVPR.2019.00982",
    tree=TREE,
    options=("annotations",),
)
