"""Samples as the rows that TRL's `SFTTrainer` takes: prompt, the completion of a perfect model, images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from iadr1.errors import DataError
from iadr1.models.base import Profile
from iadr1.prompts import Format, render_prompt, render_target
from iadr1.records import Sample
from iadr1.stages.training.data import FORMAT_OF_TASK, open_slots, slots


def format_of(sample: Sample, answer_format: Format) -> Format:
    """The format a sample is answered in: yes/no samples as asked, the others as their task has it."""
    return answer_format if sample.task == "anomaly" else FORMAT_OF_TASK[sample.task]


def check_targets(samples: list[Sample], formats: Sequence[Format], *, where: str) -> None:
    """Make sure, before a model is loaded, that every sample has what its completion needs.

    Raises:
        DataError: A grounding or boxes sample without boxes, a yes/no sample without a verdict, or one that is to be
            answered with boxes, is anomalous and names no defect.
    """
    for sample, answer_format in product(samples, formats):
        fmt = format_of(sample, answer_format)
        boxless = [defect.type for defect in sample.defects if defect.box is None]
        if fmt in ("boxes", "grounding") and boxless:
            raise DataError(
                f"sample {sample.id!r} has a defect without a box ({boxless[0]!r}), the format {fmt!r} needs one",
                where=where,
                hint="train on it with answer_format=structured, or leave it out",
            )
        if sample.task == "anomaly" and sample.is_anomalous is None:
            raise DataError(f"sample {sample.id!r} does not say whether it is anomalous", where=where)
        if fmt == "boxes" and sample.is_anomalous and not sample.defects:
            # Its target would be the empty list, which says "no defect".
            raise DataError(
                f"sample {sample.id!r} is anomalous and names no defect, the format 'boxes' needs its box",
                where=where,
                hint="train on it with answer_format=structured, or leave it out",
            )


def training_rows(
    samples: list[Sample], root: Path, profile: Profile, *, shots: int, formats: Sequence[Format], order: list[int]
) -> Any:
    """A `datasets.Dataset` as `SFTTrainer` takes it: one row per entry of `order`, an index into `samples`.

    Yes/no samples are answered in `formats` in turn, row by row. The order is shuffled anew each round, so that over
    several rounds every sample meets every format, and every batch holds all of them.

    A row becomes `prompt` (chat messages), `completion` (the assistant's turn) and `images` (the references, then the
    query image, at the model's input size) when it is drawn, so that memory holds the images of one batch. With a
    prompt and a completion the trainer's loss is on the completion alone.
    """
    from datasets import Dataset

    def draw(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        drawn = [Sample.model_validate_json(text) for text in batch["sample"]]
        asked = [next(fmt for fmt in formats if fmt == name) for name in batch["format"]]
        opened = open_slots(drawn, root, profile, shots=shots)
        rows: dict[str, list[Any]] = {"prompt": [], "completion": [], "images": []}
        for sample, answer_format in zip(drawn, asked, strict=True):
            fmt = format_of(sample, answer_format)
            target = render_target(sample, fmt, frame=profile.frame(opened[sample.image][1]))
            rows["prompt"].append(render_prompt(sample, fmt, shots=shots))
            rows["completion"].append([{"role": "assistant", "content": [{"type": "text", "text": target}]}])
            rows["images"].append([opened[path][0] for path in slots(sample, shots)])
        return rows

    table = Dataset.from_dict(
        {
            "sample": [text for text in (sample.model_dump_json() for sample in samples) for _ in formats],
            "format": list(formats) * len(samples),
        }
    )
    count = len(formats)
    return table.select([index * count + row % count for row, index in enumerate(order)]).with_transform(draw)
