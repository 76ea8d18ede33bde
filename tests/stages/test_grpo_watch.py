"""What is said of a GRPO run while it goes on: the watchdog's faults, the guard of the weights, the times of phases."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from iadr1.config import TrainConfig
from iadr1.errors import MissingExtraError, ModelError, UsageError
from iadr1.stages import grpo
from iadr1.stages.grpo import phases as phases_module
from iadr1.stages.grpo.guard import Guard, weights_are_finite
from iadr1.stages.grpo.log import StepLog
from iadr1.stages.grpo.phases import PHASES, Phases
from iadr1.stages.grpo.watch import SPAN, StepWatch, Watchdog
from iadr1.stages.training.folder import Checkpoint
from iadr1.stages.training.settings import common_settings
from tests.stages.tiny_run import tiny_run

GOOD: dict[str, Any] = {
    "reward": 0.4, "reward_std": 0.3, "parse_rate": 0.95, "completion_length": 60.0, "clipped": 0.02,
    "flat_groups": 0.25, "loss": 0.01, "grad_norm": 1.5, "learning_rate": 1e-6, "entropy": 1.0, "kl": 0.01,
    "seconds": 3.0, "rewards": {"roam": 0.4},
}  # fmt: skip


def step(number: int, **changes: Any) -> StepLog:
    return StepLog(step=number, **(GOOD | changes))


def told(entries: list[StepLog]) -> list[str]:
    """The warnings of a run, each cut to its step and the words that name the fault."""
    watchdog = Watchdog()
    found = [warning for entry in entries for warning in watchdog.look(entry)]
    assert watchdog.told == found
    return found


# --- the watchdog -------------------------------------------------------------------------------------------------


def test_a_good_run_is_quiet() -> None:
    # Noisy, with single bad steps, and rising.
    entries = [
        step(
            number,
            reward=0.3 + 0.01 * number + 0.15 * (-1) ** number,
            flat_groups=1.0 if number % 7 == 0 else 0.3,
            parse_rate=0.2 if number == 20 else 0.9,
            clipped=0.9 if number == 30 else 0.05,
            kl=3.0 if number == 25 else 0.02 * number,
        )
        for number in range(1, 41)
    ]
    assert told(entries) == []


def test_a_run_without_a_reference_is_quiet() -> None:
    assert told([step(number, kl=None) for number in range(1, 21)]) == []


@pytest.mark.parametrize(
    ("changes", "names", "advice"),
    [
        ({"flat_groups": 1.0}, "over 90 % of the groups had one and the same reward", "raise temperature"),
        ({"parse_rate": 0.3}, "fewer than half of the answers could be read", "iadr1 sft"),
        ({"clipped": 0.5}, "over 30 % of the answers were cut off", "raise max_new_tokens"),
        ({"kl": 2.0}, "KL divergence stood above 1", "lower learning_rate or raise beta"),
        ({"reward": 0.1}, "the reward of the last 10 steps has collapsed", "earlier checkpoint"),
    ],
)
def test_a_fault_that_lasts_is_named_once_with_what_to_try(changes: dict[str, Any], names: str, advice: str) -> None:
    good = [step(number) for number in range(1, 16)]
    bad = [step(number, **changes) for number in range(16, 46)]
    (warning,) = told([*good, *bad])
    assert names in warning
    assert advice in warning
    begun = int(warning.partition(":")[0].removeprefix("step "))
    assert 16 < begun <= 16 + SPAN - 1
    # Half of the span is not enough.
    assert told([*good, *bad[: SPAN // 2 - 1], *(step(number) for number in range(30, 45))]) == []


def test_a_fault_from_the_start_is_told_after_a_span() -> None:
    (warning,) = told([step(number, flat_groups=1.0) for number in range(1, 30)])
    assert warning.startswith(f"step {SPAN}:")


@pytest.mark.parametrize("field", ["loss", "grad_norm", "reward", "kl"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_told_at_once(field: str, value: float) -> None:
    (warning,) = told([step(1), step(2, **{field: value}), step(3, **{field: value})])
    assert warning.startswith("step 2: loss, gradient, reward or KL is not a finite number")
    assert "lower learning_rate" in warning


def test_a_fault_at_its_bound_is_not_told_again_and_again() -> None:
    # One or two of the last ten steps are better, so that the mean is above the bound and below by turns.
    flicker = [step(number, flat_groups=1.0 if number % 7 else 0.2) for number in range(1, 41)]
    assert len(told(flicker)) == 1
    again = [
        *(step(number, flat_groups=1.0) for number in range(1, 15)),
        *(step(number) for number in range(15, 45)),
        *(step(number, flat_groups=1.0) for number in range(45, 60)),
    ]
    assert [int(warning.partition(":")[0].removeprefix("step ")) for warning in told(again)] == [10, 53]


def test_a_penalty_collapses_when_it_loses_more_than_its_noise() -> None:
    noisy = [step(number, reward=-0.1 if number < 20 else -0.25, reward_std=0.2) for number in range(1, 40)]
    assert told(noisy) == []
    falling = [step(number, reward=-0.1 if number < 20 else -0.9, reward_std=0.2) for number in range(1, 40)]
    (warning,) = told(falling)
    assert "collapsed" in warning


def test_warnings_reach_the_user_and_run_json_at_once(tmp_path: Path) -> None:
    notes: list[str] = []
    seen: list[dict[str, float]] = []
    watch = StepWatch(tmp_path, {"state": "running"}, 30, note=notes.append, on_log=seen.append)
    calls: list[int] = []
    watch.on_step = lambda: calls.append(1)
    logs: dict[str, Any] = {
        **GOOD, "completions/mean_length": 60.0, "completions/clipped_ratio": 0.0, "frac_reward_zero_std": 0.0,
        "step_time": 3.0, "rewards/roam/mean": 0.4,
    }  # fmt: skip
    assert watch.entry(1, {"train_runtime": 3.0}) is None
    assert not calls
    watch.replay([step(1, loss=math.nan), step(2)])
    assert not notes
    line = watch.entry(20, logs | {"grad_norm": math.nan})
    assert line is not None
    assert line.step == 20
    assert calls == [1]
    watch.weights_lost(21)
    warnings = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["warnings"]
    assert [warning.partition(":")[0] for warning in warnings] == ["step 1", "step 20", "step 21"]
    assert [note.partition(":")[2].strip().partition(":")[0] for note in notes] == ["step 20", "step 21"]
    assert warnings == watch.told
    watch.on_log({"step": 20.0})
    assert seen == [{"step": 20.0, "steps": 30.0}]


# --- the guard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_weights_that_are_lost_stop_the_run(value: float) -> None:
    model = torch.nn.Linear(3, 2)
    steps: list[int] = []
    guard = Guard(steps.append)
    state, settings = argparse.Namespace(global_step=7), argparse.Namespace(output_dir="runs/x")
    guard.on_step_end(settings, state, None, model=model)
    assert not steps
    with torch.no_grad():
        model.weight[1, 2] = value
    with pytest.raises(ModelError, match=r"runs/x: step 7 made weights .*lower learning_rate"):
        guard.on_step_end(settings, state, None, model=model)
    assert steps == [7]
    model.weight.requires_grad = False  # a frozen part is no concern of this step
    assert weights_are_finite(model)


# --- the phases ---------------------------------------------------------------------------------------------------


class FakeTrainer:
    """A trainer whose methods call each other as TRL's do, and a clock that only they move on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def get_batch_samples(self) -> None:
        self.now += 2

    def _generate(self) -> None:
        self.now += 5

    def _calculate_rewards(self) -> None:
        self.now += 3

    def _get_per_token_logps_and_entropies(self) -> None:
        self.now += 4

    def _clip_grad_norm(self) -> None:
        self.now += 1

    def _get_grad_norm(self) -> None: ...

    def _save_checkpoint(self) -> None:
        self.now += 7

    def training_step(self) -> str:
        self._generate()
        self._calculate_rewards()
        self._get_per_token_logps_and_entropies()
        self.now += 6
        self._get_per_token_logps_and_entropies()
        return "loss"


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> FakeTrainer:
    made = FakeTrainer()
    monkeypatch.setattr(phases_module, "_now", lambda: made.now)
    return made


