"""The images a pretraining looks at, and where in the samples file their lessons stand."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from iadr1.errors import DataError
from iadr1.prompts import Format
from iadr1.records import Sample, Task


@dataclass(frozen=True, slots=True)
class Scene:
    """One image.

    Attributes:
        image: Its path below the samples' root.
        reference: Path of the photo of a good product that is shown before it; None where one of its samples has none.
        lines: For each task the byte offsets of its samples.
    """

    image: str
    reference: str | None
    lines: dict[Task, array[int]]


class Scenes:
    """All images of a samples file, every sample checked; samples are read again when they are asked for.

    Memory holds offsets and paths only: 320,000 samples of 40,000 images take 40 MB and 3 s. The file stays open, so
    that a new one put in its place does not change what a run reads.

    Args:
        path: The samples, JSONL.
        formats: The formats that verdicts are written in.

    Raises:
        DataError: A broken line, a sample that lacks what its answer needs, an image without a yes/no sample, or no
            sample at all.
    """

    def __init__(self, path: Path, formats: Collection[Format]) -> None:
        self.path = path
        found: dict[str, dict[Task, array[int]]] = defaultdict(lambda: defaultdict(lambda: array("q")))
        references: dict[str, str | None] = {}
        self._file = path.open("rb")
        offset = 0
        for number, line in enumerate(self._file, start=1):
            sample = _checked(line, formats, where=f"{path}:{number}")
            found[sample.image][sample.task].append(offset)
            offset += len(line)
            first = next(iter(sample.references), None)
            # Every lesson about the image must be able to show it.
            references[sample.image] = None if first is None else references.get(sample.image, first)
        if not found:
            raise DataError("the file holds no sample", where=str(path), hint="'iadr1 prepare' writes some")
        without = next((image for image, lines in found.items() if "anomaly" not in lines), None)
        if without is not None:
            raise DataError(
                f"the image {without!r} has no yes/no sample, which says what is wrong with it and where",
                where=str(path),
                hint="'iadr1 prepare --variety N' writes a file that pretraining can use",
            )
        self.items = [Scene(image, references[image], dict(lines)) for image, lines in found.items()]

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, offset: int) -> Sample:
        """The sample that begins at this byte; from one thread at a time."""
        self._file.seek(offset)
        return Sample.model_validate_json(self._file.readline())

    def verdict(self, scene: Scene) -> Sample:
        """The yes/no sample of an image, the first where there are several."""
        return self.sample(scene.lines["anomaly"][0])


def _checked(line: bytes, formats: Collection[Format], *, where: str) -> Sample:
    """A line as a sample that has what its answers need."""
    try:
        sample = Sample.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "line"
        raise DataError(f"not a valid Sample: {place}: {problem['msg']}", where=where) from error
    boxless = next((defect.type for defect in sample.defects if defect.box is None), None)
    boxes = sample.task == "grounding" or (sample.task == "anomaly" and "boxes" in formats)
    hint = "leave it out" if sample.task == "grounding" else "leave it out, or leave boxes out of formats"
    if boxes and boxless is not None:
        raise DataError(f"sample {sample.id!r} has a defect without a box ({boxless!r})", where=where, hint=hint)
    if sample.task == "grounding" and not sample.defects:
        raise DataError(f"sample {sample.id!r} asks for a box and names none", where=where, hint=hint)
    if sample.task == "anomaly" and sample.is_anomalous is None:
        raise DataError(f"sample {sample.id!r} does not say whether it is anomalous", where=where)
    if sample.task == "anomaly" and sample.is_anomalous and not sample.defects:
        raise DataError(
            f"sample {sample.id!r} is anomalous and names no defect, which pretraining needs",
            where=where,
            hint="leave the image out",
        )
    return sample
