"""MMAD: multiple-choice questions about industrial anomalies (Jiang et al., ICLR 2025, arXiv 2410.09453).

Licence: CC BY-NC-SA 4.0 (dataset card of `jiang-cc/MMAD`); the four image sets keep their own terms.

    MMAD/
      mmad.json                     key = path of the query image, value = its questions, mask and templates
      domain_knowledge.json         data set -> class -> state -> text
      DS-MVTec/<class>/{image,mask,rbg_mask or rgb_mask}/<type>/...
      MVTec-AD/<class>/train/good/  templates of DS-MVTec; in later copies some query images too
      MVTec-LOCO/<class>/{train,test}/<type>/..., ground_truth/<type>/<image's number>/000.png ...
      VisA/<class>/{train,test,ground_truth}/...
      GoodsAD/<class>/{train,test,ground_truth}/...

`metadata.csv` is not read: its mask column is wrong for DS-MVTec.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iadr1 import parallel
from iadr1.datasets import mmad_notes
from iadr1.datasets.base import Hub, Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, image_files, words
from iadr1.datasets.masked import mask_defects
from iadr1.datasets.mmad_notes import INDEX, TREE, questions_of, read_index
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

LICENCE = "CC-BY-NC-SA-4.0"

FOLDED: Mapping[str, str] = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
"""Raw question types that MMAD reports under another one."""
SUBTASKS: tuple[str, ...] = (
    "Anomaly Detection",
    "Defect Classification",
    "Defect Localization",
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
)
"""MMAD's seven subtasks, after folding."""

_DATASETS = {"MVTec-AD": "DS-MVTec"}
"""Folders of query images that are reported under another data set's name."""
_DS_MASKS = ("mask", "rbg_mask", "rgb_mask")
_BATCH = 16
"""Images a thread takes at once: handing over each one costs more than looking up what an earlier run learned."""


def scan(files: Files) -> Iterator[Sample]:
    """Every question of `mmad.json`, in file order; `id` is `<image>#<number of the question>`.

    Options are lettered A, B, C, ... by their position in the file, as the benchmark shows them. `references` are the
    `random_templates` in file order (the benchmark's one-shot setting takes the first), `similar_references` the
    `similar_templates`. `question_type` is the raw type, `subtask` the one it is reported under where that differs.
    Normal is what lies in a folder `good`; defect types are the folder's name in words, boxes come from the mask,
    defective where it is not 0: colours, type codes and 255 alike.

    Raises:
        DataError: No `mmad.json`, broken JSON, a malformed question, missing files, a path that leaves the root.
    """
    images = [_image(files.root, key, value) for key, value in read_index(files.root).items()]
    for image in images:
        for path in (image.path, *image.references, *image.similar, *image.masks):
            files.add(path, where=image.where)
    files.check(hint="mmad.json names them; the zip archives of jiang-cc/MMAD hold all of them")
    batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
    for found in parallel.ordered(lambda batch: [s for image in batch for s in _samples(files, image)], batches):
        yield from found


@dataclass(frozen=True)
class _Image:
    """One entry of `mmad.json`; paths are relative to the root, `where` names it in errors."""

    where: str
    path: str
    masks: tuple[str, ...]
    references: tuple[str, ...]
    similar: tuple[str, ...]
    held_out: bool
    questions: list[Any]

    @property
    def state(self) -> str:
        return PurePosixPath(self.path).parent.name


def _image(root: Path, key: str, value: Any) -> _Image:
    where = f"{root / INDEX}: {key}"
    questions = questions_of(value, where=where)
    if len(PurePosixPath(key).parts) < 4:
        raise DataError("the image's path is not <dataset>/<class>/.../<state>/<file>", where=where)
    return _Image(
        where=where,
        path=key,
        masks=_masks(root, key, value.get("mask_path"), where),
        references=_templates(value, "random_templates", where),
        similar=_templates(value, "similar_templates", where),
        held_out=bool(value.get("held_out", False)),
        questions=questions,
    )


