"""Pictures and dense labels in the model's own size, made once and read from disk by every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from iadr1 import rle
from iadr1.errors import DataError, OutputError, UsageError
from iadr1.geometry import Size, box_mask
from iadr1.images import open_image, open_mask
from iadr1.models.base import Profile
from iadr1.parallel import ordered
from iadr1.records import Defect, Sample
from iadr1.stages.pretrain.scenes import Scene, Scenes

Pixels = NDArray[np.uint8]

_IMAGES, _REFERENCES, _LABELS = "images.npy", "references.npy", "labels.npz"


@dataclass(frozen=True)
class Layout:
    """How the model cuts its input: `side` pixels, `patch` pixels a patch, `merge` x `merge` patches a token."""

    side: int
    patch: int
    merge: int

    @property
    def tokens(self) -> int:
        """Image tokens along a side."""
        return self.side // self.patch // self.merge

    @property
    def patches(self) -> int:
        """Patches along a side."""
        return self.side // self.patch


@dataclass(frozen=True)
class Labels:
    """What lies under each patch and each token of each picture (`dense_labels`).

    Attributes:
        types: Names of the defect types; a label is the place in them plus 1, and 0 is none.
        patch: (N, patches, patches), the type of a patch.
        token: (N, tokens, tokens), that of an image token.
        box: (N, tokens, tokens, 4), the whole box of the defect that a token lies on, in 0..1.
    """

    types: tuple[str, ...]
    patch: Pixels
    token: Pixels
    box: NDArray[np.float16]


@dataclass(frozen=True)
class Pictures:
    """Everything the steps look at.

    Attributes:
        images: (N, side, side, 3).
        references: (R, side, side, 3).
        reference_of: For each picture the row of its reference; -1 for none.
        sizes: (width, height) of each stored image.
        labels: The dense labels.
    """

    images: Pixels
    references: Pixels
    reference_of: NDArray[np.int64]
    sizes: list[Size]
    labels: Labels


@dataclass(frozen=True)
class Cache:
    """Where pictures are kept, and what they are made of: those of another `key` are made anew."""

    folder: Path
    key: str


def layout_of(profile: Profile, config: Any) -> Layout:
    """The cut of a model with one fixed square input.

    Raises:
        UsageError: The model takes inputs of several sizes.
    """
    width, height = profile.input_wh((640, 480))
    if profile.min_pixels != profile.max_pixels or width != height:
        raise UsageError(
            "pretraining is for small models with one square input; this one takes several sizes",
            hint="'iadr1 model new' makes one; 'iadr1 sft' and 'iadr1 train' take every model",
        )
    vision = config.vision_config
    return Layout(width, vision.patch_size, vision.spatial_merge_size)


def load_pictures(
    scenes: Scenes, root: Path, profile: Profile, layout: Layout, *, cache: Cache, progress: Callable[[int, int], None]
) -> Pictures:
    """The pictures of all scenes, from the cache where it is whole and of the same key, else made now.

    Raises:
        ImageError: A picture or mask that cannot be read.
        DataError: A defect with neither box nor mask, or with a mask that does not fit its picture.
        OutputError: The cache cannot be written.
    """
    references = list(dict.fromkeys(scene.reference for scene in scenes.items if scene.reference is not None))
    rows = {path: row for row, path in enumerate(references)}
    of = np.array([-1 if scene.reference is None else rows[scene.reference] for scene in scenes.items])
    kept = _read_labels(cache)
    if kept is None:
        try:
            _fill(scenes, references, root, profile, layout, cache=cache, progress=progress)
        except OSError as error:
            hint = f"make room: it takes {(len(scenes) + len(references)) * layout.side**2 * 3 / 1e9:.1f} GB"
            raise OutputError(f"cannot write: {error.strerror}", where=str(cache.folder), hint=hint) from error
        kept = _read_labels(cache)
        assert kept is not None  # written a moment ago
    labels = Labels(tuple(map(str, kept["types"])), kept["patch"], kept["token"], kept["box"])
    sizes = [(int(w), int(h)) for w, h in kept["sizes"]]
    images, shown = (np.load(cache.folder / name, mmap_mode="r") for name in (_IMAGES, _REFERENCES))
    return Pictures(images, shown, of, sizes, labels)


def _read_labels(cache: Cache) -> dict[str, NDArray[Any]] | None:
    """What `_fill` writes last; None where it did not get so far, or with another key."""
    path = cache.folder / _LABELS
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        return dict(kept) if str(kept["key"]) == cache.key else None


def _fill(
    scenes: Scenes, references: Sequence[str], root: Path, profile: Profile, layout: Layout, *, cache: Cache,
    progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    cache.folder.mkdir(parents=True, exist_ok=True)
    (cache.folder / _LABELS).unlink(missing_ok=True)  # what it is about is written over
    total = len(scenes) + len(references)
    types = tuple(sorted({defect.type for scene in scenes.items for defect in scenes.verdict(scene).defects}))
    sizes, parts = [], []

    def draw(item: tuple[Scene, Sample]) -> tuple[Pixels, Size, DenseLabels]:
        scene, verdict = item
        image = open_image(root / scene.image)
        masks = [_mask(defect, root, image.size, scene.image) for defect in verdict.defects]
        numbers = [1 + types.index(defect.type) for defect in verdict.defects]
        return np.asarray(profile.prepare(image)), image.size, dense_labels(masks, numbers, image.size, layout)

    def show(path: str) -> Pixels:
        return np.asarray(profile.prepare(open_image(root / path)))

    with _rows(cache.folder / _IMAGES, len(scenes), layout) as file:
        drawn = ordered(draw, ((scene, scenes.verdict(scene)) for scene in scenes.items))
        for done, (pixels, size, labels) in enumerate(drawn, start=1):
            file.write(pixels.tobytes())
            sizes.append(size)
            parts.append(labels)
            progress(done, total)
    with _rows(cache.folder / _REFERENCES, len(references), layout) as file:
        for done, pixels in enumerate(ordered(show, references), start=len(scenes) + 1):
            file.write(pixels.tobytes())
            progress(done, total)
    patch, token, box = (np.stack([part[i] for part in parts]) for i in range(3))
    temporary = cache.folder / f".{_LABELS}.tmp"
    with temporary.open("wb") as file:
        np.savez(
            file, key=cache.key, types=np.array(types, dtype=str), patch=patch, token=token, box=box,
            sizes=np.array(sizes),
        )  # fmt: skip
    temporary.replace(cache.folder / _LABELS)


@contextmanager
def _rows(path: Path, count: int, layout: Layout) -> Iterator[BinaryIO]:
    """A .npy file of `count` pictures, which are to be written in order.

    Written, not mapped: on a full disk writing to a mapped file kills the process without a word.
    """
    with path.open("wb") as file:
        shape = (count, layout.side, layout.side, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        yield file


def _mask(defect: Defect, root: Path, image_wh: Size, image: str) -> NDArray[np.bool_]:
    """The pixels of one defect: its mask within its box, or its box."""
    name = f"the defect {defect.type!r} of {image!r}"
    inside = None if defect.box is None else box_mask(defect.box, image_wh)
    if defect.mask_rle is not None:
        try:
            mask = rle.decode(rle.parse(defect.mask_rle))
        except ValueError as error:
            raise DataError(f"{name} has no valid mask_rle: {error}") from error
    elif defect.mask is not None:
        mask = open_mask(root / defect.mask, threshold=defect.mask_threshold)
    elif inside is not None:
        mask = inside
    else:
        raise DataError(f"{name} has neither box nor mask")
    if mask.shape != image_wh[::-1]:
        height, width = mask.shape
        raise DataError(f"the mask of {name} is {width}x{height} px, the image {image_wh[0]}x{image_wh[1]}")
    # A mask file may hold the image's other defects as well.
    mask = mask if inside is None else mask & inside
    if not mask.any():
        raise DataError(f"{name} has no pixel: its mask is empty{'' if inside is None else ' within its box'}")
    return mask


DenseLabels = tuple[Pixels, Pixels, NDArray[np.float16]]
"""Type of each patch, type of each token, box of each token."""


def dense_labels(
    masks: Sequence[NDArray[np.bool_]], numbers: Sequence[int], image_wh: Size, layout: Layout
) -> DenseLabels:
    """Type of each patch and token (0 for none), and the box in 0..1 of the defect that a token lies on.

    A patch or token belongs to the defect with most pixels in it, however few they are: most defects are small.

    Args:
        masks: One (H, W) array for each defect, none of them empty.
        numbers: Its type's label.
        image_wh: Size of the image the masks are of.
        layout: How the model cuts its input.
    """
    (width, height), size = image_wh, layout.patches
    counts = np.zeros((len(masks) + 1, size, size))
    boxes = [(0.0, 0.0, 0.0, 0.0)]
    for index, mask in enumerate(masks, start=1):
        ys, xs = np.nonzero(mask)
        np.add.at(counts[index], (ys * size // height, xs * size // width), 1)
        boxes.append((xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height))
    kinds = np.array([0, *numbers], dtype=np.uint8)
    by_token = counts.reshape(-1, layout.tokens, layout.merge, layout.tokens, layout.merge).sum(axis=(2, 4))
    owner = by_token.argmax(axis=0)
    return kinds[counts.argmax(axis=0)], kinds[owner], np.array(boxes)[owner].astype(np.float16)
