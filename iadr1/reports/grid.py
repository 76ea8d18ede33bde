"""A table of texts, for the terminal, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

Row = tuple[str, Sequence[str]]
"""Label and cells."""


@dataclass(frozen=True)
class Group:
    """Rows under a heading (which may be empty); `brief` are those shown in the terminal, all where None."""

    heading: str
    rows: Sequence[Row]
    brief: Sequence[Row] | None = None


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn.

    Attributes:
        title: Heading.
        columns: Name of each column, and its heading in the terminal (with line breaks).
        groups: Groups of rows, separated by a line.
        note: Sentences below.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    groups: Sequence[Group]
    note: str = ""


def to_rich(grid: Grid) -> Table:
    """The table for a rich console, with the `brief` rows of each group."""
    table = Table(title=Text(grid.title), caption=Text(grid.note), caption_justify="left", box=SIMPLE, padding=0)
    table.add_column("", overflow="fold")
    for _, heading in grid.columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for group in grid.groups:
        rows = group.rows if group.brief is None else group.brief
        if group.heading and rows:
            table.add_row(Text(group.heading, style="italic"))
        for place, (label, cells) in enumerate(rows, start=1):
            table.add_row(Text(label), *map(Text, cells), end_section=place == len(rows))
    return table


def to_markdown(grid: Grid) -> str:
    """The table as a section of a Markdown document."""
    empty = [""] * len(grid.columns)
    lines = [f"## {_markdown(grid.title)}", "", _row(["", *(name for name, _ in grid.columns)])]
    lines.append(_row(["---", *["---:"] * len(grid.columns)], raw=True))
    for group in grid.groups:
        if group.heading:
            lines.append(_row([f"*{_markdown(group.heading)}*", *empty], raw=True))
        lines += [_row([label, *cells]) for label, cells in group.rows]
    return "\n".join([*lines, *(["", _markdown(grid.note)] if grid.note else [])]) + "\n"


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<\[])", r"\\\1", text)


def to_latex(grid: Grid) -> str:
    r"""The table as a LaTeX `table` that needs the packages `booktabs` and `graphicx`.

    Widths are left to `\resizebox`, since ten columns are wider than a text column of most classes.
    """
    width = len(grid.columns) + 1
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{_latex(' '.join(filter(None, [grid.title + '.', grid.note])))}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(grid.columns)}}}",
        r"\toprule",
        " & ".join(["", *(_latex(name) for name, _ in grid.columns)]) + r" \\",
    ]
    for group in grid.groups:
        lines.append(r"\midrule")
        if group.heading:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_latex(group.heading)}}}}} \\")
        lines += [" & ".join(map(_latex, [label, *cells])) + r" \\" for label, cells in group.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"]) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{DAGGER}": r"\textdagger{}",
    "\N{MINUS SIGN}": r"$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
