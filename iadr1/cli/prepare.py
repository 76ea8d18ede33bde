"""`iadr1 prepare`: samples for training and evaluation, and sample photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import option

EPILOG = (
    "Example: `iadr1 prepare` writes data/ and images/ into the current folder: all that the other commands need for a "
    "first look.\n\n"
    "With a real data set on disk: `iadr1 prepare mmad --root /data/MMAD --out data/mmad.jsonl`.\n\n"
    "Real sources: mmad (MMAD, the questions of the paper's Table 2), mvtec (MVTec AD), mvtec3d (MVTec 3D-AD), "
    "refcoco (RefCOCO as VLM-R1's JSON). They are read where they lie and never changed; their licences are written "
    "into every sample."
)

_CONFIG = configs.PrepareConfig


def prepare(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="synthetic (default), mmad, mvtec, mvtec3d or refcoco.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None, option(_CONFIG, "root", text="Folder of the real data set; not for synthetic.")
    ] = None,
    out: Annotated[
        Path | None,
        option(
            _CONFIG,
            "out",
            text="Synthetic: the folder that gets data/ and images/ (default: here). Else: the JSONL file to write.",
        ),
    ] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
    fewshot_images: Annotated[int | None, option(_CONFIG, "fewshot_images")] = None,
    eval_images: Annotated[int | None, option(_CONFIG, "eval_images")] = None,
    photos: Annotated[int | None, option(_CONFIG, "photos")] = None,
) -> None:
    """Write samples for training and evaluation, and photos to try `detect` on.

    Without SOURCE a small industrial world is drawn: products of several materials with and without defects. Running
    it again changes nothing; a file it did not write is never overwritten.
    """
    config = configs.build(_CONFIG, given=locals())
    from iadr1.stages import prepare as stage

    with terminal.task_bars() as progress:
        summary = stage.run(config, progress=progress)
    for line in summary.lines:
        terminal.say(line)
