"""Going on after `kill -9` ends in the very weights of a run that was left alone; what is refused; a full disk."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from iadr1.config import SftConfig, TrainConfig, build
from iadr1.errors import OutputError, UsageError
from iadr1.stages import grpo, sft
from iadr1.stages.training import folder as folders
from iadr1.stages.training.folder import Step, last_checkpoint, mark_checkpoint, open_run, rewind_log, whole_checkpoints
from iadr1.stages.training.limits import check_grpo
from iadr1.stages.training.saving import clear_errors
from tests.stages.launching import difference, kill_after_checkpoint, prepare, python, run, weights, words

LORA = ("lora_rank=4", "learning_rate=1e-2")
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> SftConfig:
    data = prepare(tmp_path)
    return SftConfig(model=str(tiny_model), data=data, out=tmp_path / "run", steps=2, batch_size=2, log_to="none")


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("stage", "more"),
    [
        # One pass more over each set of answers, and the KL term against the base.
        pytest.param("train", (*LORA, "iterations=2", "gradient_accumulation=2", "beta=0.1"), id="grpo-lora"),
        pytest.param("train", ("nproc=2", "beta=0.1"), id="grpo-ddp"),
        pytest.param("sft", ("nproc=2", "deepspeed=zero2"), id="sft-zero2", marks=needs_deepspeed),
    ],
)
def test_a_killed_run_ends_in_the_weights_of_a_straight_one(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, stage: str, more: tuple[str, ...]
) -> None:
    prepare(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    command = words(stage, tmp_path, tiny_model, "straight", "steps=10", "save_steps=2", *more)
    train(command, tmp_path)
    command = words(stage, tmp_path, tiny_model, "killed", "steps=10", "save_steps=2", *more)
    delay = random.uniform(0, 0.5)  # eight steps and four checkpoints are left, which take longer
    code = kill_after_checkpoint(python("-m", "iadr1", *command), tmp_path, "killed", delay=delay)
    assert code == -signal.SIGKILL
    train(command, tmp_path)
    assert difference(tmp_path / "killed" / "model", tmp_path / "straight" / "model") == 0.0, f"killed {delay} s after"
    earlier = tmp_path / "straight" / "checkpoint-8"
    assert difference(earlier, tmp_path / "straight" / "model") > 0.0  # else any checkpoint would do
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


KILLED_WHILE_SAVING = """
import os, signal
from transformers import Trainer
from iadr1 import cli

save = Trainer._save_rng_state

def killed(self, output_dir):
    if self.state.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, output_dir)

