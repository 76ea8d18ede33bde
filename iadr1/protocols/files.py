"""Protocols as YAML files: the shipped ones by name, a user's own by path."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from iadr1.errors import ConfigError, UsageError, nearest
from iadr1.protocols.base import Part, Protocol, fields
from iadr1.protocols.checks import faults

_FOLDER = Path(__file__).parent
_SUFFIXES = (".yaml", ".yml")
_UNKNOWN = "unexpected_keyword_argument"
_ADAPTER = TypeAdapter(Protocol)


def names() -> tuple[str, ...]:
    """The names of the shipped protocols, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def find(name_or_file: str) -> Path:
    """The file of a shipped protocol's name, or of a path that ends in `.yaml` or `.yml`.

    Raises:
        UsageError: There is no such protocol and no such file.
    """
    if name_or_file in names():
        return _FOLDER / f"{name_or_file}.yaml"
    path = Path(name_or_file)
    if path.suffix in _SUFFIXES:
        if not path.is_file():
            raise UsageError(f"the protocol {name_or_file!r} is not a file")
        return path
    hint = f"{nearest(name_or_file, names())}; your own is named by its YAML file"
    raise UsageError(f"no protocol {name_or_file!r}", hint=hint)


def load(name_or_file: str) -> Protocol:
    """A shipped protocol by its name, or a user's own by its YAML file.

    Raises:
        UsageError: There is no such protocol and no such file.
        ConfigError: The file is not a protocol, or takes a shipped one's name for something else.
    """
    path = find(name_or_file)
    protocol = _read(path)
    if path.parent != _FOLDER and protocol.name in names():
        shipped = _read(_FOLDER / f"{protocol.name}.yaml")
        if shipped.digest != protocol.digest:
            raise _wrong(
                path, "name", f"{protocol.name!r} is a shipped protocol, which this file is not", "give it its own name"
            )
    return protocol


def _read(path: Path) -> Protocol:
    value = _yaml(path)
    if not isinstance(value, dict):
        raise ConfigError("a protocol is a list of 'key: value' lines", where=str(path))
    try:
        protocol = _ADAPTER.validate_json(_as_json(value, path))
    except ValidationError as error:
        raise _explain(path, error) from error
    if "+" in protocol.name:
        raise _wrong(path, "name", f"{protocol.name!r}: behind a '+' stand changes made by options")
    for key, fault in faults(protocol):
        raise _wrong(path, key, fault)
    return protocol


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # derived from SafeLoader
    except OSError as error:
        raise ConfigError(f"cannot read the protocol: {error.strerror}", where=str(path)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date like 2024-13-45
        raise ConfigError(f"not YAML: {error}", where=str(path)) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = [key.value for key, _ in node.value]
        doubled = next((key for key in seen if seen.count(key) > 1), None)
        if doubled is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {doubled!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _as_json(value: dict[Any, Any], path: Path) -> str:
    for key, item in value.items():
        try:
            json.dumps(item, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:  # a date; a list that holds itself, half a character
            raise _wrong(path, str(key), f"{item!r:.80} is neither text nor number", "put it in quotes") from error
    return json.dumps({str(key): item for key, item in value.items()})


def _explain(path: Path, error: ValidationError) -> ConfigError:
    """One thing that is wrong, by its key."""
    errors = sorted(error.errors(), key=lambda item: item["type"] != _UNKNOWN)  # a misspelt key leaves another missing
    first = errors[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == _UNKNOWN:
        known = fields(Part if key.startswith("parts.") else Protocol)
        return _wrong(path, key, "there is no such key", nearest(str(first["loc"][-1]), known))
    if first["type"] == "missing":
        return _wrong(path, key, "it is missing")
    told = re.sub(r"^Input should be", "it must be", first["msg"])
    return _wrong(path, key, f"{told}, got {first['input']!r:.80}")


def _wrong(path: Path, key: str, fault: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"the key {key!r}: {fault}", where=str(path), hint=hint)
