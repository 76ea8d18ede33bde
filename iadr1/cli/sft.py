"""`iadr1 sft`: supervised fine-tuning on samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import plan as plans
from iadr1.cli import terminal
from iadr1.cli.launch import relaunch
from iadr1.cli.options import key_values, option, split_words
from iadr1.cli.recipes import find_recipe

EPILOG = (
    "Example: `iadr1 prepare`, then `iadr1 sft` trains the embedded model on data/anomaly.jsonl and writes model/, "
    "loss_curve.png, log.jsonl and run.json to runs/sft.\n\n"
    "IAD-R1's first stage on GPUs: `iadr1 prepare expert-ad --root DIR --out data/expert-ad.jsonl`, then `iadr1 sft "
    "iadr1-pa-sft-qwen2.5-vl-3b --nproc 4 --data data/expert-ad.jsonl`."
)

_CONFIG = configs.SftConfig


def sft(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False),
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    data: Annotated[Path | None, option(_CONFIG, "data")] = None,
    root: Annotated[Path | None, option(_CONFIG, "root")] = None,
    out: Annotated[
        Path | None, option(_CONFIG, "out", text="Folder for checkpoints, model, curve and run.json.")
    ] = None,
    answer_format: Annotated[str | None, option(_CONFIG, "answer_format")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots")] = None,
    steps: Annotated[int | None, option(_CONFIG, "steps")] = None,
    epochs: Annotated[float | None, option(_CONFIG, "epochs")] = None,
    batch_size: Annotated[
        int | None, option(_CONFIG, "batch_size", text="Samples worked on in one step, on each device.")
    ] = None,
    learning_rate: Annotated[float | None, option(_CONFIG, "learning_rate")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    nproc: Annotated[int | None, option(_CONFIG, "nproc")] = None,
    deepspeed: Annotated[str | None, option(_CONFIG, "deepspeed")] = None,
    resume: Annotated[str | None, option(_CONFIG, "resume")] = None,
    push_to_hub: Annotated[str | None, option(_CONFIG, "push_to_hub")] = None,
    limit: Annotated[int | None, option(_CONFIG, "limit")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
    plan: Annotated[bool | None, plans.OPTION] = None,
) -> None:
    """Fine-tune a model on the answers that samples hold: reasoning, place, type, verdict, boxes or option letter.

    The loss is on the completion only. Settings come from the recipe, then the options, then KEY=VALUE.
    """
    given = {key: value for key, value in locals().items() if key not in ("recipe", "settings", "plan")}
    name, overrides = split_words(recipe, settings, leading="recipe")
    config = configs.build(_CONFIG, recipe=find_recipe(name) if name else None, overrides=overrides, given=given)
    if plan:
        plans.show(config, data=data, overrides=overrides)
        return
    relaunch(config.nproc, deepspeed=config.deepspeed is not None)
    from iadr1.stages import sft as stage

    losses: list[float] = []
    with terminal.loss_bar(config.steps) as show:

        def on_log(figures: dict[str, float]) -> None:
            losses.append(figures["loss"])
            show(figures)

        summary = stage.run(config, on_log=on_log, on_note=terminal.note)
    if summary.already_finished:
        terminal.say(f"this run is already finished: {summary.steps} steps (choose another --out to train again)")
    elif summary.resumed_from is not None:
        terminal.say(f"went on from step {summary.resumed_from}")
    for line in terminal.curve(losses):
        terminal.say(line)
    terminal.say(
        f"loss   {summary.loss_start:.3f} -> {summary.loss_end:.3f} (first and last tenth of {summary.steps} steps), "
        f"{summary.seconds:.0f} s"
    )
    terminal.say(f"model  {summary.model}")
    terminal.say(f"curve  {summary.curve}")
    terminal.say(f"log    {summary.out / 'log.jsonl'}, settings and figures {summary.out / 'run.json'}")
