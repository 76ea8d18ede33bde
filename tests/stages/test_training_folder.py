"""What a training run's folder may hold: nothing of others is replaced, and a run's figures count all its calls."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.config import SftConfig, TrainConfig
from iadr1.errors import UsageError
from iadr1.provenance import describe, write_run
from iadr1.stages import grpo, sft
from iadr1.stages.training import job, settings
from iadr1.stages.training.folder import open_run, whole_checkpoints
from iadr1.stages.training.quiet import quiet
from tests.stages.tiny_run import tiny_run


@pytest.fixture
def grpo_config(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.chdir(tmp_path)
    return tiny_run(tmp_path, tiny_model, log_to="none", steps=3, completions=False)


@pytest.fixture
def config(grpo_config: TrainConfig) -> SftConfig:
    shared = {field.name: getattr(grpo_config, field.name) for field in dataclasses.fields(SftConfig) if
              field.name in ("model", "data", "out", "steps", "save_steps", "log_to")}  # fmt: skip
    return SftConfig(batch_size=2, learning_rate=1e-3, **shared)


def run_file(out: Path) -> dict[str, Any]:
    info: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return info


class StoppedError(Exception):
    """Stands in for a kill, which would take the test with it."""


def stop_at(step: int) -> Callable[[dict[str, float]], None]:
    def on_log(figures: dict[str, float]) -> None:
        if figures["step"] == step:
            raise StoppedError

    return on_log


# --- what is somebody else's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"mine": 1}, "the folder holds a run.json that is not of iadr1"),
        ([], "the folder holds a run.json that is not of iadr1"),
        (None, "the folder holds the run.json of 'iadr1 eval'"),
    ],
)
def test_a_run_json_of_others_is_left_alone(config: SftConfig, content: object, says: str) -> None:
    config.out.mkdir()
    if content is None:
        write_run(config.out, describe("eval", config))
    else:
        (config.out / "run.json").write_text(json.dumps(content), encoding="utf-8")
    before = (config.out / "run.json").read_bytes()
    with pytest.raises(UsageError) as caught:
        sft.run(config)
    assert says in str(caught.value)
    assert "choose another --out" in str(caught.value)
    assert (config.out / "run.json").read_bytes() == before


def test_a_model_of_others_is_left_alone(config: SftConfig) -> None:
    (config.out / "model").mkdir(parents=True)
    (config.out / "model" / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"the folder holds a model/ that is not of this run"):
        sft.run(config)
    assert (config.out / "model" / "model.safetensors").read_bytes() == b"mine"
    assert not (config.out / "run.json").exists()


@pytest.mark.parametrize("place", ["model", "."])
def test_the_base_is_not_written_over(config: SftConfig, place: str) -> None:
    base = shutil.copytree(config.model, config.out / place)
    with pytest.raises(UsageError, match=r"starts from the model '.*' and would write into its folder .choose another"):
        sft.run(dataclasses.replace(config, model=str(base)))
    assert {path.name for path in base.iterdir()} == {path.name for path in Path(config.model).iterdir()}


def test_a_folder_in_which_the_same_command_began_nothing_is_free(config: SftConfig) -> None:
    open_run("sft", config)
    assert open_run("sft", dataclasses.replace(config, seed=1))["state"] == "running"


# --- a model that is gone -------------------------------------------------------------------------------------------


def test_weights_that_are_gone_are_saved_again_from_the_last_checkpoint(config: SftConfig) -> None:
    first = sft.run(config)
    kept = (first.model / "model.safetensors").read_bytes()
    shutil.rmtree(first.model)
    notes: list[str] = []
    again = sft.run(config, on_note=notes.append)
    assert "model/ holds no weights: they are saved again from the last checkpoint" in notes
    assert (again.already_finished, again.resumed_from, again.steps) == (False, 3, 3)
    assert (first.model / "model.safetensors").read_bytes() == kept
    assert (first.model / "README.md").is_file()
    assert sft.run(config).already_finished
    shutil.rmtree(first.model)
    for checkpoint in whole_checkpoints(config.out):
        shutil.rmtree(checkpoint.path)
    with pytest.raises(UsageError, match=r"model/ holds no weights and checkpoint-3, .* is gone \(choose"):
        sft.run(config)


# --- figures of all calls -------------------------------------------------------------------------------------------


def test_images_and_wall_time_are_those_of_all_calls(grpo_config: TrainConfig) -> None:
    straight = dataclasses.replace(grpo_config, out=grpo_config.out.with_name("straight"))
    grpo.run(straight)
    with pytest.raises(StoppedError):
        grpo.run(grpo_config, on_log=stop_at(2))
    (first,) = whole_checkpoints(grpo_config.out)
    assert first.step == 1
    assert first.totals["wall_seconds"] > 0
    # As if that call had taken long.
    marker = first.path / "iadr1.json"
    content = json.loads(marker.read_text(encoding="utf-8"))
    content["totals"]["wall_seconds"] = 5000.0
    marker.write_text(json.dumps(content), encoding="utf-8")
    assert grpo.run(grpo_config).resumed_from == 1
    info = run_file(grpo_config.out)
    assert info["images"]["asked"] == run_file(straight.out)["images"]["asked"] > 0
    assert 5000 < info["wall_seconds"] < 6000
    assert run_file(straight.out)["wall_seconds"] < 1000


def test_wall_time_of_sft_is_that_of_all_calls(config: SftConfig) -> None:
    with pytest.raises(StoppedError):
        sft.run(config, on_log=stop_at(2))
    (first,) = whole_checkpoints(config.out)
    marker = first.path / "iadr1.json"
    content = json.loads(marker.read_text(encoding="utf-8"))
    content["totals"]["wall_seconds"] += 5000
    marker.write_text(json.dumps(content), encoding="utf-8")
    assert 5000 < sft.run(config).seconds < 6000


# --- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("installed", [True, False])
def test_tensorboard_that_is_not_there_is_said_once(
    config: SftConfig, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (settings, job):
        monkeypatch.setattr(module, "has_tensorboard", lambda: installed)
    monkeypatch.setattr(sft, "_train", stop)
    notes: list[str] = []
    with pytest.raises(StoppedError):
        sft.run(dataclasses.replace(config, log_to="tensorboard"), on_note=notes.append)
    said = ["TensorBoard is not installed (pip install tensorboard): figures go to log.jsonl alone"]
    assert notes == [*([] if installed else said), f"loading {config.model} ..."]


def stop(*given: object, **named: object) -> None:
    raise StoppedError


def test_what_deepspeed_says_of_every_start_is_not_shown() -> None:
    log = logging.getLogger("DeepSpeed")
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        with quiet():
            log.warning(
                "Setting accelerator to CPU. If you have GPU or other accelerator, we were unable to detect it."
            )
            log.warning("something that matters")
        log.warning("Setting accelerator to CPU again")
    finally:
        log.removeHandler(handler)
    assert seen == ["something that matters", "Setting accelerator to CPU again"]
