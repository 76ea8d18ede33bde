"""The command in processes of its own: lines, signals, exit codes, and a real kill."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from iadr1.cli.app import app
from iadr1.errors import ModelError
from tests.stages.fake_engine import BAD, NORMAL
from tests.watch.world import names, photo, until


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Photos, and the answers that `--engine replay` gives about them."""
    texts = {f"{number}.png": BAD if number == 2 else NORMAL for number in range(9)}
    lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for number in range(3):
        photo(tmp_path / "in" / f"{number}.png", number)
    return tmp_path


def _command(world: Path, *words: str) -> list[str]:
    quick = ["--interval", "0.05", "--settle", "0.1", "--engine", "replay", "--mode", "think", "--attempts", "1"]
    places = [str(world / "in"), "--out", str(world / "out"), "--model", str(world / "answers.jsonl")]
    return [sys.executable, "-m", "iadr1", "watch", *places, *quick, *words]


@contextmanager
def _started(world: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        _command(world, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TERM": "dumb"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_once_prints_a_line_for_each_photo_and_a_summary(world: Path) -> None:
    result = subprocess.run(_command(world, "--once"), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines[:3]] == [
        "normal     0.png",
        "normal     1.png",
        "anomalous  2.png  scratch",
    ]
    assert lines[3] == "3 photos: 1 anomalous, 2 normal, 0 undecided"
    assert f"wrote   {world / 'out' / 'detections.jsonl'}" in lines


def test_once_with_a_bad_file_ends_with_1_and_its_name_cannot_steer_the_terminal(world: Path) -> None:
    (world / "in" / "a\x1b[31m.png").write_bytes(b"no photo")
    result = subprocess.run(_command(world, "--once"), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "error      a?[31m.png" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


def test_once_ends_with_1_where_a_folder_could_not_be_read(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(world / "in" / "locked" / "9.png", 9)
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setenv("TERM", "dumb")
    result = CliRunner().invoke(app, _command(world, "--once")[3:])
    assert result.exit_code == 1, result.output
    assert "locked/: cannot be read (Permission denied), photos in it were not seen" in result.stdout
    assert len(names(world)) == 3


def test_before_the_model_is_loaded_it_says_so(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_engine(*args: Any) -> Any:
        raise ModelError("it was about to be loaded")

    monkeypatch.setattr("iadr1.stages.inspection.setup.load_engine", load_engine)
    monkeypatch.setenv("TERM", "dumb")
    result = CliRunner().invoke(app, ["watch", str(world / "in"), "--out", str(world / "out"), "--once"])
    assert str(result.exception) == "it was about to be loaded"
    assert re.search(r"^[0-9:]{8}  loading tiny", result.stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_in_good_order(world: Path, number: int, code: int) -> None:
    with _started(world) as process:
        until(lambda: len(names(world)) == 3 if (world / "out" / "detections.jsonl").exists() else False)
        photo(world / "in" / "3.png", 3)
        until(lambda: len(names(world)) == 4)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert "4 photos: 1 anomalous, 3 normal, 0 undecided" in out
    assert ("interrupted: run the same command again" in err) == (code == 130)
    assert "Traceback" not in err


def test_a_killed_command_goes_on_with_the_rest(world: Path) -> None:
    for number in range(3, 9):
        photo(world / "in" / f"{number}.png", number)
    with _started(world, "--batch-size", "1") as process:
        until(lambda: (world / "out" / "detections.jsonl").exists() and len(names(world)) >= 2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
    result = subprocess.run(_command(world, "--once"), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(names(world)) == [f"{number}.png" for number in range(9)]
    assert "had a result from an earlier run" in result.stdout


def test_a_second_watcher_ends_with_2_and_says_why(world: Path) -> None:
    with _started(world):
        until((world / "out" / "run.json").exists)
        result = subprocess.run(_command(world, "--once"), capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "another process is watching into this folder" in result.stderr


def test_help_shows_examples_and_every_setting() -> None:
    result = CliRunner().invoke(
        app, ["watch", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}, prog_name="iadr1"
    )
    assert result.exit_code == 0
    assert "Example: " in result.output
    for name in ("--settle", "--keep", "--once", "--webhook-secret-env", "--mqtt", "--send", "--drain-s", "--base-url"):
        assert name in result.output
