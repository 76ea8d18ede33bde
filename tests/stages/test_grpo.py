"""GRPO end to end on a tiny random Qwen2.5-VL: what a run leaves, going on after a kill, and what is refused."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.config import TrainConfig
from iadr1.errors import DataError, Iadr1Error, MissingExtraError, ModelError, OutputError, UsageError
from iadr1.geometry import BoxSpace
from iadr1.models.base import Profile
from iadr1.prompts import Answer, render_target
from iadr1.records import Defect, Sample, write_records
from iadr1.rewards import TABLE, resolve_reward
from iadr1.stages import grpo
from iadr1.stages.grpo.data import training_rows
from iadr1.stages.grpo.log import StepLog
from iadr1.stages.grpo.scoring import Scorer
from iadr1.stages.training.data import FORMAT_OF_TASK, asking_order, load_samples
from iadr1.stages.training.fit import applies
from iadr1.stages.training.folder import last_checkpoint, mark_checkpoint, open_run
from iadr1.stages.training.plan import make_plan

REPOSITORY = Path(__file__).parents[2]
PROFILE = Profile("qwen2_5_vl", BoxSpace.INPUT_PX, 28, 112 * 112, 112 * 112)
# The random model writes about one <answer> in a hundred tokens: a pure reward that differs within a group.
REWARDS_FILE = """
import math

def tag(answer, sample):
    return float(answer.reason != "no <answer> block")

def broken(answer, sample):
    return math.nan if sample.id == "s3" else 1.0

def never(answer, sample):
    return None

def raises(answer, sample):
    return 1 / (sample.id != "s3")

def short(answer):
    return 1.0
