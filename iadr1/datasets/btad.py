"""BTAD, three products of beanTech (Mishra et al., ISIE 2021, arXiv 2104.10036).

Licence: CC BY-NC-SA 4.0 as anomalib states, which is taken here. A readme in some copies says CC BY-SA without a
version; a hub card says that no text lies in the archive.

    BTech_Dataset_transformed/
      01/
        train/ok/0000.bmp ...
        test/ok/0000.bmp ...
        test/ko/0000.bmp ...
        ground_truth/ko/0000.png ...      some copies have an empty ground_truth/ok as well
      02/ ...                             images .png
      03/ ...                             masks .bmp
"""

from __future__ import annotations

from collections.abc import Iterator

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.mvtec_layout import Layout, scan_tree
from iadr1.records import Sample


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per image, `train` before `test`, sorted by product, state and number.

    Normal is what lies in a folder `ok`. The set does not say what kind of defect an image in `ko` has; the type is
    `defect`. A mask is found by the image's stem, whatever the suffixes of the two are.

    Raises:
        DataError: No product folder found, masks are missing, or several fit one image.
    """
    return scan_tree(files, Layout(normal="ok", kind="defect", mask="{stem}.png"), SOURCE, dataset="BTAD")


SOURCE = Source(
    scan=scan,
    title="BTAD",
    licence="CC-BY-NC-SA-4.0",
    page="https://avires.dimi.uniud.it/papers/btad/btad.zip",
    citation="Mishra et al., ISIE 2021, arXiv 2104.10036",
    tree="PRODUCT/train/ok/0000.bmp, PRODUCT/test/ko/0000.bmp, PRODUCT/ground_truth/ko/0000.png (or .bmp)",
)
