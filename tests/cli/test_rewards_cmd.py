"""`iadr1 rewards`: the table, and a file scored on the terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from iadr1.cli.app import app
from iadr1.errors import DataError, UsageError
from iadr1.rewards import GROUPS, TABLE

ROWS = [
    {"completion": "<think>So the answer is B.</think><answer>B</answer>", "solution": "B"},
    {"completion": "<think>I look.</think><answer>B</answer>", "solution": "B"},
    {"completion": "<think>The answer is D.</think><answer>B</answer>", "solution": "B"},
    {"completion": "[bold]:smile:\x1b[31m", "solution": "B"},
    {"completion": "", "solution": "B"},
    {"completion": "", "solution": "B"},
    {"completion": "No", "solution": "No"},
]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def call(*words: object) -> Result:
    result = CliRunner().invoke(app, ["rewards", *map(str, words)], env={"COLUMNS": "120"}, prog_name="iadr1")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_ls_shows_every_reward_with_its_range() -> None:
    text = call("ls").stdout
    for name, row in TABLE.items():
        assert re.search(rf"^\s*{name}\s+{row.low:g}\.\.{row.high:g}\s", text, re.MULTILINE), name
    assert all(f"{name} stands for" in text for name in GROUPS)
    assert "length takes length@TOKENS" in text


def test_without_out_the_lines_go_to_stdout_and_the_rest_to_stderr(answers: Path) -> None:
    result = call("try", "roam", answers)
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    wanted = [1.0, 0.8, 0.0, 0.0, 0.0, 0.0, None]
    assert lines == [{**row, "reward": pytest.approx(value)} for row, value in zip(ROWS, wanted, strict=True)]
    assert "6 completions, mean 0.3, lowest 0, highest 1" in result.stderr


def test_with_out_the_summary_goes_to_stdout(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    result = call("try", "roam=1,format=0.5", answers, "--out", out)
    assert len(out.read_text(encoding="utf-8").splitlines()) == len(ROWS)
    text = result.stdout
    assert "mean by reward: roam 0.3, format 0.4286" in text
    # The histogram: value, count and a bar that is longest for the largest count.
    bars = re.findall(r"^\s*([\d.]+) ┤\s*(\d+) (█+)$", text, re.MULTILINE)
    assert [(value, count) for value, count, _ in bars] == [("0", "4"), ("0.5", "1"), ("1.3", "1"), ("1.5", "1")]
    assert [len(bar) for *_, bar in bars] == [40, 10, 10, 10]
    assert "right, yet hardly rewarded: 1\n  line 3: 0.5  <think>The answer is D.</think><answer>B</answer>" in text
    assert "the same completion again: 1\n  line 5: 0  (empty) (2 times)" in text
    assert f"wrote {out}" in text


def test_lines_that_it_does_not_apply_to_are_counted(answers: Path) -> None:
    assert "not applicable, null: 1" in call("try", "roam", answers).stderr
    answers.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:6]), encoding="utf-8")
    result = call("try", "grounding", answers)
    assert result.exit_code == 1
    text = result.stderr
    assert "not applicable, null: 6" in text
    assert "grounding applies to none of these lines" in text
    assert "mean" not in text


def test_completions_are_shown_as_they_are_without_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [ROWS[3], {"completion": "x" * 500, "solution": "B"}, ROWS[0]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = call("try", "length@20", path).stderr
    assert "line 1: 0  [bold]:smile:?[31m" in text
    assert f"line 2: 0  ...{'x' * 90}\n" in text


def test_one_value_throughout_is_said_to_teach_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(ROWS[0]) + "\n" for _ in range(2)), encoding="utf-8")
    assert "a group like this teaches nothing" in call("try", "roam", path).stderr
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]), encoding="utf-8")
    assert "teaches nothing" not in call("try", "roam", path).stderr


def test_errors_name_the_reward_and_the_line(answers: Path) -> None:
    with pytest.raises(UsageError, match=r"no reward 'raom'; did you mean 'roam'\?"):
        call("try", "raom", answers)
    with answers.open("a", encoding="utf-8") as file:
        file.write('{"completion": 5, "solution": "B"}\n')
    with pytest.raises(DataError, match=r"answers\.jsonl:8: 'completion' is no text but 5"):
        call("try", "roam", answers)


def test_a_reward_of_ones_own_that_fails_is_named_with_the_line(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tried_here.py").write_text("def f(answer, sample):\n    return {}[answer.letter]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"the reward 'tried_here:f' failed for sample 'line-1' at .*:2: KeyError: 'B'"
    ):
        call("try", "tried_here:f", answers)


def test_without_a_command_its_help_is_shown() -> None:
    result = call()
    assert result.exit_code == 0
    assert "try" in result.stdout


@pytest.mark.parametrize("words", [(), ("ls",), ("try",)], ids=lambda words: " ".join(words) or "rewards")
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    heavy = ("torch", "transformers", "numpy", "scipy")
    code = (
        "import sys\n"
        "from iadr1.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"sys.stderr.write(' '.join(name for name in {heavy!r} if name in sys.modules))"
    )
    command = [sys.executable, "-c", code, "rewards", *words, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert "iadr1 rewards" in result.stdout
