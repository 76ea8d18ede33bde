"""What `iadr1 recipes check` finds in a recipe of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from iadr1.config import GroundConfig, NewModelConfig, PretrainConfig, SftConfig, TrainConfig
from iadr1.errors import ConfigError, UsageError
from iadr1.stages.recipes import check


def recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_becomes_the_settings_of_its_command(tmp_path: Path) -> None:
    assert check(recipe(tmp_path, "stage: train\nsteps: 3\n")) == TrainConfig(steps=3)
    assert check(recipe(tmp_path, "stage: ground\nlearning_rate: 1e-6\n")) == GroundConfig(learning_rate=1e-6)
    assert check(recipe(tmp_path, "stage: sft\nepochs: 2\nanswer_format: direct\n")) == SftConfig(
        epochs=2, answer_format="direct"
    )
    assert check(recipe(tmp_path, "stage: model new\nside: 56\n")) == NewModelConfig(side=56)
    assert check(recipe(tmp_path, "stage: pretrain\ndense: 1\n")) == PretrainConfig(dense=1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "steps: 3\n",
            "the recipe does not say its stage (add a line 'stage: ...' with one of model new, pretrain, ground, sft, "
            "train, train-segmenter)",
        ),
        ("stage: eval\n", "the recipe says stage: eval"),
        ("stage: 3\n", "the recipe says stage: 3"),
        ("stage: sft\ngenerations: 8\n", "no key 'generations'"),
        ("stage: sft\nanswer_fromat: direct\n", "did you mean 'answer_format'?"),
        ("stage: train\nsteps: many\n", "the key 'steps' needs a whole number, got 'many'"),
        ("- stage\n", "a recipe is a list of 'key: value' lines"),
        ("stage: [\n", "not YAML"),
        ("stage: train\nsteps: 3\nbeta: 0\nsteps: 4\n", "the key 'steps' stands twice"),
    ],
)
def test_what_is_no_recipe_names_the_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(recipe(tmp_path, text))
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stage: train\nbatch_size: 12\n", "batch_size 12 is not a multiple of generations 8"),
        ("stage: train\nreward: raom\n", "no reward 'raom'"),
        ("stage: train\nloss: ppo\n", "no loss 'ppo'"),
        ("stage: train\nimportance: word\n", "no importance 'word' (known: token, sequence)"),
        ("stage: train\nvllm: maybe\n", "no vllm 'maybe'"),
        ("stage: train\ntop_p: 0\n", "top_p is 0.0"),
        ("stage: ground\nlora_rank: -1\n", "lora_rank is -1"),
        ("stage: sft\nlearning_rate: .nan\n", "learning_rate is nan"),
        ("stage: sft\nanswer_format: boxed\n", "no answer_format 'boxed'"),
        ("stage: sft\nfreeze: vison\n", "freeze: no part 'vison'"),
        ("stage: train\nfreeze: vision,projector,language\n", "nothing is left to train"),
        ("stage: train\nlora_rank: 8\nlora_parts: head\n", "lora_parts: no part 'head'"),
        ("stage: train\nlora_rank: 8\nfreeze: vision\n", "lora_parts names the parts that are adapted"),
        ("stage: sft\nlog_to: paper\n", "no log_to 'paper'"),
        ("stage: train\ndifficulty: 1\n", "difficulty is 1"),
        ("stage: sft\nepsilon: 1\n", "no key 'epsilon'"),
        ("stage: sft\ndeepspeed: zero7\n", "no DeepSpeed settings 'zero7'"),
        ("stage: train\nattention: foo\n", "no attention 'foo'"),
        ("stage: train\nlr_schedule: bar\n", "no lr_schedule 'bar'"),
        ("stage: train\nepsilon_high: -3\n", "epsilon_high is -3.0"),
        ("stage: train\nvllm: server\n", "vllm=server without vllm_url"),
        ("stage: model new\nside: 57\n", "side is 57, it must be a multiple of 28"),
        ("stage: pretrain\nformats: boxed=1\n", "formats holds 'boxed=1'"),
        ("stage: train\nreward: accuracy=0,format=0\n", "every weight of 'accuracy=0,format=0' is 0"),
    ],
)
def test_values_that_cannot_work_are_found_without_data_or_model(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(recipe(tmp_path, text))
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
