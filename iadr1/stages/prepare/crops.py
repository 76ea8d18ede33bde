"""The looks that `detect --tiles` takes at large photos, and mirrored copies of photos, as samples to train on."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from iadr1 import parallel
from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.geometry import Size
from iadr1.images import image_size, open_image
from iadr1.records import Defect, Sample
from iadr1.stages.inspection.tiles import Window, read_tiles, same_part, windows
from iadr1.stages.prepare.cutting import Remainder, cut, mask_of, mirrored, placed

PHOTOS, REFERENCES = "photos", "references"
"""Folders of the pictures; in the second a photo's reference has the photo's own name, as `detect` looks for it."""

_VIEWS = {"": (False, False), "-lr": (True, False), "-tb": (False, True), "-lrtb": (True, True)}
"""Ending of a view's name -> whether left and right, top and bottom are exchanged."""
_MARK = "crops.json"


@dataclass(frozen=True)
class CropPlan:
    """What is cut and kept.

    Attributes:
        tiles: `off` or columns x rows, as `detect --tiles` takes them.
        mirror: Whether the three mirrored views of each picture are added.
        normal_share: Share of tiles without a defect among all tiles, below 1.
        seed: Decides which of them are kept.
    """

    tiles: str
    mirror: bool
    normal_share: float
    seed: int

    def __post_init__(self) -> None:
        """Make sure that there is something to do.

        Raises:
            UsageError: Neither tiles nor views, tiles that depend on a model, a share out of range.
        """
        if read_tiles(self.tiles) == "auto":
            raise UsageError(
                "--tiles auto depends on the model's input", hint="give columns x rows such as 4x3, here and to detect"
            )
        if self.tiles == "off" and not self.mirror:
            raise UsageError(
                "without --tiles and --mirror the pictures would be the photos as they are",
                hint="--tiles 4x3 cuts them, --mirror adds mirrored copies",
            )
        if not 0 <= self.normal_share < 1:
            raise UsageError(f"--normal-share is {self.normal_share}, it must be at least 0 and below 1")


@dataclass
class Counts:
    """What became of the photos: whole ones, their tiles by kind, tiles left out, normal tiles that were not drawn."""

    photos: int = 0
    defective: int = 0
    normal: int = 0
    left_out: int = 0
    spare: int = 0


@dataclass(frozen=True)
class _Tile:
    """A tile: its number from 1 in reading order, its place, and its defects in its own pixels."""

    number: int
    window: Window
    defects: tuple[Defect, ...]


def crops(samples: Sequence[Sample], root: Path, folder: Path, plan: CropPlan, counts: Counts) -> Iterator[Sample]:
    """Write the pictures of all photos into a folder, and yield their samples, photo by photo.

    Each photo stays, whole, since `detect` looks at the whole first. Tiles with a defect stay; a tile that shows too
    little of one (`cutting.cut`) is neither normal nor defective and is left out; of the others so many are drawn
    that they are `normal_share` of all tiles. References are cut and mirrored alike.

    Args:
        samples: Yes/no samples, one for each photo.
        root: The folder their paths are relative to.
        folder: Gets `photos/` and `references/`; the new samples' paths are relative to it.
        plan: What is cut and kept.
        counts: Added to.

    Raises:
        DataError: A sample of another task, two of one photo, or a photo of another size than it had.
        ImageError: A photo, reference or mask cannot be read.
    """
    _check(samples)
    tiles = {sample.image: _tiles(sample, root, plan, counts) for sample in samples}
    kept = _drawn(tiles, plan)
    counts.spare = sum(not tile.defects for found in tiles.values() for tile in found) - len(kept)
    counts.photos, counts.normal = len(samples), len(kept)
    counts.defective = sum(bool(tile.defects) for found in tiles.values() for tile in found)

    def write(sample: Sample) -> list[Sample]:
        wanted = [tile for tile in tiles[sample.image] if tile.defects or (sample.image, tile.number) in kept]
        return list(_written(sample, root, folder, wanted, mirror=plan.mirror))

    for found in parallel.ordered(write, samples):
        yield from found


def with_references(sample: Sample, shots: int) -> Sample:
    """The sample with its first `shots` references; a normal photo that has fewer is shown beside itself.

    A template of its own (DeepPCB) has none, and without one a run with `shots` could not show any normal whole photo.

    Raises:
        DataError: A defective photo has fewer.
    """
    have = sample.references[:shots]
    if len(have) < shots and sample.is_anomalous is not False:
        raise DataError(
            f"it has {len(have)} references, --shots {shots} asks for more",
            where=sample.id,
            hint="give fewer --shots, or leave the photo out",
        )
    return sample.model_copy(update={"references": have + (sample.image,) * (shots - len(have))})


