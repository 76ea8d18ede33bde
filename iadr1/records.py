"""The three record types that flow between the stages, and the one way to read and write them as JSONL.

All coordinates are pixels of the stored image after EXIF orientation, `(x1, y1, x2, y2)`, x right, y down,
x2 and y2 exclusive. Paths are POSIX paths relative to a root (see `resolve_root`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from iadr1.errors import DataError, UsageError
from iadr1.geometry import Box, Size
from iadr1.jsonl import Record, RecordWriter, done_keys, read_records, write_records

__all__ = [
    "Defect",
    "DetectedDefect",
    "Detection",
    "PredictedBox",
    "Prediction",
    "Record",
    "RecordWriter",
    "RelativePath",
    "Sample",
    "Task",
    "Verdict",
    "done_keys",
    "meta_path",
    "read_records",
    "resolve_root",
    "write_records",
]

Task = Literal["choice", "anomaly", "grounding"]
Verdict = Literal["anomalous", "normal", "undecided"]


def _check_relative(path: str) -> str:
    # Split as text, not as a path object: every sample read has several paths.
    parts = path.split("/")
    if not parts[0] or ".." in parts or "\\" in path or ":" in parts[0]:
        raise ValueError(f"path {path!r} is not relative to the root or leaves it")
    return path


RelativePath = Annotated[str, AfterValidator(_check_relative)]


class Defect(Record):
    """One defect of a sample: its type and, where known, where it is.

    `mask` is a file relative to the samples' root, defective where its value is above `mask_threshold`; it may hold
    the image's other defects as well. `mask_rle` is a mask of this defect alone as COCO RLE (`counts`, `size`), for
    sets that draw polygons instead of mask files.
    """

    type: str
    box: Box | None = None
    mask: RelativePath | None = None
    mask_threshold: int = 0
    mask_rle: dict[str, object] | None = None
    location: str | None = None
    attributes: dict[str, str] = Field(default_factory=dict)


class Sample(Record):
    """One question about one image, with its truth.

    `options` maps letters to texts in the order shown; `answer` is a letter for `task="choice"`, `Yes`/`No` for
    `task="anomaly"`, and empty for `task="grounding"`, whose truth is the boxes of `defects` (the targets named
    in `question`, whatever they are).

    `question_type` is the set's own word; `subtask` is the one its benchmark reports the question under, where that
    differs. `references` are normal images in the order the benchmark shows them, `similar_references` those most
    like the image first. `reasoning_source` says who wrote `reasoning`: a person, a model, or `template`.
    `image_size` is (width, height) in pixels after EXIF orientation. `missing` marks an image that was absent when
    the sample was made: it then has neither hash nor size.
    """

    id: str = Field(min_length=1)
    dataset: str
    category: str
    split: str
    image: RelativePath
    references: tuple[RelativePath, ...] = ()
    similar_references: tuple[RelativePath, ...] = ()
    task: Task
    question: str
    options: dict[str, str] = Field(default_factory=dict)
    answer: str = ""
    question_type: str
    subtask: str = ""
    is_anomalous: bool | None = None
    defects: tuple[Defect, ...] = ()
    reasoning: str | None = None
    reasoning_source: str | None = None
    held_out: bool = False
    licence: str = "unknown"
    source: str = ""
    image_sha256: str | None = None
    image_size: Size | None = None
    missing: bool = False

    @property
    def reported_as(self) -> str:
        """The subtask the question counts under: `subtask`, else `question_type`."""
        return self.subtask or self.question_type

    @model_validator(mode="after")
    def _answer_fits_task(self) -> Sample:
        if self.task == "choice" and self.answer not in self.options:
            raise ValueError(f"answer {self.answer!r} is not among the options {sorted(self.options)}")
        if self.task == "anomaly" and self.answer not in ("Yes", "No"):
            raise ValueError(f"answer {self.answer!r} is neither 'Yes' nor 'No'")
        return self


class PredictedBox(Record):
    """A box a model named, in pixels of the stored image."""

    box: Box
    label: str


class Prediction(Record):
    """A model's answer to one question: the whole completion, what was read out of it, and what it cost.

    `answer` is in the sample's own letters whatever order the options were shown in. It may be a letter that was not
    offered: such an answer is not read (`parse` begins with `failed`), but published scripts count it. `order` holds
    the sample's own letters in the order shown, empty where that was the sample's order; `rotation` tells the
    predictions of one sample apart where every rotation of the options is asked. `probabilities` are those of the
    answers offered, in the sample's own letters; `score` is the probability of an anomaly in 0..1. `images` is how
    many images were sent. `finished` is False where the token limit cut the completion off.
    """

    sample_id: str
    protocol: str
    model: str
    engine: str
    rotation: int = 0
    order: str = ""
    raw: str = ""
    answer: str | None = None
    parse: str = ""
    boxes: tuple[PredictedBox, ...] = ()
    probabilities: dict[str, float] | None = None
    score: float | None = None
    images: int = 0
    finished: bool = True
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None

    @property
    def key(self) -> str:
        """What tells it apart in a file: the sample, and the rotation where it is not the first."""
        return f"{self.sample_id}#{self.rotation}" if self.rotation else self.sample_id


class DetectedDefect(Record):
    """One defect found in a photo; `mask` is a file relative to the output folder, `mask_rle` COCO RLE.

    `score` is that of the look it was found in, `agreement` the IoU of `box` and the mask's own box, both in 0..1.
    """

    label: str
    box: Box
    score: float | None = None
    mask: RelativePath | None = None
    mask_rle: dict[str, object] | None = None
    mask_score: float | None = None
    mask_source: str | None = None
    area_px: int | None = None
    agreement: float | None = None


class Detection(Record):
    """The result for one photo. What cannot be parsed or read is `undecided`, never `normal`.

    `score` is the probability of an anomaly in 0..1, or None where the engine gives none. `mode` is `direct` where it
    was only scored, `think` where the model reasoned. `tiles` counts the looks: 1, and each tile. `protocol` and
    `calibration` are digests of how it was asked and of the calibration that `threshold` comes from. `seconds` is the
    model's time: the photo's share of the time in which its batch was scored, and what its answers took (a share of the
    batch in this process, waiting included for a server); loading, masks and writing are not in it.
    """

    image: str
    image_sha256: str | None = None
    width: int = 0
    height: int = 0
    verdict: Verdict
    score: float | None = None
    reasoning: str | None = None
    defects: tuple[DetectedDefect, ...] = ()
    parse: str = ""
    raw: str = ""
    model: str = ""
    references: tuple[str, ...] = ()
    overlay: RelativePath | None = None
    seconds: float = 0.0
    error: str | None = None
    mode: Literal["direct", "think"] | None = None
    threshold: float | None = None
    tiles: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    protocol: str = ""
    calibration: str = ""


def meta_path(samples: Path) -> Path:
    """The sidecar file of a samples file: `mmad.jsonl` -> `mmad.meta.json`."""
    return samples.with_suffix(".meta.json")


_ROOT = "say where it is with --root"


def resolve_root(samples: Path, root: Path | None = None) -> Path:
    """The folder the paths of a samples file are relative to.

    It is `root` where given, else the `root` entry of the sidecar (itself relative to the file's folder), else the
    file's own folder.

    Raises:
        UsageError: `root` does not exist.
        DataError: Nor does what the sidecar names.
    """
    folder = samples.parent
    if root is not None:
        if not root.is_dir():
            raise UsageError(f"the image root {str(root)!r} is not a folder", where=str(samples), hint=_ROOT)
        return root
    if meta_path(samples).exists():
        try:
            folder = samples.parent / json.loads(meta_path(samples).read_text(encoding="utf-8"))["root"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError("the sidecar has no usable 'root'", where=str(meta_path(samples))) from error
    if not folder.is_dir():
        raise DataError(f"the image root {str(folder)!r} is not a folder", where=str(samples), hint=_ROOT)
    return folder
