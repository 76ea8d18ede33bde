"""`iadr1 model merge`, `convert-sam2` and `new`: what is done to a model's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import key_values, option, split_words
from iadr1.cli.recipes import find_recipe

HELP = "Work on a model's files."
MERGE_EPILOG = (
    "Example: `iadr1 train lora_rank=16 --out runs/lora`, then `iadr1 model merge runs/lora/model --out merged`, then "
    "`iadr1 detect images --model merged`."
)
CONVERT_SAM2_EPILOG = (
    "Example: `iadr1 model convert-sam2 sam2.1_hiera_tiny.pt --out sam2.1-tiny`, then `iadr1 detect images --masks "
    "--segmenter sam2.1-tiny`. The file is read without running code from it; the parts that follow objects through "
    "a video are left out."
)
NEW_EPILOG = (
    "Example: `iadr1 prepare --variety 40000`, then `iadr1 model new tiny-new`, then `iadr1 pretrain tiny-pretrain`."
)

_NEW = configs.NewModelConfig


def merge(
    adapter: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A trained model's folder with LoRA adapters.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the merged model; new or empty.", show_default=False)],
    base: Annotated[
        str | None, typer.Option(help="The base model, where it has moved since the training.", show_default=False)
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="bfloat16, float16 or float32 (default: bfloat16).", show_default=False)
    ] = ("bfloat16"),
) -> None:
    """Merge LoRA adapters into their base, and check the result by comparing log-probabilities."""
    from iadr1.stages import model as stage

    summary = stage.merge(adapter, out=out, base=base, dtype=dtype)
    terminal.say(f"model  {summary.out} ({dtype}, from {summary.base})")
    terminal.say(
        f"check  log-probabilities differ from base with adapters by {summary.mean:.2g} nats on average, "
        f"{summary.largest:.2g} at most"
    )


def convert_sam2(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CHECKPOINT", help="Meta's .pt file of SAM 2 or SAM 2.1.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the converted model; new or empty.", show_default=False)],
    size: Annotated[
        str | None,
        typer.Option(help="tiny, small, base_plus or large (default: told from the weights).", show_default=False),
    ] = None,
) -> None:
    """Turn a SAM 2 checkpoint of Meta into a folder that --segmenter takes, and compare what was written."""
    from iadr1.stages.model.convert_sam2 import convert_sam2 as convert

    summary = convert(checkpoint, out=out, size=size)
    terminal.say(f"model  {summary.out} (SAM {summary.version} {summary.size}, {summary.parameters / 1e6:.1f} M)")
    left_out = ", ".join(f"{part.rstrip('.')} {count}" for part, count in summary.left_out.items())
    terminal.say(f"left out, for video only: {left_out or 'nothing'}")


def new(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False)
    ] = None,
    settings: Annotated[list[str] | None, key_values()] = None,
    data: Annotated[Path | None, option(_NEW, "data", text="Samples that the tokenizer is trained on.")] = None,
    out: Annotated[Path | None, option(_NEW, "out", text="Folder of the model; new or empty.")] = None,
    side: Annotated[int | None, option(_NEW, "side", text="Side of the square input in pixels.")] = None,
    seed: Annotated[int | None, option(_NEW, "seed")] = None,
) -> None:
    """Make a small model of the real architecture with random weights, for `iadr1 pretrain`.

    It is a Qwen2.5-VL with a few million parameters and a tokenizer of its own.
    """
    given = {key: value for key, value in locals().items() if key not in ("recipe", "settings")}
    name, overrides = split_words(recipe, settings, leading="recipe")
    config = configs.build(_NEW, recipe=find_recipe(name) if name else None, overrides=overrides, given=given)
    from iadr1.stages.model.new import new_model

    made = new_model(config)
    terminal.say(f"model  {made.out} ({made.parameters / 1e6:.2f} M random parameters, {made.tokens} tokens)")
