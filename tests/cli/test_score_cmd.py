"""`iadr1 score` and `iadr1 compare` on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from iadr1.cli.app import app
from iadr1.errors import DataError, UsageError
from tests.stages.scoring_world import World, answer, match, sample, yes_no

LETTERS = ("A", "B", "A", "A", "?")


def call(*words: object, columns: int = 80) -> Result:
    result = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": str(columns)}, prog_name="iadr1")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    records = [
        {
            "image": f"VisA/candle/test/{'good' if number % 2 else 'bad'}/{number}.JPG",
            "question": {"text": "Question 1: Is there any defect in the object?", "options": {"A": "Yes", "B": "No"}},
            "question_type": "Anomaly Detection",
            "correct_answer": "B" if number % 2 else "A",
            "gpt_answer": letter,
        }
        for number, letter in enumerate(LETTERS)
    ]
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_score_shows_the_table_and_names_the_files(answers: Path) -> None:
    result = call("score", answers, "--from", "mmad")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines[: lines.index("5 questions about 5 images")])) <= 80
    cells = {line.split()[0]: line.split() for line in lines if line.strip()}
    # Bad images: right, right, unread; good ones: right, wrong.
    assert cells["VisA"] == ["VisA", "58.3", "58.3", "50.0", "33.3"]
    assert cells["GPT-4o"][-1] == "74.9"
    assert "Cambrian" not in result.stdout
    assert "AnomalyR1 (ours) 3B" in result.stdout
    assert lines[-3:] == [str(answers.parent / "score" / name) for name in ("metrics.json", "table.md", "table.tex")]
    assert "Cambrian" in (answers.parent / "score" / "table.md").read_text(encoding="utf-8")


def test_out_says_where(answers: Path, tmp_path: Path) -> None:
    call("score", answers, "--from", "mmad", "--out", tmp_path / "here")
    metrics = json.loads((tmp_path / "here" / "metrics.json").read_text(encoding="utf-8"))
    assert {"strict", "parsed", "mmad_compat"} <= metrics.keys()
    assert not (answers.parent / "score").exists()


def test_partial_is_said_on_stderr(answers: Path) -> None:
    records = json.loads(answers.read_text(encoding="utf-8"))
    records += [records[0], {**records[1], "correct_answer": None}]
    answers.write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(DataError, match="2 questions have more than one answer"):
        call("score", answers, "--from", "mmad")
    result = call("score", answers, "--from", "mmad", "--partial")
    assert "partial: 2 questions have more than one answer: VisA/candle/test/bad/0.JPG" in result.stderr
    assert "without a right letter, left out: 1" in result.stderr


def test_the_seed_decides_the_intervals(answers: Path, tmp_path: Path) -> None:
    def intervals(seed: int) -> object:
        call("score", answers, "--from", "mmad", "--seed", seed, "--out", tmp_path / "here")
        return json.loads((tmp_path / "here" / "metrics.json").read_text(encoding="utf-8"))["seed"]

    assert (intervals(1), intervals(2)) == (1, 2)


def test_compare_shows_both_tests(answers: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.json"
    text = answers.read_text(encoding="utf-8")
    second.write_text(text.replace('"gpt_answer": "?"', '"gpt_answer": "A"'), encoding="utf-8")
    result = call("compare", answers, second, "--from", "mmad", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "A: answers; B: second" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["miss", "33.33", "0.00", "-33.33"] in [line[:4] for line in lines]
    assert ["all", "0", "1", "1.0000"] in lines
    assert result.stdout.splitlines()[-3:] == [
        str(tmp_path / "out" / f"compare.{end}") for end in ("json", "md", "tex")
    ]


def test_compare_writes_nothing_by_itself(answers: Path) -> None:
    before = sorted(answers.parent.iterdir())
    call("compare", answers, answers, "--from", "mmad")
    assert sorted(answers.parent.iterdir()) == before


def test_a_partial_comparison_is_marked(answers: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.json"
    second.write_text(json.dumps(json.loads(answers.read_text(encoding="utf-8"))[1:]), encoding="utf-8")
    with pytest.raises(DataError, match="1 questions have no answer"):
        call("compare", answers, second, "--from", "mmad")
    result = call("compare", answers, second, "--from", "mmad", "--partial")
    assert "only questions that both have answered" in result.stderr


def test_an_unknown_format_is_refused(answers: Path) -> None:
    with pytest.raises(UsageError, match="no format 'coco'"):
        call("score", answers, "--from", "coco")


def test_a_run_of_shards_and_its_report(tmp_path: Path) -> None:
    world = World(tmp_path)
    samples = [sample(key, category=key) for key in "ab"]
    world.pictures(samples)
    for place, key in enumerate("ab", start=1):
        world.write(samples, [answer(key, "A")], shard=f"{place}/2")
    result = call("score", world.out, "--report", "--root", tmp_path, "--out", tmp_path / "o", columns=200)
    assert "protocol mine v2 0123456789abcdef, n = 2" in result.stdout
    names = ("metrics.json", "table.md", "table.tex", "heat_map.png", "categories.png", "report.html")
    assert result.stdout.splitlines()[-6:] == [str(tmp_path / "o" / name) for name in names]


def test_the_manifest_may_be_elsewhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    manifest = world.leaks([match("a.png", trained=True)], "bolt").rename(tmp_path / "moved.json")
    world.write([sample("a")], [answer("a", "A")])
    with pytest.raises(UsageError, match="--leaks"):
        call("score", world.out)
    told = call("score", world.out, "--leaks", manifest, columns=300).stdout
    assert "include 1 images that the model was trained on" in " ".join(told.split())


def test_what_is_left_out_is_said_on_stderr(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.extra["no_score"] = "no probabilities here"
    world.write([yes_no("a")], [answer("a", "No")])
    assert "no anomaly scores: no probabilities here" in call("score", world.out).stderr


@pytest.mark.parametrize("command", ["score", "compare"])
def test_every_command_shows_a_worked_example(command: str) -> None:
    assert f"iadr1 {command} " in " ".join(call(command, "--help", columns=200).stdout.split("Example:")[1].split())
