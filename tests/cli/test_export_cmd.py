"""`iadr1 export` as it is typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import iadr1
from iadr1 import cli
from iadr1.cli.app import app
from iadr1.exports.annotations import NAMES
from tests.exports.annotations.world import decided, make_run, undecided

CHECKOUT = Path(iadr1.__file__).parents[1]
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in the current folder: `run/` and `photos/`."""
    monkeypatch.chdir(tmp_path)
    make_run(Path(), [*decided(), *undecided()])


def test_the_summary_counts_what_is_written_and_left_out(run: None) -> None:
    result = CliRunner().invoke(app, ["export", "run", "--format", "coco", "--out", "d.json"], env=PLAIN)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "d.json: 4 photos (3 anomalous, 1 normal) with 5 defects for coco",
        "left out 1 photo: could not be looked at",
        "left out 1 photo: undecided",
    ]
    assert len(json.loads(Path("d.json").read_text(encoding="utf-8"))["images"]) == 4


def test_a_photo_left_out_for_its_name_is_named_and_the_exit_code_is_1(run: None) -> None:
    with Path("run/detections.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"image": "a\\b\x1b[31m.png", "verdict": "normal", "width": 9, "height": 9}) + "\n")
    result = CliRunner().invoke(app, ["export", "run", "--format", "csv", "--out", "d.csv"], env=PLAIN)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "error: a\\b?[31m.png: rename the photo and run `iadr1 detect` again",
        "error: 1 photo left out for a backslash in the name",
    ]
    assert "d.csv: 6 photos" in result.stdout


def test_every_option_reaches_the_stage(run: None) -> None:
    words = ["export", "run/detections.jsonl", "--format", "mvtec", "--out", "set/plate", "--images", "photos"]
    result = CliRunner().invoke(app, [*words, "--only", "anomalous", "--min-score", "0.8"], env=PLAIN)
    assert result.exit_code == 0, result.output
    assert "set/plate: 1 photo (1 anomalous) with 2 defects for mvtec" in result.stdout
    assert "left out 1 photo: below the score" in result.stdout
    assert "left out 3 photos: of another verdict" in result.stdout
    assert "plate is the category: the set's root is set" in result.stdout
    assert Path("set/plate/test/combined/000_a_1.png").is_file()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "--format", "voc", "--out", "d"), 2, "error: no format 'voc' (known: coco, yolo,"),
        (("run", "--format", "coco", "--out", "d"), 2, "let --out end in .json"),
        (("run", "--format", "coco", "--out", "d.json", "--only", "broken"), 2, "'broken' is not one of"),
        (("gone", "--format", "coco", "--out", "d.json"), 2, "error: gone: no such file"),
    ],
)
def test_what_is_wrong_is_one_line(
    run: None, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", *words])
    assert ended.value.code == code
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]


def test_the_help_names_every_format_and_loads_nothing_heavy() -> None:
    result = CliRunner().invoke(app, ["export", "--help"], env=PLAIN, prog_name="iadr1")
    assert not [name for name in NAMES if not re.search(rf"[ (]{name}[ ,.]", result.output)]
    assert "Usage: iadr1 export [OPTIONS] {FILE} " in result.output
    code = (
        "import sys\nfrom iadr1.cli import main\n"
        "try:\n    main(['export', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(repr([n for n in ('torch', 'cv2', 'numpy', 'scipy', 'PIL') if n in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert done.stderr == "[]"
