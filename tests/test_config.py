"""Configs: every key checked, every value converted or refused, options over recipe, overrides over options."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from iadr1 import config
from iadr1.config import DetectConfig, EvalConfig, PrepareConfig, TrainConfig, build
from iadr1.errors import ConfigError
from iadr1.provenance import describe, digest, plain, write_run


def test_order_of_precedence(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("beta: 0.1\nsteps: 5\nlearning_rate: 1e-6\ndata: x.jsonl\n", encoding="utf-8")
    made = build(TrainConfig, recipe=recipe, given={"steps": 7, "model": None}, overrides=["beta=0.2", "limit=null"])
    assert (made.beta, made.steps, made.learning_rate, made.data) == (0.2, 7, 1e-6, Path("x.jsonl"))
    assert (made.model, made.limit) == ("tiny", None)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("betaa=1", "did you mean 'beta'"),
        ("zzz=1", "known keys"),
        ("steps", "key=value"),
        ("steps=many", "needs a whole number"),
        ("steps=true", "needs a whole number"),
        ("bf16=1", "needs true or false"),
        ("beta=", "no value"),
        ("beta=x", "needs a number"),
        ("reward=3", "needs text"),
        ("steps=[", "the value of the key 'steps' is not YAML: '\\['"),
        ("data=2024-13-45", "not YAML"),
    ],
)
def test_wrong_overrides_are_refused(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        build(TrainConfig, overrides=[text])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("- a\n", "key: value"),
        ("a: [", "not YAML"),
        ("betta: 1\n", "beta"),
        ("1: 2\n", "known keys"),
        (b"\xff", "not YAML"),
        ("data: 2024-13-45", "not YAML"),
    ],
)
def test_wrong_recipes_name_the_file(tmp_path: Path, content: Any, word: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=word) as caught:
        build(TrainConfig, recipe=recipe)
    assert "r.yaml" in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        build(TrainConfig, recipe=tmp_path / "none.yaml")


@pytest.mark.parametrize("kind", [PrepareConfig, TrainConfig, EvalConfig, DetectConfig])
def test_configs_are_frozen_and_build_from_nothing(kind: type[Any]) -> None:
    made = build(kind)
    assert made == kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(kind)[0].name, "x")


def test_run_json_holds_what_is_needed_to_trace_a_result(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_bytes(b"abc")
    info = describe("train", TrainConfig(seed=3), data=[data], extra={"n": 5})
    assert info["config"]["seed"] == 3
    assert info["data"][str(data)].startswith("ba7816bf")
    assert info["config_hash"] == digest(plain(TrainConfig(seed=3))) != digest(plain(TrainConfig(seed=4)))
    assert "numpy" in info["packages"]
    assert '"n": 5' in write_run(tmp_path, info).read_text(encoding="utf-8")
    assert config.build.__doc__
