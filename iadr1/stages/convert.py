"""`iadr1 convert`: samples in the format of another trainer, every coordinate in the space its model writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.exports import (
    FORMATS_OF_TASK,
    BoxSpaceName,
    Item,
    Method,
    Target,
    find_target,
    write_json_lines,
    write_json_list,
)
from iadr1.geometry import BoxFrame, BoxSpace, Size, smart_resize
from iadr1.images import hash_and_size
from iadr1.models.profiles import PROFILES
from iadr1.prompts import Format
from iadr1.records import Sample, Task, read_records, resolve_root

Progress = Callable[[str, int, int], None]
"""Takes a name, how many are done and how many there are (0: not known)."""

_WITH_BOXES: tuple[Format, ...] = ("boxes", "grounding")
_QWEN = PROFILES["qwen2_5_vl"]


@dataclass(frozen=True)
class Conversion:
    """What is converted into what.

    Attributes:
        file: The samples, a JSONL file.
        to: Name of the format.
        out: The file to write; its suffix chooses among the format's variants.
        method: `sft` or `grpo`; None takes the format's own, or its first.
        task: Only samples of this task; None takes all, and refuses those the format cannot hold.
        fmt: The answer format; None takes each task's own.
        box_space: How the model writes boxes; None takes the format's own, where it has one.
        max_pixels: Most pixels of Qwen2.5-VL's input, for `qwen2.5-input`; None: what its checkpoints have.
        shots: References shown before each image.
        root: The folder the samples' paths are relative to; see `records.resolve_root`.
        image_root: The folder the written paths are relative to; None: what the format's loader takes best.
    """

    file: Path
    to: str
    out: Path
    method: Method | None = None
    task: Task | None = None
    fmt: Format | None = None
    box_space: BoxSpaceName | None = None
    max_pixels: int | None = None
    shots: int = 0
    root: Path | None = None
    image_root: Path | None = None


@dataclass(frozen=True)
class ConvertSummary:
    """How many samples were written, how many `task` left out, and what the user should know, a line each."""

    written: int
    left_out: int
    lines: tuple[str, ...]


@dataclass
class _Tally:
    left_out: int = 0
    with_boxes: int = 0
    without_reasoning: int = 0


def run(plan: Conversion, *, progress: Progress | None = None) -> ConvertSummary:
    """Convert a samples file; nothing is written unless every sample fits.

    Raises:
        UsageError: No such format, or the options do not fit it.
        DataError: A line is no sample, a sample does not fit the format, an image is missing.
        OutputError: The file cannot be written.
    """
    target = find_target(plan.to, suffix=plan.out.suffix, method=plan.method)
    plan = _checked(plan, target)
    paths, tally = _Paths(plan, target), _Tally()
    write = write_json_list if target.suffix == ".json" else write_json_lines
    written = write(plan.out, _rows(plan, target, paths, tally, progress or (lambda name, done, total: None)))
    beside = target.beside(plan.out) if target.beside is not None else None
    return ConvertSummary(written, tally.left_out, tuple(_told(plan, target, paths, tally, beside)))


def _checked(plan: Conversion, target: Target) -> Conversion:
    """The plan with the target's own values where none are given."""
    if plan.out.resolve() == plan.file.resolve():
        raise UsageError("--out is the file that is read", hint="name another file")
    if plan.out.is_dir():
        raise UsageError(f"--out {str(plan.out)!r} is a folder", hint="name the file to write")
    if plan.shots and not target.shots:
        raise UsageError(f"{target.name} takes one image and no references", hint="leave --shots out")
    if plan.box_space is not None and plan.box_space not in target.spaces:
        raise UsageError(
            f"{target.name} ({target.method}) does not take boxes as {plan.box_space}",
            hint=f"it takes: {', '.join(target.spaces) or 'no boxes at all'}",
        )
    space = plan.box_space or target.space
    if plan.max_pixels is not None and space != "qwen2.5-input":
        raise UsageError("--max-pixels bounds Qwen2.5-VL's input only", hint="use it with --box-space qwen2.5-input")
    return replace(plan, box_space=space, max_pixels=plan.max_pixels or _QWEN.max_pixels)


def _rows(plan: Conversion, target: Target, paths: _Paths, tally: _Tally, report: Progress) -> Iterator[dict[str, Any]]:
    number = 0
    for line, sample in enumerate(read_records(plan.file, Sample), start=1):
        report("converting", line, 0)
        if plan.task not in (None, sample.task):
            tally.left_out += 1
            continue
        where = f"{plan.file}:{line}"
        fmt = _format(plan, target, sample, where)
        item = _item(plan, paths, sample, fmt=fmt, number=number, where=where)
        try:
            row = target.row(item)
        except ValueError as error:  # what `render_target` cannot render, with the sample's id
            raise DataError(str(error), where=where) from error
        tally.with_boxes += item.frame is not None
        tally.without_reasoning += not sample.reasoning
        number += 1
        yield row
    if not number:
        what = f"sample of task {plan.task!r}" if plan.task else "sample"
        raise DataError(f"the file holds no {what}", where=str(plan.file))


