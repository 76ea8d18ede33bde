"""What GRPO trains on: samples from JSONL, checked, as rows whose images are opened only when a batch is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from iadr1.config import TrainConfig
from iadr1.errors import DataError
from iadr1.geometry import Size
from iadr1.images import open_image
from iadr1.models.base import Profile
from iadr1.prompts import Format, render_prompt
from iadr1.records import Sample, Task, read_records

FORMAT_OF_TASK: Mapping[Task, Format] = {"choice": "choice", "anomaly": "structured", "grounding": "grounding"}
"""The answer format a sample is trained in."""


def load_samples(config: TrainConfig, root: Path) -> list[Sample]:
    """The samples of `config.data`, at most `config.limit`, after a check that every image they need exists.

    Raises:
        DataError: A broken line, no sample, too few references for `config.shots`, missing images (ten are listed).
    """
    samples = list(islice(read_records(config.data, Sample), config.limit))
    if not samples:
        raise DataError("the file holds no sample", where=str(config.data))
    for sample in samples:
        if len(sample.references) < config.shots:
            raise DataError(
                f"sample {sample.id!r} has {len(sample.references)} references, shots={config.shots} asks for more",
                where=str(config.data),
            )
    _check_images(samples, root, config)
    return samples


def _check_images(samples: list[Sample], root: Path, config: TrainConfig) -> None:
    needed = dict.fromkeys(path for sample in samples for path in _slots(sample, config.shots))
    missing = [path for path in needed if not (root / path).is_file()]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{len(missing)} of {len(needed)} images are missing below {root}: {', '.join(missing[:10])}{more}",
            where=str(config.data),
            hint="say where the images are with --root",
        )


def _slots(sample: Sample, shots: int) -> tuple[str, ...]:
    return (*sample.references[:shots], sample.image)


def asking_order(samples: int, questions: int, *, seed: int) -> list[int]:
    """Which sample each question of the whole run is about: shuffled rounds over all samples, end to end.

    Written out in advance, because the trainer's own shuffling starts over when a run is resumed.
    """
    random = np.random.default_rng(seed)
    rounds = [random.permutation(samples) for _ in range(math.ceil(questions / samples))]
    return [int(index) for index in np.concatenate(rounds)[:questions]]


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
        opened: dict[str, tuple[Image.Image, Size]] = {}
        for path in {path for sample in drawn for path in _slots(sample, shots)}:
            image = open_image(root / path)
            opened[path] = profile.prepare(image), image.size
        return {
            "prompt": [render_prompt(sample, FORMAT_OF_TASK[sample.task], shots=shots) for sample in drawn],
            "images": [[opened[path][0] for path in _slots(sample, shots)] for sample in drawn],
            "sample": batch["sample"],
            "image_wh": [opened[sample.image][1] for sample in drawn],
        }

    table = Dataset.from_dict({"sample": [sample.model_dump_json() for sample in samples]})
    return table.select(order).with_transform(draw)
