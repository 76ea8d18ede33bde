"""Several processes on the CPU: plain DDP, ZeRO-2 and ZeRO-3, started in every documented way; and how they fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iadr1.cli import launch
from iadr1.config import SftConfig, build
from iadr1.errors import MissingExtraError, UsageError
from iadr1.stages import sft
from iadr1.stages.training import processes, settings
from iadr1.stages.training.launcher import failed
from tests.stages.launching import (
    difference,
    finish,
    prepare,
    python,
    run,
    start,
    wait_until_gone,
    weights,
    words,
)

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "iadr1")
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "-m", "iadr1")


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def written(out: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return info


def alone(folder: Path, model: Path) -> Path:
    """The result of one process that sees in each step what two of a half's batch size see together."""
    overrides = words("sft", folder, model, "alone", "steps=3", "batch_size=4")[1:]
    return sft.run(build(SftConfig, overrides=overrides)).model


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("how", "tolerance"),
    [
        pytest.param("--nproc 2", 1e-5, id="nproc"),
        pytest.param("torchrun", 1e-5, id="torchrun"),
        pytest.param("--nproc 2 --deepspeed zero2", 1e-4, id="zero2", marks=needs_deepspeed),
        pytest.param("accelerate --deepspeed ds.json", 1e-4, id="zero3-file-accelerate", marks=needs_deepspeed),
    ],
)
def test_two_processes_learn_what_one_learns_from_both_batches(
    tmp_path: Path, tiny_model: Path, how: str, tolerance: float
) -> None:
    prepare(tmp_path)
    ours = words("sft", tmp_path, tiny_model, "run", "steps=3", "save_steps=2")
    shutil.copy(settings._DEEPSPEED / "zero3.json", tmp_path / "ds.json")
    starter = {"torchrun": TORCHRUN, "accelerate": ACCELERATE}.get(how.split(maxsplit=1)[0], ("-m", "iadr1"))
    options = [word for word in how.split() if word not in ("torchrun", "accelerate")]
    command = python(*starter, ours[0], *options, *ours[1:])
    result = run(command, tmp_path)
    assert result.code == 0, result.err[-3000:]
    out = tmp_path / "run"
    # By name: the saved names are the base model's, so that other programs can load it.
    assert difference(out / "model", tiny_model) > 1e-3
    assert difference(out / "model", alone(tmp_path, tiny_model)) < tolerance
    assert written(out)["processes"] == 2
    assert written(out)["state"] == "finished"
    assert [line["step"] for line in lines(out)] == [1, 2, 3]  # one process writes, not two
    assert result.out.count("settings and figures") == 1  # and one talks
    assert json.loads((out / "checkpoint-2" / "iadr1.json").read_text(encoding="utf-8"))["step"] == 2


@pytest.mark.multiprocess
@needs_deepspeed
def test_grpo_under_zero3_answers_in_both_processes(tmp_path: Path, tiny_model: Path) -> None:
    prepare(tmp_path)
    more = ("--nproc", "2", "steps=2", "beta=0.1", "deepspeed=zero3", "save_steps=1", "reward=accuracy=0,format")
    result = run(python("-m", "iadr1", *words("train", tmp_path, tiny_model, "run", *more)), tmp_path)
    assert result.code == 0, result.err[-3000:]
    out = tmp_path / "run"
    assert [line["step"] for line in lines(out)] == [1, 2]
    total = written(out)["parameters"][-1]
    # ZeRO-3 spreads the weights: counted naively, there would be none.
    assert total["parameters"] == total["trainable"] == sum(values.size for values in weights(tiny_model).values())
    assert sorted(path.name for path in (out / "checkpoint-2").glob("rng_state_*")) == [
        "rng_state_0.pth",
        "rng_state_1.pth",
    ]


@pytest.mark.multiprocess
def test_a_reward_that_fails_in_one_process_ends_all(tmp_path: Path, tiny_model: Path) -> None:
    prepare(tmp_path)
    more = ("--nproc", "2", "steps=9", "reward=rewards_of_scale_test:broken")
    result = run(python("-m", "iadr1", *words("train", tmp_path, tiny_model, "run", *more)), tmp_path)
    assert result.code == 2, result.err[-3000:]
    assert "the reward 'broken' gave nan for sample 's3'" in result.err
    assert "Traceback" not in result.err
    wait_until_gone(tmp_path / "run")


