"""The tables of a run: its own figures, splits, intervals, and published rows marked with protocol and training."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from iadr1 import published
from iadr1.metrics.choice import AVERAGE, MISS, OVERKILL, SUBTASKS
from iadr1.reports.grid import Grid, to_latex, to_markdown, to_rich
from iadr1.reports.results import comparison_tables, result_tables
from tests.reports.metrics_world import DETECTION, anomaly, choice, grounding

WHO = "tiny, protocol anomalyr1 v1 0123456789abcdef, 1-shot, n = 1,234"
MMAD_SETS = ("DS-MVTec", "VisA")


def rows(grid: Grid) -> dict[str, list[str]]:
    return {label: list(cells) for group in grid.groups for label, cells in group.rows}


def text(grid: Grid) -> str:
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(to_rich(grid))
    return console.export_text()


def test_columns_are_the_metrics() -> None:
    assert [name for name, _ in result_tables(choice("VisA"), task="choice")[0].columns] == [
        *SUBTASKS, AVERAGE, OVERKILL, MISS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("metrics", "task", "number"),
    [
        (choice(*MMAD_SETS), "choice", 5),
        (choice("Syn-Part"), "choice", 1),
        (anomaly("VisA", "DAGM"), "anomaly", 3),
        (grounding(), "grounding", 1),
    ],
)
def test_every_table_names_protocol_hash_and_number(metrics: dict[str, Any], task: str, number: int) -> None:
    tables = result_tables(metrics, task=task)
    assert len(tables) == number
    for table in tables:
        assert table.groups[0].heading == WHO
        for written in (text(table), to_markdown(table), to_latex(table)):
            assert "0123456789abcdef" in " ".join(written.split())
        assert max(map(len, text(table).splitlines())) <= 80


def test_the_headline_holds_every_row_of_the_run() -> None:
    part = {**choice("VisA"), "questions": 200}
    found = rows(result_tables(choice("VisA", "Goods", splits={"held-out images": part}), task="choice")[0])
    assert list(found)[:8] == [
        "VisA", "Goods", "Average", "  95 % from", "  95 % to", "  read answers only", "  by MMAD's script",
        "  held-out images (200)",
    ]  # fmt: skip
    first = {label: cells[0] for label, cells in found.items()}
    assert [first[label] for label in list(found)[:8]] == [
        "10.00", "20.00", "33.00", "28.00", "38.00", "34.00", "35.00", "33.00",
    ]  # fmt: skip


def test_published_rows_stand_under_their_protocol_and_are_marked() -> None:
    table = result_tables(choice(*MMAD_SETS), task="choice")[0]
    assert [group.heading for group in table.groups[1:]] == [
        f"AnomalyR1 paper Table 2, {setting}"
        for setting in ("reference", "1-shot", "0-shot", "as reported in Table 2 (1-shot table)")
    ]
    found = rows(table)
    assert len(found) == 7 + len(published.table_2())
    marked = [label for label in found if "\N{DAGGER}" in label]
    assert marked == ["Qwen2.5-VL (sft) 3B \N{DAGGER} *", "AnomalyR1 (ours) 3B \N{DAGGER}"]
    assert "nothing is known of it" in table.note
    shown = text(table)
    assert "GPT-4o" in shown
    assert "Gemini" not in shown


def test_odd_published_rows_are_marked_and_the_remark_stands_below() -> None:
    table = result_tables(choice(*MMAD_SETS), task="choice")[0]
    odd = [label for label in rows(table) if label.endswith(" *")]
    assert odd[:3] == ["Claude-3.5-sonnet *", "Cambrian-1 8B *", "SPHINX 7B *"]
    assert len(odd) == 5
    for written in (to_markdown(table).replace("\\", ""), to_latex(table)):
        assert "* Claude-3.5-sonnet: printed average differs from the mean of the seven" in written
        assert written.count("* Cambrian-1 8B, SPHINX 7B: starred in the table: receives only the query image.") == 1
    assert "*" not in text(table)  # which does not show these rows


def test_each_set_of_mmad_stands_beside_the_result_files() -> None:
    metrics = choice("VisA", "Mine", "GoodsAD")
    tables = {table.title: table for table in result_tables(metrics, task="choice")}
    assert [title for title in tables if title.endswith("by subtask")] == ["VisA by subtask", "GoodsAD by subtask"]
    table = tables["GoodsAD by subtask"]
    assert [name for name, _ in table.columns] == [*SUBTASKS, AVERAGE, OVERKILL, MISS]
    found = rows(table)
    assert (found["tiny"][0], found["  by MMAD's script"][0]) == ("30.00", "32.00")
    assert found["  questions"] == ["4", "", "", "", "", "", "3", "", "", ""]
    # answers_1_shot_gpt-4o_accuracy.csv, as stored.
    (gpt,) = (row for row in published.result_files() if (row.model, row.dataset) == ("gpt-4o", "GoodsAD"))
    assert found["gpt-4o"] == [f"{gpt.figures[name]:.2f}" for name, _ in table.columns]
    assert "AnomalyGPT_train_mvtec 7B \N{DAGGER}" in found
    assert {group.heading for group in table.groups[1:]} == {
        f"jam-cc/MMAD:all_result, {shots}-shot" for shots in (0, 1)
    }


def test_a_run_on_all_of_mmad_shows_every_row_of_the_result_files() -> None:
    sets = [*dict.fromkeys(row.dataset for row in published.result_files() if row.dataset != AVERAGE)]
    tables = [
        table
        for table in result_tables(choice(*sets), task="choice")
        if any(published.RESULT_FILES in group.heading for group in table.groups)
    ]
    assert tables[-1].title == "Average of the 4 datasets by subtask"
    shown = sum(len(group.rows) for table in tables for group in table.groups[1:])
    assert shown == len(published.result_files()) == 110
    assert not any("Average of the" in table.title for table in result_tables(choice(*sets, "Mine"), task="choice")[3:])


@pytest.mark.parametrize(("datasets", "told"), [(MMAD_SETS, False), (("VisA", "Mine"), True)])
def test_figures_of_other_images_are_called_not_comparable(datasets: tuple[str, ...], told: bool) -> None:
    assert ("not comparable with others" in result_tables(choice(*datasets), task="choice")[0].note) == told


def test_by_dataset_the_published_rows_of_the_same_sets_stand_below() -> None:
    _, average, detection, *_ = result_tables(choice(*MMAD_SETS), task="choice")
    assert [name for name, _ in average.columns] == ["DS-MVTec", "VisA", "average"]
    own = rows(average)
    assert own["tiny"] == ["10.00", "20.00", "33.00"]
    assert own["  questions"] == ["7", "7", ""]
    assert own["AnomalyR1 \N{DAGGER}"] == ["81.99", "76.69", "76.96"]
    assert "Published averages are over all sets of their source" in average.note
    assert rows(detection)["  questions"] == ["4", "4", ""]
    assert rows(detection)["GRPO with ROAM \N{DAGGER}"][:2] == ["65.07", "69.03"]
    assert detection.title.startswith(DETECTION)


def test_classes_of_mvtec_3d_stand_beside_table_4() -> None:
    classes = {"MVTec3D-AD": {"bagel": {"average": 100.0}, "rope": {"average": 25.0}}}
    table = result_tables(choice("MVTec3D-AD", per_category=classes), task="choice")[1]
    assert dict(zip([name for name, _ in table.columns], rows(table)["tiny"], strict=True)) == {
        "bagel": "100.00", "rope": "25.00", "average": "62.50",
    }  # fmt: skip
    assert rows(table)["AnomalyR1 \N{DAGGER}"] == ["46.33", "65.77", "56.85"]


def test_yes_no_answers_stand_beside_the_rows_of_iad_r1() -> None:
    headline, by_set, scores = result_tables(anomaly("VisA", "DAGM"), task="anomaly")
    assert rows(headline)["Average"][3:6] == ["70.00", "71.00", "72.00"]
    assert [group.heading for group in by_set.groups[1:]] == [
        f"Yanhui-Lee/IAD-R1:supplementary_results, {shots}-shot" for shots in (0, 2, 4)
    ]
    assert rows(by_set)["qwen_vl_max (commercial)"][:2] == ["70.55", "78.20"]
    assert [name for name, _ in scores.columns] == ["AUROC", "at score", "images"]
    assert rows(scores)["VisA"] == ["91.50", "0.250", "40"]
    assert rows(scores)["Average"] == ["90.00", "", ""]


def test_boxes_masks_and_words_have_a_table_each() -> None:
    more = {
        "boxes": {"VisA": {"f1@0.5": 50.0, "mean_iou": 0.5, "true_boxes": 3}, "average": {"f1@0.5": 50.0}},
        "pixels": {"VisA": {"pixel_iou": 0.25, "aupro": 60.0}, "average": {"aupro": 60.0}},
        "words": {"VisA": {"type_accuracy": 10.0, "type_images": 4}, "average": {"type_accuracy": 10.0}},
    }
    intervals = {"average": {"f1@0.5": (40.0, 60.0), "average": (1.0, 2.0), DETECTION: (1.0, 2.0)}}
    split = {**anomaly("VisA"), "questions": 9, "boxes": {"average": {"f1@0.5": 44.0}}}
    metrics = anomaly("VisA", **more, interval_95=intervals, splits={"held-out images": split})
    found = {table.title: rows(table) for table in result_tables(metrics, task="anomaly")}
    assert found["Boxes"] == {
        "VisA": ["50.00", "0.500", "3"],
        "Average": ["50.00", "", ""],
        "  95 % from": ["40.00", "", ""],
        "  95 % to": ["60.00", "", ""],
        "  held-out images (9)": ["44.00", "", ""],
    }
    assert found["Masks"]["VisA"] == ["0.250", "60.00"]
    assert found["Named types and places"]["VisA"] == ["10.00", "4"]
    assert found["Masks"]["  held-out images (9)"] == ["", ""]


def test_referring_expressions() -> None:
    (table,) = result_tables(grounding(), task="grounding")
    assert table.title == "grounding: tiny"
    found = rows(table)
    assert found["RefCOCO testB"] == ["50.00", "0.500", "7"]
    assert found["Average"] == ["40.00", "0.400", ""]
    assert found["  95 % from"] == ["30.00", "", ""]


def test_the_order_of_the_options_has_its_table() -> None:
    order = {
        "questions": 10, "all_rotations_right": 20.0, "answer_changed": 30.0, "strict": {},
        "by_position": {"1": 60.0, "2": 40.0}, "chosen_position": {"1": 70.0, "2": 30.0},
    }  # fmt: skip
    table = result_tables(choice("Mine", circular=order), task="choice")[-1]
    assert list(rows(table).values()) == [["60.00", "40.00"], ["70.00", "30.00"]]
    assert "right in all rotations 20.00 %, answer changes with the rotation 30.00 %" in table.note


def test_what_was_trained_on_is_marked_in_every_table() -> None:
    for table in result_tables(choice(*MMAD_SETS, includes_trained_images=3), task="choice"):
        assert table.groups[0].heading.startswith("tiny \N{DAGGER}, protocol")
        assert "The figures include 3 images that the model was trained on" in table.note


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"protocol": None}, "tiny, protocol not stated, 1-shot"),
        ({"protocol": {"name": None, "version": None, "hash": "f00d"}}, "tiny, protocol f00d, 1-shot"),
        ({"shots": None}, "tiny, protocol anomalyr1 v1 0123456789abcdef, n = 1,234"),
    ],
)
def test_what_is_not_known_of_the_protocol_is_not_invented(changes: dict[str, Any], told: str) -> None:
    assert result_tables(choice("VisA", **changes), task="choice")[0].groups[0].heading.startswith(told)


def test_a_partial_run_says_so() -> None:
    table = result_tables(choice("VisA", complete=False, missing=66), task="choice")[0]
    assert table.title == "mmad: tiny (partial: 1234 of 1300 answers)"


def test_two_runs_are_named_with_their_protocols() -> None:
    difference = {"a": 50.0, "b": 60.0, "difference": 10.0, "interval_95": (5.0, 15.0), "p": 0.00001}
    result = {
        "a": {"model": "base", "protocol": {"name": "mmad", "version": 1, "hash": "aa"}},
        "b": {"model": "tuned", "protocol": None},
        "questions": 1000,
        "differences": {"average": {DETECTION: difference}, "VisA": {"average": difference}},
        "mcnemar": {"all": {"only_a": 1, "only_b": 9, "p": 0.02}},
    }
    first, second = comparison_tables(result)
    for table in (first, second):
        assert "A: base, protocol mmad v1 aa. B: tuned, protocol not stated. n = 1,000." in table.note
        assert max(map(len, text(table).splitlines())) <= 80
    assert rows(first)[DETECTION] == ["50.00", "60.00", "+10.00", "+5.00", "+15.00", "<0.0001"]
    assert rows(second)["all"] == ["1", "9", "0.0200"]


def test_questions_without_an_answer_are_told_below_the_table() -> None:
    assert "10 got no answer: they count as wrong." in result_tables(choice("VisA", errors=10), task="choice")[0].note
    assert "got no answer" not in result_tables(choice("VisA", errors=0), task="choice")[0].note


def test_mvtec_3d_is_not_laid_beside_mmad() -> None:
    table = result_tables(choice("Syn", benchmark="mvtec3d"), task="choice")[0]
    assert [group.heading for group in table.groups if "Table 2" in group.heading] == []
