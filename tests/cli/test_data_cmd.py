"""`iadr1 data` and `iadr1 convert` as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from PIL import Image
from typer.testing import CliRunner

import iadr1
from iadr1 import cli
from iadr1.cli import convert
from iadr1.cli.app import app
from iadr1.exports import BOX_SPACES, FORMATS_OF_TASK, METHODS, NAMES
from iadr1.records import Task

CHECKOUT = Path(iadr1.__file__).parents[1]
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
COMMANDS = (("data",), ("data", "check"), ("data", "stats"), ("data", "view"), ("data", "licences"), ("convert",))
SAMPLE: dict[str, Any] = {
    "id": "[red]a", "dataset": "Set", "category": "[bold]bolt", "split": "train", "image": "a.png", "task": "choice",
    "question": "Which?", "options": {"A": "x", "B": "y"}, "answer": "B", "question_type": "Defect Classification",
    "is_anomalous": False, "licence": "CC-BY-4.0", "source": "Set, 2020",
}  # fmt: skip


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40)).save("a.png")
    path = Path("s.jsonl")
    path.write_text(json.dumps(SAMPLE) + "\n", encoding="utf-8")
    return path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    """Exit code and stdout of one call."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return ended.value.code, capsys.readouterr().out


def test_check_says_that_nothing_was_found(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "data", "check", "s.jsonl") == (0, "s.jsonl: 1 records on 1 images: no faults found\n")


