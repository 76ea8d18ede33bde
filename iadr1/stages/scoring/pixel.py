"""The masks a run drew beside the true ones, decoded one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1 import rle
from iadr1.errors import DataError, UsageError
from iadr1.geometry import Size
from iadr1.images import image_size, open_mask
from iadr1.records import DetectedDefect, Record
from iadr1.stages.scoring.reading import Item, Question, read_lines
from iadr1.stages.scoring.runs import RunInfo

MASKS = "masks.jsonl"
"""Name of the file in a run's folder."""

Mask = NDArray[np.bool_]


class MaskRecord(Record):
    """The masks of one prediction, in the order of its boxes, as COCO RLE; `key` is `Prediction.key`."""

    key: str
    masks: tuple[DetectedDefect, ...]


@dataclass(frozen=True)
class Masks:
    """The masks of a run.

    Attributes:
        path: The file they are from.
        found: Key of the prediction -> its masks.
        root: Folder of the images and of the true masks.
    """

    path: Path
    found: dict[str, MaskRecord]
    root: Path

    def comparable(self, items: Sequence[Item]) -> list[Item]:
        """The items whose image is normal, or has a mask of every defect.

        Raises:
            DataError: An answer of these has no record of its masks.
        """
        chosen = [item for item in items if _is_masked(item.question)]
        absent = [item.answer.key for item in chosen if item.answer.error is None and item.answer.key not in self.found]
        if absent:
            raise DataError(
                f"it has no record of {len(absent)} answers: {absent[0]} ...",
                where=str(self.path),
                hint="run 'iadr1 eval' again with the same settings",
            )
        return chosen

    def pair(self, item: Item) -> tuple[Mask, Mask]:
        """What was marked and what is defective, of shape (H, W); nothing is marked where there is no answer.

        Raises:
            DataError: A mask has not the size of the image, or is broken.
            ImageError: A mask file, or an image whose size is not known, cannot be read.
        """
        question = item.question
        width, height = question.image_size or self._size(question)
        drawn = self.found[item.answer.key].masks if item.answer.key in self.found else ()
        predicted = _union(
            (_decoded(mask.mask_rle, where=f"{self.path}: {item.answer.key}") for mask in drawn), (height, width)
        )
        truth = _union(self._true_masks(question), (height, width))
        for mask, what in ((predicted, "predicted"), (truth, "true")):
            if mask.shape != (height, width):
                raise DataError(
                    f"the {what} mask of {question.image} is {mask.shape[1]}x{mask.shape[0]} px, "
                    f"the image {width}x{height}",
                    where=str(self.path),
                )
        return predicted, truth

    def anomaly_map(self, item: Item) -> NDArray[np.float32]:
        """The marked pixels at the height of the image's score (1 where it has none), the others at 0; (H, W)."""
        score = 1.0 if item.answer.score is None else item.answer.score
        return self.pair(item)[0] * np.float32(score)

    def _true_masks(self, question: Question) -> Iterator[Mask]:
        files: set[tuple[str, int]] = set()
        for defect in question.defects:
            if defect.mask_rle is not None:
                yield _decoded(defect.mask_rle, where=f"sample {question.id!r}")
            elif defect.mask is not None and (defect.mask, defect.mask_threshold) not in files:
                files.add((defect.mask, defect.mask_threshold))
                yield open_mask(self.root / defect.mask, threshold=defect.mask_threshold)

    def _size(self, question: Question) -> Size:
        return image_size(self.root / question.image)


def read_masks(runs: Sequence[RunInfo], *, root: Path | None) -> Masks | None:
    """The masks that a run, or all shards of it, drew; None where it drew none.

    Args:
        runs: What `run.json` says of each part.
        root: Folder of the images; by default the one that the run names.

    Raises:
        UsageError: The folder of the images is not there.
        DataError: A record is broken.
    """
    files = [run.path.with_name(MASKS) for run in runs]
    if not any(file.exists() for file in files):
        return None
    folder = image_root(runs[0], root)
    records = [record for file in files for record in read_lines(file, MaskRecord, what="mask record", half_line=True)]
    return Masks(files[0], {record.key: record for record in records}, folder)


def image_root(run: RunInfo, given: Path | None) -> Path:
    """The folder of a run's images.

    Raises:
        UsageError: It is not there, or nothing says where it is.
    """
    named = run.values.get("root")
    folder = given if given is not None else Path(named) if isinstance(named, str) else None
    if folder is None or not folder.is_dir():
        told = (
            "nothing says where its images are" if folder is None else f"the image root {str(folder)!r} is not a folder"
        )
        raise UsageError(told, where=str(run.path), hint="say where it is with --root")
    return folder


class OnAccess(Sequence[Any]):
    """Values that are made whenever they are asked for, so that one is held in memory at a time.

    Args:
        items: One for each value.
        make: Item -> value.
    """

    def __init__(self, items: Sequence[Item], make: Callable[[Item], Any]) -> None:
        self._items, self._make = items, make

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: Any) -> Any:
        """The value at a place."""
        return self._make(self._items[place])


def _is_masked(question: Question) -> bool:
    if not question.is_anomalous:
        return not question.defects
    return bool(question.defects) and all(d.mask is not None or d.mask_rle is not None for d in question.defects)


def _decoded(value: object, *, where: str) -> Mask:
    try:
        return rle.decode(rle.parse(value))
    except ValueError as error:
        raise DataError(f"a mask is broken: {error}", where=where) from error


def _union(masks: Iterator[Mask], shape: tuple[int, int]) -> Mask:
    """All masks laid over each other; no pixel where there is none."""
    found = next(masks, None)
    if found is None:
        return np.zeros(shape, dtype=np.bool_)
    for mask in masks:
        if mask.shape != found.shape:
            raise DataError(f"two masks of one image are {found.shape} and {mask.shape} px (height, width)")
        found = found | mask
    return found
