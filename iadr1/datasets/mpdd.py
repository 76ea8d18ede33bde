"""MPDD, painted metal parts (Jezek et al., ICUMT 2021, doi 10.1109/ICUMT54235.2021.9631567).

Licence: none in the repository `stepanje/MPDD`; anomalib states CC BY-NC-SA 4.0.

    MPDD/
      bracket_black/
        train/good/000.png ...
        test/{good,hole,scratches}/000.png ...
        ground_truth/{hole,scratches}/000_mask.png ...
      tubes/ ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.mvtec_layout import TREE, Layout, scan_tree
from iadr1.datasets.published import scan_published
from iadr1.records import Sample

DATASET = "MPDD"


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, as MVTec AD, whose layout it has.

    Args:
        files: The set's files.
        annotations: IAD-R1's `test_MPDD_format.json` (458 entries); they are then the samples, without boxes.

    Raises:
        DataError: No category folder found, or masks are missing.
    """
    if annotations is not None:
        return scan_published(files, annotations, dataset=DATASET, licence=SOURCE.licence)
    return scan_tree(files, Layout(), SOURCE, dataset=DATASET)


SOURCE = Source(
    scan=scan,
    title="MPDD",
    licence="CC-BY-NC-SA-4.0",
    page="https://github.com/stepanje/MPDD",
    citation="Jezek et al., ICUMT 2021, doi 10.1109/ICUMT54235.2021.9631567",
    tree=TREE,
    options=("annotations",),
)
