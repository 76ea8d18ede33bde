"""What the tests of pretraining work on: a few drawn images with all their samples, and a model of a few layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1.config import NewModelConfig, PretrainConfig
from iadr1.datasets.synthetic.training import Settings, photo
from iadr1.models import resolve_model
from iadr1.prompts import Format
from iadr1.records import Sample, write_records
from iadr1.stages.model.new import new_model
from iadr1.stages.pretrain.learning import Batch, Learner
from iadr1.stages.pretrain.lessons import Lessons
from iadr1.stages.pretrain.pictures import Cache, load_pictures
from iadr1.stages.pretrain.scenes import Scenes
from iadr1.stages.pretrain.setup import Base, open_base

SIZES: dict[str, Any] = {
    **{"side": 56, "vocabulary": 400, "vision_depth": 1, "vision_width": 32, "vision_heads": 2, "vision_mlp": 64},
    **{"text_layers": 1, "text_width": 48, "text_heads": 2, "text_kv_heads": 1, "text_mlp": 96},
    **{"mrope_section": "4,4,4", "circuits": False},
}
FORMATS: dict[Format, float] = {"boxes": 6, "structured": 3, "direct": 2}


def write_world(folder: Path, count: int) -> Path:
    """Draw `count` training scenes and write them with their samples; returns the samples' file."""
    settings = Settings(side=112, reference_every=2, normal_share=0.3)
    samples = []
    for number in range(count):
        made = photo(number, settings)
        samples += made.samples
        for name, content in made.files.items():
            (folder / name).write_bytes(content)
    write_records(folder / "train.jsonl", samples)
    return folder / "train.jsonl"


def new(out: Path, data: Path, **changes: Any) -> Path:
    """Write a model of a few layers with random weights."""
    return new_model(NewModelConfig(data=data, out=out, **(SIZES | changes))).out


def settings(model: Path, data: Path, out: Path, **changes: Any) -> PretrainConfig:
    """A run of six short steps, two of them of the vision tower alone."""
    values: dict[str, Any] = {
        "model": str(model), "data": data, "out": out, "steps": 6, "vision_steps": 2, "batch_size": 2, "drills": 2,
        "save_steps": 2, "threads": 1, "bf16": False, "warmup_steps": 2, "reference_share": 0.5,
    }  # fmt: skip
    return PretrainConfig(**(values | changes))


def no_progress(done: int, total: int) -> None:
    """For who does not want to know."""


def learner(model: Path, data: Path, cache: Path, **changes: Any) -> tuple[Learner, Base]:
    """What computes losses, and the model it is of."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    base = open_base(resolve_model(str(model)))
    scenes = Scenes(data, FORMATS)
    pictures = load_pictures(
        scenes, data.parent, base.profile, base.layout, cache=Cache(cache, "k"), progress=no_progress
    )
    lessons = Lessons(scenes, base.processor, base.profile, image_tokens=base.layout.tokens**2, formats=FORMATS)
    values = {"images": 4, "lessons": 2, "bare_boxes": True, "drills": 4, "dense": 0.5, "reference_share": 0.0}
    network = Qwen2_5_VLForConditionalGeneration.from_pretrained(model)
    batch = Batch(**(values | changes))
    return Learner(
        network, base.processor, base.layout, scenes=scenes, pictures=pictures, lessons=lessons, batch=batch
    ), base


def squares(side: int, *boxes: tuple[int, int, int, int]) -> list[NDArray[np.bool_]]:
    """A mask (side, side) for each box."""
    masks = []
    for x1, y1, x2, y2 in boxes:
        mask = np.zeros((side, side), dtype=bool)
        mask[y1:y2, x1:x2] = True
        masks.append(mask)
    return masks


def verdict(image: str, **changes: Any) -> Sample:
    """A yes/no sample about a good product."""
    values: dict[str, Any] = {
        "id": image, "dataset": "t", "category": "c", "split": "train", "image": image, "task": "anomaly",
        "question": "Are there any defects?", "answer": "No", "question_type": "Anomaly Detection",
        "is_anomalous": False, "reasoning": "It looks good.",
    }  # fmt: skip
    return Sample(**(values | changes))
