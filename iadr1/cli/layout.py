"""The classes of all commands: help in panels or, on a narrow terminal, as wrapped text; settings named as typed."""

from __future__ import annotations

import re
import shutil
import textwrap
from itertools import pairwise, takewhile
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from iadr1.cli.values import as_typed
from iadr1.errors import UsageError

WIDE = 110
"""Columns from which the panels have room for the longest option beside its text; below they cut long words."""


class Command(TyperCommand):
    """A command whose help can be read, and copied from, on 80 columns."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        """`--help`, shown without the type of a value, as every flag is."""
        return _as_flag(super().get_help_option(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Without panels where there is no room for them."""
        mode = self.rich_markup_mode
        if shutil.get_terminal_size().columns < WIDE:
            self.rich_markup_mode = None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.rich_markup_mode = mode

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """An empty `--out`, as of a shell's variable that is not set, would silently be the current folder."""
        words = list(takewhile(lambda word: word != "--", args))
        if "--out=" in words or ("--out", "") in pairwise(words):
            raise UsageError("--out is empty", hint="name a folder or file; '.' is the current folder")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """What is wrong with a setting is told of the option it came from."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.message = as_typed(error.message, ctx)
            raise

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Without panels: paragraphs are wrapped, the lines of a list stay lines."""
        for paragraph in (self.epilog or "").split("\n\n"):
            formatter.write_paragraph()
            for line in paragraph.split("\n"):
                key = re.match(r"\S+ {2,}", line)  # `key=value    text`
                told = textwrap.fill(
                    line,
                    formatter.width,
                    initial_indent="  ",
                    subsequent_indent=" " * (2 + (key.end() if key else 0)),
                    break_on_hyphens=False,
                    break_long_words=False,
                )
                formatter.write(f"{told}\n")


class Group(TyperGroup):
    """A group of commands."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        """`--help`, shown without the type of a value, as every flag is."""
        return _as_flag(super().get_help_option(ctx))


def _as_flag(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.metavar = ""
    return option
