"""Finding a recipe: one of the package's, by name, or a YAML file."""

from __future__ import annotations

import difflib
from pathlib import Path

import iadr1
from iadr1.errors import UsageError

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
    close = difflib.get_close_matches(name, packaged_recipes(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known recipes: {', '.join(packaged_recipes())}, or a YAML file"
    raise UsageError(f"no recipe {name!r}", hint=hint)
