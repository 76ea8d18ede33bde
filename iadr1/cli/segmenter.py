"""`iadr1 train-segmenter`: a small SAM 2 of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import key_values, option, split_words
from iadr1.cli.recipes import find_recipe

EPILOG = (
    "Example: `iadr1 prepare --variety 10000 --normal-share 0`, then `iadr1 train-segmenter`, then `iadr1 detect "
    "images --masks --segmenter runs/segmenter/model`. A killed run goes on with the same command; model/ can be used "
    "after every save."
)

_CONFIG = configs.SegmenterConfig


def train_segmenter(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Samples with boxes and masks, written by `iadr1 prepare`; give it several times for more files "
            "(default: data/train.jsonl).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, option(_CONFIG, "out", text="Folder for state, model, log and run.json.")] = None,
    init: Annotated[
        Path | None, option(_CONFIG, "init", text="Go on from this trained segmenter, a folder model/.")
    ] = None,
    side: Annotated[int | None, option(_CONFIG, "side", text="Side of the model's square input in pixels.")] = None,
    steps: Annotated[int | None, option(_CONFIG, "steps")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size", text="Boxes looked at in one step.")] = None,
    learning_rate: Annotated[float | None, option(_CONFIG, "learning_rate")] = None,
    resume: Annotated[str | None, option(_CONFIG, "resume")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
) -> None:
    """Train a small SAM 2 that draws the mask of a defect from its box, on a CPU.

    It learns from the masks of prepared samples, whatever set they are of, and sees each box in a crop of its own.
    Samples of held-out categories are left out.
    """
    given = {key: value for key, value in locals().items() if key not in ("recipe", "settings", "data")}
    given["data"] = tuple(str(path) for path in data) if data else None
    name, overrides = split_words(recipe, settings, leading="recipe")
    config = configs.build(_CONFIG, recipe=find_recipe(name) if name else None, overrides=overrides, given=given)
    from iadr1.stages import segmenter as stage

    with terminal.loss_bar(config.steps) as show:
        summary = stage.run(config, on_step=show, on_note=terminal.note)
    if summary.already_finished:
        terminal.say(f"this run is already finished: {summary.steps} steps (choose another --out to train again)")
    elif summary.resumed_from is not None:
        terminal.say(f"went on from step {summary.resumed_from}")
    terminal.say(
        f"masks  mean IoU {summary.iou:.3f} on the training batches of the last tenth of {summary.steps} steps, "
        f"{summary.seconds:.0f} s"
    )
    terminal.say(f"model  {summary.model} ({summary.parameters / 1e6:.2f} M parameters)")
    terminal.say(f"log    {summary.out / 'log.jsonl'}, settings and figures {summary.out / 'run.json'}")
