"""`iadr1 doctor`: what is installed, how the commands would run here, and whether the model's boxes can be trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import option, server_options

if TYPE_CHECKING:
    from iadr1.stages.doctor import Report

EPILOG = (
    "Example: `iadr1 doctor` looks at this machine and lets the embedded model point at rectangles.\n\n"
    "A model of your own, with SAM 2: `iadr1 doctor --model runs/train/model --segmenter sam2`.\n\n"
    "A served model: `iadr1 doctor --engine server --base-url http://localhost:8000/v1 --family qwen2_5_vl "
    "--model NAME`.\n\n"
    "Exit code: 0 the commands can run, 1 something that was asked for cannot, 2 called wrongly."
)

_CONFIG = configs.DoctorConfig
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


@server_options(_CONFIG)
def doctor(
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    engine: Annotated[str | None, option(_CONFIG, "engine")] = None,
    segmenter: Annotated[str | None, option(_CONFIG, "segmenter")] = None,
    scenes: Annotated[int | None, option(_CONFIG, "scenes")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, for a program to read.", metavar="")
    ] = False,
    **server: Any,
) -> None:
    """Say what is installed, how the commands would run here, what is missing and how to mend it.

    The model is loaded and shown a few drawn pictures: are the boxes it writes in the space that its profile says? A
    wrong space is the most common reason for boxes that are almost right. Nothing is written or downloaded.
    """
    given = locals()
    del given["as_json"]
    config = configs.build(_CONFIG, given=given | given.pop("server"))
    from iadr1.stages import doctor as stage

    with terminal.status("getting ready") as tell:
        report = stage.run(config, progress=lambda name: tell(f"looking at: {name}"))
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "found"):
        table.add_column(title, no_wrap=title != "found")
    group = ""
    for row in report.rows:
        if row.group != group:
            table.add_row("", f"[bold]{row.group}[/]", "")
            group = row.group
        style = _STYLES[row.state]
        table.add_row(f"[{style}]{row.state}[/]", f"  {row.name}", _plain(row.found))
    terminal.out.print(table)
    for state, title in (("fail", "to mend"), ("warn", "to improve"), ("skip", "to add")):
        rows = [row for row in report.rows if row.state == state and row.advice]
        if rows:
            terminal.say(f"\n{title}")
        for row in rows:
            # Not in the table, so that a command can be copied in one piece.
            terminal.say(f"  {row.name}: {row.advice}")


def _plain(text: str) -> str:
    """Text that is shown as it is, without what the terminal would take for markup."""
    from rich.markup import escape

    return escape(text)