def _format(plan: Conversion, target: Target, sample: Sample, where: str) -> Format:
    """The answer format of a sample, if the target and the sample's task allow it."""
    if sample.task not in target.tasks:
        raise UsageError(
            f"{target.name} ({target.suffix}) cannot hold a sample of task {sample.task!r}: {sample.id!r}",
            where=where,
            hint=f"--task leaves the others out; it holds: {', '.join(target.tasks)}",
        )
    fmt = plan.fmt or FORMATS_OF_TASK[sample.task][0]
    if fmt not in FORMATS_OF_TASK[sample.task]:
        raise UsageError(
            f"sample {sample.id!r} of task {sample.task!r} cannot be answered in the format {fmt!r}",
            where=where,
            hint=f"it can in: {', '.join(FORMATS_OF_TASK[sample.task])}; --task leaves others out",
        )
    return fmt


def _told(plan: Conversion, target: Target, paths: _Paths, tally: _Tally, beside: Path | None) -> Iterator[str]:
    if beside is not None:
        yield f"{beside} names it"
    yield "image paths are absolute" if paths.base is None else target.loader.format(root=paths.base)
    if tally.with_boxes and plan.box_space == "qwen2.5-input":
        yield (
            f"boxes are pixels of Qwen2.5-VL's input, resized with min_pixels={_QWEN.min_pixels} and "
            f"max_pixels={plan.max_pixels}: the training must resize alike{target.resize_note}"
        )
    elif tally.with_boxes:
        written = {"pixels": "pixels of the stored image", "norm1000": "0..1000 of the image, per axis"}
        yield f"boxes are {written[plan.box_space or 'pixels']}"
    if tally.without_reasoning and target.method == "sft":
        yield f"{tally.without_reasoning} answers have no reasoning: what they teach is to leave it empty"


class _Paths:
    """Images as the target names them, each checked once."""

    def __init__(self, plan: Conversion, target: Target) -> None:
        self._root = resolve_root(plan.file, plan.root).resolve()
        self._base: Path | None = None
        if plan.image_root is not None:
            self._base = plan.image_root.resolve()
        elif not target.absolute:
            self._base = self._root
        self._known: dict[str, str] = {}

    @property
    def base(self) -> Path | None:
        """The folder written paths are relative to; None where they are absolute."""
        return self._base

    def full(self, path: str) -> Path:
        """Where a sample's file is."""
        return self._root / path

    def written(self, path: str, where: str) -> str:
        """A sample's path as the target's loader takes it.

        Raises:
            DataError: There is no such file, or it is not below `--image-root`.
        """
        if path not in self._known:
            full = self.full(path)
            if not full.is_file():
                hint = "say where the images are with --root; 'iadr1 data check' names all that are missing"
                raise DataError(f"no image {path!r} below {self._root}", where=where, hint=hint)
            if self._base is None:
                self._known[path] = str(full)
            elif full.is_relative_to(self._base):
                self._known[path] = full.relative_to(self._base).as_posix()
            else:
                raise DataError(f"the image {str(full)!r} is not below --image-root {str(self._base)!r}", where=where)
        return self._known[path]


def _item(plan: Conversion, paths: _Paths, sample: Sample, *, fmt: Format, number: int, where: str) -> Item:
    if plan.shots > len(sample.references):
        raise DataError(
            f"sample {sample.id!r} has {len(sample.references)} references, --shots {plan.shots} asks for more",
            where=where,
        )
    images = (*sample.references[: plan.shots], sample.image)
    written = tuple(paths.written(path, where) for path in images)
    size = frame = None
    if fmt in _WITH_BOXES:
        without = [defect.type for defect in sample.defects if defect.box is None]
        if without:
            raise DataError(f"sample {sample.id!r} has a defect without a box: {without[0]!r}", where=where)
        size = sample.image_size or hash_and_size(paths.full(sample.image))[1]
        frame = _frame(plan, size, where)
    return Item(number, sample, fmt, size, frame, written, where)


def _frame(plan: Conversion, size: Size, where: str) -> BoxFrame:
    if plan.box_space is None:
        raise UsageError(
            "the answers hold boxes, and models write them in different ways: say which with --box-space",
            hint="qwen2.5-input for Qwen2.5-VL, norm1000 for Qwen2-VL, Qwen3-VL and InternVL",
        )
    if plan.box_space == "norm1000":
        return BoxFrame(BoxSpace.NORM1000, size, size)
    if plan.box_space == "pixels":
        return BoxFrame(BoxSpace.INPUT_PX, size, size)
    try:
        most = plan.max_pixels or _QWEN.max_pixels
        seen = smart_resize(*size, factor=_QWEN.factor, min_pixels=_QWEN.min_pixels, max_pixels=most)
    except ValueError as error:
        raise DataError(f"Qwen2.5-VL cannot take the image: {error}", where=where) from error
    return BoxFrame(BoxSpace.INPUT_PX, size, seen)
