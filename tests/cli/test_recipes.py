"""The recipes of the package: found by name, complete, every value with its source; `iadr1 recipes ls|cp|check`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from iadr1 import cli
from iadr1.cli.recipes import find_recipe, packaged_recipes
from iadr1.config import GroundConfig, NewModelConfig, PretrainConfig, SegmenterConfig, SftConfig, TrainConfig, build
from iadr1.errors import UsageError
from iadr1.models.profiles import PROFILES
from iadr1.stages.recipes import STAGES, RecipeConfig, check

SEVEN = (
    "qwen2.5-vl-3b",
    "qwen2.5-vl-7b",
    "qwen2-vl-2b",
    "llava-1.5-7b",
    "llava-1.6-8b",
    "llava-onevision-0.5b",
    "llava-onevision-7b",
)
"""IAD-R1's models."""
ANOMALYR1 = {
    "anomalyr1-ground-3b": "ground",
    "anomalyr1-roam-3b": "train",
    "anomalyr1-grpo-3b": "train",
    "anomalyr1-sft-3b": "sft",
    "anomalyr1-roam-3b-modern": "train",
    **{f"anomalyr1-roam-3b-lora-{card}gb": "train" for card in (24, 48, 80)},
}
NAMES: Mapping[str, str] = {
    **ANOMALYR1,
    **{f"iadr1-pa-sft-{model}": "sft" for model in SEVEN},
    **{f"iadr1-sc-grpo-{model}": "train" for model in SEVEN},
    "tiny-new": "model new",
    "tiny-pretrain": "pretrain",
    "tiny-pretrain-2": "pretrain",
    "tiny-ground": "ground",
    "tiny-sft": "sft",
    "tiny-roam": "train",
    "tiny-segmenter": "train-segmenter",
}
"""Every recipe and its command."""

OPTIONAL: Mapping[str, str] = {
    **dict.fromkeys(("root", "limit", "nproc", "resume", "log_to", "push_to_hub"), "where and how it is run"),
    **dict.fromkeys(("deepspeed", "vllm", "vllm_url"), "how many cards there are"),
    **dict.fromkeys(("completions", "vision_cache"), "changes no result"),
    **dict.fromkeys(("max_pixels", "top_p", "top_k"), "no limit unless a recipe sets one"),
    **dict.fromkeys(
        ("epsilon_high", "importance", "mask_truncated", "difficulty"), "off: not in the papers' objective"
    ),
    "lora_rank": "off: all weights are trained",
    "init": "off: from random weights",
    "vision": "off: a tower with random weights",
}
"""Keys that a recipe may leave out, and why."""
UNSOURCED = ("stage", "out", "data")
"""Names, not values that a result depends on."""


def needed(kind: type[RecipeConfig], values: Mapping[str, Any]) -> set[str]:
    """The keys a recipe with these values must state."""
    names = {field.name for field in dataclasses.fields(kind)} - set(OPTIONAL)
    names -= {"steps" if "epochs" in values else "epochs"}
    adapters = {"lora_alpha", "lora_dropout", "lora_parts"}
    return names - ({"freeze"} if values.get("lora_rank") else adapters)


def test_every_published_run_has_its_recipe() -> None:
    assert {name: yaml.safe_load(find_recipe(name).read_text())["stage"] for name in packaged_recipes()} == NAMES


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_recipe_is_complete_and_says_where_each_value_is_from(name: str) -> None:
    lines = find_recipe(name).read_text(encoding="utf-8").splitlines()
    header, body = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert re.fullmatch(r"# [A-Z].{20,}[.]", header[0])  # what `iadr1 recipes ls` shows
    headings = [line.split()[1] for line in header if re.match(r"# [A-Z][a-z ]+ {2,}\S", line)]
    wanted = ["Reproduces", "Command", "Hardware", "Obtained", "Sources"]
    assert [heading for heading in headings if heading in wanted] == wanted
    assert body[0].startswith("stage: ")
    values = yaml.safe_load("\n".join(body))
    kind = STAGES[values["stage"]]
    assert needed(kind, values) - set(values) == set()
    given = [line for line in body if re.match(r"\w+:", line) and line.partition(":")[0] not in UNSOURCED]
    assert not [line for line in given if not re.search(r"  # \S", line)]
    assert len(given) == len(values) - len(UNSOURCED)
    assert max(map(len, lines)) <= 120
    # A value that its source does not name is explained by the header's list of sources.
    quoted = set(re.findall(r'"(\w[\w-]*)"', "\n".join(header)))
    sources = {
        match[1] for line in given if (match := re.search(r"# (IAD-R1|VLM-R1|paper|script|default|ours)\b", line))
    }
    assert sources - quoted <= ({"paper"} if "AnomalyR1 4.1" in "".join(given) else set())


