"""The tables of results, as text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iadr1.metrics.choice import AVERAGE, MISS, OVERKILL, SUBTASKS
from iadr1.reports.tables import CHOICE_COLUMNS, PUBLISHED, TableData, choice_table, figures_table, to_markdown, to_rich

SCORES = {
    "DS-MVTec": dict.fromkeys((*SUBTASKS, "average"), 100.0) | {"overkill": 0.0, "miss": 3.456},
    "average": {"Anomaly Detection": 61.25, "average": 50.0},
}


def drawn(data: TableData, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(to_rich(data))
    return console.export_text()


def test_columns_are_the_metrics() -> None:
    assert [key for key, _ in CHOICE_COLUMNS] == [*SUBTASKS, AVERAGE, OVERKILL, MISS]


def test_published_rows_hold_together() -> None:
    """The printed averages are the means of the printed columns."""
    for figures in PUBLISHED.values():
        subtasks = [figures[key] for key in SUBTASKS]
        assert figures["average"] == pytest.approx(sum(subtasks) / 7, abs=0.006)


def test_terminal_table_fits_80_columns() -> None:
    data = choice_table("mmad: tiny", SCORES, parts={"- held out": {"average": 12.3}}, interval=(40.0, 60.0))
    text = drawn(data)
    assert max(map(len, text.splitlines())) <= 80
    lines = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "100.0" in lines["DS-MVTec"]
    assert "3.5" in lines["DS-MVTec"]
    assert "61.2" in lines["Average"]
    assert "12.3" in lines["- held out"]
    assert "77.0" in lines["AnomalyR1 3B*"]
    assert "28.6" in lines["Random chance*"]
    assert "40.0 to 60.0" in " ".join(text.split())
    assert "not comparable" in " ".join(text.split())
    assert "…" not in text


def test_markdown_table() -> None:
    lines = to_markdown(choice_table("mmad: tiny", SCORES)).splitlines()
    assert lines[0] == "## mmad: tiny"
    rows = [line for line in lines if line.startswith("|")]
    assert {row.count("|") for row in rows} == {len(CHOICE_COLUMNS) + 2}
    assert "| Average | 61.25 |  |" in rows[3]
    assert rows[-1].startswith("| AnomalyR1 3B\\* | 60.62 | 63.56 | 70.14 | 80.47 | 85.28 | 92.48 | 86.15 | 76.96 |")


def test_figures_table_formats_by_kind() -> None:
    data = figures_table("t", {"all": {"normal_images": 4, "mean_iou": 0.12345, "miss": 50.0}, "held-out": {"miss": 1}})
    rows = [line for line in to_markdown(data).splitlines() if line.startswith("|")]
    assert rows[0] == "|  | all | held-out |"
    assert rows[2:] == ["| normal images | 4 |  |", "| mean iou | 0.123 |  |", "| miss | 50.00 | 1 |"]
    assert "50.0" in drawn(data)
