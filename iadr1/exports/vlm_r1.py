"""VLM-R1's two training files (Shen et al., arXiv 2504.07615, github om-ai-lab/VLM-R1).

REC JSON, a list with one referring expression an entry; `solution` is xyxy in pixels of the stored image (floats), or
in 0..1000 for InternVL:

    {"height": 640, "width": 427, "id": 0, "dataset_name": "refcoco", "text_type": "caption",
     "bbox_list": [[103.93, 299.99, 237.15, 476.41]], "image": "train2014/....jpg", "problem": "Please provide ...",
     "normal_caption": "the lady", "solution": [103.93, 299.99, 238.15, 477.41],
     "normalized_solution": [243, 468, 557, 745]}

COCO's own members (`original_id`, `image_id`, `area`, `iscrowd`) are not in a sample and left out; no loader needs
them.

JSON lines with `conversations` (`grpo_jsonl.py`), for everything else. Both trainers add their own instruction.
"""

from __future__ import annotations

import json
import math
from typing import Any

from iadr1.errors import DataError
from iadr1.exports.base import IMAGE_MARK, Item, Target
from iadr1.exports.files import write_dataset_yaml
from iadr1.geometry import Box, BoxSpace, Size


def rec_row(item: Item) -> dict[str, Any]:
    """An entry of the REC JSON.

    Raises:
        DataError: The sample has not exactly one box.
    """
    if item.size is None or len(item.boxes) != 1:
        raise DataError(
            f"VLM-R1's REC JSON holds one box an entry, sample {item.sample.id!r} has {len(item.boxes)}",
            where=item.where,
            hint="let --out end in .jsonl for several boxes",
        )
    (target,) = item.boxes
    x1, y1, x2, y2 = target.box
    row: dict[str, Any] = {
        "height": item.size[1],
        "width": item.size[0],
        "id": item.number,
        "dataset_name": item.sample.dataset,
        "bbox_list": [[x1, y1, round(x2 - 1, 2), round(y2 - 1, 2)]],
        "text_type": "caption",
        "image": item.images[-1],
        "problem": item.problem,
        "normal_caption": target.label,
        "solution": _four(item, target.box),
        "normalized_solution": _floored(target.box, item.size),
    }
    if item.sample.category.isdecimal():  # COCO's category id, as the reader of these files keeps it
        row["category_id"] = int(item.sample.category)
    return row


def conversations_row(item: Item) -> dict[str, Any]:
    """A line of the JSONL: one box as a list of four numbers, several as fenced JSON (issue 232), else the answer."""
    if item.fmt == "grounding" and len(item.boxes) == 1:
        value = json.dumps(_four(item, item.boxes[0].box))
    elif item.frame is not None:
        value = f"```json\n{item.solution}\n```"
    else:
        value = item.solution
    return {
        "id": item.number,
        "image": item.images[-1],
        "conversations": [
            {"from": "human", "value": f"{IMAGE_MARK}{item.problem}"},
            {"from": "gpt", "value": value},
        ],
    }


def _four(item: Item, box: Box) -> list[float]:
    """A box in the asked-for space; pixels stay the decimals they are."""
    if item.frame is not None and item.frame.space is BoxSpace.NORM1000:
        return list(item.frame.to_model(box))
    return list(box)


def _floored(box: Box, size: Size) -> list[int]:
    """`normalized_solution`: floor(1000 * coordinate / side). `BoxFrame` rounds to the nearest, as the models do."""
    return [math.floor(1000 * value / side) for value, side in zip(box, (*size, *size), strict=True)]


REC = Target(
    name="vlm-r1",
    method="grpo",
    suffix=".json",
    row=rec_row,
    tasks=("grounding",),
    spaces=("pixels", "norm1000"),
    space="pixels",
    absolute=False,
    shots=False,
    loader="image paths are relative to {root}: give it as --image_root, and the YAML file as --dataset_name",
    beside=write_dataset_yaml,
)
CONVERSATIONS = Target(
    name="vlm-r1",
    method="grpo",
    suffix=".jsonl",
    row=conversations_row,
    tasks=("choice", "anomaly", "grounding"),
    spaces=("pixels", "norm1000"),
    space="pixels",
    absolute=False,
    shots=False,
    loader="image paths are relative to {root}: give it as --image_folders, and the file as --data_file_paths",
)
