"""A table as text for the terminal, Markdown and LaTeX."""

from __future__ import annotations

import io

from rich.console import Console

from iadr1.reports.grid import Grid, Group, to_latex, to_markdown, to_rich

COLUMNS = [("Anomaly Detection", "Anom.\ndet."), ("average", "Avg.")]
GRID = Grid(
    "mmad: tiny",
    COLUMNS,
    [
        Group("tiny, protocol x", [("VisA", ["50.00", "12.34"]), ("all", ["1.00", ""])], [("VisA", ["50.0", "12.3"])]),
        Group("others, of which none is shown in the terminal", [("GPT", ["2.00", "3.00"])], []),
        Group("", [("Human", ["4.00", "5.00"])]),
    ],
    "A note.",
)


def drawn(grid: Grid, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(to_rich(grid))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_terminal_shows_the_brief_rows_below_their_headings() -> None:
    lines = [line.strip() for line in drawn(GRID) if line.strip()]
    assert lines == [
        "mmad: tiny",
        "Anom.",
        "det. Avg.",
        "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * 16,
        "tiny, protocol x",
        "VisA   50.0 12.3",
        "Human  4.00 5.00",
        "A note.",
    ]


def test_what_is_wider_than_80_columns_stands_in_blocks() -> None:
    names = [f"dataset {place}" for place in range(12)]
    cells = [f"{place}.00" for place in range(12)]
    grid = Grid("t", [(name, name) for name in names], [Group("g", [("m", cells)])])
    lines = drawn(grid, width=200)
    assert max(map(len, lines)) <= 80
    text = " ".join(lines)
    assert all(text.count(f" {name} ") == 1 for name in names[:-1])
    assert [line.split()[0] for line in lines if line.startswith("m ")] == ["m", "m"]
    assert sum(f" {cell} " in f"{line} " for line in lines for cell in cells) == 12


def test_long_labels_are_folded_before_a_column_is_moved() -> None:
    label = "a label of forty-four characters, no less !!"
    grid = Grid("t", [(str(place), str(place)) for place in range(10)], [Group("", [(label, ["100.0"] * 10)])])
    lines = drawn(grid)
    assert max(map(len, lines)) <= 80
    assert sum(line.count("100.0") for line in lines) == 10
    assert max(line.count("100.0") for line in lines) == 10
    assert "…" not in "".join(lines)


def test_wide_characters_take_two_columns() -> None:
    lines = drawn(Grid("t", COLUMNS, [Group("", [("瓶子", ["1.00", "2.00"]), ("abcd", ["3.00", "4.00"])])]))
    rows = [line for line in lines if "0" in line]
    assert rows[0].index("1.00") + 2 == rows[1].index("3.00")
    assert "瓶子瓶子" in "".join(drawn(Grid("t", [("瓶子瓶子", "瓶子瓶子")], [Group("", [("a", ["1"])])])))


def test_markdown_and_latex_hold_every_row_and_escape_it() -> None:
    grid = Grid("50 % | _x_", COLUMNS, [Group("h*", [("a|b_c", ["1 & 2", "<3"])], [])], "n~")
    markdown, latex = to_markdown(grid), to_latex(grid)
    assert "## 50 % \\| \\_x\\_" in markdown
    assert "| a\\|b\\_c | 1 & 2 | \\<3 |" in markdown
    assert "| *h\\** |  |  |" in markdown
    assert r"a|b\_c & 1 \& 2 & \textless{}3 \\" in latex
    assert r"\multicolumn{3}{l}{\textit{h*}} \\" in latex
    assert r"\caption{50 \% | \_x\_. n\textasciitilde{}}" in latex
