"""LLaMA-Factory's conversations in sharegpt manner (github hiyouga/LLaMA-Factory, `data/README.md`), IAD-R1's PA-SFT.

    [{"messages": [{"role": "user", "content": "<image>Are there ...?"}, {"role": "assistant", "content": "..."}],
      "images": ["/data/bottle/test/cut/000.png"]}]

Its `dataset_info.json`, in the same folder, names the file and its columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from iadr1.atomic import write_text_atomic
from iadr1.errors import OutputError
from iadr1.exports.base import BOX_SPACES, Item, Target


def row(item: Item) -> dict[str, Any]:
    """One user turn and its answer; as many `<image>` marks as images."""
    messages = [{"role": "user", "content": item.user_text}, {"role": "assistant", "content": item.target}]
    return {"messages": messages, "images": list(item.images)}


def write_dataset_info(out: Path) -> Path:
    """Add the data set, named like its file, to `dataset_info.json` beside it; other entries stay.

    Raises:
        OutputError: There is a `dataset_info.json` that is not a JSON object.
    """
    path = out.with_name("dataset_info.json")
    entries: Any = {}
    if path.exists():
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise OutputError(f"not JSON, so no entry can be added: {error}", where=str(path)) from error
        if not isinstance(entries, dict):
            raise OutputError("not a JSON object, so no entry can be added", where=str(path))
    entries[out.stem] = {
        "file_name": out.name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    write_text_atomic(path, json.dumps(entries, ensure_ascii=False, indent=2) + "\n")
    return path


TARGET = Target(
    name="llama-factory",
    method="sft",
    suffix=".json",
    row=row,
    tasks=("choice", "anomaly", "grounding"),
    spaces=BOX_SPACES,
    space=None,
    absolute=True,
    shots=True,
    loader="image paths are relative to {root}: set media_dir to it",
    resize_note=", and nothing before it: raise image_max_pixels (589824 by default) above the largest image",
    beside=write_dataset_info,
)
