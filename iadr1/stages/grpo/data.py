"""Samples as the rows that TRL's `GRPOTrainer` takes; images are opened only when a batch is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iadr1.models.base import Profile
from iadr1.prompts import render_prompt
from iadr1.records import Sample
from iadr1.stages.training.data import FORMAT_OF_TASK, open_slots, slots


def training_rows(samples: list[Sample], root: Path, profile: Profile, *, shots: int, order: list[int]) -> Any:
    """A `datasets.Dataset` as `GRPOTrainer` takes it: one row per entry of `order`, an index into `samples`.

    The table itself holds each sample as JSON only. A row becomes `prompt` (chat messages), `images` (the references,
    then the query image, all at the model's input size), `sample` (JSON) and `image_wh` (stored size of the query
    image, pixels) when it is drawn, so that memory holds the images of one batch.
    """
    from datasets import Dataset

    def draw(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        drawn = [Sample.model_validate_json(text) for text in batch["sample"]]
        # A batch holds each sample once per completion of its group; it is read once.
        opened = open_slots(drawn, root, profile, shots=shots)
        return {
            "prompt": [render_prompt(sample, FORMAT_OF_TASK[sample.task], shots=shots) for sample in drawn],
            "images": [[opened[path][0] for path in slots(sample, shots)] for sample in drawn],
            "sample": batch["sample"],
            "image_wh": [opened[sample.image][1] for sample in drawn],
        }

    table = Dataset.from_dict({"sample": [sample.model_dump_json() for sample in samples]})
    return table.select(order).with_transform(draw)
