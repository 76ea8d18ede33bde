"""MVTec 3D-AD, colour images only, as multiple choice (Bergmann et al., VISAPP 2022, arXiv 2112.09045).

Licence: CC BY-NC-SA 4.0.

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

import hashlib
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, subfolders, words, wrong_layout
from iadr1.datasets.masked import mask_defects
from iadr1.datasets.regions import regions
from iadr1.geometry import LOCATIONS, box_area, location_word
from iadr1.images import open_mask
from iadr1.records import Sample

LICENCE = "CC-BY-NC-SA-4.0"
TREE = "CATEGORY/test/TYPE/rgb/000.png, CATEGORY/test/TYPE/gt/000.png, CATEGORY/train/good/rgb/000.png"

COMBINED = "combined"
"""Folder of images with several kinds of defect, which the mask does not tell apart."""

_WRONG_OPTIONS = 3


@dataclass(frozen=True)
class _Image:
    path: str
    category: str
    state: str
    mask: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class _Vocabulary:
    """The words wrong options are drawn from."""

    categories: tuple[str, ...]
    types: dict[str, tuple[str, ...]]

    def other_types(self, category: str) -> list[str]:
        """Defect types, those of the same category first."""
        return list(dict.fromkeys([*self.types[category], *(kind for kinds in self.types.values() for kind in kinds)]))


@dataclass(frozen=True)
class _Question:
    type: str
    text: str
    right: str
    wrong: tuple[str, ...]


def scan(files: Files, *, seed: int = 0) -> Iterator[Sample]:
    """The questions about every test image, sorted by category, type and number.

    Every image is asked for a defect and for its product; a defective one also for the defect's type (not in
    `combined`, where several would be right) and for the 3x3 region of its largest defect. Wrong options come from
    the set's own words, are never true of the image as well, and are drawn and shuffled by `seed` and the image's
    path. A question without any wrong option (a set of one category, a mask all over the image) is left out.

    Raises:
        DataError: No category folder found, or masks are missing.
    """
    images = [image for folder in subfolders(files.root) for image in _category(files.root, folder)]
    if not images:
        raise wrong_layout(files.root, TREE)
    for image in images:
        for path in (image.path, *image.references, *([image.mask] if image.state != GOOD else [])):
            files.add(path, where=image.path)
    files.check(hint=f"expected {TREE}")
    vocabulary = _vocabulary(images)
    for image in images:
        yield from _samples(files, image, vocabulary, seed)


def _category(root: Path, folder: Path) -> Iterator[_Image]:
    references = tuple(path.relative_to(root).as_posix() for path in image_files(folder / "train" / GOOD / "rgb")[:1])
    for state in subfolders(folder / "test"):
        for path in image_files(state / "rgb"):
            name = path.relative_to(root).as_posix()
            mask = f"{folder.name}/test/{state.name}/gt/{path.stem}.png"
            yield _Image(name, folder.name, state.name, mask, references)


def _vocabulary(images: Sequence[_Image]) -> _Vocabulary:
    types: dict[str, dict[str, None]] = {}
    for image in images:
        known = types.setdefault(image.category, {})
        if image.state not in (GOOD, COMBINED):
            known[words(image.state)] = None
    return _Vocabulary(tuple(words(name) for name in types), {name: tuple(kinds) for name, kinds in types.items()})


def _samples(files: Files, image: _Image, vocabulary: _Vocabulary, seed: int) -> Iterator[Sample]:
    normal = image.state == GOOD
    defects = () if normal else mask_defects(files, [image.mask], words(image.state), image=image.path)
    rng = _stream(seed, image.path)
    questions = [_object(image, vocabulary, rng)]
    if not normal:
        questions += [_type(image, vocabulary, rng), *_place(files.root, image, rng)]
    asked = [_detection(normal), *(_shuffled(question, rng) for question in questions if question.wrong)]
    for number, (question, options, answer) in enumerate(asked):
        sample = files.sample(
            image.path,
            id=f"{image.path}#{number}",
            dataset="MVTec3D-AD",
            category=image.category,
            split="test",
            image=image.path,
            references=image.references,
            task="choice",
            question=question.text,
            options=options,
            answer=answer,
            question_type=question.type,
            is_anomalous=not normal,
            defects=defects,
            licence=LICENCE,
            source="MVTec 3D-AD",
        )
        if sample is not None:
            yield sample


def _stream(seed: int, path: str) -> np.random.Generator:
    """Random numbers of one image: adding or removing others changes none of its questions."""
    digest = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))


def _pick(rng: np.random.Generator, pool: Sequence[str], count: int) -> list[str]:
    return [pool[index] for index in rng.permutation(len(pool))[:count]]


def _shuffled(question: _Question, rng: np.random.Generator) -> tuple[_Question, dict[str, str], str]:
    texts = _pick(rng, (question.right, *question.wrong), len(question.wrong) + 1)
    options = dict(zip(string.ascii_uppercase, texts, strict=False))
    return question, options, string.ascii_uppercase[texts.index(question.right)]


def _detection(normal: bool) -> tuple[_Question, dict[str, str], str]:
    question = _Question("Anomaly Detection", "Is there any defect in the object?", "", ())
    return question, {"A": "Yes.", "B": "No."}, "B" if normal else "A"


def _object(image: _Image, vocabulary: _Vocabulary, rng: np.random.Generator) -> _Question:
    right = words(image.category)
    wrong = _pick(rng, [name for name in vocabulary.categories if name != right], _WRONG_OPTIONS)
    return _Question("Object Classification", "What kind of product is in the image?", right, tuple(wrong))


def _type(image: _Image, vocabulary: _Vocabulary, rng: np.random.Generator) -> _Question:
    right = words(image.state)
    own = [kind for kind in vocabulary.types[image.category] if kind != right]
    rest = [kind for kind in vocabulary.other_types(image.category) if kind != right and kind not in own]
    wrong = _pick(rng, own, _WRONG_OPTIONS)
    wrong += _pick(rng, rest, _WRONG_OPTIONS - len(wrong))
    text = "There is a defect in the object. What is the type of the defect?"
    return _Question("Defect Classification", text, right, () if image.state == COMBINED else tuple(wrong))


def _place(root: Path, image: _Image, rng: np.random.Generator) -> list[_Question]:
    """The question for the largest region's place; none where the mask is empty."""
    mask = open_mask(root / image.mask)
    size = (mask.shape[1], mask.shape[0])
    found = regions(mask)
    if not found:
        return []
    largest = max(found, key=lambda region: (region.area_px, box_area(region.box)))
    right = location_word(largest.box, size)
    rows, columns = np.nonzero(mask)
    touched = np.unique(3 * (3 * rows // mask.shape[0]) + 3 * columns // mask.shape[1])
    free = [word for number, word in enumerate(LOCATIONS) if number not in touched and word != right]
    text = "There is a defect in the object. Where is the defect?"
    return [_Question("Defect Localization", text, right, tuple(_pick(rng, free, _WRONG_OPTIONS)))]


SOURCE = Source(
    scan=scan,
    title="MVTec 3D-AD as multiple choice",
    licence=LICENCE,
    commercial=False,
    page="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
    citation="Bergmann et al., VISAPP 2022, arXiv 2112.09045",
    tree=TREE,
    options=("seed",),
)
