"""MMAD: multiple-choice questions about industrial anomalies (Jiang et al., ICLR 2025, arXiv 2410.09453).

Licence: CC BY-NC-SA 4.0 (dataset card of `jiang-cc/MMAD`); the four image sets keep their own terms.

    MMAD/
      mmad.json                     key = path of the query image, value = its questions, mask and templates
      DS-MVTec/<class>/{image,mask,rbg_mask or rgb_mask}/<type>/...
      MVTec-AD/<class>/train/good/  templates of DS-MVTec
      MVTec-LOCO/<class>/{train,test,ground_truth}/...
      VisA/<class>/{train,test,ground_truth}/...
      GoodsAD/<class>/{train,test,ground_truth}/...

`metadata.csv` is not read: its mask column is wrong for DS-MVTec.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iadr1.datasets.base import Source
from iadr1.datasets.files import Files
from iadr1.datasets.layout import GOOD, words, wrong_layout
from iadr1.datasets.masked import mask_defects
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

LICENCE = "CC-BY-NC-SA-4.0"
TREE = "mmad.json beside DS-MVTec/, MVTec-AD/, MVTec-LOCO/, VisA/, GoodsAD/"

FOLDED: dict[str, str] = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
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


def scan(files: Files) -> Iterator[Sample]:
    """Every question of `mmad.json`, in file order; `id` is `<image>#<number of the question>`.

    Options are lettered A, B, C, ... by their position in the file, as the benchmark shows them. References are the
    `random_templates` in file order: the benchmark's one-shot setting takes the first of them. `question_type` is the
    raw type. Normal is what lies in a folder `good`; defect types are the folder's name in words, boxes come from the
    mask.

    Raises:
        DataError: No `mmad.json`, broken JSON, a malformed question, missing files, a path that leaves the root.
    """
    index = files.root / "mmad.json"
    if not index.is_file():
        raise wrong_layout(files.root, TREE)
    images = [_image(key, value, index) for key, value in _read(index).items()]
    for image in images:
        where = f"{index}: {image.path}"
        for path in (image.path, *image.references, *([image.mask] if image.mask else [])):
            files.add(path, where=where)
    files.check(hint="mmad.json names them; the zip archives of jiang-cc/MMAD hold all of them")
    for image in images:
        yield from _samples(files, image, index)


@dataclass(frozen=True)
class _Image:
    path: str
    mask: str | None
    references: tuple[str, ...]
    held_out: bool
    conversation: list[dict[str, Any]]

    @property
    def state(self) -> str:
        return PurePosixPath(self.path).parent.name


def _read(index: Path) -> dict[str, Any]:
    try:
        value = json.loads(index.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg} in column {error.colno}", where=f"{index}:{error.lineno}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(index)) from error
    if not isinstance(value, dict) or not value:
        raise DataError("not a JSON object of images, or an empty one", where=str(index))
    return value


def _image(key: str, value: Any, index: Path) -> _Image:
    where = f"{index}: {key}"
    if not isinstance(value, dict):
        raise DataError(f"not a JSON object: {value!r:.60}", where=where)
    parts = PurePosixPath(key).parts
    if len(parts) < 4:
        raise DataError("the image's path is not <dataset>/<class>/.../<state>/<file>", where=where)
    # The key may have a suffix; the benchmark's own code takes the first that starts so.
    conversation = next((item for name, item in value.items() if name.startswith("conversation")), None)
    if not isinstance(conversation, list):
        raise DataError("no list of questions under a key that starts with 'conversation'", where=where)
    normal = PurePosixPath(key).parent.name == GOOD
    mask = None if normal or not value.get("mask_path") else f"{parts[0]}/{parts[1]}/{value['mask_path']}"
    references = value.get("random_templates") or []
    if not isinstance(references, list) or not all(isinstance(item, str) for item in references):
        raise DataError(f"'random_templates' is not a list of paths: {references!r:.60}", where=where)
    return _Image(key, mask, tuple(references), bool(value.get("held_out", False)), conversation)


def _samples(files: Files, image: _Image, index: Path) -> Iterator[Sample]:
    normal = image.state == GOOD
    defects: tuple[Defect, ...] = ()
    if image.mask is not None:
        defects = mask_defects(files, [image.mask], words(image.state), image=image.path)
    elif not normal:
        defects = (Defect(type=words(image.state)),)
    dataset, category = PurePosixPath(image.path).parts[:2]
    for number, entry in enumerate(image.conversation):
        where = f"{index}: {image.path}, question {number + 1}"
        options, answer = _options(entry, where)
        sample = files.sample(
            where,
            id=f"{image.path}#{number}",
            dataset=dataset,
            category=category,
            split="test",
            image=image.path,
            references=image.references,
            task="choice",
            question=entry.get("Question"),
            options=options,
            answer=answer,
            question_type=entry.get("type"),
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
    if entry.get("Answer") not in stored or len(stored) > len(string.ascii_uppercase):
        raise DataError(f"the answer {entry.get('Answer')!r} is not among the options {sorted(stored)}", where=where)
    letters = dict(zip(stored, string.ascii_uppercase, strict=False))
    return {letters[old]: text for old, text in stored.items()}, letters[entry["Answer"]]


SOURCE = Source(
    scan=scan,
    title="MMAD",
    licence=LICENCE,
    commercial=False,
    page="https://huggingface.co/datasets/jiang-cc/MMAD",
    citation="Jiang et al., ICLR 2025, arXiv 2410.09453",
    tree=TREE,
)