@pytest.mark.multiprocess
def test_what_is_wrong_everywhere_is_said_once(tmp_path: Path, tiny_model: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "images" / "5.png").unlink()
    result = run(python("-m", "iadr1", *words("sft", tmp_path, tiny_model, "run", "--nproc", "2")), tmp_path)
    assert result.code == 1
    assert result.err.count("1 of 8 images are missing") == 1, result.err
    assert "Traceback" not in result.err


@pytest.mark.multiprocess
def test_a_killed_launcher_takes_its_processes_with_it(tmp_path: Path, tiny_model: Path) -> None:
    prepare(tmp_path)
    command = words("sft", tmp_path, tiny_model, "run", "--nproc", "2", "steps=5000", "save_steps=5000")
    process = start(python("-m", "iadr1", *command), tmp_path)
    while not (tmp_path / "run" / "log.jsonl").exists():
        assert process.poll() is None, finish(process).err
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)  # it alone, as `kill -9` does
    wait_until_gone(tmp_path / "run")
    assert finish(process).code == -signal.SIGKILL


# --- what a launcher must not do ----------------------------------------------------------------------------------


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No launcher and no GPU choice in the environment."""
    for name in [
        name for name in os.environ if name.startswith(("ACCELERATE_", "TORCHELASTIC_", "LOCAL_", "CUDA_VIS"))
    ]:
        monkeypatch.delenv(name)
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_one_process_is_not_started_anew(clean: pytest.MonkeyPatch) -> None:
    launch.relaunch(1)
    clean.setenv("LOCAL_RANK", "0")
    clean.setenv("LOCAL_WORLD_SIZE", "2")
    launch.relaunch(1)
    launch.relaunch(2)
    with pytest.raises(UsageError, match="nproc is 3, but the launcher has started 2 processes on this machine"):
        launch.relaunch(3)


def test_deepspeed_gets_its_launcher_for_one_process_too(clean: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def instead(processes: int, command: list[str]) -> int:
        started.append(processes)
        return 0

    clean.setattr("iadr1.stages.training.launcher.launch", instead)
    clean.setenv("OMP_NUM_THREADS", "1")
    clean.setenv("IADR1_LAUNCHER", "")  # so that it is put back as it was
    with pytest.raises(SystemExit) as ended:
        launch.relaunch(1, deepspeed=True)
    assert (ended.value.code, started) == (0, [1])
    clean.setenv("LOCAL_RANK", "0")
    launch.relaunch(1, deepspeed=True)
    assert started == [1]


@needs_deepspeed
def test_deepspeed_without_a_launcher_is_refused(clean: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="DeepSpeed needs a launcher, for one process too"):
        settings._deepspeed(SftConfig(deepspeed="zero2"))


def test_accelerate_that_starts_one_process_for_several_is_found_out(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launch.relaunch(1)
    clean.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(UsageError, match="accelerate was asked for several processes, but has started one"):
        launch.relaunch(1)


def test_nproc_without_torch_names_the_extra(clean: pytest.MonkeyPatch) -> None:
    clean.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'--nproc needs the package .torch. .*"iadr1\[train\]"'):
        launch.relaunch(2)


class Failure:
    """What torch's launcher tells of a process."""

    def __init__(self, exitcode: int, timestamp: int = 0) -> None:
        self.exitcode, self.timestamp = exitcode, timestamp


def test_the_launcher_says_why_a_process_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "id" / "attempt_0" / "1"
    folder.mkdir(parents=True)
    (folder / "stderr.log").write_text("error: the reason\n", encoding="utf-8")
    ended = -int(signal.SIGTERM)
    assert failed({0: Failure(ended), 1: Failure(1)}, tmp_path) == 1
    assert capsys.readouterr().err == "process 1 failed:\nerror: the reason\n"
    # Process 0 has said it already.
    assert failed({0: Failure(2, timestamp=2), 1: Failure(2, timestamp=1)}, tmp_path) == 2
    assert capsys.readouterr().err == ""
    assert failed({0: Failure(ended), 1: Failure(-9)}, tmp_path) == 137
    assert "process 1 was killed by SIGKILL" in capsys.readouterr().err