def _check(samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.task != "anomaly" or sample.is_anomalous is None:
            raise DataError(
                f"the task is {sample.task!r}, not a yes/no question with a known answer",
                where=sample.id,
                hint="cut the photos first; questions and reasoning are made from what comes out",
            )
        if sample.image in seen:
            raise DataError(f"a second sample about the image {sample.image!r}", where=sample.id)
        seen.add(sample.image)


def _tiles(sample: Sample, root: Path, plan: CropPlan, counts: Counts) -> list[_Tile]:
    """The tiles of a photo that are normal or show a defect; none where a defect has no known place."""
    size = image_size(root / sample.image)
    if sample.image_size not in (None, size):
        raise DataError(
            f"the image is {size} px, it was {sample.image_size} when it was prepared",
            where=str(root / sample.image),
            hint="run 'iadr1 prepare' again",
        )
    places = windows(plan.tiles, size, size)
    if sample.is_anomalous and (not sample.defects or any(defect.box is None for defect in sample.defects)):
        counts.left_out += len(places)
        return []
    masks = [mask_of(defect, root, size) for defect in sample.defects] if places else []
    found = []
    for number, window in enumerate(places, start=1):
        try:
            shown = [cut(defect, mask, window) for defect, mask in zip(sample.defects, masks, strict=True)]
        except Remainder:
            counts.left_out += 1
            continue
        found.append(_Tile(number, window, tuple(defect for defect in shown if defect is not None)))
    return found


def _drawn(tiles: dict[str, list[_Tile]], plan: CropPlan) -> set[tuple[str, int]]:
    """The normal tiles that are kept; all where no tile shows a defect, so that there is no share to speak of."""
    normal = [(image, tile.number) for image, found in tiles.items() for tile in found if not tile.defects]
    defective = sum(bool(tile.defects) for found in tiles.values() for tile in found)
    wanted = round(defective * plan.normal_share / (1 - plan.normal_share)) if defective else len(normal)
    return set(random.Random(plan.seed).sample(normal, min(wanted, len(normal))))


def _written(sample: Sample, root: Path, folder: Path, tiles: Sequence[_Tile], *, mirror: bool) -> Iterator[Sample]:
    """The samples of one photo, whole and in tiles, in every view; their pictures are written."""
    image = open_image(root / sample.image)
    references = [open_image(root / path) for path in sample.references]
    whole = tuple(_whole(defect, root, image.size) for defect in sample.defects)
    views = list(_VIEWS) if mirror else [""]
    for view in views:
        yield _view(sample, view, (image, *references), whole, folder=folder)
    for tile in tiles:
        own = sample.model_copy(
            update={
                "id": f"{sample.id}@{tile.number}",
                "image": f"{sample.image}@{tile.number}",
                "is_anomalous": bool(tile.defects),
                "answer": "Yes" if tile.defects else "No",
                "reasoning": None,
                "reasoning_source": None,
            }
        )
        parts = (image.crop(tile.window), *(same_part(one, tile.window, image.size) for one in references))
        for view in views:
            yield _view(own, view, parts, tile.defects, folder=folder)


def _whole(defect: Defect, root: Path, size: Size) -> Defect:
    """A defect of a whole photo, its mask in the sample instead of in a file elsewhere."""
    if defect.box is None:
        return defect.model_copy(update={"mask": None, "mask_threshold": 0})
    return placed(defect, defect.box, mask_of(defect, root, size), size)


def _view(
    sample: Sample, view: str, pictures: Sequence[Image.Image], defects: Sequence[Defect], *, folder: Path
) -> Sample:
    """One view of a photo or tile; `pictures` are it and its references, which are written."""
    lr, tb = _VIEWS[view]
    name = f"{sample.image}{view}.png"
    shown = [f"{REFERENCES}{f'-{number + 1}' if number else ''}/{name}" for number in range(len(pictures) - 1)]
    turned = [ImageOps.mirror(picture) if lr else picture for picture in pictures]
    turned = [ImageOps.flip(picture) if tb else picture for picture in turned]
    places = (f"{PHOTOS}/{name}", *shown)
    digests = [_save(picture, folder / place) for picture, place in zip(turned, places, strict=True)]
    size = pictures[0].size
    words = {"reasoning": None, "reasoning_source": None} if view else {}  # they would name the wrong side
    return sample.model_copy(
        update={
            "id": f"{sample.id}{view}",
            "image": f"{PHOTOS}/{name}",
            "image_sha256": digests[0],
            "image_size": size,
            "references": tuple(shown),
            "similar_references": (),
            "defects": tuple(mirrored(defect, size, lr=lr, tb=tb) if view else defect for defect in defects),
            **words,
        }
    )


def _save(picture: Image.Image, path: Path) -> str:
    """Write a PNG; its SHA-256."""
    content = BytesIO()
    picture.save(content, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()


@contextmanager
def pictures(out: Path, plan: CropPlan) -> Iterator[Path]:
    """An empty folder to write into, which takes its place beside the samples file, without suffix, at the end.

    Raises:
        OutputError: A folder that is not of an earlier run lies in that place, or it cannot be written.
    """
    folder = out.with_suffix("")
    if folder.exists() and not (folder / _MARK).is_file():
        raise OutputError(
            "the pictures are to lie here, and 'iadr1 prepare crops' did not write what is there",
            where=str(folder),
            hint="move it away or choose another --out",
        )
    new = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)  # of a killed run
        new.mkdir(parents=True)
        yield new
        write_text_atomic(new / _MARK, json.dumps(asdict(plan)) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        new.replace(folder)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(error.filename or folder)) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
