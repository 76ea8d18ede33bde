"""The Typer application: the four commands in the order they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import iadr1
from iadr1.cli import detect, evaluate, prepare, train

_EPILOG = (
    "The four commands run as they stand, on embedded data and the embedded model, without GPU or network:\n\n"
    "iadr1 prepare\n\n"
    "iadr1 train --reward roam\n\n"
    "iadr1 eval mmad\n\n"
    "iadr1 detect images/ --masks"
)

app = typer.Typer(
    name="iadr1",
    help="Find defects on photos of products with a vision-language model, and train one to do it better.",
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(name: str, command: Callable[..., None], epilog: str) -> None:
    # Typer keeps the line breaks of a docstring; a terminal narrower than the source would break every line twice.
    paragraphs = (command.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    app.command(name, help=text, epilog=epilog)(command)


_add("prepare", prepare.prepare, prepare.EPILOG)
_add("train", train.train, train.EPILOG)
_add("eval", evaluate.evaluate, evaluate.EPILOG)
_add("detect", detect.detect, detect.EPILOG)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iadr1 {iadr1.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