"""


def sample(number: int, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"s{number}",
        "dataset": "t",
        "category": "c",
        "split": "train",
        "image": f"images/{number}.png",
        "references": (f"images/{(number + 1) % 8}.png",),
        "task": "choice",
        "question": "Is there any defect in the object?",
        "options": {"A": "Yes.", "B": "No."},
        "answer": "AB"[number % 2],
        "question_type": "Anomaly Detection",
    }
    return Sample(**(values | changes))


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Eight samples with images of different sizes, and a run of two prompts with four completions each."""
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0)
    for number in range(8):
        pixels = noise.integers(0, 255, (60 + 10 * number, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    write_records(tmp_path / "samples.jsonl", [sample(number) for number in range(8)])
    (tmp_path / "rewards_of_grpo_test.py").write_text(REWARDS_FILE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return TrainConfig(
        model=str(tiny_model),
        data=tmp_path / "samples.jsonl",
        out=tmp_path / "run",
        reward="rewards_of_grpo_test:tag",
        steps=4,
        generations=4,
        batch_size=8,
        max_new_tokens=24,
        learning_rate=1e-3,
        save_steps=1,
    )


def log_of(out: Path) -> list[StepLog]:
    return [StepLog.model_validate_json(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def difference(first: Path, second: Path) -> float:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[key] - b[key]).max()) for key in a)


KILLED = """
import os, signal, sys
from pathlib import Path
from iadr1.config import TrainConfig
from iadr1.stages import grpo

config = TrainConfig({fields})
grpo.run(config, on_log=lambda log: os.kill(os.getpid(), signal.SIGKILL) if log["step"] == 2 else None)
"""


def test_a_killed_run_goes_on_and_ends_where_a_straight_run_ends(config: TrainConfig, tiny_model: Path) -> None:
    # The KL term (beta) is on: a run that took its reference from the checkpoint would end elsewhere.
    config = dataclasses.replace(config, beta=0.5, steps=3, generations=8, batch_size=32)
    straight = dataclasses.replace(config, out=config.out.with_name("straight"))
    seen: list[dict[str, float]] = []
    summary = grpo.run(straight, on_log=seen.append)

    fields = ", ".join(
        f"{field.name}={f'Path({str(value)!r})' if isinstance(value, Path) else repr(value)}"
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) is not None
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", KILLED.format(fields=fields)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [entry.step for entry in log_of(config.out)] == [1, 2]  # step 2 was logged, but not saved
    with (config.out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "rew')
    assert difference(config.out / "checkpoint-1", tiny_model) > 1e-4  # else going on from the base would pass too
    shutil.copytree(config.out / "checkpoint-1", config.out / "checkpoint-2")  # a checkpoint cut off half-way:
    (config.out / "checkpoint-2" / "iadr1.json").unlink()
    (config.out / "checkpoint-2" / "model.safetensors").write_bytes(b"half")

    resumed = grpo.run(config)
    assert (resumed.resumed_from, resumed.steps) == (1, 3)
    assert [entry.step for entry in log_of(config.out)] == [1, 2, 3]
    for one, other in zip(log_of(config.out), log_of(straight.out), strict=True):
        ours, theirs = one.model_dump(exclude={"seconds", "rewards"}), other.model_dump(exclude={"seconds", "rewards"})
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    assert difference(resumed.model, summary.model) == 0

    assert [log["step"] for log in seen] == [1, 2, 3]
    assert {"reward", "parse_rate", "completion_length", "kl", "rewards/tag"} <= seen[0].keys()


def test_a_finished_run_is_left_alone_and_a_different_one_refused(config: TrainConfig) -> None:
    config = dataclasses.replace(config, steps=2, save_steps=5)
    first = grpo.run(config)
    assert not first.already_finished
    assert {path.name for path in config.out.iterdir()} >= {"run.json", "log.jsonl", "reward_curve.png", "model"}
    info = json.loads((config.out / "run.json").read_text(encoding="utf-8"))
    assert info["state"] == "finished"
    assert list(info["data"]) == [str(config.data)]
    assert {"reward_start", "reward_end", "wall_seconds", "config_hash"} <= info.keys()

    from transformers import AutoModelForImageTextToText, AutoProcessor

    load: Any = AutoModelForImageTextToText, AutoProcessor
    _, report = load[0].from_pretrained(first.model, output_loading_info=True)
    assert not report["missing_keys"]
    assert load[1].from_pretrained(first.model).image_processor.size["longest_edge"] == 112 * 112

    stamps = {path: path.stat().st_mtime_ns for path in config.out.rglob("*")}
    again = grpo.run(config)
    assert again == dataclasses.replace(first, already_finished=True)
    assert stamps == {path: path.stat().st_mtime_ns for path in config.out.rglob("*")}

    with pytest.raises(UsageError, match=r"learning_rate 0.001 -> 0.5") as caught:
        grpo.run(dataclasses.replace(config, learning_rate=0.5))
    assert info["config_hash"] in str(caught.value)
    assert "choose another --out" in str(caught.value)
    write_records(config.data, [sample(number) for number in range(7)])
    with pytest.raises(UsageError, match="other data"):
        grpo.run(config)


def test_the_reward_is_learned(config: TrainConfig) -> None:
    config = dataclasses.replace(
        config, steps=7, generations=8, batch_size=32, learning_rate=2e-2, beta=0.0, max_new_tokens=12, save_steps=99
    )
    summary = grpo.run(config)
    rewards = [entry.reward for entry in log_of(config.out)]
    assert summary.reward_start == rewards[0]
    assert sum(rewards[-3:]) / 3 > 0.3 + sum(rewards[:3]) / 3, rewards


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ("roam,rewards_of_grpo_test:broken", "'broken' gave nan for sample 's3'"),
        ("rewards_of_grpo_test:never", "no reward of never applies to sample"),
        (
            "rewards_of_grpo_test:raises",
            r"grpo_test:raises' failed for sample 's3' at .*:14: ZeroDivisionError: division",
        ),
        ("rewards_of_grpo_test:short", r"grpo_test:short' failed for sample 's\d': TypeError: short\(\) takes 1 posit"),
    ],
)
def test_a_reward_that_gives_no_number_stops_the_run(config: TrainConfig, reward: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        grpo.run(dataclasses.replace(config, reward=reward, generations=2, batch_size=16))


# --- what is refused before anything is loaded --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"batch_size": 10}, UsageError, "batch_size 10 is not a multiple of generations 4 (batch_size counts"),
        ({"generations": 1}, UsageError, "generations is 1, it must be at least 2"),
        ({"steps": 0}, UsageError, "steps is 0"),
        ({"save_steps": 0}, UsageError, "save_steps is 0"),
        ({"limit": 0}, UsageError, "limit is 0"),
        ({"temperature": 0.0}, UsageError, "temperature is 0.0"),
        ({"temperature": math.inf}, UsageError, "temperature is inf"),
        ({"learning_rate": -1.0}, UsageError, "learning_rate is -1.0, it must be at least 0"),
        ({"learning_rate": math.nan}, UsageError, "learning_rate is nan"),
        ({"beta": -0.1}, UsageError, "beta is -0.1"),
        ({"epsilon": -0.1}, UsageError, "epsilon is -0.1"),
        ({"seed": -1}, UsageError, "seed is -1"),
        ({"loss": "ppo"}, UsageError, "no loss 'ppo' (known: grpo"),
        ({"reward": "raom"}, UsageError, "no reward 'raom'"),
        ({"data": Path("nowhere.jsonl")}, UsageError, "no samples file 'nowhere.jsonl' ('iadr1 prepare'"),
        ({"model": "no/such/model"}, ModelError, "no model 'no/such/model'"),
        ({"shots": 2}, DataError, "sample 's0' has 1 references, shots=2 asks for more"),
        ({"out": Path("samples.jsonl")}, UsageError, "not a folder"),
        ({"lr_schedule": "zigzag"}, UsageError, "no lr_schedule 'zigzag' (known: constant, constant_with_warmup"),
        ({"lr_schedule": "cosine_with_min_lr"}, UsageError, "no lr_schedule 'cosine_with_min_lr'"),
        ({"epsilon_high": -1.0}, UsageError, "epsilon_high is -1.0, it must be at least epsilon (0.2) and finite"),
        ({"epsilon_high": 0.19}, UsageError, "epsilon_high is 0.19"),
        ({"epsilon_high": math.nan}, UsageError, "epsilon_high is nan"),
        ({"epsilon_high": math.inf}, UsageError, "epsilon_high is inf"),
        (
            {"vllm_url": "http://host:8000"},
            UsageError,
            "but says nothing where vllm is off (vllm=server asks a server)",
        ),
        ({"vllm": "server"}, UsageError, "vllm=server without vllm_url"),
        ({"reward": "roam=0"}, UsageError, "every weight of 'roam=0' is 0, nothing would be rewarded"),
        ({"scale_rewards": "often"}, UsageError, "no scale_rewards 'often' (known: group, batch, none)"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    config: TrainConfig, changes: dict[str, Any], kind: type[Iadr1Error], says: str
) -> None:
    with pytest.raises(kind) as caught:
        grpo.run(dataclasses.replace(config, **changes))
    assert says in str(caught.value)
    assert not (config.out / "checkpoint-1").exists()


@pytest.mark.parametrize("mark", ["<|image_pad|>", "<|video_pad|>"])
def test_a_question_that_holds_the_model_s_mark_of_an_image_is_named(config: TrainConfig, mark: str) -> None:
    write_records(config.data, [sample(0), sample(1, question=f"Is {mark} a defect?")])
    says = "samples.jsonl: sample 's1' has 1 images, but its prompt 2 of the model's marks of one"
    for ask in (grpo.run, make_plan):
        with pytest.raises(DataError) as caught:
            ask(config)
        assert says in str(caught.value)
    assert not (config.out / "log.jsonl").exists()


ANOMALY = {"task": "anomaly", "options": {}, "answer": "Yes", "is_anomalous": True}
POINT = {"task": "grounding", "options": {}, "answer": "", "defects": (Defect(type="hole", box=(0, 0, 9, 9)),)}
BOXLESS = {**POINT, "defects": (Defect(type="hole"),)}


@pytest.mark.parametrize(
    ("reward", "kinds", "misfit"),
    [
        ("roam", [{}, ANOMALY], "'s1' (task 'anomaly')"),
        ("roam-f1,choice-reference", [{}, {}, POINT], "'s2' (task 'grounding')"),
        ("grounding,box-format", [POINT, {}], "'s1' (task 'choice')"),
        ("grounding,box-format", [POINT, ANOMALY], "'s1' (task 'anomaly')"),
        ("grounding", [POINT, BOXLESS], "'s1' (task 'grounding')"),
        ("sc-grpo,iadr1-accuracy,iadr1-consistency", [ANOMALY, {}], "'s1' (task 'choice')"),
        ("accuracy", [{}, ANOMALY, POINT], "'s2' (task 'grounding')"),
        ("roam,sc-grpo,grounding", [{}, ANOMALY, POINT], None),
        ("roam,format=0.1", [{}, ANOMALY, POINT], None),
    ],
)
def test_a_sample_that_no_reward_fits_is_named_before_anything_is_loaded(
    config: TrainConfig, reward: str, kinds: list[dict[str, Any]], misfit: str | None
) -> None:
    write_records(config.data, [sample(number, **changes) for number, changes in enumerate(kinds)])
    config = dataclasses.replace(config, reward=reward)
    if misfit is None:
        make_plan(config)
        return
    absent = dataclasses.replace(config, model="no-such-model")
    says = f"samples.jsonl: no reward of {reward.replace(',', ', ')} applies to sample {misfit}"
    for ask, asked in ((grpo.run, absent), (make_plan, config)):
        with pytest.raises(UsageError) as caught:
            ask(asked)
        assert says in str(caught.value)


@pytest.mark.parametrize("name", [name for name in TABLE if name != "roam-embedding"])
def test_the_table_s_needs_are_what_the_rewards_ask(name: str) -> None:
    rewards = resolve_reward(f"{name},length@100" if name != "length" else "length@100")
    for changes in ({}, ANOMALY, POINT, BOXLESS):
        one = sample(0, **changes)
        right = sample(0, **(POINT if changes is BOXLESS else changes))
        text = render_target(right, FORMAT_OF_TASK[one.task], frame=PROFILE.frame((80, 80)))
        [answer], [[value, *_]] = Scorer(rewards, PROFILE).score([text], [one.model_dump_json()], [(80, 80)])
        assert answer.status == "ok"
        assert (value is not None) == applies(name, one), one.task


def test_missing_images_are_listed_before_training(config: TrainConfig) -> None:
    write_records(config.data, [sample(number) for number in range(30)])
    with pytest.raises(DataError) as caught:
        grpo.run(config)
    assert "22 of 30 images are missing" in str(caught.value)
    assert "images/8.png, images/9.png" in str(caught.value)
    assert "images/17.png and 12 more" in str(caught.value)
    assert not config.out.exists()


def test_an_empty_file_and_a_folder_of_unknown_origin_are_refused(config: TrainConfig) -> None:
    (config.out / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"holds a run, but no run\.json"):
        grpo.run(config)
    (config.out / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"not a run\.json of iadr1"):
        grpo.run(config)
    config.data.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="holds no sample"):
        grpo.run(config)


def test_a_folder_in_which_nothing_was_trained_is_free(config: TrainConfig) -> None:
    first = open_run("train", config)
    other = open_run("train", dataclasses.replace(config, learning_rate=0.5))
    assert first["config_hash"] != other["config_hash"]
    (config.out / "log.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=f"belongs to run {other['config_hash']}, this is run {first['config_hash']}"):
        open_run("train", config)


def test_an_out_that_cannot_be_written_is_refused(config: TrainConfig) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        grpo.run(dataclasses.replace(config, out=config.data / "run"))


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_deepspeed_that_is_not_installed_is_named(config: TrainConfig) -> None:
    with pytest.raises(MissingExtraError, match=r"iadr1\[deepspeed\]"):
        grpo.run(dataclasses.replace(config, deepspeed="zero2"))


def test_weights_that_were_not_restored_stop_the_run(tmp_path: Path) -> None:
    import torch

    from iadr1.stages.grpo.log import step_log
    from iadr1.stages.training.policy import fingerprint
    from iadr1.stages.training.recorder import Recorder

    model = torch.nn.Linear(3, 2)
    recorder = Recorder(tmp_path / "log.jsonl", config_hash="h", entry=step_log, on_log=None)
    recorder.expected = fingerprint(model)
    settings = argparse.Namespace(output_dir=str(tmp_path))
    recorder.on_train_begin(settings, None, None, model=model)
    with torch.no_grad():
        model.weight[1, 2] += 1e-6
    with pytest.raises(ModelError, match="weights of the checkpoint were not restored"):
        recorder.on_train_begin(settings, None, None, model=model)


def test_the_last_whole_checkpoint_of_this_run_is_found(tmp_path: Path) -> None:
    for step, owner in ((2, "mine"), (10, "mine"), (12, "other")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        mark_checkpoint(tmp_path / f"checkpoint-{step}", config_hash=owner, step=step)
    (tmp_path / "checkpoint-11").mkdir()
    found = last_checkpoint(tmp_path, "mine")
    assert found is not None
    assert (found.step, found.path.name) == (10, "checkpoint-10")
    assert last_checkpoint(tmp_path, "nobody") is None


# --- rows and scores ----------------------------------------------------------------------------------------------


def test_rows_hold_images_at_input_size_references_first(config: TrainConfig) -> None:
    samples = load_samples(dataclasses.replace(config, shots=1, limit=3), config.data.parent)
    assert [one.id for one in samples] == ["s0", "s1", "s2"]
    rows = training_rows(samples, config.data.parent, PROFILE, shots=1, order=[1, 0, 2, 2])
    assert len(rows) == 4
    first, second = rows.__getitems__([1, 3])
    assert [image.size for image in second["images"]] == [(112, 112), (112, 112)]
    assert second["image_wh"] == (80, 80)
    assert [part["type"] for part in second["prompt"][0]["content"]] == ["text", "image", "text", "image", "text"]
    reference = Image.open("images/3.png").resize((112, 112), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(second["images"][0]), np.asarray(reference))
    assert Sample.model_validate_json(first["sample"]) == samples[0]


def test_every_sample_is_asked_once_a_round() -> None:
    order = asking_order(5, 12, seed=1)
    assert [sorted(order[:5]), sorted(order[5:10]), len(order)] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 12]
    assert order[:5] != order[5:10]
    assert order == asking_order(5, 12, seed=1) != asking_order(5, 12, seed=2)


def test_scores_of_a_batch_follow_each_row() -> None:
    scorer = Scorer(resolve_reward("roam,grounding,format=0.1"), PROFILE)
    target = sample(4, task="grounding", options={}, answer="", defects=(Defect(type="x", box=(0, 0, 40, 40)),))
    texts = [
        "<think>The answer is A.</think><answer>A</answer>",
        "<think>The answer is B.</think><answer>A</answer>",
        "rubbish",
        # The stored image is 80x80, the model sees 112x112: 56 of its pixels are 40 of ours.
        '<think>there</think><answer>[{"bbox_2d": [0, 0, 56, 28], "label": "x"}]</answer>',
    ]
    batch = [sample(0), sample(0), sample(1), target]
    metrics: dict[str, float] = {}
    calls = [
        function(
            completions=completions,
            sample=[one.model_dump_json() for one in batch],
            image_wh=[(80, 80)] * 4,
            log_metric=metrics.__setitem__,
            trainer_state=None,
        )
        for completions in ([[{"role": "assistant", "content": text}] for text in texts],)
        for function in scorer.functions()
    ]
    assert calls == [[1.0, 0.0, 0.0, None], [None, None, None, 0.5], [1.0, 1.0, 0.0, 1.0]]
    assert metrics == {"parse_rate": 0.75}
    assert [function.__name__ for function in scorer.functions()] == ["roam", "grounding", "format"]


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", [1.0]])
def test_a_value_that_is_no_finite_number_is_named(value: Any) -> None:
    def odd(answer: Answer, sample: Sample) -> Any:
        return value

    give: Callable[[Answer, Sample], float | None] = odd
    with pytest.raises(UsageError, match=r"the reward 'odd' gave .* for sample 's0'"):
        Scorer([("odd", give, 1.0)], PROFILE).score(["x"], [sample(0).model_dump_json()], [(80, 80)])
