"""GoodsAD (PKU-GoodsAD), supermarket goods (Zhang et al., IEEE RA-L 2024, arXiv 2307.04956).

Licence: none stated.

    GoodsAD/
      drink_can/
        train/good/000000.jpg ...           three digits for the product, three for the picture of it
        test/good/000000.jpg ...
        test/{surface_damage,deformation,straw_missing}/000000.jpg ...
        ground_truth/{surface_damage,deformation,straw_missing}/...
      cigarette_box/ ...

A category mixes many products (drink_can 59, cigarette_box 116).
"""

from __future__ import annotations

from collections.abc import Iterator

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.mvtec_layout import Layout, scan_tree
from iadr1.records import Sample


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per image, as MVTec AD, whose layout it has.

    A mask is found by the image's stem, with or without more behind it (`000000.png`, `000000_mask.png`). The
    reference may show another product of the same category: nothing says for sure which images show the same.

    Raises:
        DataError: No category folder found, masks are missing, or several fit one image.
    """
    return scan_tree(files, Layout(mask="{stem}.png"), SOURCE, dataset="GoodsAD")


SOURCE = Source(
    scan=scan,
    title="GoodsAD",
    licence="none stated",
    page="https://github.com/jianzhang96/GoodsAD",
    citation="Zhang et al., IEEE RA-L 2024, arXiv 2307.04956",
    tree="CATEGORY/train/good/000000.jpg, CATEGORY/test/TYPE/000000.jpg, CATEGORY/ground_truth/TYPE/000000.png",
)