@pytest.mark.parametrize("name", packaged_recipes())
def test_a_recipe_s_settings_can_work_and_its_command_is_its_own(name: str) -> None:
    config = check(find_recipe(name))
    assert config.out == Path("runs") / name
    text = find_recipe(name).read_text(encoding="utf-8")
    assert f"iadr1 {config.STAGE} {name}" in text
    if "--nproc" in text:
        assert getattr(config, "deepspeed", None) == "zero3"


def test_the_papers_recipe_holds_the_papers_values() -> None:
    config = build(TrainConfig, recipe=find_recipe("anomalyr1-roam-3b"))
    assert config.model == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert config.reward == "roam"
    assert (config.steps, config.generations, config.batch_size, config.gradient_accumulation) == (1000, 8, 8, 2)
    assert (config.learning_rate, config.beta, config.epsilon, config.temperature) == (5e-7, 0.04, 0.2, 1.0)
    assert (config.loss, config.scale_rewards, config.bf16, config.deepspeed) == ("grpo", "group", True, "zero3")
    # 4 devices: 8 questions of 8 answers a step, the paper's batch.
    assert 4 * config.batch_size * config.gradient_accumulation == 8 * config.generations


def test_the_classical_recipe_differs_in_the_reward_alone() -> None:
    roam = build(TrainConfig, recipe=find_recipe("anomalyr1-roam-3b"))
    classical = build(TrainConfig, recipe=find_recipe("anomalyr1-grpo-3b"))
    changed = {key for key, value in vars(roam).items() if value != getattr(classical, key)}
    assert changed == {"reward", "out"}
    assert classical.reward == "classical"


def test_the_lora_presets_keep_the_papers_batch() -> None:
    answers = {}
    for card in (24, 48, 80):
        config = build(TrainConfig, recipe=find_recipe(f"anomalyr1-roam-3b-lora-{card}gb"))
        assert config.steps == 1000
        answers[card] = config.batch_size * config.gradient_accumulation
        assert config.lora_rank > 0
    assert answers == {24: 64, 48: 64, 80: 64}


def test_the_presets_limit_of_pixels_leaves_the_papers_images_alone() -> None:
    for card in (48, 80):
        limit = build(TrainConfig, recipe=find_recipe(f"anomalyr1-roam-3b-lora-{card}gb")).max_pixels
        assert limit is not None
        profile = dataclasses.replace(PROFILES["qwen2_5_vl"], max_pixels=limit)
        assert profile.input_wh((1000, 800)) == PROFILES["qwen2_5_vl"].input_wh((1000, 800)) == (1008, 812)


@pytest.mark.parametrize("model", SEVEN)
def test_iad_r1_s_second_stage_starts_from_its_first(model: str) -> None:
    """Values: formats, section 4.3."""
    first = build(SftConfig, recipe=find_recipe(f"iadr1-pa-sft-{model}"))
    second = build(TrainConfig, recipe=find_recipe(f"iadr1-sc-grpo-{model}"))
    assert second.model == str(first.out / "model")
    assert first.learning_rate == (2e-5 if model == "qwen2-vl-2b" else 1e-5)
    assert (first.epochs, first.batch_size, first.gradient_accumulation) == (1, 1, 2)
    assert (first.lr_schedule, first.warmup_steps, first.weight_decay) == ("cosine", 100, 0.1)
    assert (second.epochs, second.generations, second.batch_size, second.gradient_accumulation) == (1, 4, 4, 2)
    assert (second.top_p, second.top_k, second.max_new_tokens, second.save_steps) == (0.9, 50, 512, 100)
    assert second.max_pixels == (480_000 if model.startswith("qwen") else None)


