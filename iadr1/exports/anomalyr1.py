r"""AnomalyR1's training file (Chao et al., arXiv 2504.11914, github chaoyuhao/AnomalyR1, `grpo_rec.py`).

    {"image": "bottle/test/cut/000.png", "problem": "What ...?\nA. ...\nB. ...", "solution": "B"}

The trainer adds its own instruction to `problem`, joins `image` to its `--image_root`, and takes a YAML file that names
the JSON lines, never these themselves.
"""

from __future__ import annotations

from typing import Any

from iadr1.exports.base import Item, Target
from iadr1.exports.files import write_dataset_yaml


def row(item: Item) -> dict[str, Any]:
    """The three members the trainer reads; `solution` is the bare letter."""
    return {"image": item.images[-1], "problem": item.problem, "solution": item.sample.answer}


TARGET = Target(
    name="anomalyr1",
    method="grpo",
    suffix=".jsonl",
    row=row,
    tasks=("choice",),
    spaces=(),
    space=None,
    absolute=False,
    shots=False,
    loader="image paths are relative to {root}: give it as --image_root, and the YAML file as --dataset_name",
    beside=write_dataset_yaml,
)
