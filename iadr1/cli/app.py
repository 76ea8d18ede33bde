"""The Typer application: the four commands in the order they are used."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

import iadr1
from iadr1 import config as configs
from iadr1.cli import (
    calibrate,
    completions,
    convert,
    data,
    detect,
    doctor,
    evaluate,
    export,
    model,
    prepare,
    pretrain,
    protocols,
    recipes,
    rewards,
    score,
    segmenter,
    serve,
    sft,
    train,
    watch,
)
from iadr1.cli.layout import Command, Group
from iadr1.cli.options import keys_text

_EPILOG = (
    "The four commands run as they stand, on embedded data and the embedded model, without GPU or network:\n\n"
    "iadr1 prepare\n\n"
    "iadr1 train --reward roam\n\n"
    "iadr1 eval mmad\n\n"
    "iadr1 detect images/ --masks"
)

app = typer.Typer(
    cls=Group,
    name="iadr1",
    help="Find defects on photos of products with a vision-language model, and train one to do it better.",
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(
    name: str, command: Callable[..., None], epilog: str, *, keys: type | None = None, group: typer.Typer = app
) -> None:
    # Typer keeps the line breaks of a docstring; a terminal narrower than the source would break every line twice.
    paragraphs = (command.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    if keys is not None:
        epilog = f"{epilog}\n\n{keys_text(keys, inspect.signature(command).parameters)}"
    group.command(name, help=text, epilog=epilog, cls=Command)(command)


def _add_group(name: str, text: str) -> typer.Typer:
    """`iadr1 NAME COMMAND`; without a command its help is shown."""
    group = typer.Typer(cls=Group, name=name, help=text)

    @group.callback(invoke_without_command=True)
    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    app.add_typer(group)
    return group


_add("prepare", prepare.prepare, prepare.EPILOG)
_add("pretrain", pretrain.pretrain, pretrain.EPILOG, keys=configs.PretrainConfig)
_add("ground", train.ground, train.GROUND_EPILOG, keys=configs.GroundConfig)
_add("sft", sft.sft, sft.EPILOG, keys=configs.SftConfig)
_add("train", train.train, train.TRAIN_EPILOG, keys=configs.TrainConfig)
_add("train-segmenter", segmenter.train_segmenter, segmenter.EPILOG, keys=configs.SegmenterConfig)
_add("completions", completions.completions, completions.EPILOG)
_add("eval", evaluate.evaluate, evaluate.EPILOG, keys=configs.EvalConfig)
_add("score", score.score, score.SCORE_EPILOG)
_add("compare", score.compare, score.COMPARE_EPILOG)
_add("calibrate", calibrate.calibrate, calibrate.EPILOG)
_add("detect", detect.detect, detect.EPILOG)
_add("serve", serve.serve, serve.EPILOG)
_add("watch", watch.watch, watch.EPILOG)
_add("export", export.export, export.EPILOG)
_add("doctor", doctor.doctor, doctor.EPILOG)

_data = _add_group("data", data.HELP)
_add("check", data.check, data.CHECK_EPILOG, group=_data)
_add("stats", data.stats, data.STATS_EPILOG, group=_data)
_add("view", data.view, data.VIEW_EPILOG, group=_data)
_add("licences", data.licences, data.LICENCES_EPILOG, group=_data)
_add("convert", convert.convert, convert.EPILOG)

_model = _add_group("model", model.HELP)
_add("merge", model.merge, model.MERGE_EPILOG, group=_model)
_add("convert-sam2", model.convert_sam2, model.CONVERT_SAM2_EPILOG, group=_model)
_add("new", model.new, model.NEW_EPILOG, keys=configs.NewModelConfig, group=_model)

_protocols = _add_group("protocols", protocols.HELP)
_add("ls", protocols.ls, protocols.LS_EPILOG, group=_protocols)
_add("show", protocols.show, protocols.SHOW_EPILOG, group=_protocols)
_add("cp", protocols.cp, protocols.CP_EPILOG, group=_protocols)

_recipes = _add_group("recipes", recipes.HELP)
_add("ls", recipes.ls, recipes.LS_EPILOG, group=_recipes)
_add("cp", recipes.cp, recipes.CP_EPILOG, group=_recipes)
_add("check", recipes.check, recipes.CHECK_EPILOG, group=_recipes)

_rewards = _add_group("rewards", rewards.HELP)
_add("ls", rewards.ls, rewards.LS_EPILOG, group=_rewards)
_add("try", rewards.try_, rewards.TRY_EPILOG, group=_rewards)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iadr1 {iadr1.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_print_version, is_eager=True, metavar=""
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
