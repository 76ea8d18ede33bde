"""`iadr1 convert`: samples in the format of another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from iadr1.cli import terminal

EPILOG = (
    "Example: `iadr1 convert data/fewshot.jsonl --to anomalyr1 --out fewshot-ad-train.jsonl`.\n\n"
    "Formats: anomalyr1 (.jsonl with a .yaml beside), vlm-r1 (.json: one referring expression an entry; .jsonl: "
    "conversations), llama-factory (.json, with its entry in dataset_info.json), ms-swift (.jsonl), trl (.jsonl for "
    '`load_dataset("json")`).\n\n'
    "Boxes: a model of the Qwen2.5-VL family writes pixels of its own resized input (qwen2.5-input), Qwen2-VL, "
    "Qwen3-VL and InternVL write 0..1000 (norm1000). vlm-r1 and ms-swift's SFT take pixels of the stored image "
    "and convert them."
)


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Samples, a JSONL file written by `iadr1 prepare`.")],
    to: Annotated[
        str, typer.Option("--to", help="anomalyr1, vlm-r1, llama-factory, ms-swift or trl.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write, .json or .jsonl.", show_default=False)],
    method: Annotated[
        Literal["sft", "grpo"] | None,
        typer.Option("--method", help="What it is for, where a format serves both (default: sft)."),
    ] = None,
    box_space: Annotated[
        Literal["pixels", "norm1000", "qwen2.5-input"] | None,
        typer.Option("--box-space", help="How the model writes boxes; needed where answers hold boxes."),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels", min=784, help="Most pixels of Qwen2.5-VL's input, as in the training (default: 12845056)."
        ),
    ] = None,
    task: Annotated[
        Literal["choice", "anomaly", "grounding"] | None,
        typer.Option("--task", help="Only samples of this task; the others are left out and counted."),
    ] = None,
    fmt: Annotated[
        Literal["structured", "boxes", "direct"] | None,
        typer.Option("--format", help="How yes/no samples are answered: structured (default), boxes or direct."),
    ] = None,
    shots: Annotated[
        int, typer.Option("--shots", min=0, help="References shown before each photo (default: 0).", show_default=False)
    ] = 0,
    root: Annotated[Path | None, typer.Option("--root", help="Folder that the image paths are relative to.")] = None,
    image_root: Annotated[
        Path | None,
        typer.Option(
            "--image-root",
            help="Folder that the written image paths are relative to (default: absolute paths, or --root where the "
            "format's loader takes a folder).",
        ),
    ] = None,
) -> None:
    """Write samples in the format of another trainer.

    Nothing is written unless every sample fits: an error names the first that does not.
    """
    from iadr1.stages import convert as stage

    plan = stage.Conversion(
        file=file,
        to=to,
        out=out,
        method=method,
        task=task,
        fmt=fmt,
        box_space=box_space,
        max_pixels=max_pixels,
        shots=shots,
        root=root,
        image_root=image_root,
    )
    with terminal.task_bars() as progress:
        summary = stage.run(plan, progress=progress)
    terminal.say(f"{out}: {summary.written} samples for {to}")
    if summary.left_out:
        terminal.say(f"{summary.left_out} samples of other tasks left out")
    for line in summary.lines:
        terminal.say(line)
