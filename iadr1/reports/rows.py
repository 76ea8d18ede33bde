"""Figures as rows of a table, and published rows with their marks and remarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from iadr1 import published
from iadr1.published import PublishedRow
from iadr1.reports.grid import Group, Row

Scores = Mapping[str, float]

TRAINED = "\N{DAGGER}"
"""Mark of a model that was trained on images it is asked about."""
_ODD = "*"
"""Mark of a published row with a remark below its table."""
TRAINED_NOTE = f"{TRAINED} trained on images of MMAD; for published rows without this mark nothing is known of it."


def published_groups(rows: Sequence[PublishedRow], columns: Sequence[str]) -> list[Group]:
    """Published rows by the protocol they state; in the terminal the references, the best and the trained ones.

    A row is marked where its model was trained on images of MMAD, and in the files where it is odd (`remarks`).
    """
    settings = dict.fromkeys(row.setting for row in rows)
    free = [row for row in rows if row.trained is None]
    best = max(free, key=lambda row: row.figures.get(published.MACRO, 0.0), default=None)
    groups = []
    for setting in settings:
        members = [row for row in rows if row.setting == setting]
        brief = [row for row in members if row is best or row.trained is not None]
        heading = f"{members[0].source}, {setting or 'protocol not stated'}"
        groups.append(Group(heading, _rows(members, columns), _rows(brief, columns, brief=True)))
    return [group for group in groups if group.rows]


def _rows(rows: Sequence[PublishedRow], columns: Sequence[str], *, brief: bool = False) -> list[Row]:
    marks = [(TRAINED if row.trained else "", _ODD if row.note and not brief else "") for row in rows]
    names = [" ".join(filter(None, (row.model, *mark))) for row, mark in zip(rows, marks, strict=True)]
    decimals = 1 if brief else 2
    return [figures_row(name, row.figures, columns, decimals=decimals) for name, row in zip(names, rows, strict=True)]


def remarks(rows: Sequence[PublishedRow]) -> str:
    """What is odd about published rows, each remark once with all models it is about; for the files alone."""
    about: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            about.setdefault(row.note, []).append(row.model)
    return " ".join(f"{_ODD} {', '.join(models)}: {note}." for note, models in about.items())


def figures_row(label: str, figures: Scores, columns: Iterable[str], *, decimals: int = 2) -> Row:
    """The figures that the columns name; an empty cell for one that is not there."""
    return label, [f"{figures[name]:.{decimals}f}" if name in figures else "" for name in columns]
