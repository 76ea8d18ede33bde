"""What all formats share: the sample with everything a row needs, and its texts, taken from `iadr1.prompts`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from iadr1.errors import DataError
from iadr1.geometry import BoxFrame, Size
from iadr1.prompts import Format, LabelledBox, instruction, question_text, render_boxes, render_prompt, render_target
from iadr1.records import Sample, Task

Method = Literal["sft", "grpo"]
METHODS: tuple[Method, ...] = get_args(Method)
BoxSpaceName = Literal["pixels", "norm1000", "qwen2.5-input"]
"""How boxes are written: pixels of the stored image; 0..1000 per axis; pixels of Qwen2.5-VL's resized input."""
BOX_SPACES: tuple[BoxSpaceName, ...] = get_args(BoxSpaceName)
FORMATS_OF_TASK: Mapping[Task, tuple[Format, ...]] = {
    "choice": ("choice",),
    "anomaly": ("structured", "boxes", "direct"),
    "grounding": ("grounding",),
}
"""The formats a sample can be answered in, the usual one first."""

IMAGE_MARK = "<image>"
"""Where an image belongs in a plain text, in the manner of all trainers that take text."""


@dataclass(frozen=True)
class Item:
    """One sample on its way out.

    Attributes:
        number: Running number from 0.
        sample: The sample; it has the boxes its format asks for.
        fmt: The format it is asked and answered in.
        size: (width, height) of its image in pixels; None unless the format has boxes.
        frame: The frame boxes are written in; None unless the format has boxes.
        images: The images as the target's loader takes them: references that are shown, then the image itself.
        where: File and line, for errors.
    """

    number: int
    sample: Sample
    fmt: Format
    size: Size | None
    frame: BoxFrame | None
    images: tuple[str, ...]
    where: str

    @property
    def problem(self) -> str:
        """Question and options without the instruction, for trainers that add their own."""
        return question_text(self.sample, self.fmt).removesuffix(instruction(self.fmt)).rstrip()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat messages before the answer, with a slot for each image."""
        return render_prompt(self.sample, self.fmt, shots=len(self.images) - 1)

    @property
    def user_text(self) -> str:
        """The user's turn as plain text with a mark for each image, in the order the model sees them.

        Raises:
            DataError: The sample's own text contains the mark.
        """
        parts = self.messages[0]["content"]
        text = "".join(IMAGE_MARK if part["type"] == "image" else part["text"] for part in parts)
        if text.count(IMAGE_MARK) != len(self.images):
            raise DataError(
                f"the text of sample {self.sample.id!r} contains {IMAGE_MARK}, which marks images",
                where=self.where,
                hint="write it otherwise",
            )
        return text

    @property
    def target(self) -> str:
        """The completion a perfect model gives."""
        return render_target(self.sample, self.fmt, frame=self.frame)

    @property
    def boxes(self) -> list[LabelledBox]:
        """The boxes of the answer, in pixels of the stored image."""
        return [LabelledBox(defect.box, defect.type) for defect in self.sample.defects if defect.box is not None]

    @property
    def solution(self) -> str:
        """The bare truth for a reward: a letter, Yes or No, or the boxes as JSON in the frame."""
        if self.frame is not None:
            return render_boxes(self.boxes, self.frame)
        return self.sample.answer


@dataclass(frozen=True)
class Target:
    """A format of another trainer.

    Attributes:
        name: What `--to` calls it.
        method: What it trains with.
        suffix: Of its files: `.json` for one list, `.jsonl` for a line each.
        row: A sample's entry.
        tasks: Tasks it can hold.
        spaces: How it may hold boxes; empty where it holds none.
        space: How it holds them unless told otherwise; None where that depends on the model, so that it must be told.
        absolute: Whether images are named by absolute paths; otherwise relative to a folder its loader is given.
        shots: Whether it takes reference images.
        loader: What the loader is told about the images, shown after writing; `{root}` is the folder.
        resize_note: What else its loader does to images, for boxes in the resized input.
        beside: Writes the file that names the data set, if its loader needs one, and gives its path.
    """

    name: str
    method: Method
    suffix: str
    row: Callable[[Item], dict[str, Any]]
    tasks: tuple[Task, ...]
    spaces: tuple[BoxSpaceName, ...]
    space: BoxSpaceName | None
    absolute: bool
    shots: bool
    loader: str
    resize_note: str = ""
    beside: Callable[[Path], Path] | None = None
