"""`iadr1 pretrain`: a small model from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import key_values, option, split_words
from iadr1.cli.recipes import find_recipe

EPILOG = (
    "Example: `iadr1 prepare --variety 40000`, then `iadr1 model new tiny-new`, then `iadr1 pretrain tiny-pretrain`: "
    "the embedded model's first hours. A killed run goes on with the same command; each checkpoint-N is a whole model."
)

_CONFIG = configs.PretrainConfig


def pretrain(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    model: Annotated[str | None, option(_CONFIG, "model", text="Folder of the model to begin with.")] = None,
    data: Annotated[Path | None, option(_CONFIG, "data")] = None,
    root: Annotated[Path | None, option(_CONFIG, "root")] = None,
    out: Annotated[
        Path | None, option(_CONFIG, "out", text="Folder for checkpoints, model, curve and run.json.")
    ] = None,
    steps: Annotated[int | None, option(_CONFIG, "steps")] = None,
    vision_steps: Annotated[int | None, option(_CONFIG, "vision_steps")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size", text="Images looked at in one step.")] = None,
    learning_rate: Annotated[float | None, option(_CONFIG, "learning_rate")] = None,
    resume: Annotated[str | None, option(_CONFIG, "resume")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
) -> None:
    """Teach a small model from nothing to see, to point and to answer, on a CPU.

    First the vision tower alone learns what lies where (dense labels from masks and boxes), then the whole model
    learns every kind of question. `sft` and `train` go on from it.
    """
    given = {key: value for key, value in locals().items() if key not in ("recipe", "settings")}
    name, overrides = split_words(recipe, settings, leading="recipe")
    config = configs.build(_CONFIG, recipe=find_recipe(name) if name else None, overrides=overrides, given=given)
    from iadr1.stages import pretrain as stage

    with terminal.bar("reading pictures") as on_picture, terminal.loss_bar(config.steps) as on_log:
        summary = stage.run(config, on_log=on_log, on_note=terminal.note, on_picture=on_picture)
    if summary.already_finished:
        terminal.say(f"this run is already finished: {summary.steps} steps (choose another --out to train again)")
    elif summary.resumed_from is not None:
        terminal.say(f"went on from step {summary.resumed_from}")
    whose = "nats a token of the answers" if config.vision_steps < config.steps else "of the vision tower"
    terminal.say(f"loss   {summary.loss:.3f} {whose} at the end, {summary.seconds:.0f} s")
    terminal.say(f"model  {summary.model}")