def test_each_phase_gets_its_own_time_and_they_add_up(trainer: FakeTrainer, tmp_path: Path) -> None:
    phases = Phases(trainer)
    assert trainer.callbacks == [phases]
    trainer.now += 50  # loading, which is no phase
    state, settings = argparse.Namespace(global_step=2, is_world_process_zero=True), argparse.Namespace()
    settings.output_dir = str(tmp_path)
    started = trainer.now
    phases.on_train_begin(settings, state, None)
    for _ in range(2):
        trainer.get_batch_samples()
        assert trainer.training_step() == "loss"
        trainer._clip_grad_norm()
        phases.on_pre_optimizer_step(settings, state, None)
        trainer.now += 8
        phases.on_optimizer_step(settings, state, None)
        trainer.now += 0.5  # logs
    trainer._save_checkpoint()
    phases.on_save(settings, state, None)
    trainer.now += 0.25
    phases.on_train_end(settings, state, None)
    expected = {"data": 4, "generate": 10, "reward": 6, "logprob": 16, "backward": 12, "optimizer": 18, "save": 7}
    assert phases.seconds == expected | {"other": 1.25}
    assert tuple(phases.seconds) == PHASES
    assert sum(phases.seconds.values()) == trainer.now - started

    # A run that goes on counts what its checkpoint has counted.
    resumed = Phases(FakeTrainer(), Checkpoint(tmp_path / "checkpoint-2", 2))
    assert resumed.seconds == expected | {"other": 1.0}
    assert set(Phases(FakeTrainer(), Checkpoint(tmp_path / "none", 2)).seconds.values()) == {0.0}


