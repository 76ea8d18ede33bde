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
from dataclasses import dataclass
from pathlib import Path

from iadr1.datasets.layout import GOOD, Files, image_files, make_sample, subfolders, words, wrong_layout
from iadr1.datasets.regions import mask_defects
from iadr1.prompts import DETECT_QUESTION
from iadr1.records import Sample

LICENCE = "CC-BY-NC-SA-4.0"
TREE = "CATEGORY/train/good/000.png, CATEGORY/test/TYPE/000.png, CATEGORY/ground_truth/TYPE/000_mask.png"


@dataclass(frozen=True)
class _Image:
    path: str
    category: str
    split: str
    state: str
    mask: str | None
    references: tuple[str, ...]


def scan(root: Path) -> Iterator[Sample]:
    """One yes/no sample per image, `train/good` before `test`, sorted by category, type and number.

    The reference of an image is the category's first other image in `train/good`. Normal is what lies in a folder
    `good`; one defect per region of the mask, its type the folder's name in words (in `combined` the mask does not
    tell the kinds apart).

    Raises:
        DataError: No category folder found, or masks are missing.
    """
    images = [image for folder in subfolders(root) for image in _category(root, folder)]
    if not images:
        raise wrong_layout(root, TREE)
    files = Files(root)
    for image in images:
        for path in (image.path, *image.references, *([image.mask] if image.mask else [])):
            files.add(path, where=image.path)
    files.check(hint=f"expected {TREE}")
    for image in images:
        yield _sample(root, image)


def _category(root: Path, folder: Path) -> Iterator[_Image]:
    templates = [path.relative_to(root).as_posix() for path in image_files(folder / "train" / GOOD)]
    for split in ("train", "test"):
        for state in subfolders(folder / split):
            for path in image_files(state):
                name = path.relative_to(root).as_posix()
                mask = f"{folder.name}/ground_truth/{state.name}/{path.stem}_mask.png"
                yield _Image(
                    name,
                    folder.name,
                    split,
                    state.name,
                    None if state.name == GOOD else mask,
                    tuple(template for template in templates[:2] if template != name)[:1],
                )


def _sample(root: Path, image: _Image) -> Sample:
    normal = image.mask is None
    return make_sample(
        image.path,
        id=image.path,
        dataset="MVTec-AD",
        category=image.category,
        split=image.split,
        image=image.path,
        references=image.references,
        task="anomaly",
        question=DETECT_QUESTION,
        answer="No" if normal else "Yes",
        question_type="Anomaly Detection",
        is_anomalous=not normal,
        defects=() if image.mask is None else mask_defects(root, image.mask, words(image.state)),
        licence=LICENCE,
        source="MVTec AD",
    )
