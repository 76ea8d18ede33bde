"""Tables of results for the terminal (rich) and for Markdown, laid out like Table 2 of the AnomalyR1 paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

Figures = Mapping[str, float]
"""Column name -> value."""

CHOICE_COLUMNS: tuple[tuple[str, str], ...] = (
    ("Anomaly Detection", "Anom.\ndet."),
    ("Defect Classification", "Def.\nclass"),
    ("Defect Localization", "Def.\nloc."),
    ("Defect Description", "Def.\ndescr"),
    ("Defect Analysis", "Def.\nanal."),
    ("Object Classification", "Obj.\nclass"),
    ("Object Analysis", "Obj.\nanal."),
    ("average", "Avg."),
    ("overkill", "Over\nkill"),
    ("miss", "Miss"),
)
"""Key of a figure and its heading in the terminal: the seven subtasks in the paper's order, their average, and the
two error rates."""

PUBLISHED_NOTE = (
    "* AnomalyR1 (arXiv 2504.11914), Table 2, on MMAD's real images: a yardstick, not comparable with other images."
)


def _published(*values: float) -> dict[str, float]:
    return dict(zip((key for key, _ in CHOICE_COLUMNS), values, strict=False))


PUBLISHED: dict[str, Figures] = {
    "Random chance*": _published(50.00, 25.00, 25.00, 25.00, 25.00, 25.00, 25.00, 28.57),
    "AnomalyR1 3B*": _published(60.62, 63.56, 70.14, 80.47, 85.28, 92.48, 86.15, 76.96),
}
"""Rows of the paper's Table 2, accuracy in percent."""


@dataclass(frozen=True)
class TableData:
    """A table before it is drawn.

    Attributes:
        title: Heading.
        columns: Key and heading of each column.
        groups: Groups of rows (name, figures), separated by a line; a missing figure is an empty cell.
        note: A sentence below.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    groups: Sequence[Sequence[tuple[str, Figures]]]
    note: str = ""


def choice_table(
    title: str,
    scores: Mapping[str, Figures],
    *,
    parts: Mapping[str, Figures] | None = None,
    interval: tuple[float, float] | None = None,
    parse_rate: float | None = None,
) -> TableData:
    """The table of a multiple-choice benchmark: datasets, average, averages of parts of it, published rows.

    Args:
        title: Heading.
        scores: Dataset or `average` -> figure -> percent, unparsed answers counted as wrong.
        parts: Further averages by name, for example of the held-out categories.
        interval: 95 % interval of the headline average, in percent.
        parse_rate: Percent of the answers that could be read.
    """
    datasets = [(name, figures) for name, figures in scores.items() if name != "average"]
    averages = [("Average", scores["average"])] if "average" in scores else []
    sentences = ["Percent; an answer that cannot be read is wrong."]
    if parse_rate is not None:
        sentences.append(f"Read: {parse_rate:.1f} %.")
    if interval is not None:
        sentences.append(f"95 % interval of the average: {interval[0]:.1f} to {interval[1]:.1f}.")
    groups = [datasets, [*averages, *(parts or {}).items()], list(PUBLISHED.items())]
    return TableData(title, CHOICE_COLUMNS, groups, note=" ".join([*sentences, PUBLISHED_NOTE]))


def figures_table(title: str, splits: Mapping[str, Figures], *, note: str = "") -> TableData:
    """A table of any figures: one row for every figure that some split has, one column for each split."""
    keys = list(dict.fromkeys(key for figures in splits.values() for key in figures))
    rows = [(key.replace("_", " "), {name: f[key] for name, f in splits.items() if key in f}) for key in keys]
    return TableData(title, [(name, name) for name in splits], [rows], note=note)


def to_rich(data: TableData) -> Table:
    """The table for a rich console; the multiple-choice table fits into 80 columns."""
    table = Table(
        title=data.title,
        caption=data.note or None,
        caption_justify="left",
        box=SIMPLE,
        padding=0 if len(data.columns) > 5 else (0, 1),
    )
    table.add_column("")
    for _, heading in data.columns:
        table.add_column(heading, justify="right")
    for group in data.groups:
        for place, (name, figures) in enumerate(group, start=1):
            cells = [_cell(name, figures.get(key), decimals=1) for key, _ in data.columns]
            table.add_row(name, *cells, end_section=place == len(group))
    return table


def to_markdown(data: TableData) -> str:
    """The same table as a Markdown document with title, figures to two decimals and note."""
    lines = [f"## {data.title}", "", _row(["", *(key for key, _ in data.columns)])]
    lines.append(_row(["---", *["---:"] * len(data.columns)]))
    for name, figures in (row for group in data.groups for row in group):
        lines.append(_row([name, *(_cell(name, figures.get(key), decimals=2) for key, _ in data.columns)]))
    if data.note:
        lines += ["", data.note.replace("*", "\\*")]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|").replace("*", "\\*") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _cell(row: str, value: float | None, *, decimals: int) -> str:
    """Counts without decimals, IoU with three, percents with `decimals`."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    return f"{value:.{3 if row.endswith('iou') else decimals}f}"
