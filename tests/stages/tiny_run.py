"""A small GRPO run on the tiny random model: eight samples, and a reward that differs within a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iadr1.config import TrainConfig
from iadr1.records import Sample, write_records

REWARDS = """
def length(answer, sample):
    return float(len(answer.text) % 7)

def even(answer, sample):
    # The same for all answers of half of the samples.
    return float(len(answer.text) % 3) if int(sample.id[1:]) % 2 else 1.0

def flat(answer, sample):
    return 0.25
"""


def sample(number: int, **changes: Any) -> Sample:
    """Sample `s<number>`, a choice between A and B about `images/<number>.png`."""
    values: dict[str, Any] = {
        "id": f"s{number}",
        "dataset": "t",
        "category": "c",
        "split": "train",
        "image": f"images/{number}.png",
        "task": "choice",
        "question": "Is there any defect in the object?",
        "options": {"A": "Yes.", "B": "No."},
        "answer": "AB"[number % 2],
        "question_type": "Anomaly Detection",
    }
    return Sample(**(values | changes))


def tiny_run(folder: Path, model: Path, **changes: Any) -> TrainConfig:
    """Write samples, images and `tiny_rewards.py` into a folder; the settings of a run of two prompts, four answers."""
    (folder / "images").mkdir(exist_ok=True)
    noise = np.random.default_rng(0)
    for number in range(8):
        pixels = noise.integers(0, 255, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    write_records(folder / "samples.jsonl", [sample(number) for number in range(8)])
    (folder / "tiny_rewards.py").write_text(REWARDS, encoding="utf-8")
    values: dict[str, Any] = {
        "model": str(model),
        "data": folder / "samples.jsonl",
        "out": folder / "run",
        "reward": "tiny_rewards:length",
        "steps": 2,
        "generations": 4,
        "batch_size": 8,
        "max_new_tokens": 12,
        "learning_rate": 1e-3,
        "save_steps": 1,
    }
    return TrainConfig(**(values | changes))
