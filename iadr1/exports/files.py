"""Writing rows as a JSON list or as JSON lines: row by row, and the file appears only when it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from iadr1.atomic import atomic, write_text_atomic
from iadr1.errors import OutputError

Row = Mapping[str, Any]


def write_json_lines(path: Path, rows: Iterable[Row]) -> int:
    """Write one JSON object a line; returns how many.

    Raises:
        OutputError: The file cannot be written.
    """
    count = 0
    with atomic(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_json_list(path: Path, rows: Iterable[Row]) -> int:
    """Write a JSON list with one entry a line; returns how many.

    Raises:
        OutputError: The file cannot be written.
    """
    count = 0
    with atomic(path) as file:
        for row in rows:
            file.write(("[\n" if count == 0 else ",\n") + json.dumps(row, ensure_ascii=False))
            count += 1
        file.write("\n]\n" if count else "[]\n")
    return count


def write_dataset_yaml(out: Path) -> Path:
    """Write `NAME.yaml` beside `NAME.json` or `.jsonl`: what `--dataset_name` of AnomalyR1 and VLM-R1's REC takes.

    Raises:
        OutputError: There is a `NAME.yaml` that is something else, such as a recipe.
    """
    path = out.with_suffix(".yaml")
    if path.exists() and not _is_dataset_yaml(path):
        hint = "it is left as it is, and the data are written; give --out another name to get the YAML file too"
        raise OutputError("the file is there already and names no data set", where=str(path), hint=hint)
    entry = {"json_path": str(out.resolve()), "sampling_strategy": "all"}
    write_text_atomic(path, yaml.safe_dump({"datasets": [entry]}, sort_keys=False, allow_unicode=True))
    return path


def _is_dataset_yaml(path: Path) -> bool:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):  # somebody's, whatever it is
        return False
    return isinstance(value, dict) and set(value) == {"datasets"}
