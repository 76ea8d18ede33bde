"""Answered multiple-choice questions as counts, by image and cell: what every figure of `choice` is made of.

A cell is what is counted on its own: detection on normal images, detection on anomalous images, and each other subtask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iadr1.errors import DataError

Array = NDArray[np.float64]

DETECTION = "Anomaly Detection"
SUBTASKS: tuple[str, ...] = (
    DETECTION,
    "Defect Classification",
    "Defect Localization",
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
)
"""The seven subtasks, in the order of AnomalyR1's Table 2."""

AVERAGE, OVERKILL, MISS = "average", "overkill", "miss"
COLUMNS = (*SUBTASKS, AVERAGE, OVERKILL, MISS)
"""The columns of a row of percents, in the order `percents` gives them."""

NORMAL, ANOMALOUS = 0, 1
"""The two cells of Anomaly Detection; those of the other subtasks follow in their order."""
CELLS = len(SUBTASKS) + 1
_FIRST_CELL = {name: place + 1 for place, name in enumerate(SUBTASKS)}


class ChoiceRow(NamedTuple):
    """One answered question.

    Attributes:
        dataset: Its dataset.
        subtask: One of `SUBTASKS`, as `Sample.reported_as` gives it.
        truth: The right letter.
        letter: The chosen letter, one of those offered; None where none could be read.
        is_anomalous: Whether the image shows a defect; needed for Anomaly Detection.
        image: What the bootstrap draws: questions of one image stay together.
        category: The product shown, for figures by category.
    """

    dataset: str
    subtask: str
    truth: str
    letter: str | None
    is_anomalous: bool | None
    image: str = ""
    category: str = ""


@dataclass(frozen=True)
class Counts:
    """Questions asked, answers that could be read, and right answers.

    Attributes:
        datasets: The datasets, in the order they were first seen.
        images: Dataset, category and path of each image.
        dataset_of: For each image the place of its dataset in `datasets`.
        asked: Questions, of shape (images, cells).
        parsed: Of these, those with an answer that could be read.
        right: Of these, those answered rightly.
    """

    datasets: tuple[str, ...]
    images: tuple[tuple[str, str, str], ...]
    dataset_of: NDArray[np.int64]
    asked: Array
    parsed: Array
    right: Array

    def of_dataset(self, place: int, counted: Array) -> Array:
        """The rows of `counted` (one for each image) that belong to one dataset."""
        found: Array = counted[self.dataset_of == place]
        return found


def count(rows: Sequence[ChoiceRow]) -> Counts:
    """Count rows; the order of images is that of their first row.

    Raises:
        DataError: A row has no known subtask, or a detection question does not say what its image shows.
    """
    places: dict[tuple[str, str, str], int] = {}
    flat, parsed, right = [], [], []
    for dataset, subtask, truth, letter, is_anomalous, image, category in rows:
        place = places.setdefault((dataset, category, image), len(places))
        cell = _cell(subtask, is_anomalous, image)
        flat.append(place * CELLS + cell)
        parsed.append(letter is not None)
        right.append(letter == truth)
    names = tuple(dict.fromkeys(dataset for dataset, _, _ in places))
    number = {name: place for place, name in enumerate(names)}
    cells, size = np.asarray(flat, dtype=np.int64), len(places) * CELLS

    def total(flags: list[bool] | None) -> Array:
        weights = None if flags is None else np.asarray(flags, dtype=np.float64)
        return np.bincount(cells, weights=weights, minlength=size).astype(np.float64).reshape(-1, CELLS)

    dataset_of = np.asarray([number[dataset] for dataset, _, _ in places], dtype=np.int64)
    return Counts(names, tuple(places), dataset_of, total(None), total(parsed), total(right))


def _cell(subtask: str, is_anomalous: bool | None, image: str) -> int:
    cell = _FIRST_CELL.get(subtask)
    if cell is None:
        raise DataError(f"no subtask {subtask!r}", hint=f"known: {', '.join(SUBTASKS)}")
    if cell > ANOMALOUS:
        return cell
    if is_anomalous is None:
        raise DataError(f"an {DETECTION} question about {image!r} does not say whether the image is anomalous")
    return ANOMALOUS if is_anomalous else NORMAL


def percents(right: Array, asked: Array) -> Array:
    """Counts of shape (..., cells) -> percents of shape (..., columns); NaN where nothing was asked.

    Anomaly Detection is the mean over its two cells, `average` the mean over the subtasks, `overkill` and `miss` are
    100 minus the two cells; what was not asked is left out of a mean.
    """
    cells = np.full(right.shape, np.nan)
    np.divide(100.0 * right, asked, out=cells, where=asked > 0)
    subtasks = np.concatenate([mean(cells[..., :2], axis=-1)[..., None], cells[..., 2:]], axis=-1)
    average = mean(subtasks, axis=-1)[..., None]
    return np.concatenate([subtasks, average, 100.0 - cells[..., :2]], axis=-1)


def mean(values: Array, axis: int = 0) -> Array:
    """The mean over what is there; NaN (without a warning) where nothing is."""
    there = ~np.isnan(values)
    number = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    result: Array = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return result


def named(scores: Array) -> dict[str, float]:
    """Column -> percent, of one row of `percents`; columns without a question are left out."""
    return {name: float(value) for name, value in zip(COLUMNS, scores, strict=True) if not np.isnan(value)}
