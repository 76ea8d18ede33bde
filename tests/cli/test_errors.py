"""Wrong calls: one line on stderr that says what and what to do, exit code 2; other ends have their own code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

import iadr1
from iadr1 import cli
from iadr1.errors import DataError

CHECKOUT = Path(iadr1.__file__).parents[1]


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str]:
    """Exit code and stderr of one call."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return ended.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["paint"], "No such command 'paint'"),
        (["detect"], "Missing argument 'IMAGES'"),
        (["detect", "images", "--mask"], "--masks"),
        (["detect", "images", "--batch-size", "many"], "'--batch-size'"),
        (["detect", "nowhere"], "nowhere"),
        (["prepare", "imagenet"], "imagenet"),
        (["prepare", "mmad"], "--root"),
        (["prepare", "mmad", "--root", "nowhere", "--out", "mmad.jsonl"], "nowhere"),
        (["train", "betaa=3"], "no key 'betaa'; did you mean 'beta'?"),
        (["train", "beta=high"], "the key 'beta' needs a number, got 'high'"),
        (["train", "anomalyr1-roam-3"], "did you mean 'anomalyr1-roam-3b'?"),
        (["train", "mine.yaml"], "the recipe 'mine.yaml' is not a file"),
        (["train", "anomalyr1-roam-3b", "fast"], "'fast' is neither the recipe"),
        (["train", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["train", "--nproc", "0"], "nproc is 0, it must be at least 1"),
        (["sft", "--nproc", "-2"], "nproc is -2, it must be at least 1"),
        (["train", "--seed", "99999999999999999999"], "seed is 99999999999999999999, it must be at most 4294967295"),
        (["train", "--plan", "--data", "nowhere.jsonl"], "no samples file 'nowhere.jsonl'"),
        (["sft", "--plan", "data=nowhere.jsonl"], "no samples file 'nowhere.jsonl'"),
        (["recipes", "cp", "tiny-roam", "mine.txt"], "FILE 'mine.txt' does not end in .yaml or .yml"),
        (["train", "log_to=paper"], "no log_to 'paper' (known: tensorboard, wandb, trackio, none)"),
        (["train", "lora_rank=8", "freeze=vision"], "lora_parts names the parts that are adapted"),
        (["ground", "--data", "nowhere.jsonl"], "'iadr1 prepare' writes data/grounding.jsonl"),
        (["ground", "epsilon_hihg=1"], "did you mean 'epsilon_high'?"),
        (["ground", "anomalyr1-roam-3b"], "the recipe is for 'iadr1 train', not for 'iadr1 ground'"),
        (["sft", "anomalyr1-roam-3b"], "the recipe is for 'iadr1 train', not for 'iadr1 sft'"),
        (["sft", "answer_fromat=direct"], "no key 'answer_fromat'; did you mean 'answer_format'?"),
        (["sft", "--answer-format", "boxed"], "no answer_format 'boxed' (known: structured, boxes, direct)"),
        (["sft", "freeze=vison"], "freeze: no part 'vison' (parts: vision, projector, language)"),
        (["sft", "generations=8"], "no key 'generations'"),
        (["sft", "--data", "nowhere.jsonl"], "'iadr1 prepare' writes data/anomaly.jsonl"),
        (["recipes", "cp"], "Missing argument 'NAME'"),
        (["recipes", "check", "nowhere.yaml"], "the recipe 'nowhere.yaml' is not a file"),
        (["model", "merge", "nowhere", "--out", "merged"], "no adapter_config.json in 'nowhere'"),
        (["model", "merge", "nowhere"], "--out"),
        (["eval"], "BENCHMARK"),
        (["eval", "limit=3"], "no benchmark named"),
        (["eval", "imagenet"], "imagenet"),
        (["eval", "mmda"], "no benchmark 'mmda' (did you mean 'mmad'?)"),
        (["prepare", "mvtek"], "no source 'mvtek' (did you mean 'mvtec'?)"),
        (["data", "check", "none.jsonl"], "no file 'none.jsonl'"),
        (["rewards", "try", "roam", "none.jsonl"], "no file 'none.jsonl'"),
        (["eval", "mmad", "limit=["], "the value of the key 'limit' is not YAML"),
        (["train", "steps=["], "the value of the key 'steps' is not YAML"),
        (["train", "--learning-rate", "-1"], "learning_rate is -1.0, it must be at least 0"),
        (["eval", "mmad", "fast"], "'fast' is neither the benchmark"),
        (["eval", "mmad", "shot=1"], "did you mean 'shots'?"),
        (["eval", "mmad"], "iadr1 prepare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_calls_exit_2_with_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = call(capsys, *words)
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert told in text


@pytest.mark.parametrize("name", ["tinyy", "runs/no-such-folder"])
def test_an_unknown_model_is_a_wrong_call(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a.png")
    code, text = call(capsys, "detect", "images", "--model", name)
    assert code == 2
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert name in text


def test_adapters_given_as_a_model_name_the_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a.png")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}", encoding="utf-8")
    code, text = call(capsys, "detect", "images", "--model", "lora")
    assert (code, text.count("\n")) == (2, 1)
    assert "'iadr1 model merge lora --out FOLDER'" in text


def test_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    code, text = call(capsys, "detect", "images")
    assert code == 2
    assert text.count("\n") == 1
    assert "images" in text


def _app_that(action: BaseException | None) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def act() -> None:
        if action is not None:
            raise action

    return app


@pytest.mark.parametrize(
    ("action", "code", "told"),
    [
        (None, 0, ""),
        (typer.Exit(1), 1, ""),
        (DataError("two\nlines", where="a.jsonl:3"), 1, "error: a.jsonl:3: two lines\n"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again to resume; what is written is kept\n"),
    ],
    ids=["done", "failed images", "error", "interrupted"],
)
def test_how_a_run_ends(
    action: BaseException | None,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "app", _app_that(action))
    assert call(capsys) == (code, told)


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", _app_that(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main([])


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "iadr1", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    finally:
        os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 1


def test_threads_do_not_wait_busily_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that it is put back as it was
        monkeypatch.delenv("OMP_WAIT_POLICY")
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        with pytest.raises(SystemExit):
            cli.main(["--version"])
        assert os.environ["OMP_WAIT_POLICY"] == expected
