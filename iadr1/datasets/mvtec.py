"""MVTec AD, and every set in its layout (Bergmann et al., CVPR 2019, doi 10.1109/CVPR.2019.00982).

Licence: CC BY-NC-SA 4.0 (`license.txt` of the archive).

    mvtec_anomaly_detection/
      bottle/
        train/good/000.png ...
        test/good/000.png ...
        test/<type>/000.png ...
        ground_truth/<type>/000_mask.png ...    values 0 and 255; no folder for `good`
      cable/ ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, words, wrong_layout
from iadr1.datasets.masked import Photo, other_than, yes_no
from iadr1.records import Sample


def scan(files: Files) -> Iterator[Sample]:
    """One yes/no sample per image, `train/good` before `test`, sorted by category, type and number.

    The reference of an image is the category's first other image in `train/good`. Normal is what lies in a folder
    `good`; one defect per region of the mask, its type the folder's name in words (in `combined` the mask does not
    tell the kinds apart).

    Raises:
        DataError: No category folder found, or masks are missing.
    """
    photos = [photo for folder in subfolders(files.root) for photo in _category(files.root, folder)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    yield from yes_no(files, photos, dataset="MVTec-AD", licence=SOURCE.licence, source=SOURCE.title, tree=SOURCE.tree)


def _category(root: Path, folder: Path) -> Iterator[Photo]:
    templates = [path.relative_to(root).as_posix() for path in image_files(folder / "train" / GOOD)]
    for split in ("train", "test"):
        for state in subfolders(folder / split):
            for path in image_files(state):
                name = path.relative_to(root).as_posix()
                normal = state.name == GOOD
                mask = f"{folder.name}/ground_truth/{state.name}/{path.stem}_mask.png"
                yield Photo(
                    path=name,
                    category=folder.name,
                    split=split,
                    kind=None if normal else words(state.name),
                    masks=() if normal else (mask,),
                    references=other_than(name, templates),
                )


SOURCE = Source(
    scan=scan,
    title="MVTec AD",
    licence="CC-BY-NC-SA-4.0",
    commercial=False,
    page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    citation="Bergmann et al., CVPR 2019, doi 10.1109/CVPR.2019.00982",
    tree="CATEGORY/train/good/000.png, CATEGORY/test/TYPE/000.png, CATEGORY/ground_truth/TYPE/000_mask.png",
)
