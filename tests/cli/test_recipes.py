"""The recipes of the package: found by name, complete, portable, and buildable."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml

from iadr1.cli.recipes import find_recipe, packaged_recipes
from iadr1.config import TrainConfig, build
from iadr1.errors import UsageError


def test_the_papers_recipe_holds_the_papers_values() -> None:
    config = build(TrainConfig, recipe=find_recipe("anomalyr1-roam-3b"))
    assert config.model == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert config.reward == "roam"
    assert (config.steps, config.generations, config.batch_size, config.gradient_accumulation) == (1000, 8, 8, 2)
    assert (config.learning_rate, config.beta, config.epsilon, config.temperature) == (5e-7, 0.04, 0.2, 1.0)
    # 4 devices: 8 questions of 8 answers a step, the paper's batch.
    assert 4 * config.batch_size * config.gradient_accumulation == 8 * config.generations


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_recipe_is_complete_and_says_where_each_value_is_from(name: str) -> None:
    path = find_recipe(name)
    text = path.read_text(encoding="utf-8")
    # Where the images lie, how many samples are used and which DeepSpeed file is taken depend on the machine.
    needed = {field.name for field in dataclasses.fields(TrainConfig)} - {"root", "limit", "deepspeed"}
    assert set(yaml.safe_load(text)) == needed
    for heading in ("Reproduces", "Command", "Hardware", "Obtained", "Sources"):
        assert f"# {heading}" in text
    values = [line for line in text.splitlines() if re.match(r"\w+:", line) and not line.startswith("out:")]
    assert not [line for line in values if "#" not in line]


def test_deepspeed_files_are_json() -> None:
    folder = find_recipe("anomalyr1-roam-3b").parent / "deepspeed"
    stages = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    assert stages["zero3.json"]["zero_optimization"]["stage"] == 3


def test_a_yaml_path_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 3\n", encoding="utf-8")
    assert build(TrainConfig, recipe=find_recipe(str(path))).steps == 3


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'anomalyr1-roam-3b'"):
        find_recipe("anomalyr1-roam")
    with pytest.raises(UsageError, match="known recipes: anomalyr1-roam-3b"):
        find_recipe("xyz")
