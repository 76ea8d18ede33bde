"""`iadr1 train` and `iadr1 ground`: GRPO on samples with a checkable answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iadr1 import config as configs
from iadr1.cli import plan as plans
from iadr1.cli import terminal
from iadr1.cli.launch import relaunch
from iadr1.cli.options import key_values, option, split_words
from iadr1.cli.recipes import find_recipe

if TYPE_CHECKING:
    from iadr1.stages.grpo import TrainSummary

TRAIN_EPILOG = (
    "Example: `iadr1 prepare`, then `iadr1 train --reward roam` trains the embedded model for a few minutes and "
    "writes model/, reward_curve.png, log.jsonl and run.json to runs/train.\n\n"
    "The paper's run on GPUs: `iadr1 train anomalyr1-roam-3b --nproc 4 --data data/fewshot.jsonl`."
    "\n\nEvery key of a recipe can be changed in place: `iadr1 train anomalyr1-roam-3b beta=0 learning_rate=1e-6`."
)
GROUND_EPILOG = (
    "Example: `iadr1 prepare`, then `iadr1 ground` trains the embedded model to point at what an expression names and "
    "writes to runs/ground; `iadr1 train --model runs/ground/model` goes on from there.\n\n"
    "The paper's run on GPUs: `iadr1 prepare refcoco --root DIR --split train --out data/refcoco.jsonl`, "
    "then `iadr1 ground anomalyr1-ground-3b --nproc 8 --data data/refcoco.jsonl`."
)

_TRAIN, _GROUND = configs.TrainConfig, configs.GroundConfig
_GENERATIONS = "Answers drawn for each question and compared (a group)."
_BATCH = "Answers worked on in one step, on each device; a multiple of --generations."
_OUT = "Folder for checkpoints, model, curve and run.json."


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    reward: Annotated[str | None, option(_TRAIN, "reward")] = None,
    model: Annotated[str | None, option(_TRAIN, "model")] = None,
    data: Annotated[Path | None, option(_TRAIN, "data")] = None,
    root: Annotated[Path | None, option(_TRAIN, "root")] = None,
    out: Annotated[Path | None, option(_TRAIN, "out", text=_OUT)] = None,
    shots: Annotated[int | None, option(_TRAIN, "shots")] = None,
    steps: Annotated[int | None, option(_TRAIN, "steps")] = None,
    generations: Annotated[int | None, option(_TRAIN, "generations", text=_GENERATIONS)] = None,
    batch_size: Annotated[int | None, option(_TRAIN, "batch_size", text=_BATCH)] = None,
    learning_rate: Annotated[float | None, option(_TRAIN, "learning_rate")] = None,
    max_new_tokens: Annotated[int | None, option(_TRAIN, "max_new_tokens")] = None,
    attention: Annotated[str | None, option(_TRAIN, "attention")] = None,
    nproc: Annotated[int | None, option(_TRAIN, "nproc")] = None,
    deepspeed: Annotated[str | None, option(_TRAIN, "deepspeed")] = None,
    resume: Annotated[str | None, option(_TRAIN, "resume")] = None,
    push_to_hub: Annotated[str | None, option(_TRAIN, "push_to_hub")] = None,
    limit: Annotated[int | None, option(_TRAIN, "limit")] = None,
    seed: Annotated[int | None, option(_TRAIN, "seed")] = None,
    plan: Annotated[bool | None, plans.OPTION] = None,
) -> None:
    """Train a model with GRPO: it answers, answers are rewarded, better ones become likelier.

    Settings come from the recipe, then the options, then KEY=VALUE.
    """
    _run(_TRAIN, locals())


def ground(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    reward: Annotated[str | None, option(_GROUND, "reward")] = None,
    model: Annotated[str | None, option(_GROUND, "model")] = None,
    data: Annotated[Path | None, option(_GROUND, "data")] = None,
    root: Annotated[Path | None, option(_GROUND, "root")] = None,
    out: Annotated[Path | None, option(_GROUND, "out", text=_OUT)] = None,
    steps: Annotated[int | None, option(_GROUND, "steps")] = None,
    generations: Annotated[int | None, option(_GROUND, "generations", text=_GENERATIONS)] = None,
    batch_size: Annotated[int | None, option(_GROUND, "batch_size", text=_BATCH)] = None,
    learning_rate: Annotated[float | None, option(_GROUND, "learning_rate")] = None,
    max_new_tokens: Annotated[int | None, option(_GROUND, "max_new_tokens")] = None,
    attention: Annotated[str | None, option(_GROUND, "attention")] = None,
    nproc: Annotated[int | None, option(_GROUND, "nproc")] = None,
    deepspeed: Annotated[str | None, option(_GROUND, "deepspeed")] = None,
    resume: Annotated[str | None, option(_GROUND, "resume")] = None,
    push_to_hub: Annotated[str | None, option(_GROUND, "push_to_hub")] = None,
    limit: Annotated[int | None, option(_GROUND, "limit")] = None,
    seed: Annotated[int | None, option(_GROUND, "seed")] = None,
    plan: Annotated[bool | None, plans.OPTION] = None,
) -> None:
    """Teach a model to point: GRPO on referring expressions, rewarded by how well its box fits.

    The step before `train` in AnomalyR1; settings as there.
    """
    _run(_GROUND, locals())


def _run(kind: type[configs.TrainConfig], given: Mapping[str, Any]) -> None:
    name, overrides = split_words(given["recipe"], given["settings"], leading="recipe")
    options = {key: value for key, value in given.items() if key not in ("recipe", "settings", "plan")}
    config = configs.build(kind, recipe=find_recipe(name) if name else None, overrides=overrides, given=options)
    if given["plan"]:
        plans.show(config, data=given["data"], overrides=overrides)
        return
    relaunch(config.nproc, deepspeed=config.deepspeed is not None)
    from iadr1.stages import grpo as stage

    rewards: list[float] = []
    with terminal.train_bar(config.steps) as show:

        def on_log(figures: dict[str, float]) -> None:
            rewards.append(figures["reward"])
            show(figures)

        summary = stage.run(config, on_log=on_log, on_note=terminal.note)
    _print_summary(summary, rewards)


def _print_summary(summary: TrainSummary, rewards: list[float]) -> None:
    if summary.already_finished:
        terminal.say(f"this run is already finished: {summary.steps} steps (choose another --out to train again)")
    elif summary.resumed_from is not None:
        terminal.say(f"went on from step {summary.resumed_from}")
    for line in terminal.curve(rewards):
        terminal.say(line)
    terminal.say(
        f"reward {summary.reward_start:.3f} -> {summary.reward_end:.3f} (first and last tenth of {summary.steps} "
        f"steps), {summary.seconds:.0f} s"
    )
    if summary.phase_seconds:
        terminal.say(_phases_line(summary.phase_seconds))
    for warning in summary.warnings:
        terminal.say(f"Warning: {warning}")
    terminal.say(f"model  {summary.model}")
    terminal.say(f"curve  {summary.curve}")
    terminal.say(f"log    {summary.out / 'log.jsonl'}, settings and figures {summary.out / 'run.json'}")


def _phases_line(seconds: Mapping[str, float]) -> str:
    """Where the time went, as shares of it, the largest first."""
    whole = sum(seconds.values())
    shares = {phase: value / whole for phase, value in seconds.items()} if whole else {}
    parts = [f"{phase} {share:.0%}" for phase, share in sorted(shares.items(), key=lambda item: -item[1])]
    return f"time   {whole:.0f} s: {', '.join(parts)}"
