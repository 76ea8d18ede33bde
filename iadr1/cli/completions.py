"""`iadr1 completions RUN`: look at the answers of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iadr1.cli import terminal
from iadr1.cli.options import check_suffix

EPILOG = (
    "Example: `iadr1 train`, then `iadr1 completions runs/train --step 10` writes runs/train/completions.html. "
    "The page needs no other file and no network.\n\n"
    "The answers are in RUN/completions/step-00010.parquet, for your own analysis: step, group, sample_id, image, "
    "prompt, completion, truth, rewards/NAME, reward, advantage, parse, parse_reason, tokens."
)


def completions(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run of `iadr1 train` or `iadr1 ground`.")
    ] = Path("runs/train"),
    step: Annotated[
        list[int] | None,
        typer.Option("--step", help="Only this step; can be given several times.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="The HTML file (default: completions.html in the run's folder).", show_default=False
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder that the image paths are relative to, if moved.", show_default=False),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", min=1, help="Prompts shown at most, without --step (default: 60).", show_default=False),
    ] = 60,
) -> None:
    """Show what a model answered while it was trained, as a page with the reward and the advantage of every answer.

    Without --step, steps from the first to the last are shown, evenly spread.
    """
    check_suffix(out, ".html", ".htm")
    from iadr1.stages.grpo import view

    with terminal.task_bars() as progress:
        summary = view.run(run, steps=step or (), out=out, root=root, limit=limit, progress=progress)
    shown = f"{len(summary.steps)} of {summary.of_steps} steps"
    terminal.say(f"{summary.out}: {summary.answers} answers to {summary.groups} prompts, {shown}")
