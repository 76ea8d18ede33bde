"""Help: complete, in the order of the pipeline, and quick, since no heavy package is loaded for it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import iadr1
from iadr1 import config as configs
from iadr1.cli import (
    detect,
    doctor,
    evaluate,
    model,
    options,
    prepare,
    pretrain,
    segmenter,
    serve,
    sft,
    train,
    watch,
)
from iadr1.cli.app import app
from iadr1.datasets import SOURCES
from iadr1.masks import SEGMENTERS
from iadr1.models import ENGINES
from iadr1.stages import evaluate as evaluate_stage

CHECKOUT = Path(iadr1.__file__).parents[1]
COMMANDS = ("prepare", "pretrain", "ground", "sft", "train", "eval", "detect", "serve", "watch", "doctor")
HEAVY = ("torch", "transformers", "matplotlib", "trl", "datasets", "cv2", "scipy", "numpy", "PIL")
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


@functools.cache
def help_of(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], env=PLAIN, prog_name="iadr1")
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_stand_in_the_order_of_the_pipeline() -> None:
    text = help_of()
    places = [re.search(rf"^\W*{name}  ", text, re.MULTILINE) for name in COMMANDS]
    assert all(places)
    starts = [place.start() for place in places if place]
    assert starts == sorted(starts)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_a_worked_example(command: str) -> None:
    assert re.search(rf"Example: .*iadr1 (prepare|{command})", help_of(command))


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids=lambda words: " ".join(words) or "iadr1")
def test_help_loads_nothing_heavy_and_is_quick(words: tuple[str, ...]) -> None:
    code = (
        "import sys, time\n"
        "from iadr1.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.stderr.write(f'{loaded} {time.process_time():.3f}')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    loaded, _, seconds = result.stderr.rpartition(" ")
    assert loaded == "[]"
    # CPU time of the process, so that a busy machine does not fail it.
    assert float(seconds) < 1.0


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.output.split() == ["iadr1", iadr1.__version__]


def test_without_a_command_help_is_shown() -> None:
    result = CliRunner().invoke(app, [], env=PLAIN)
    assert result.exit_code == 0
    assert "detect" in result.output


def test_prepare_names_every_source() -> None:
    text = help_of("prepare")
    assert not [name for name in SOURCES if not re.search(rf"[ (]{re.escape(name)}[ ,;.]", text)]


def test_train_says_where_all_rewards_stand() -> None:
    text = " ".join(help_of("train").split())
    assert "`roam`" in text
    assert "any other name of `iadr1 rewards ls`" in text


def test_eval_names_every_benchmark() -> None:
    text = help_of("eval")
    assert not [name for name in evaluate_stage.BENCHMARKS if not re.search(rf"\b{name}\b", text)]


@pytest.mark.parametrize(
    ("field", "names"), [("engine", ENGINES), ("segmenter", SEGMENTERS)], ids=["engine", "segmenter"]
)
def test_a_help_text_names_every_row_of_its_table(field: str, names: Mapping[str, object]) -> None:
    assert not [
        name for name in names if not re.search(rf"\b{'SAM 2' if name == 'sam2' else name}\b", options._TEXTS[field])
    ]


@pytest.mark.parametrize(
    ("command", "config", "positional"),
    [
        (prepare.prepare, configs.PrepareConfig, set()),
        (pretrain.pretrain, configs.PretrainConfig, set()),
        (train.ground, configs.GroundConfig, set()),
        (sft.sft, configs.SftConfig, set()),
        (train.train, configs.TrainConfig, set()),
        (evaluate.evaluate, configs.EvalConfig, {"benchmark"}),
        (detect.detect, configs.DetectConfig, {"images"}),
        (serve.serve, configs.ServeConfig, set()),
        (watch.watch, configs.WatchConfig, {"folder"}),
        (doctor.doctor, configs.DoctorConfig, {"as_json"}),
    ],
    ids=COMMANDS,
)
def test_an_option_is_a_setting_and_unset_until_given(command: object, config: type, positional: set[str]) -> None:
    parameters = inspect.signature(command).parameters  # type: ignore[arg-type] # a parametrized function
    fields = {field.name for field in dataclasses.fields(config)}
    # `resume` of `eval` changes no result (in training it is a setting), `as_json` only how a report is printed.
    assert set(parameters) - {"recipe", "settings", "plan", "resume", "as_json"} <= fields
    assert {name for name, value in parameters.items() if value.default is not None} <= positional


@pytest.mark.parametrize(("command", "config"), [("prepare", configs.PrepareConfig), ("detect", configs.DetectConfig)])
def test_without_key_value_every_setting_has_an_option(command: str, config: type) -> None:
    text = help_of(command)
    fields = [field.name for field in dataclasses.fields(config)]
    assert not [name for name in fields if f"--{name.replace('_', '-')}" not in text and name.upper() not in text]


def test_defaults_in_the_help_are_the_configs() -> None:
    assert f"(default: {configs.DetectConfig().batch_size})" in help_of("detect")
    assert f"(default: {configs.EvalConfig().batch_size})" in help_of("eval")


@pytest.mark.parametrize(
    ("command", "config"),
    [
        ("pretrain", configs.PretrainConfig),
        ("ground", configs.GroundConfig),
        ("sft", configs.SftConfig),
        ("train", configs.TrainConfig),
        ("eval", configs.EvalConfig),
    ],
)
def test_every_key_stands_in_the_help(command: str, config: type) -> None:
    text = " ".join(help_of(command).partition("KEY is a name from above")[2].split())
    for field in dataclasses.fields(config):
        default = re.escape(options._as_yaml(field.default))
        known = f"--{field.name.replace('_', '-')} " in help_of(command) or field.name == "benchmark"
        assert re.search(rf"\b{field.name}[,.;]" if known else rf"\b{field.name}={default} \w", text), field.name


def test_the_keys_name_what_they_take() -> None:
    from iadr1.stages.training import limits

    for key, known in (("loss", limits.LOSSES), ("scale_rewards", limits.SCALINGS)):
        assert not [name for name in known if not re.search(rf"\b{name}\b", options._KEY_TEXTS[key])]
    commands: dict[Callable[..., None], type] = {
        train.train: configs.TrainConfig,
        train.ground: configs.GroundConfig,
        sft.sft: configs.SftConfig,
        pretrain.pretrain: configs.PretrainConfig,
        model.new: configs.NewModelConfig,
        segmenter.train_segmenter: configs.SegmenterConfig,
    }
    keys = {
        field.name
        for command, config in commands.items()
        for field in dataclasses.fields(config)
        if field.name not in inspect.signature(command).parameters
    }
    assert set(options._KEY_TEXTS) <= keys <= {*options._KEY_TEXTS, *options._TEXTS}


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("prepare", "iadr1 prepare [OPTIONS] [SOURCE]"),
        ("train", "iadr1 train [OPTIONS] [RECIPE] [KEY=VALUE]..."),
        ("ground", "iadr1 ground [OPTIONS] [RECIPE] [KEY=VALUE]..."),
        ("sft", "iadr1 sft [OPTIONS] [RECIPE] [KEY=VALUE]..."),
        ("eval", "iadr1 eval [OPTIONS] {BENCHMARK} [KEY=VALUE]..."),
        ("detect", "iadr1 detect [OPTIONS] {IMAGES}"),
    ],
)
def test_usage(command: str, usage: str) -> None:
    assert f"Usage: {usage} " in help_of(command)


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids=lambda words: " ".join(words) or "iadr1")
def test_a_flag_shows_no_type(words: tuple[str, ...]) -> None:
    assert "bool" not in help_of(*words)


def test_what_can_be_switched_off_shows_its_default() -> None:
    text = " ".join(help_of("detect").split())
    assert "Draw the outline of every defect. (default: off)" in text
    assert "drawn on them. (default: on)" in text


def test_no_option_text_is_left_over() -> None:
    fields = {
        field.name
        for kind in configs.__dict__.values()
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
    }
    assert set(options._TEXTS) <= fields


def command_paths() -> list[tuple[str, ...]]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*path, name))

    return list(walk(get_command(app), ()))


@pytest.mark.parametrize("columns", [80, 110])
def test_no_help_is_cut(columns: int) -> None:
    for words in command_paths():
        environment = {**PLAIN, "COLUMNS": str(columns)}
        text = CliRunner().invoke(app, [*words, "--help"], env=environment, prog_name="iadr1").output
        assert "…" not in text, words
        assert max(map(len, text.splitlines())) <= columns, words


def test_keys_stay_a_list_on_80_columns() -> None:
    text = CliRunner().invoke(app, ["train", "--help"], env={**PLAIN, "COLUMNS": "80"}, prog_name="iadr1").output
    assert "(default: data/fewshot.jsonl)" in " ".join(text.split())
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("  top_p="))
    assert lines[place].index("answers are drawn") == lines[place + 1].index("this joint")
