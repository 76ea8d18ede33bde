"""What a run trains on: samples from JSONL, checked before anything is loaded, in an order fixed in advance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from iadr1.config import TrainingConfig
from iadr1.errors import DataError
from iadr1.geometry import Size
from iadr1.images import open_image
from iadr1.models.base import Profile
from iadr1.prompts import Format
from iadr1.records import Sample, Task, read_records

Opened = dict[str, tuple[Image.Image, Size]]

FORMAT_OF_TASK: Mapping[Task, Format] = {"choice": "choice", "anomaly": "structured", "grounding": "grounding"}
"""The answer format a sample is trained in."""


def load_samples(config: TrainingConfig, root: Path) -> list[Sample]:
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


def _check_images(samples: list[Sample], root: Path, config: TrainingConfig) -> None:
    needed = dict.fromkeys(path for sample in samples for path in slots(sample, config.shots))
    missing = [path for path in needed if not (root / path).is_file()]
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{len(missing)} of {len(needed)} images are missing below {root}: {', '.join(missing[:10])}{more}",
            where=str(config.data),
            hint="say where the images are with --root",
        )


def slots(sample: Sample, shots: int) -> tuple[str, ...]:
    """The images of a prompt in their order: references, then the query image."""
    return (*sample.references[:shots], sample.image)


def asking_order(samples: int, questions: int, *, seed: int) -> list[int]:
    """Which sample each question of the whole run is about: shuffled rounds over all samples, end to end.

    Written out in advance, because the trainer's own shuffling starts over when a run is resumed.
    """
    random = np.random.default_rng(seed)
    rounds = [random.permutation(samples) for _ in range(math.ceil(questions / samples))]
    return [int(index) for index in np.concatenate(rounds)[:questions]]


def open_slots(samples: list[Sample], root: Path, profile: Profile, *, shots: int) -> Opened:
    """Every image the samples' prompts need, each opened once: path -> (at the model's input size, stored size)."""
    opened: Opened = {}
    for path in dict.fromkeys(path for sample in samples for path in slots(sample, shots)):
        image = open_image(root / path)
        opened[path] = profile.prepare(image), image.size
    return opened
