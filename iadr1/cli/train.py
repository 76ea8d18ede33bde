"""`iadr1 train`: GRPO on multiple-choice samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import key_values, option, split_words
from iadr1.cli.recipes import find_recipe

if TYPE_CHECKING:
    from iadr1.stages.grpo import TrainSummary

EPILOG = (
    "Example: `iadr1 prepare`, then `iadr1 train --reward roam` trains the embedded model for a few minutes and "
    "writes model/, reward_curve.png, log.jsonl and run.json to runs/train.\n\n"
    "The paper's run on GPUs: `torchrun --nproc-per-node 4 -m iadr1 train anomalyr1-roam-3b --data data/fewshot.jsonl`."
    "\n\nEvery key of a recipe can be changed in place: `iadr1 train anomalyr1-roam-3b beta=0 learning_rate=1e-6`."
)

_CONFIG = configs.TrainConfig


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    reward: Annotated[str | None, option(_CONFIG, "reward")] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    data: Annotated[Path | None, option(_CONFIG, "data")] = None,
    root: Annotated[Path | None, option(_CONFIG, "root")] = None,
    out: Annotated[Path | None, option(_CONFIG, "out", text="Folder for checkpoint, curve and run.json.")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots")] = None,
    steps: Annotated[int | None, option(_CONFIG, "steps")] = None,
    generations: Annotated[
        int | None, option(_CONFIG, "generations", text="Answers drawn for each question and compared (a group).")
    ] = None,
    batch_size: Annotated[
        int | None,
        option(
            _CONFIG, "batch_size", text="Answers worked on in one step, on each device; a multiple of --generations."
        ),
    ] = None,
    learning_rate: Annotated[float | None, option(_CONFIG, "learning_rate", text="Step size of the optimiser.")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    limit: Annotated[int | None, option(_CONFIG, "limit")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
) -> None:
    """Train a model with GRPO: it answers, answers are rewarded, better ones become likelier.

    Settings come from the recipe, then the options, then KEY=VALUE.
    """
    given = {key: value for key, value in locals().items() if key not in ("recipe", "settings")}
    name, overrides = split_words(recipe, settings, leading="recipe")
    found = find_recipe(name) if name is not None else None
    config = configs.build(_CONFIG, recipe=found, overrides=overrides, given=given)
    from iadr1.stages import grpo as stage

    rewards: list[float] = []
    with terminal.train_bar(config.steps) as show:

        def on_log(figures: dict[str, float]) -> None:
            rewards.append(figures["reward"])
            show(figures)

        summary = stage.run(config, on_log=on_log)
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
    terminal.say(f"model  {summary.model}")
    terminal.say(f"curve  {summary.curve}")
    terminal.say(f"log    {summary.out / 'log.jsonl'}, settings and figures {summary.out / 'run.json'}")
