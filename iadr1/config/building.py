"""The one way a recipe, options and `key=value` overrides become a config."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from iadr1.errors import ConfigError, nearest

C = TypeVar("C")

_TYPES = {int: "a whole number", bool: "true or false", str: "text"}


def build(
    kind: type[C], *, recipe: Path | None = None, overrides: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> C:
    """A config from a recipe file, then options that were given on the command line, then `key=value` overrides.

    Args:
        kind: The config class.
        recipe: A YAML file of `key: value` pairs.
        overrides: `key=value` strings; the value is read as YAML.
        given: Options by field name; None means "not given".

    Raises:
        ConfigError: Unknown key, wrong type, a value that is not YAML, or a recipe that is not a mapping.
    """
    values: dict[str, Any] = _read_recipe(recipe) if recipe is not None else {}
    # A recipe may say which command it is for.
    stage, wanted = values.pop("stage", None), getattr(kind, "STAGE", None)
    if stage is not None and wanted is not None and stage != wanted:
        raise ConfigError(f"the recipe is for 'iadr1 {stage}', not for 'iadr1 {wanted}'", where=str(recipe))
    in_recipe = set(values)
    values.update({key: value for key, value in (given or {}).items() if value is not None})
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"{text!r} is not of the form key=value")
        values[key.strip()] = _read_value(key.strip(), value)
    hints = {field.name: hint for field, hint in _fields(kind)}
    for key in values:
        if key not in hints:
            raise ConfigError(f"no key {key!r}{_suggest(key, hints)}", where=str(recipe) if key in in_recipe else None)
    # What an option or `key=value` replaced is no longer the recipe's.
    in_recipe -= {key for key, value in (given or {}).items() if value is not None}
    in_recipe -= {text.partition("=")[0].strip() for text in overrides}
    converted = {}
    for key, value in values.items():
        try:
            converted[key] = _convert(key, value, hints[key])
        except ConfigError as error:
            where = str(recipe) if key in in_recipe else None
            raise ConfigError(error.message, where=where, hint=error.hint) from error
    return kind(**converted)


def _fields(kind: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def read_stage(recipe: Path) -> str | None:
    """The command a recipe says it is for; None where it does not say.

    Raises:
        ConfigError: It cannot be read.
    """
    stage = _read_recipe(recipe).get("stage")
    return None if stage is None else str(stage)


def _read_value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        raise ConfigError(f"the value of the key {key!r} is not YAML: {text!r}", hint="put it in quotes") from error


def _suggest(key: object, known: Mapping[str, Any]) -> str:
    return f"; {nearest(key, known, what='known keys')}"


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # derived from SafeLoader
    except OSError as error:
        raise ConfigError(f"cannot read the recipe: {error.strerror}", where=str(path)) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date such as 2024-13-45
        raise ConfigError(f"not YAML: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise ConfigError("a recipe is a list of 'key: value' lines", where=str(path))
    return value


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = [key.value for key, _ in node.value]
        doubled = next((key for key in seen if seen.count(key) > 1), None)
        if doubled is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {doubled!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _convert(key: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if value is None:
        raise ConfigError(f"the key {key!r} has no value")
    if hint is Path:
        return Path(str(value))
    if typing.get_origin(hint) is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(_convert(key, item, typing.get_args(hint)[0]) for item in values)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-6 as text
        except ValueError as error:
            raise ConfigError(f"the key {key!r} needs a number, got {value!r}") from error
    if isinstance(value, bool) != (hint is bool) or not isinstance(value, hint):
        raise ConfigError(f"the key {key!r} needs {_TYPES.get(hint, hint.__name__)}, got {value!r}")
    return value
