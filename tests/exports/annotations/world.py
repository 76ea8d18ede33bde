"""A small run of `iadr1 detect` with every kind of record, and its photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iadr1 import rle
from iadr1.records import DetectedDefect, Detection, write_records
from iadr1.stages import export as stage

Mask = NDArray[np.bool_]
SIZE = (90, 60)
WIDTH, HEIGHT = SIZE
ODD_NAME = 'a/we"ird & <name> ü.png'
ODD_LABEL = 'cut <b> & "q"'


def grid() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """x and y of every pixel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return x, y


def ring_and_island() -> Mask:
    """A ring, whose hole is no defect, and a bar apart from it."""
    x, y = grid()
    distance = (x - 30) ** 2 + (y - 30) ** 2
    return (distance < 20**2) & (distance >= 9**2) | (x >= 60) & (x < 80) & (y >= 5) & (y < 9)


def scratch() -> Mask:
    """A thin line down to the photo's last row."""
    x, y = grid()
    mask: Mask = (np.abs(x - y - 10) < 2) & (y > 20)
    return mask


def defect(label: str, mask: Mask, **more: object) -> DetectedDefect:
    """A defect with its mask as run lengths."""
    encoded = rle.encode(mask)
    box = rle.box(encoded)
    assert box is not None
    return DetectedDefect.model_validate({"label": label, "box": box, "mask_rle": encoded, **more})


def record(image: str, verdict: str = "anomalous", *defects: DetectedDefect, **more: object) -> Detection:
    """A record of a photo of `SIZE`."""
    fields = {"image": image, "verdict": verdict, "width": WIDTH, "height": HEIGHT, "model": "tiny", "parse": "ok"}
    return Detection.model_validate({**fields, "defects": defects, **more})


BOX = DetectedDefect(label="裂纹", box=(3.5, 4.0, 20.25, 30.0))
ODD = DetectedDefect(label=f" {ODD_LABEL}\n", box=(0.0, 0.0, 90.0, 60.0))


def decided() -> list[Detection]:
    """Photos that every format takes; two of them have the same name in different folders."""
    return [
        record("a/1.png", "anomalous", defect("scratch", scratch()), defect("Kratzer ü", ring_and_island()), score=0.9),
        record("b/1.png", "anomalous", BOX, defect("scratch", scratch()), score=0.75),
        record("a/ok.png", "normal", score=0.1),
        record(ODD_NAME, "anomalous", ODD),
    ]


def undecided() -> list[Detection]:
    """Photos that are not normal, and of which no defect is known."""
    return [
        record("a/maybe.png", "undecided", score=0.5),
        record("broken.png", "undecided", width=0, height=0, error="broken.png: not an image"),
    ]


@dataclass(frozen=True)
class Run:
    """A run's folder and its photos."""

    folder: Path
    images: Path

    def export(self, fmt: str, out: Path, **more: object) -> stage.ExportSummary:
        """`iadr1 export` with the run's folder."""
        return stage.run(stage.Export(self.folder, fmt, out, **more))  # type: ignore[arg-type] # options by name

    @property
    def file(self) -> Path:
        """The records."""
        return self.folder / "detections.jsonl"


def make_run(
    place: Path, records: Sequence[Detection], *, mask_files: Callable[[str], bool] = lambda name: False
) -> Run:
    """A run with its photos; masks of the labels chosen are in PNG files instead of the records."""
    run = Run(place / "run", place / "photos")
    for item in records:
        path = run.images / item.image
        path.parent.mkdir(parents=True, exist_ok=True)
        if item.error is None:
            Image.new("RGB", SIZE, (90, len(item.image), 0)).save(path)
    write_records(run.file, [_with_files(run.folder, item, mask_files) for item in records])
    return run


def _with_files(folder: Path, item: Detection, chosen: Callable[[str], bool]) -> Detection:
    return item.model_copy(update={"defects": tuple(_moved(folder, item, chosen))})


def _moved(folder: Path, item: Detection, chosen: Callable[[str], bool]) -> Iterator[DetectedDefect]:
    for place, found in enumerate(item.defects):
        if found.mask_rle is None or not chosen(found.label):
            yield found
            continue
        name = f"masks/{Path(item.image).stem}-{place}.png"
        (folder / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rle.decode(rle.parse(found.mask_rle)).astype(np.uint8) * 255).save(folder / name)
        yield found.model_copy(update={"mask_rle": None, "mask": name})
