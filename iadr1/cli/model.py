"""`iadr1 model merge`: what is done to a model's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1.cli import terminal

HELP = "Work on a model's files."
MERGE_EPILOG = (
    "Example: `iadr1 train lora_rank=16 --out runs/lora`, then `iadr1 model merge runs/lora/model --out merged`, then "
    "`iadr1 detect images --model merged`."
)


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