def _templates(value: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    found = value.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise DataError(f"{name!r} is not a list of paths: {found!r:.60}", where=where)
    return tuple(found)


def _masks(root: Path, key: str, mask: Any, where: str) -> tuple[str, ...]:
    """The masks of an image; none for a normal one, whatever the file says.

    `mask_path` is relative to the class. MVTec LOCO has a folder of masks for each image, one for each defective
    region, of which `mask_path` can name one only: all of them count.
    """
    image = PurePosixPath(key)
    if image.parent.name == GOOD or not mask:
        return ()
    if not isinstance(mask, str):
        raise DataError(f"'mask_path' is not a path: {mask!r:.60}", where=where)
    dataset, category = image.parts[:2]
    if mask.startswith(tuple(f"{name}/" for name in _DS_MASKS)):
        # Also where the key begins with MVTec-AD: only DS-MVTec has these folders.
        dataset = _DATASETS.get(dataset, dataset)
    path = PurePosixPath(dataset, category, mask)
    folder = path if path.name == image.stem else path.parent
    if folder.name == image.stem and not folder.is_absolute() and ".." not in folder.parts:
        found = tuple(file.relative_to(root).as_posix() for file in image_files(root / folder))
        return found or (path.as_posix(),)
    return (path.as_posix(),)


def _samples(files: Files, image: _Image) -> Iterator[Sample]:
    if files.missing == "skip" and not all(map(files.has, (image.path, *image.masks))):
        return
    normal = image.state == GOOD
    defects: tuple[Defect, ...] = ()
    if not normal:
        defects = mask_defects(files, image.masks, words(image.state), image=image.path)
    folder, category = PurePosixPath(image.path).parts[:2]
    for number, entry in enumerate(image.questions):
        where = f"{image.where}, question {number + 1}"
        options, answer = _options(entry, where)
        kind = entry.get("type")
        sample = files.sample(
            where,
            id=f"{image.path}#{number}",
            dataset=_DATASETS.get(folder, folder),
            category=category,
            split="test",
            image=image.path,
            references=image.references,
            similar_references=image.similar,
            task="choice",
            question=entry.get("Question"),
            options=options,
            answer=answer,
            question_type=kind,
            subtask=FOLDED.get(kind, "") if isinstance(kind, str) else "",
            is_anomalous=not normal,
            defects=defects,
            reasoning=entry.get("Reasoning"),
            held_out=image.held_out,
            licence=LICENCE,
            source="MMAD",
        )
        if sample is not None:
            yield sample


def _options(entry: Any, where: str) -> tuple[dict[str, str], str]:
    """The options lettered by position, and the right one's new letter."""
    if not isinstance(entry, dict) or not isinstance(entry.get("Options"), dict):
        raise DataError("the question has no object 'Options'", where=where)
    stored: dict[str, str] = entry["Options"]
    if entry.get("Answer") not in list(stored) or len(stored) > len(string.ascii_uppercase):
        raise DataError(f"the answer {entry.get('Answer')!r} is not among the options {sorted(stored)}", where=where)
    letters = dict(zip(stored, string.ascii_uppercase, strict=False))
    return {letters[old]: text for old, text in stored.items()}, letters[entry["Answer"]]


def notes(root: Path) -> dict[str, Any]:
    """Release, domain knowledge and known faults of a copy; see `mmad_notes.notes`."""
    return mmad_notes.notes(root, types=(*SUBTASKS, *FOLDED))


SOURCE = Source(
    scan=scan,
    title="MMAD",
    licence=LICENCE,
    page="https://huggingface.co/datasets/jiang-cc/MMAD",
    citation="Jiang et al., ICLR 2025, arXiv 2410.09453",
    tree=TREE,
    # The owners' README unpacks this one archive into the root; it holds all of the tree.
    hub=Hub("jiang-cc/MMAD", ("ALL_DATA.zip",)),
    notes=notes,
)
