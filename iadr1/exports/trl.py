"""TRL's conversational data sets for vision-language models (github huggingface/trl, `docs/source/dataset_formats.md`).

    {"id": "...",
     "prompt": [{"role": "user", "content": [{"type": "image", "text": null}, {"type": "text", "text": "..."}]}],
     "completion": [{"role": "assistant", "content": [{"type": "text", "text": "..."}]}],
     "images": ["/data/bottle/test/cut/000.png"]}

`datasets.load_dataset("json", data_files=...)` loads it, `.cast_column("images", [Image()])` makes pictures of paths.
Every part of a message has both members, as the table's columns need. For GRPO there is `solution` instead of
`completion`, which TRL passes on to the rewards; it holds boxes in the asked-for space.
"""

from __future__ import annotations

from typing import Any

from iadr1.exports.base import BOX_SPACES, Item, Target


def sft_row(item: Item) -> dict[str, Any]:
    """Prompt, completion and images."""
    completion = {"role": "assistant", "content": [_part("text", item.target)]}
    return {**_prompt(item), "completion": [completion], "images": list(item.images)}


def grpo_row(item: Item) -> dict[str, Any]:
    """Prompt and images, and what rewards need: the truth, and the size of the image its boxes belong to."""
    return {
        **_prompt(item),
        "images": list(item.images),
        "solution": item.solution,
        "task": item.sample.task,
        "image_size": list(item.size) if item.size is not None else None,
    }


def _prompt(item: Item) -> dict[str, Any]:
    messages = [
        {"role": message["role"], "content": [_part(part["type"], part.get("text")) for part in message["content"]]}
        for message in item.messages
    ]
    return {"id": item.sample.id, "prompt": messages}


def _part(kind: str, text: str | None) -> dict[str, str | None]:
    return {"type": kind, "text": text}


_LOADER = "image paths are relative to {root}: run the training there"

SFT = Target(
    name="trl",
    method="sft",
    suffix=".jsonl",
    row=sft_row,
    tasks=("choice", "anomaly", "grounding"),
    spaces=BOX_SPACES,
    space=None,
    absolute=True,
    shots=True,
    loader=_LOADER,
)
GRPO = Target(
    name="trl",
    method="grpo",
    suffix=".jsonl",
    row=grpo_row,
    tasks=("choice", "anomaly", "grounding"),
    spaces=BOX_SPACES,
    space=None,
    absolute=True,
    shots=True,
    loader=_LOADER,
)
