"""DTD-Synthetic: textures of DTD with synthetic defects (Aota et al., WACV 2023).

The paper: "Zero-shot versus many-shot: unsupervised texture anomaly detection".
Licence: none stated. Twelve textures; the test half has 357 good and 947 bad images.

    DTD-Synthetic/
      Woven_001/
        train/good/000.png ...
        test/{good,bad}/000.png ...
        ground_truth/bad/000_mask.png ...   defective where > 0; in some copies 000.png
        template/000.png                    in IAD-R1's copy, named DTD, only
      Blotchy_099/ ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, wrong_layout
from iadr1.datasets.masked import Photo, yes_no
from iadr1.datasets.mvtec_layout import Layout, category_photos
from iadr1.datasets.published import scan_published
from iadr1.records import Sample

DATASET = "DTD-Synthetic"


def scan(files: Files, *, annotations: Path | None = None) -> Iterator[Sample]:
    """One yes/no sample per image, `train/good` before `test`, sorted by texture, folder and number.

    Normal is what lies in a folder `good`; the only type of defect is `bad`, one for each region of the mask. The
    reference is the texture's first other image in `train/good`, or in `template` where there is no training half.

    Args:
        files: The set's files.
        annotations: IAD-R1's `test_DTD_format.json`: its 1,304 images instead of what the folders say.

    Raises:
        DataError: The folder is laid out otherwise, or masks are missing.
    """
    if annotations is not None:
        yield from scan_published(files, annotations, dataset=DATASET, licence=SOURCE.licence)
        return
    photos = [photo for folder in subfolders(files.root) for photo in _texture(files.root, folder)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    yield from yes_no(files, photos, dataset=DATASET, licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)


def _texture(root: Path, folder: Path) -> Iterator[Photo]:
    normal = image_files(folder / "train" / GOOD) or image_files(folder / "template")
    templates = [path.relative_to(root).as_posix() for path in normal]
    return category_photos(root, folder, Layout(), templates=templates)


SOURCE = Source(
    scan=scan,
    title="DTD-Synthetic",
    licence="none stated",
    page="https://drive.google.com/drive/folders/10OyPzvI3H6llCZBxKxFlKWt1Pw1tkMK1",
    citation="Aota et al., Zero-shot versus many-shot: unsupervised texture anomaly detection, WACV 2023",
    tree="TEXTURE/train/good/000.png, TEXTURE/test/{good,bad}/000.png, TEXTURE/ground_truth/bad/000_mask.png",
    options=("annotations",),
)