def test_an_error_inside_a_phase_leaves_the_clock_right(trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        trainer.now += 5
        raise ValueError("no")

    monkeypatch.setattr(trainer, "_generate", broken)
    phases = Phases(trainer)
    with pytest.raises(ValueError, match="no"):
        trainer.training_step()
    assert (phases.seconds["generate"], phases.seconds["backward"]) == (5, 0)


def test_a_run_tells_where_its_time_went(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stamps: list[float] = []
    real = phases_module.Phases.on_train_begin

    def begin(self: Phases, *args: Any, **kwargs: Any) -> None:
        stamps.append(time.perf_counter())
        real(self, *args, **kwargs)

    monkeypatch.setattr(phases_module.Phases, "on_train_begin", begin)
    config = tiny_run(tmp_path, tiny_model, steps=2, reward="tiny_rewards:flat")
    figures: list[dict[str, float]] = []
    summary = grpo.run(config, on_log=figures.append)
    wall = time.perf_counter() - stamps[0]  # also saving the model and drawing the curve
    info = json.loads((config.out / "run.json").read_text(encoding="utf-8"))
    seconds = info["phase_seconds"]
    assert summary.phase_seconds == seconds
    assert set(seconds) == set(PHASES)
    assert min(seconds["generate"], seconds["logprob"], seconds["backward"]) > 0
    whole = sum(seconds.values())
    assert info["seconds"] <= whole <= wall
    # The trainer's own clock sees its steps only: these four, and its data are opened outside.
    inside = sum(seconds[phase] for phase in ("generate", "reward", "logprob", "backward"))
    assert inside == pytest.approx(info["seconds"], rel=0.05, abs=0.1)
    assert seconds["other"] < 0.2 * whole
    assert [figure["steps"] for figure in figures] == [2.0, 2.0]
    assert [figure["flat_groups"] for figure in figures] == [1.0, 1.0]
    assert summary.warnings == []


def test_a_run_that_loses_its_weights_saves_none_of_them(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notes: list[str] = []
    config = tiny_run(tmp_path, tiny_model, learning_rate=1e30)
    with pytest.raises(ModelError, match="step 1 made weights that are NaN or beyond bounds"):
        grpo.run(config, on_note=notes.append)
    assert not list(config.out.glob("checkpoint-*"))
    assert notes[-1] == "Warning: step 1: the weights are NaN or beyond bounds"
    assert json.loads((config.out / "run.json").read_text(encoding="utf-8"))["warnings"] == [
        "step 1: the weights are NaN or beyond bounds"
    ]


# --- where figures go besides the log -----------------------------------------------------------------------------


def test_a_tracker_that_is_not_installed_is_named_with_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for tracker in ("wandb", "trackio"):
        with pytest.raises(MissingExtraError) as caught:
            common_settings(TrainConfig(log_to=tracker), steps=1)
        assert f"needs the package '{tracker}' (install it with: pip install {tracker})" in str(caught.value)
    assert common_settings(TrainConfig(), steps=1)["report_to"] == "none"


def test_where_figures_go() -> None:
    assert common_settings(TrainConfig(log_to="none"), steps=1)["report_to"] == "none"
    with pytest.raises(UsageError, match=r"no log_to 'tensorbord' \(known: tensorboard, wandb, trackio, none\)"):
        common_settings(TrainConfig(log_to="tensorbord"), steps=1)


def test_tensorboard_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert common_settings(TrainConfig(), steps=1)["report_to"] == "tensorboard"
