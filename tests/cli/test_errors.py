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
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("steps: 0\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["paint"], "No such command 'paint'"),
        (["detect"], "Missing argument 'IMAGES'"),
        (["detect", "images", "--mask"], "--masks"),
        (["detect", "images", "--batch-size", "many"], "error: --batch-size needs a whole number, got 'many' (see: "),
        (["detect", "images", "--threshold", "abc"], "--threshold needs a number, got 'abc'"),
        (["serve", "--port", "abc"], "--port needs a whole number, got 'abc'"),
        (["train", "steps=ten"], "the key 'steps' needs a whole number, got 'ten'"),
        (["serve", "--batch-size", "0"], "error: --batch-size is 0, it must be at least 1"),
        (["serve", "--deadline-s", "0"], "error: --deadline-s is 0, it must be at least 0.001"),
        (["watch", "mine", "--interval", "0"], "error: --interval is 0, it must be above 0 seconds"),
        (["watch", "mine", "--webhook", "http://h/x", "--send", "some"], "error: --send is some (it is one of"),
        (["calibrate", "--normals", "mine", "--fpr", "2"], "error: --fpr is 2, it must be above 0 and below 1"),
        (["eval", "mmad", "--max-new-tokens", "0"], "error: --max-new-tokens is 0, it must be at least 1"),
        (["eval", "mmad", "limit=0"], "error: limit is 0, it must be at least 1"),
        (["eval", "mmad", "--timeout-s", "0"], "error: --timeout-s is 0, it must be a number above 0"),
        (["doctor", "--scenes", "3"], "error: --scenes is 3: fewer than 8"),
        (["prepare", "--photos", "-1"], "error: --photos is -1, it must not be negative"),
        (["sft", "lora_rank=8", "lora_dropout=1"], "error: lora_dropout is 1, it must be below 1"),
        (["train", "--steps", "0"], "error: --steps is 0, it must be at least 1"),
        (["train", "steps=0"], "error: steps is 0, it must be at least 1"),
        (["train", "mine/recipe.yaml"], "error: steps is 0, it must be at least 1"),
        (["train", "mine/recipe.yaml", "--steps", "-1"], "error: --steps is -1, it must be at least 1"),
        (["detect", "images", "--threshold", "1.5"], "error: --threshold is 1.5, it must be within 0 and 1"),
        (["detect", "images", "--tiles", "3"], "error: --tiles is 3 (it is off, auto, or columns x rows such as 3x2)"),
        (
            ["detect", "images", "--segmenter", "sam2"],
            "error: --segmenter sam2 has no effect: nothing is drawn without",
        ),
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
        (["train", "--learning-rate", "-1"], "error: --learning-rate is -1, it must be at least 0"),
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


@pytest.mark.parametrize("words", [["--out", ""], ["--out="]])
def test_an_empty_out_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It would be the current folder."""
    told = "error: --out is empty (name a folder or file; '.' is the current folder)\n"
    assert call(capsys, "detect", "images", *words) == (2, told)
    assert call(capsys, "calibrate", "--normals", "images", *words) == (2, told)


def test_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (30, 30)).save("x.png")
    Path("a\x1b[2J").touch()
    code, told = call(capsys, "detect", "x.png", "--out", "a\x1b[2J")
    assert (code, told.startswith("error: a?[2J: cannot make the folder")) == (2, True)


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
    monkeypatch.setattr("iadr1.cli.app.app", _app_that(action))
    assert call(capsys) == (code, told)


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iadr1.cli.app.app", _app_that(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main([])


def test_ctrl_c_while_modules_are_loaded_is_no_traceback() -> None:
    """A module of the command line that is interrupted while Python reads it stands for all of them."""
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from iadr1.cli import main\n"
        "main(['detect', 'images'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    told = "interrupted: run the same command again to resume; what is written is kept\n"
    assert (result.returncode, result.stderr) == (130, told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "cuda"], "the device 'cuda' is not there"),
        (["--engine", "vllm"], "the engine 'vllm' needs the package 'vllm'"),
        (["--dtype", "int8"], "no dtype 'int8'"),
        (["--model", "nope"], "no model 'nope'"),
    ],
)
def test_what_is_not_there_is_refused_before_torch_is_loaded(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a.png")
    code = (
        "import sys\n"
        "from iadr1.models import choices\n"
        "choices._has_driver = lambda: False\n"
        "sys.modules['vllm'] = None\n"
        "from iadr1.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", code, "detect", "images", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.stderr.startswith(f"error: {told}")
    assert (result.returncode, result.stderr.count("\n"), result.stdout) == (2, 1, "False\n")


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
