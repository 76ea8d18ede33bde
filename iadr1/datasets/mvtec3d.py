"""MVTec 3D-AD, colour images only, as multiple choice (Bergmann et al., VISAPP 2022, arXiv 2112.09045).

Licence: CC BY-NC-SA 4.0 (stated by MVTec).

    mvtec_3d_anomaly_detection/
      bagel/
        train/good/{rgb/000.png, xyz/000.tiff}
        validation/good/{rgb,xyz}/...
        test/good/{rgb,xyz,gt}/...          gt holds all-zero masks: the folder's name decides what is normal
        test/<type>/{rgb/000.png, xyz/000.tiff, gt/000.png}
      cable_gland/ ...

AnomalyR1 section 4.6 evaluates on this set in MMAD's manner with four kinds of question and does not publish them;
here they are built from what the folders and masks say (docs/paper_index.md). `xyz` is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, words, wrong_layout
from iadr1.datasets.masked import Photo, yes_no
from iadr1.datasets.questions import Vocabulary, multiple_choice
from iadr1.records import Sample

DATASET = "MVTec3D-AD"


def scan(files: Files, *, seed: int = 0) -> Iterator[Sample]:
    """The questions about every test image, sorted by category, type and number.

    Four kinds, as `questions.multiple_choice` builds them: is there a defect, which product is it, which type is the
    defect (not in `combined`, whose masks do not tell several kinds apart), and in which of 3x3 regions is the largest
    one. `id` is `<image>#<number>`; the reference is the category's first image in `train/good`.

    Raises:
        DataError: No category folder found, or masks are missing.
    """
    photos = [photo for folder in subfolders(files.root) for photo in _category(files.root, folder)]
    if not photos:
        raise wrong_layout(files.root, SOURCE.tree)
    vocabulary = Vocabulary.collect((DATASET, photo.category, [photo.kind] if photo.kind else []) for photo in photos)
    asked = yes_no(files, photos, dataset=DATASET, licence=SOURCE.licence, source="MVTec 3D-AD", tree=SOURCE.tree)
    for sample in asked:
        yield from multiple_choice(_with_size(files, sample), vocabulary, seed=seed)


def _with_size(files: Files, sample: Sample) -> Sample:
    """A defect's place is a matter of the image's size; for normal images it would only be looked up too early."""
    if not sample.is_anomalous:
        return sample
    return sample.model_copy(update={"image_size": files.image(sample.image).size})


def _category(root: Path, folder: Path) -> Iterator[Photo]:
    templates = image_files(folder / "train" / GOOD / "rgb")[:1]
    references = tuple(path.relative_to(root).as_posix() for path in templates)
    for state in subfolders(folder / "test"):
        normal = state.name == GOOD
        for path in image_files(state / "rgb"):
            mask = f"{folder.name}/test/{state.name}/gt/{path.stem}.png"
            yield Photo(
                path=path.relative_to(root).as_posix(),
                category=folder.name,
                split="test",
                kind=None if normal else words(state.name),
                masks=() if normal else (mask,),
                references=references,
            )


SOURCE = Source(
    scan=scan,
    title="MVTec 3D-AD as multiple choice",
    licence="CC-BY-NC-SA-4.0",
    page="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
    citation="Bergmann et al., VISAPP 2022, arXiv 2112.09045",
    tree="CATEGORY/test/TYPE/rgb/000.png, CATEGORY/test/TYPE/gt/000.png, CATEGORY/train/good/rgb/000.png",
    options=("seed",),
)