def test_check_names_the_first_of_each_kind_and_exits_1(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{**SAMPLE, "id": str(number), "options": {"A": "x", "B": "x"}} for number in range(5)]
    samples.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    code, out = call(capsys, "data", "check", "s.jsonl", "--out", "f.jsonl")
    assert code == 1
    assert out.splitlines() == [
        "error    options: 5",
        "  s.jsonl:1  0  two options have the same text: x",
        "  s.jsonl:2  1  two options have the same text: x",
        "  s.jsonl:3  2  two options have the same text: x",
        "  and 2 more",
        "  -> no answer can tell them apart; replace one",
        "",
        "s.jsonl: 5 records on 1 images: 5 errors, 0 warnings",
        "findings f.jsonl",
    ]
    written = [json.loads(line) for line in Path("f.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(item["where"], item["level"]) for item in written] == [(f"s.jsonl:{n}", "error") for n in range(1, 6)]


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples.write_text(json.dumps({**SAMPLE, "id": "a\x1b[2J\nb", "question": ""}), encoding="utf-8")
    out = call(capsys, "data", "check", "s.jsonl")[1]
    assert "s.jsonl:1  a?[2J?b  the question is empty: ''" in out


def test_warnings_alone_exit_0(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples.write_text(json.dumps({**SAMPLE, "licence": "unknown"}), encoding="utf-8")
    code, out = call(capsys, "data", "check", "s.jsonl")
    assert (code, "0 errors, 1 warnings" in out) == (0, True)


def test_check_takes_its_options(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    defect = {"type": "x", "box": [5, 5, 12, 30]}
    record = {**SAMPLE, "is_anomalous": True, "defects": [defect], "image_sha256": "0" * 64}
    samples.write_text(json.dumps(record), encoding="utf-8")
    assert call(capsys, "data", "check", "s.jsonl")[0] == 0
    assert "tiny box: 1" in call(capsys, "data", "check", "s.jsonl", "--tiny", "8")[1]
    assert call(capsys, "data", "check", "s.jsonl", "--hash")[0] == 1
    Path("other").mkdir()
    assert "no such file" in call(capsys, "data", "check", "s.jsonl", "--root", "other")[1]


def test_stats_print_tables_in_which_names_are_no_markup(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys, "data", "stats", "s.jsonl", "--out", "stats.json")
    assert code == 0
    assert "Set / [bold]bolt" in out
    assert "s.jsonl: 1 records on 1 images, 0 with reasoning" in out
    assert json.loads(Path("stats.json").read_text(encoding="utf-8"))["records"] == 1


def test_view_writes_the_page(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = call(capsys, "data", "view", "s.jsonl", "--out", "page.html", "--limit", "5", "--seed", "3")
    assert (code, out) == (0, "page.html: 1 of 1 samples, of 1 kinds (category, question type, verdict)\n")
    assert "[red]a" in Path("page.html").read_text(encoding="utf-8")


def test_licences_are_listed(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = samples.with_name("t.jsonl")
    barred = [json.dumps({**SAMPLE, "id": name, "licence": "CC-BY-NC-SA-4.0"}) for name in "xy"]
    other.write_text("\n".join(barred), encoding="utf-8")
    code, out = call(capsys, "data", "licences", "s.jsonl", "t.jsonl")
    assert code == 0
    for words in (["CC-BY-4.0", "1", "1", "Set", "permitted"], ["CC-BY-NC-SA-4.0", "2", "1", "Set", "not permitted"]):
        assert any(all(word in line for word in words) for line in out.splitlines())
    assert out.splitlines()[-1] == "1 of 3 records may be used commercially"


def test_convert_says_what_it_wrote(samples: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out = call(capsys, "convert", "s.jsonl", "--to", "anomalyr1", "--out", "few.jsonl")
    assert (code, out.splitlines()) == (
        0,
        [
            "few.jsonl: 1 samples for anomalyr1",
            "few.yaml names it",
            f"image paths are relative to {tmp_path}: give it as --image_root, and the YAML file as --dataset_name",
        ],
    )
    code, out = call(capsys, "convert", "s.jsonl", "--to", "trl", "--out", "g.jsonl", "--method", "grpo")
    assert out.splitlines() == ["g.jsonl: 1 samples for trl", "image paths are absolute"]


def test_every_choice_of_convert_is_the_stage_s() -> None:
    hints = get_type_hints(convert.convert)

    def choices(name: str) -> set[str]:
        return {word for part in get_args(hints[name]) for word in get_args(part)}

    assert choices("method") == set(METHODS)
    assert choices("box_space") == set(BOX_SPACES)
    assert choices("task") == set(get_args(Task))
    assert choices("fmt") == set(FORMATS_OF_TASK["anomaly"])
    parameters = convert.convert.__annotations__["to"]
    assert all(name in str(parameters) for name in NAMES)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data", "check"], "Missing argument 'FILE'"),
        (["data", "look"], "No such command 'look'"),
        (["data", "view", "s.jsonl"], "--out"),
        (["data", "view", "s.jsonl", "--out", "a.html", "--limit", "0"], "--limit"),
        (["data", "licences"], "Missing argument"),
        (["convert", "s.jsonl", "--to", "trl"], "--out"),
        (["convert", "s.jsonl", "--to", "coco", "--out", "a.json"], "no format 'coco'"),
        (["convert", "s.jsonl", "--to", "trl", "--out", "a.jsonl", "--box-space", "cm"], "--box-space"),
    ],
)
def test_wrong_calls_exit_2_with_one_line(
    samples: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    text = capsys.readouterr().err
    assert ended.value.code == 2
    assert text.count("\n") == 1
    assert told in text


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env=PLAIN, prog_name="iadr1")
    assert shown.exit_code == 0
    assert words == ("data",) or f"Example: iadr1 {' '.join(words)}" in shown.output.replace("`", "")
    assert "bool" not in shown.output
    code = (
        "import sys\nfrom iadr1.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "loaded = [name for name in ('torch', 'numpy', 'PIL', 'datasets', 'matplotlib') if name in sys.modules]\n"
        "sys.stderr.write(repr(loaded))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert result.stderr == "[]"


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (("data", "view", "s.jsonl", "--out", "a.png"), ".html"),
        (("data", "check", "s.jsonl", "--out", "a.png"), ".jsonl"),
        (("data", "stats", "s.jsonl", "--out", "a.png"), ".json"),
        (("data", "stats", "s.jsonl", "--plot", "script.py"), ".png"),
    ],
)
def test_a_photo_or_a_script_is_never_the_output(
    samples: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], ending: str
) -> None:
    before = Path("a.png").read_bytes()
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert f"does not end in {ending}" in capsys.readouterr().err
    assert Path("a.png").read_bytes() == before
    assert not Path("script.py").exists()
