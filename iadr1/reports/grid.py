"""A table of texts, for the terminal, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

Row = tuple[str, Sequence[str]]
"""Label and cells."""

_WIDTH = 80
"""Columns of a terminal."""
_LEAST_LABEL, _MOST_LABEL = 20, 48
"""A terminal's first column is as wide as its labels; where that is too much for the others, labels are folded."""


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
        remarks: Further ones for the files alone, about rows that the terminal does not show.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    groups: Sequence[Group]
    note: str = ""
    remarks: str = ""

    @property
    def below(self) -> str:
        """All sentences."""
        return " ".join(filter(None, (self.note, self.remarks)))


def to_rich(grid: Grid) -> Table:
    """The table for a rich console, with the `brief` rows of each group, at most 80 columns wide.

    Columns that do not fit beside each other stand in several blocks, one below the other.
    """
    groups = [(group.heading, group.rows if group.brief is None else group.brief) for group in grid.groups]
    rows = [row for _, members in groups for row in members]
    widths = [
        1 + max(cell_len(text) for text in (*heading.split("\n"), *(cells[place] for _, cells in rows)))
        for place, (_, heading) in enumerate(grid.columns)
    ]
    longest = max((cell_len(label) for label, _ in rows), default=0)
    first = min(longest, max(_LEAST_LABEL, min(_MOST_LABEL, _WIDTH - sum(widths))))
    table = Table.grid()
    table.title = Text(grid.title)
    table.add_column(max_width=_WIDTH, overflow="fold")
    for places in _blocks(widths, _WIDTH - first):
        block = [first, *(widths[place] for place in places)]
        headings = "", [heading for _, heading in grid.columns]
        table.add_row("")
        table.add_row(_part([headings], block, places))
        table.add_row(Text("\N{BOX DRAWINGS LIGHT HORIZONTAL}" * sum(block)))
        for number, (heading, members) in enumerate(group for group in groups if group[1]):
            if number:
                table.add_row("")
            if heading:
                table.add_row(Text(heading, style="italic"))
            table.add_row(_part(members, block, places))
    if grid.note:
        table.add_row("")
        table.add_row(Text(grid.note, style="dim"))
    return table


def _blocks(widths: Sequence[int], available: int) -> list[list[int]]:
    """Columns by place, as many in a block as its width holds, at least one."""
    blocks: list[list[int]] = [[]]
    for place, width in enumerate(widths):
        if blocks[-1] and sum(widths[other] for other in blocks[-1]) + width > available:
            blocks.append([])
        blocks[-1].append(place)
    return blocks


def _part(rows: Sequence[Row], widths: Sequence[int], places: Sequence[int]) -> Table:
    """Rows with the columns of these places, each of its own width."""
    part = Table.grid()
    for number, width in enumerate(widths):
        part.add_column(
            width=width,
            justify="right" if number else "left",
            vertical="bottom",
            overflow="fold" if number == 0 else "ellipsis",
        )
    for label, cells in rows:
        part.add_row(Text(label), *(Text(cells[place]) for place in places))
    return part


def to_markdown(grid: Grid) -> str:
    """The table as a section of a Markdown document."""
    empty = [""] * len(grid.columns)
    lines = [f"## {_markdown(grid.title)}", "", _row(["", *(name for name, _ in grid.columns)])]
    lines.append(_row(["---", *["---:"] * len(grid.columns)], raw=True))
    for group in grid.groups:
        if group.heading:
            lines.append(_row([f"*{_markdown(group.heading)}*", *empty], raw=True))
        lines += [_row([label, *cells]) for label, cells in group.rows]
    return "\n".join([*lines, *(["", _markdown(grid.below)] if grid.below else [])]) + "\n"


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
        rf"\caption{{{_latex(' '.join(filter(None, [grid.title + '.', grid.below])))}}}",
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