Trainer._save_rng_state = killed
cli.main({words!r})
"""


def test_a_run_killed_while_it_saves_goes_on_from_the_checkpoint_before(tmp_path: Path, tiny_model: Path) -> None:
    prepare(tmp_path)
    straight = words("sft", tmp_path, tiny_model, "straight", "steps=5", "save_steps=2")
    train(straight, tmp_path)
    command = words("sft", tmp_path, tiny_model, "killed", "steps=5", "save_steps=2")
    assert run(python("-c", KILLED_WHILE_SAVING.format(words=command)), tmp_path).code == -signal.SIGKILL
    half = tmp_path / "killed" / "checkpoint-4"
    assert (half / "model.safetensors").exists()
    assert not (half / "iadr1.json").exists()
    assert sft.run(build(SftConfig, overrides=command[1:])).resumed_from == 2
    assert difference(tmp_path / "killed" / "model", tmp_path / "straight" / "model") == 0.0
    assert (half / "iadr1.json").exists()


@pytest.mark.multiprocess
@needs_deepspeed
def test_zero3_goes_on_to_the_same_weights(tmp_path: Path, tiny_model: Path) -> None:
    prepare(tmp_path)
    command = words("sft", tmp_path, tiny_model, "run", "steps=4", "save_steps=2", "nproc=2", "deepspeed=zero3")
    train(command, tmp_path)
    straight = (tmp_path / "run").rename(tmp_path / "straight")
    # What a kill after the second step leaves, and a third that was not finished.
    (tmp_path / "run").mkdir()
    shutil.copytree(straight / "checkpoint-2", tmp_path / "run" / "checkpoint-2")
    shutil.copytree(straight / "checkpoint-4", tmp_path / "run" / "checkpoint-4")
    (tmp_path / "run" / "checkpoint-4" / "iadr1.json").unlink()
    shutil.copy(straight / "log.jsonl", tmp_path / "run")
    info = json.loads((straight / "run.json").read_text(encoding="utf-8")) | {"state": "running"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(info), encoding="utf-8")
    train(command, tmp_path)
    assert difference(tmp_path / "run" / "model", straight / "model") == 0.0
    assert difference(straight / "checkpoint-2", straight / "model") > 0.0


def train(command: list[str], folder: Path) -> None:
    """Run a command to its end: here where one process is enough (quicker), else in processes of their own."""
    if "nproc=2" in command:
        result = run(python("-m", "iadr1", *command), folder)
        assert result.code == 0, result.err[-3000:]
    elif command[0] == "sft":
        sft.run(build(SftConfig, overrides=command[1:]))
    else:
        grpo.run(build(TrainConfig, overrides=command[1:]))


def test_adapters_are_restored_where_only_the_saving_was_left(config: SftConfig) -> None:
    config = dataclasses.replace(config, lora_rank=4, learning_rate=1e-2, save_steps=1)
    first = sft.run(config)
    kept = shutil.copytree(first.model, config.out.with_name("kept"))
    shutil.rmtree(first.model)
    info = json.loads((config.out / "run.json").read_text(encoding="utf-8"))
    (config.out / "run.json").write_text(json.dumps(info | {"state": "running"}), encoding="utf-8")
    again = sft.run(config)
    assert (again.resumed_from, again.steps) == (2, 2)
    assert difference(first.model, kept) == 0.0
    assert any((values != 0).any() for name, values in weights(kept).items() if "lora_B" in name)


# --- whose folder it is -------------------------------------------------------------------------------------------


def begin(config: SftConfig, **environment: str) -> dict[str, Any]:
    """Claim the folder as a run does, with a first checkpoint."""
    info = open_run("sft", config)
    (config.out / "checkpoint-1").mkdir()
    mark_checkpoint(config.out / "checkpoint-1", config_hash=info["config_hash"], step=1)
    return info


def test_another_number_of_processes_is_refused(config: SftConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert begin(config)["processes"] == 2
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="the run was begun with 2 processes, this is 4: it would see other samples"):
        open_run("sft", config)
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(UsageError, match="begun with 2 processes, this is 1"):
        open_run("sft", config)


def test_what_changes_no_weight_may_change(config: SftConfig) -> None:
    info = begin(config)
    moved = config.out.rename(config.out.with_name("moved"))
    free = dataclasses.replace(config, out=moved, nproc=2, log_to="tensorboard", push_to_hub="me/model")
    assert open_run("sft", free)["config_hash"] == info["config_hash"]
    with pytest.raises(UsageError, match=r"seed 42 -> 43$|seed 42 -> 43 \("):
        open_run("sft", dataclasses.replace(free, seed=43))


def test_never_refuses_a_begun_run_and_auto_goes_on_with_what_never_began(config: SftConfig) -> None:
    never = dataclasses.replace(config, resume="never")
    begin(never)
    with pytest.raises(UsageError, match="holds a run already, and resume=never"):
        open_run("sft", never)
    assert last_checkpoint(config.out, open_run("sft", config)["config_hash"]) is not None


def test_a_changed_deepspeed_file_is_refused(config: SftConfig) -> None:
    settings = config.data.with_name("ds.json")
    settings.write_text('{"zero_optimization": {"stage": 2}}', encoding="utf-8")
    config = dataclasses.replace(config, deepspeed=str(settings))
    begin(config)
    open_run("sft", config)
    settings.write_text('{"zero_optimization": {"stage": 3}}', encoding="utf-8")
    with pytest.raises(UsageError, match=rf"on other data: {settings} has changed since"):
        open_run("sft", config)


def test_two_processes_cannot_train_in_one_folder(config: SftConfig) -> None:
    begin(config)
    open_run("sft", config)  # this process holds it already
    code = (
        "from pathlib import Path; from iadr1.config import SftConfig;"
        "from iadr1.stages.training.folder import open_run;"
        f"open_run('sft', SftConfig(model={config.model!r}, data=Path({str(config.data)!r}), "
        f"out=Path({str(config.out)!r}), steps=2, batch_size=2, log_to='none'))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is training in this folder" in other.stderr
    status = (config.out / ".lock").stat()
    folders._LOCKS.pop((status.st_dev, status.st_ino)).close()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_only_the_first_process_writes(config: SftConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert open_run("sft", config)["processes"] == 2
    assert not config.out.exists()
    config.out.mkdir()
    log = config.out / "log.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n', encoding="utf-8")
    assert [entry.step for entry in rewind_log(log, 2, Step, rewrite=False)] == [1, 2]
    assert [entry.step for entry in rewind_log(log, 1, Step, rewrite=True)] == [1]
    assert log.read_text(encoding="utf-8") == '{"step":1}\n'


def test_an_unfinished_checkpoint_is_deleted_and_others_stay(config: SftConfig) -> None:
    begin(config)
    for name in ("checkpoint-2", "checkpoint-best", "model"):
        (config.out / name).mkdir()
        (config.out / name / "half.safetensors").write_bytes(b"half")
    info = open_run("sft", config)
    assert {path.name for path in config.out.glob("[cm]*")} == {"checkpoint-1", "checkpoint-best", "model"}
    assert [checkpoint.step for checkpoint in whole_checkpoints(config.out, info["config_hash"])] == [1]


def test_a_checkpoint_in_the_middle_of_a_set_of_answers_is_refused() -> None:
    check_grpo(TrainConfig(iterations=5))
    with pytest.raises(UsageError, match="save_steps 5 is not a multiple of iterations 2"):
        check_grpo(TrainConfig(iterations=2))


# --- a full disk --------------------------------------------------------------------------------------------------

# From the second step on, no file may become larger than this: writing a checkpoint fails in the middle, as on a disk
# that is full. In torch's C++ (the optimizer) or safetensors' Rust (the weights), whichever is the first.
FULL = """
import resource, signal
from pathlib import Path
from iadr1 import cli
from iadr1.stages.training.recorder import Recorder

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
on_log = Recorder.on_log

