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
    "first look. `iadr1 prepare --variety 40000 --normal-share 0.45 --out DIR` draws a training set of any size.\n\n"
    "Benchmarks: mmad, mvtec3d; IAD-R1's six test sets dagm, dtd, mpdd, sdd, mvtec, visa (raw, or as published with "
    "--annotations); ds-mvtec, mvtec-loco, goodsad, btad, real-iad, deeppcb, magnetic-tile. Grounding: refcoco, "
    "refcoco+, refcocog. Chain of thought: expert-ad.\n\n"
    "Your own photos: folder (good/ and one folder a defect type), coco, yolo, labelme, csv.\n\n"
    "From prepared files, with --data: fewshot (the 600-image training set), expert-ad (templated reasoning), crops "
    "(the tiles of detect --tiles, mirrored copies), split (by piece, not by photo), join (several files in one).\n\n"
    "For example `iadr1 prepare mmad --root /data/MMAD --out data/mmad.jsonl`, then `iadr1 prepare fewshot --data "
    "data/mmad.jsonl --out data/fewshot.jsonl`. Sets are read where they lie and never changed; licence and source "
    "stand in every sample. `iadr1 data check` looks a file over."
)

_CONFIG = configs.PrepareConfig
_NAMED = 10
"""How many unreadable files are named."""


def prepare(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="synthetic (default) or one of those below.", show_default=False),
    ] = None,
    root: Annotated[Path | None, option(_CONFIG, "root", text="Folder of the data set.")] = None,
    out: Annotated[
        Path | None,
        option(
            _CONFIG,
            "out",
            text="The JSONL file to write; for synthetic the folder that gets data/ and images/ (default: here).",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="A prepared file to choose or make samples from; give it several times for more.",
            show_default=False,
        ),
    ] = None,
    annotations: Annotated[Path | None, option(_CONFIG, "annotations")] = None,
    missing: Annotated[str | None, option(_CONFIG, "missing")] = None,
    split: Annotated[str | None, option(_CONFIG, "split")] = None,
    category: Annotated[str | None, option(_CONFIG, "category")] = None,
    commercial_only: Annotated[bool | None, option(_CONFIG, "commercial_only", "--commercial-only")] = None,
    download: Annotated[bool | None, option(_CONFIG, "download", "--download")] = None,
    size: Annotated[int | None, option(_CONFIG, "size")] = None,
    per_class: Annotated[str | None, option(_CONFIG, "per_class")] = None,
    normal_share: Annotated[float | None, option(_CONFIG, "normal_share")] = None,
    tiles: Annotated[
        str | None,
        option(_CONFIG, "tiles", text="Cut photos as `detect --tiles` does: columns x rows such as 4x3 (crops only)."),
    ] = None,
    mirror: Annotated[bool | None, option(_CONFIG, "mirror", "--mirror")] = None,
    shots: Annotated[
        int | None, option(_CONFIG, "shots", text="References of each photo to take along, cut alike (crops only).")
    ] = None,
    group: Annotated[str | None, option(_CONFIG, "group")] = None,
    share: Annotated[float | None, option(_CONFIG, "share")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
    fewshot_images: Annotated[int | None, option(_CONFIG, "fewshot_images")] = None,
    eval_images: Annotated[int | None, option(_CONFIG, "eval_images")] = None,
    photos: Annotated[int | None, option(_CONFIG, "photos")] = None,
    variety: Annotated[int | None, option(_CONFIG, "variety")] = None,
    side: Annotated[int | None, option(_CONFIG, "side")] = None,
    reference_every: Annotated[int | None, option(_CONFIG, "reference_every")] = None,
    workers: Annotated[int | None, option(_CONFIG, "workers")] = None,
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
    for path, why in list(summary.broken.items())[:_NAMED]:
        terminal.note(f"error: {path}: {why}")
    if summary.broken:
        terminal.note(f"error: {len(summary.broken)} files cannot be read; their samples are left out")
        raise typer.Exit(1)
