"""Published figures, to be laid beside one's own: AnomalyR1's Tables 2 to 5, MMAD's and IAD-R1's result files.

The files hold the values in percent exactly as printed or stored; `sources.csv` says where each is from, `trained.csv`
which rows are of models that were trained on images of MMAD, and how that is known. Printed averages that do not follow
from the printed cells carry a note.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

MACRO = "average"
"""`PublishedRow.dataset` of a macro average over the datasets."""

TABLE_2, TABLE_3, TABLE_4, TABLE_5 = (f"AnomalyR1 paper Table {number}" for number in (2, 3, 4, 5))
RESULT_FILES = "jam-cc/MMAD:all_result"
IADR1_FILES = "Yanhui-Lee/IAD-R1:supplementary_results"

_COLUMNS = {
    "anomaly_discrimination": "Anomaly Detection",
    "defect_classification": "Defect Classification",
    "defect_localization": "Defect Localization",
    "defect_description": "Defect Description",
    "defect_analysis": "Defect Analysis",
    "object_classification": "Object Classification",
    "object_analysis": "Object Analysis",
    **{name: name for name in ("average", "recall", "precision", "f1", "overkill", "miss")},
}
"""Column of the file -> the name the figure has everywhere else."""

SUBTASKS = tuple(_COLUMNS.values())[:7]
"""MMAD's seven subtasks, in the order of Table 2."""

_FILE_NOTE = "file "
"""What a note begins with that only names the result file of a row."""
_MACRO_IN_FILE = "macro average of 4 datasets"
_DATASETS = {"MVTec": "MVTec-AD", "DTD": "DTD-Synthetic"}
"""Names in IAD-R1's files -> the names our readers give these sets."""


@dataclass(frozen=True)
class PublishedRow:
    """One model's published figures.

    Attributes:
        source: Table or collection of files, one of this module's constants.
        model: Its name as printed, with its size.
        setting: The protocol as the source states it, for example `1-shot`; empty where it does not.
        dataset: The dataset the figures are of; `average` for a macro average; empty where the figures name datasets
            or categories themselves.
        figures: Figure, dataset or category -> percent; what is not published is left out.
        trained: Whether the model was trained on images of MMAD; None where this is not stated.
        note: What is odd about the row.
    """

    source: str
    model: str
    setting: str
    dataset: str
    figures: Mapping[str, float]
    trained: bool | None = None
    note: str = field(default="", compare=False)


@cache
def mmad() -> tuple[PublishedRow, ...]:
    """MMAD by subtask: `TABLE_2` (macro averages) and `RESULT_FILES` (four datasets and their average)."""
    return tuple(
        _row(
            row["source"],
            row["model"],
            row["setting"],
            {name: float(row[column]) for column, name in _COLUMNS.items() if row[column]},
            scale=row["scale"],
            dataset=MACRO if row["dataset"] == _MACRO_IN_FILE else row["dataset"],
            note="" if row["note"].startswith(_FILE_NOTE) else row["note"],
        )
        for row in _read("mmad_published.csv")
    )


@cache
def table_2() -> tuple[PublishedRow, ...]:
    """The rows of AnomalyR1's Table 2, in its order."""
    return tuple(row for row in mmad() if row.source == TABLE_2)


@cache
def result_files() -> tuple[PublishedRow, ...]:
    """MMAD's own result files: a row for each model and dataset, and one for its average over the four datasets."""
    return tuple(row for row in mmad() if row.source == RESULT_FILES)


@cache
def table_3() -> tuple[PublishedRow, ...]:
    """AnomalyR1's Table 3: the average of each dataset of MMAD."""
    return tuple(_wide("anomalyr1_table3.csv", TABLE_3))


@cache
def table_4() -> tuple[PublishedRow, ...]:
    """AnomalyR1's Table 4: the ten classes of MVTec 3D-AD. Its third printed row, a difference, is left out."""
    return tuple(row for row in _wide("anomalyr1_table4.csv", TABLE_4) if row.model != "Promotion")


@cache
def table_5() -> tuple[PublishedRow, ...]:
    """AnomalyR1's Table 5: Anomaly Detection on each dataset of MMAD for three ways of training."""
    return tuple(_wide("anomalyr1_table5.csv", TABLE_5))


@cache
def iadr1() -> tuple[PublishedRow, ...]:
    """IAD-R1's result files: the mean of the accuracies on normal and anomalous images, by dataset.

    One row for each model, variant and number of shots; `average` is there where all six sets are (their mean).
    """
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in _read("iadr1_results.csv"):
        key = row["model"], row["variant"], row["shots"]
        found.setdefault(key, {})[_DATASETS.get(row["dataset"], row["dataset"])] = float(row["accuracy"])
    whole = max(len(figures) for figures in found.values())
    rows = []
    for (model, variant, shots), figures in found.items():
        mean = {MACRO: sum(figures.values()) / whole} if len(figures) == whole else {}
        rows.append(_row(IADR1_FILES, f"{model} ({variant})", f"{shots}-shot", {**figures, **mean}))
    return tuple(rows)


def _wide(file: str, source: str) -> Iterator[PublishedRow]:
    """A table with a model (or variant) a row and a dataset or category a column."""
    for row in _read(file):
        model = row.pop("model", None) or row.pop("variant")
        setting = row.pop("setting", "")
        yield _row(source, model, setting, {name: float(value) for name, value in row.items()})


def _row(
    source: str,
    model: str,
    setting: str,
    figures: Mapping[str, float],
    *,
    scale: str = "",
    dataset: str = "",
    note: str = "",
) -> PublishedRow:
    name = f"{model} {scale}" if scale and scale.casefold() not in model.casefold() else model
    return PublishedRow(source, name, setting, dataset, figures, _trained().get((source, model)), note)


@cache
def _trained() -> dict[tuple[str, str], bool]:
    return {(row["source"], row["model"]): row["trained"] == "yes" for row in _read("trained.csv")}


def _read(file: str) -> list[dict[str, str]]:
    text = resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