def limited(self, args, state, control, **kwargs):
    on_log(self, args, state, control, **kwargs)
    if state.global_step == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))

Recorder.on_log = limited
cli.main({words!r})
"""


@pytest.mark.parametrize(("size", "says"), [(900_000, "the disk is full"), (300_000, "File too large")])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(
    tmp_path: Path, tiny_model: Path, size: int, says: str
) -> None:
    prepare(tmp_path)
    command = words("sft", tmp_path, tiny_model, "run", "steps=3", "save_steps=1")
    result = run(python("-c", FULL.format(size=size, words=command)), tmp_path)
    assert result.code == 1
    errors = [line for line in result.err.splitlines() if "rror" in line]
    assert len(errors) == 1, result.err
    assert f"{tmp_path / 'run'}: cannot save: {says}" in errors[0]
    assert "goes on from checkpoint-1, which is whole" in errors[0]
    assert sft.run(build(SftConfig, overrides=command[1:])).resumed_from == 1


def test_other_errors_of_the_trainer_pass_as_they_are(tmp_path: Path) -> None:
    for error in (RuntimeError("a bug"), FileNotFoundError(2, "No such file")):
        with pytest.raises(type(error)) as caught, clear_errors(tmp_path):
            raise error
        assert caught.value is error
    with (
        pytest.raises(OutputError, match=r"No space left on device \(make room, then .* from its beginning"),
        clear_errors(tmp_path),
    ):
        raise OSError(28, os.strerror(28))