def test_processes_that_did_not_join_are_refused(clean: pytest.MonkeyPatch) -> None:
    processes.check_joined()
    clean.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="has started 2 processes, 1 of them train together"):
        processes.check_joined()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        (
            {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"},
            "accelerate's configuration asks for DeepSpeed, which the run itself",
        ),
        ({"ACCELERATE_USE_FSDP": "true"}, "asks for FSDP"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "asks for mixed_precision fp16, this run has bf16=false"),
    ],
)
def test_accelerate_does_not_decide_behind_the_runs_back(
    clean: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    settings.common_settings(SftConfig(), steps=1)
    for name, value in variables.items():
        clean.setenv(name, value)
    with pytest.raises(UsageError, match=says):
        settings.common_settings(SftConfig(), steps=1)


# --- GPUs and DeepSpeed files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cards", "variables", "says"),
    [
        (0, {"CUDA_VISIBLE_DEVICES": "0,1"}, "CUDA_VISIBLE_DEVICES is '0,1', but no GPU can be used"),
        (2, {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "4"}, r"4 processes, but 2 GPUs on this machine \(--nproc 2\)"),
        (4, {}, r"one process, but 4 GPUs \(--nproc 4 takes all, CUDA_VISIBLE_DEVICES=0 takes one\)"),
    ],
)
def test_gpus_are_counted(clean: pytest.MonkeyPatch, cards: int, variables: dict[str, str], says: str) -> None:
    import torch

    clean.setattr(torch.cuda, "device_count", lambda: cards)
    for name, value in variables.items():
        clean.setenv(name, value)
    with pytest.raises(UsageError, match=says):
        processes.check_cards()


@pytest.mark.parametrize(("cards", "here"), [(0, 1), (0, 2), (1, 1), (2, 2), (4, 2)])
def test_enough_gpus_or_none_at_all_are_taken(clean: pytest.MonkeyPatch, cards: int, here: int) -> None:
    import torch

    clean.setattr(torch.cuda, "device_count", lambda: cards)
    clean.setenv("LOCAL_WORLD_SIZE", str(here))
    clean.setenv("WORLD_SIZE", str(here))
    processes.check_cards()


def test_flash_attention_without_a_gpu_is_refused_before_anything_is_loaded(clean: pytest.MonkeyPatch) -> None:
    import torch

    clean.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="attention=flash_attention_2 needs a GPU, there is none here"):
        settings.common_settings(SftConfig(attention="flash_attention_2"), steps=1)
    settings.common_settings(SftConfig(attention="sdpa"), steps=1)


@needs_deepspeed
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a JSON object of DeepSpeed settings"),
        ("[]", "not a JSON object of DeepSpeed settings"),
        ('{"train_batch_size": 8}', "train_batch_size is 8, it must be 'auto'"),
        (
            "{AUTO, 'zero_optimization': {'stage': 3}}",
            "stage3_gather_16bit_weights_on_model_save: true saves no usable",
        ),
    ],
)
def test_a_deepspeed_file_that_cannot_work_is_refused(tmp_path: Path, text: str, says: str) -> None:
    auto = ", ".join(f"'{key}': 'auto'" for key in settings._AUTO)
    path = tmp_path / "ds.json"
    path.write_text(text.replace("AUTO", auto).replace("'", '"'), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        settings.common_settings(SftConfig(deepspeed=str(path)), steps=1)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


@needs_deepspeed
def test_an_unknown_deepspeed_setting_and_a_missing_compiler_are_named(clean: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"no DeepSpeed settings 'zero9' \(known: zero2, zero3, or a JSON file\)"):
        settings.common_settings(SftConfig(deepspeed="zero9"), steps=1)
    clean.setenv("WORLD_SIZE", "2")
    clean.setattr(shutil, "which", lambda program: None if program == "g++" else f"/usr/bin/{program}")
    clean.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match=r"needs the program 'g\+\+', which is not found"):
        settings._check_compiler()


def test_the_shipped_deepspeed_files_pass_their_own_check() -> None:
    for name in ("zero2", "zero3"):
        settings._check_file(settings._DEEPSPEED / f"{name}.json")


def test_weights_are_compared_by_name(tmp_path: Path, tiny_model: Path) -> None:
    assert difference(tiny_model, tiny_model) == 0.0
    assert all(isinstance(values, np.ndarray) for values in weights(tiny_model).values())
