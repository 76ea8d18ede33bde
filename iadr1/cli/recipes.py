"""Recipes: finding one by name or file, and `iadr1 recipes ls|cp|check`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import iadr1
from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import check_suffix
from iadr1.errors import OutputError, UsageError, nearest

HELP = "Complete settings of the papers' runs, each value with its source."
LS_EPILOG = "Example: `iadr1 recipes ls`."
CP_EPILOG = "Example: `iadr1 recipes cp anomalyr1-roam-3b mine.yaml`, then `iadr1 train mine.yaml`."
CHECK_EPILOG = "Example: `iadr1 recipes check mine.yaml`."

_FOLDER = Path(iadr1.__file__).parent / "recipes"


def packaged_recipes() -> list[str]:
    """The names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The YAML file of a packaged recipe's name, or of a path that ends in `.yaml` or `.yml`.

    Raises:
        UsageError: No recipe of that name and no such file.
    """
    if name in packaged_recipes():
        return _FOLDER / f"{name}.yaml"
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UsageError(f"the recipe {name!r} is not a file")
        return path
    if path.is_file():
        raise UsageError(f"{name!r} is not a recipe", hint="a recipe ends in .yaml; samples are given with --data")
    hint = f"{nearest(name, packaged_recipes(), what='known recipes')}; your own is named by its YAML file"
    raise UsageError(f"no recipe {name!r}", hint=hint)


def ls() -> None:
    """List the recipes that come with the package."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("recipe", "command", "what it is"):
        table.add_column(column, no_wrap=column == "recipe", overflow="fold")
    for name in packaged_recipes():
        path = _FOLDER / f"{name}.yaml"
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
        table.add_row(name, f"iadr1 {configs.read_stage(path)}", title)
    terminal.out.print(table)


def cp(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe of `iadr1 recipes ls`.", show_default=False)],
    to: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to (default: NAME.yaml here).", show_default=False)
    ] = None,
) -> None:
    """Copy a recipe to change it; a file that is there is left alone."""
    source, target = find_recipe(name), to or Path(f"{Path(name).stem}.yaml")
    if target.is_dir():
        target = target / source.name
    check_suffix(target, ".yaml", ".yml", name="FILE")
    if target.exists():
        raise UsageError("the file is there already", where=str(target), hint="name another file")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(target)) from error
    terminal.say(f"{target}: iadr1 {configs.read_stage(source)} {target}")


def check(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe, by name or as a YAML file.", show_default=False)
    ],
) -> None:
    """Check a recipe's keys, values and rewards, without data and model."""
    path = find_recipe(recipe)
    from iadr1.stages import recipes as stage

    config = stage.check(path)
    terminal.say(f"{path}: fits `iadr1 {config.STAGE}`")