def test_the_laptop_s_recipe_is_what_train_does_by_default() -> None:
    config = build(TrainConfig, recipe=find_recipe("tiny-roam"))
    assert dataclasses.replace(config, out=TrainConfig().out) == TrainConfig()


def test_deepspeed_files_are_json() -> None:
    folder = find_recipe("anomalyr1-roam-3b").parent / "deepspeed"
    stages = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    assert {name: content["zero_optimization"]["stage"] for name, content in stages.items()} == {
        "zero2.json": 2,
        "zero3.json": 3,
    }


def test_a_yaml_path_is_a_recipe_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 3\n", encoding="utf-8")
    assert build(TrainConfig, recipe=find_recipe(str(path))).steps == 3


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'anomalyr1-roam-3b'"):
        find_recipe("anomalyr1-roam")
    with pytest.raises(UsageError, match="known recipes: anomalyr1-ground-3b"):
        find_recipe("xyz")


# --- the commands ---------------------------------------------------------------------------------------------------


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of one call."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_ls_lists_every_recipe_with_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "recipes", "ls")
    assert code == 0
    for name, stage in NAMES.items():
        assert re.search(rf"^{re.escape(name)} +iadr1 {stage} +\w", out, re.MULTILINE)


def test_cp_copies_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for words, target in (((), "tiny-sft.yaml"), (("mine.yaml",), "mine.yaml"), (("folder",), "folder/tiny-sft.yaml")):
        code, out, _ = call(capsys, "recipes", "cp", "tiny-sft", *words)
        assert (code, out) == (0, f"{target}: iadr1 sft {target}\n")
        assert (tmp_path / target).read_bytes() == find_recipe("tiny-sft").read_bytes()
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    code, _, err = call(capsys, "recipes", "cp", "tiny-sft", "mine.yaml")
    assert (code, err) == (2, "error: mine.yaml: the file is there already (name another file)\n")
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"
    code, _, err = call(capsys, "recipes", "cp", "tiny-sft", "nowhere/mine.yaml")
    assert code == 1
    assert err.startswith("error: nowhere/mine.yaml: cannot write")
    code, _, err = call(capsys, "recipes", "cp", "tiny-sf")
    assert code == 2
    assert "did you mean 'tiny-sft'?" in err


def test_check_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "recipes", "check", "anomalyr1-sft-3b")
    assert (code, out.endswith("anomalyr1-sft-3b.yaml: fits `iadr1 sft`\n")) == (0, True)
    (tmp_path / "mine.yaml").write_text("stage: train\nbetaa: 1\n", encoding="utf-8")
    code, _, err = call(capsys, "recipes", "check", "mine.yaml")
    assert (code, err) == (2, "error: mine.yaml: no key 'betaa'; did you mean 'beta'?\n")


@pytest.mark.parametrize(
    ("command", "recipe", "fits"),
    [("sft", "anomalyr1-roam-3b", "train"), ("train", "tiny-ground", "ground"), ("ground", "tiny-sft", "sft")],
)
def test_a_recipe_of_another_command_is_refused(
    command: str, recipe: str, fits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, command, recipe)
    assert code == 2
    assert err.endswith(f"{recipe}.yaml: the recipe is for 'iadr1 {fits}', not for 'iadr1 {command}'\n")


def test_the_kinds_of_recipes_are_the_training_commands() -> None:
    assert dict(STAGES) == {
        "model new": NewModelConfig,
        "pretrain": PretrainConfig,
        "ground": GroundConfig,
        "sft": SftConfig,
        "train-segmenter": SegmenterConfig,
        "train": TrainConfig,
    }


def test_samples_in_the_place_of_a_recipe_are_told_apart(tmp_path: Path) -> None:
    samples = tmp_path / "fewshot.jsonl"
    samples.touch()
    with pytest.raises(UsageError, match=r"is not a recipe \(a recipe ends in .yaml; samples are given with --data\)"):
        find_recipe(str(samples))
