"""Loads what a pretraining works on: model, pictures, lessons; and saves the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from iadr1.atomic import write_text_atomic
from iadr1.config import PretrainConfig
from iadr1.errors import ModelError, UsageError
from iadr1.models.base import Profile
from iadr1.models.loading import brief, load_processor
from iadr1.models.profiles import profile_of
from iadr1.provenance import digest
from iadr1.stages.pretrain.fast import hasten, whiten
from iadr1.stages.pretrain.learning import Batch, Learner
from iadr1.stages.pretrain.lessons import Lessons
from iadr1.stages.pretrain.loop import checkpoint_heads
from iadr1.stages.pretrain.pictures import Cache, Layout, layout_of, load_pictures
from iadr1.stages.pretrain.scenes import Scenes
from iadr1.stages.training.job import Job
from iadr1.stages.training.small import read_formats

_FAMILY = "qwen2_5_vl"
_CHECKED = 8
"""Pictures that the faster forms are checked on."""
_WHITENED = 600
"""Pictures whose patches the patch embedding starts from."""


@dataclass(frozen=True)
class Base:
    """The model a run starts from, before its weights are read."""

    place: Path | str
    processor: Any
    profile: Profile
    layout: Layout


def open_base(place: Path | str) -> Base:
    """Read a model's configuration and processor, and make sure that it can be pretrained.

    Args:
        place: A folder or a hub id.

    Raises:
        ModelError: They cannot be loaded.
        UsageError: It is of another family than Qwen2.5-VL, takes several sizes, or has windows in its vision tower.
    """
    config, processor = load_processor(place)
    if config.model_type != _FAMILY:
        raise UsageError(
            f"pretraining is for models of the family {_FAMILY}, this is a {config.model_type!r}",
            where=str(place),
            hint="'iadr1 model new' makes one; 'iadr1 sft' and 'iadr1 train' take every model",
        )
    profile = profile_of(config, processor)
    layout, vision = layout_of(profile, config), config.vision_config
    if vision.window_size < layout.side and set(vision.fullatt_block_indexes) < set(range(vision.depth)):
        raise UsageError(
            "blocks of its vision tower see windows only, pretraining needs whole images", where=str(place)
        )
    return Base(place, processor, profile, layout)


def learner_of(
    config: PretrainConfig, base: Base, job: Job, scenes: Scenes, *, on_picture: Callable[[int, int], None]
) -> Learner:
    """The model with everything it learns from.

    Args:
        config: The settings.
        base: The model.
        job: The run; where it begins, a random patch embedding is whitened.
        scenes: The images.
        on_picture: As `pretrain.run`.

    Raises:
        ModelError: The model, or a checkpoint's dense heads beside it, cannot be loaded.
        UsageError: These heads are for other defect types.
        DataError: A mask that does not fit.
        OutputError: The cache of pictures cannot be written.
    """
    layout, processor = base.layout, base.processor
    try:
        model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(base.place, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"cannot load the model: {brief(error)}", where=str(base.place)) from error
    heads = checkpoint_heads(Path(base.place)) if job.checkpoint is None else None
    # The same samples about the same images, in the same size.
    content = [job.info["data"], job.info["leak_manifest"], str(job.root), vars(layout)]
    cache = Cache(config.out / CACHE, digest(content))
    pictures = load_pictures(scenes, job.root, base.profile, layout, cache=cache, progress=on_picture)
    if job.checkpoint is None and config.whiten:
        torch.manual_seed(config.seed)
        whiten(model, pictures.images[:: max(1, len(scenes) // _WHITENED)], processor, layout)
    hasten(model, processor, pictures.images[:_CHECKED], layout)
    model.train()
    formats = read_formats(config.formats)
    lessons = Lessons(scenes, processor, base.profile, image_tokens=layout.tokens**2, formats=formats)
    if config.drills and not lessons.can_drill:
        job.note("the samples hold fewer than four options: drills are left out")
    if config.reference_share and not (pictures.reference_of >= 0).any():
        job.note("no image has a photo of a good product: reference_share has no effect")
    batch = Batch(
        images=config.batch_size,
        lessons=config.lessons,
        bare_boxes=config.bare_boxes and "boxes" in formats,  # else the samples may have none
        drills=config.drills,
        dense=config.dense,
        reference_share=config.reference_share,
    )
    learner = Learner(model, processor, layout, scenes=scenes, pictures=pictures, lessons=lessons, batch=batch)
    if heads is not None:
        try:
            learner.heads.load_state_dict(heads)
        except RuntimeError as error:
            raise UsageError(
                "the checkpoint's dense heads are for other defect types than the samples'",
                where=str(base.place),
                hint="copy the folder without state.pt: the heads then begin at random",
            ) from error
    return learner


CACHE = "cache"
"""Folder of the pictures in the model's size, beside the checkpoints; deleted when the run is finished."""


def save_model(model: Any, processor: Any, folder: Path) -> None:
    """Write a model's folder: 16-bit weights, configuration, processor."""
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float16"
    write_text_atomic(path, json.dumps(config, indent=2) + "\n")
    processor.save_pretrained(folder)
