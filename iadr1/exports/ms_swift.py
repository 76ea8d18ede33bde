r"""ms-swift's standard format (github modelscope/ms-swift, `docs/source_en/Customization/Custom-dataset.md`).

    {"messages": [{"role": "user", "content": "<image>..."},
                  {"role": "assistant", "content": "...[{\"bbox_2d\": <bbox>, \"label\": \"scratch\"}]..."}],
     "images": ["/data/000.png"], "objects": {"ref": [], "bbox": [[10, 20, 30, 40]], "bbox_type": "real"}}

For SFT ms-swift itself puts the boxes, which are pixels of the stored image, where `<bbox>` stands, in the model's own
coordinates after its own resize. For GRPO it passes `solution` on to the rewards unchanged, so that boxes must be in
the model's space already.
"""

from __future__ import annotations

import json
from typing import Any

from iadr1.errors import DataError
from iadr1.exports.base import BOX_SPACES, Item, Target

_BOX_MARK = "<bbox>"


def sft_row(item: Item) -> dict[str, Any]:
    """Question and answer; the answer's boxes stand in `objects` in pixels of the stored image.

    Raises:
        DataError: A text contains one of ms-swift's marks.
    """
    answer = item.target
    row: dict[str, Any] = {
        "messages": [{"role": "user", "content": item.user_text}, {"role": "assistant", "content": answer}],
        "images": list(item.images),
    }
    if item.frame is not None:
        marked = ", ".join(
            f'{{"bbox_2d": {_BOX_MARK}, "label": {json.dumps(found.label, ensure_ascii=False)}}}'
            for found in item.boxes
        )
        before, _, after = answer.rpartition(item.solution)
        row["messages"][1]["content"] = f"{before}[{marked}]{after}"
        row["objects"] = {"ref": [], "bbox": [list(found.box) for found in item.boxes], "bbox_type": "real"}
    text = "".join(message["content"] for message in row["messages"])
    if text.count(_BOX_MARK) != (len(item.boxes) if item.frame is not None else 0) or "<ref-object>" in text:
        raise DataError(
            f"a text of sample {item.sample.id!r} contains {_BOX_MARK} or <ref-object>, which are ms-swift's marks",
            where=item.where,
            hint="write it otherwise",
        )
    return row


def grpo_row(item: Item) -> dict[str, Any]:
    """The question, and the truth in `solution`, which rewards are given."""
    return {
        "messages": [{"role": "user", "content": item.user_text}],
        "images": list(item.images),
        "solution": item.solution,
    }


_LOADER = "image paths are relative to {root}: set ROOT_IMAGE_DIR to it"

SFT = Target(
    name="ms-swift",
    method="sft",
    suffix=".jsonl",
    row=sft_row,
    tasks=("choice", "anomaly", "grounding"),
    spaces=("pixels",),
    space="pixels",
    absolute=True,
    shots=True,
    loader=_LOADER,
)
GRPO = Target(
    name="ms-swift",
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
