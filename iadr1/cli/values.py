"""What is said of a value that cannot be: under the name and as the value that was typed.

Stages know a setting by its field's name, and begin what they say of it with `NAME is VALUE`; `as_typed` turns that
into the option where it came from one.
"""

from __future__ import annotations

import re
from typing import Any

import typer

_TYPES = {int: "a whole number", float: "a number"}


def explain(error: typer.TyperException) -> str:
    """What Typer refuses, in words; of a value that could not be converted with the value and what is expected."""
    # pydantic's error, which converts: its sentence holds neither the value nor our names.
    cause: Any = error.__cause__
    param: Any = getattr(error, "param", None)
    if param is None or not hasattr(cause, "errors"):
        return error.format_message()
    found = cause.errors()[0]
    if expected := _TYPES.get(param.get_runtime_param().annotation):
        return f"{_name(param)} needs {expected}, got {found['input']!r}"
    return f"{_name(param)}: {found['msg'].removeprefix('Value error, ')}"


def as_typed(message: str, context: Any) -> str:
    """A message that begins with the name of a setting, with the name and the value as they were typed.

    It is named as the option, unless it came from `key=value` or may have come from a recipe.

    Args:
        message: For example `batch_size is 0, it must be at least 1`.
        context: Of the command that was called.
    """
    name, space, rest = message.partition(" ")
    options = {param.name: param for param in context.command.params if param.opts[0].startswith("--")}
    if name not in options:
        return _without_point(message)
    value = context.params.get(name)
    if isinstance(value, str) and value and rest.startswith(f"is {value!r}"):
        rest = f"is {value}{rest.removeprefix(f'is {value!r}')}"
    words = [context.params.get("recipe"), *(context.params.get("settings") or ())]
    keyed = any(word is not None and (word.startswith(f"{name}=") or "=" not in word) for word in words)
    shown = name if keyed and value is None else _name(options[name])
    return _without_point(f"{shown}{space}{rest}")


def _name(param: Any) -> str:
    """`--batch-size` of an option, `IMAGES` of an argument."""
    first: str = param.opts[0]
    return first if first.startswith("-") else str(param.make_metavar() if param.metavar is None else param.metavar)


def _without_point(message: str) -> str:
    """`is 0` for the `is 0.0` of a setting that is a float."""
    return re.sub(r"^(\S+ is -?\d+)\.0(?=\D|$)", r"\1", message)
