"""What `benchmarks/adapt.py` lays out: a user's folders, the truth of the test, what classical detectors say."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from benchmarks.adapt_baselines import Difference, Judged, Patches, fit_difference
from benchmarks.adapt_figures import Mask, Row, Truth
from benchmarks.real_sets import copy, save_anew
from iadr1.datasets import SOURCES
from iadr1.datasets.magnetic_tile import THRESHOLD, tile_groups
from iadr1.geometry import Box, box_mask
from iadr1.images import file_sha256, open_image, open_mask
from iadr1.records import Defect, Sample, read_records, resolve_root
from iadr1.stages.prepare.cutting import mask_of

Truths = dict[str, Truth]
"""Name of a test photo in the records -> what it shows."""

CALIBRATE = 24
"""Good photos kept from training for the calibration, at least; a budget of 5 % needs 19."""
GOOD = "good"


@dataclass(frozen=True)
class Laid:
    """A user's folder: how many different training photos it holds."""

    different: int


def order(seed: int, names: Iterable[str]) -> list[str]:
    """Names in an order drawn by the seed, the same on every machine."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


# magnetic tiles


def lay_tiles(root: Path, folder: Path, per_class: int | None, *, limit: int | None, seed: int) -> Laid:
    """Copy photos as a user would sort them: tiles/{train,test}/CLASS/, tiles/ground_truth/CLASS/, calibrate/photos/.

    Args:
        root: The set.
        folder: Gets the folders; what is there is kept.
        per_class: Training photos of each class, from as many groups as possible; None takes all.
        limit: Good and bad test photos at most.
        seed: Decides which.
    """
    samples = list(SOURCES["magnetic-tile"].read(root))
    groups = tile_groups(sample.image for sample in samples)
    train = [sample for sample in samples if sample.split == "train"]
    kept = calibrating(train, groups, seed)
    placed = [
        sample
        for sample in train
        if groups[sample.image] not in kept and all(defect.box is not None for defect in sample.defects)
    ]
    chosen = placed if per_class is None else spread(placed, groups, per_class, seed)
    test = limited([sample for sample in samples if sample.split == "test"], limit, seed)
    for split, members in (("train", chosen), ("test", test)):
        for sample in members:
            lay_tile(sample, root, folder / "tiles", split)
    for sample in train:
        if groups[sample.image] in kept and not sample.is_anomalous:
            copy(root / sample.image, folder / "calibrate/photos" / PurePosixPath(sample.image).name)
    return Laid(len({file_sha256(root / sample.image) for sample in chosen}))


def calibrating(train: Sequence[Sample], groups: Mapping[str, str], seed: int) -> set[str]:
    """Groups for the calibration, those without a defect first, until they have `CALIBRATE` good photos."""
    bad = {groups[sample.image] for sample in train if sample.is_anomalous}
    names = order(seed, {groups[sample.image] for sample in train})
    kept: set[str] = set()
    for name in sorted(names, key=lambda name: name in bad):
        have = sum(groups[sample.image] in kept and not sample.is_anomalous for sample in train)
        if have >= CALIBRATE:
            break
        kept.add(name)
    return kept


def spread(samples: Sequence[Sample], groups: Mapping[str, str], count: int, seed: int) -> list[Sample]:
    """`count` photos of each class, its groups in turn."""
    classes: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        classes[kind_of(sample)][groups[sample.image]].append(sample)
    chosen: list[Sample] = []
    for _, members in sorted(classes.items()):
        names = order(seed, members)
        turns = [(turn, place) for place, name in enumerate(names) for turn in range(len(members[name]))]
        chosen += [members[names[place]][turn] for turn, place in sorted(turns)[:count]]
    return chosen


def kind_of(sample: Sample) -> str:
    """The class of a photo: its defect's type, or good."""
    return sample.defects[0].type if sample.defects else GOOD


def limited(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """At most `limit` good and as many bad photos."""
    if limit is None:
        return list(samples)
    chosen: list[Sample] = []
    for bad in (False, True):
        members = [sample for sample in samples if bool(sample.is_anomalous) is bad]
        random.Random(seed).shuffle(members)
        chosen += members[:limit]
    return chosen


def lay_tile(sample: Sample, root: Path, tiles: Path, split: str) -> None:
    """Copy one photo into the folder of its class, and its mask, black and white."""
    name, kind = PurePosixPath(sample.image).name, kind_of(sample)
    copy(root / sample.image, tiles / split / kind / name)
    mask = tiles / "ground_truth" / kind / f"{PurePosixPath(name).stem}_mask.png"
    if sample.defects and sample.defects[0].mask is not None and not mask.exists():
        mask.parent.mkdir(parents=True, exist_ok=True)
        values = open_mask(root / sample.defects[0].mask, threshold=THRESHOLD)
        Image.fromarray(values.astype(np.uint8) * 255).save(mask)


def tile_group(images: Sequence[str]) -> dict[str, str]:
    """Photo -> group of exposures."""
    return tile_groups(images)


def truths(data: Path, grouped: Callable[[Sequence[str]], Mapping[str, str]]) -> Truths:
    """The truth of the photos of a prepared file, with the masks of their defects."""
    samples, root = list(read_records(data, Sample)), resolve_root(data)
    groups = grouped([sample.image for sample in samples])
    return {sample.image: truth_of(sample, root, groups[sample.image]) for sample in samples}


def truth_of(sample: Sample, root: Path, group: str) -> Truth:
    """Boxes and masks of the defects with a place."""
    found: list[tuple[Box, Mask | None]] = [
        (defect.box, known_mask(defect, root, sample)) for defect in sample.defects if defect.box is not None
    ]
    return Truth(group, bool(sample.is_anomalous), tuple(box for box, _ in found), tuple(mask for _, mask in found))


def known_mask(defect: Defect, root: Path, sample: Sample) -> Mask | None:
    """The mask of a defect, where the set has one."""
    return None if sample.image_size is None else mask_of(defect, root, sample.image_size)


def row_of(known: Truth, judged: Judged, *, called: bool) -> Row:
    """What a classical detector says of a photo; its mask counts inside each of its boxes."""
    size = (judged.mask.shape[1], judged.mask.shape[0])
    masks = [judged.mask & box_mask(box, size) for box in judged.boxes]
    return Row(known, judged.score, called, judged.boxes, masks)


def judge_tiles(folder: Path, photos: Mapping[str, Path], truth: Truths, *, seed: int) -> list[Row]:
    """The nearest patches of the good training photos; the threshold is from the photos of the calibration."""
    good = [open_image(path) for path in sorted((folder / "tiles/train" / GOOD).iterdir())]
    detector = Patches(good, seed=seed)
    limit = detector.calibrate([open_image(path) for path in sorted((folder / "calibrate/photos").iterdir())])
    rows = []
    for name, known in truth.items():
        judged = detector.judge(open_image(photos[name]))
        rows.append(row_of(known, judged, called=judged.score > limit))
    return rows


# circuit boards


def lay_boards(folder: Path, *, limit: int | None, seed: int) -> Truths:
    """calibrate/{photos,references}/ and test/{photos,references}/: boards, and for each its template of its name.

    Only templates calibrate, each beside itself, saved anew: a file with a photo's own bytes is no reference of it.
    The truth of the test's photos, by name.
    """
    truth: Truths = {}
    for name in ("calibrate", "test"):
        file = folder / "data" / f"{name}.jsonl"
        samples, root = list(read_records(file, Sample)), resolve_root(file)
        chosen = limited(samples, limit if name == "test" else None, seed)
        for sample in chosen:
            if name == "test" or not sample.is_anomalous:
                # A folder each: a tested board and its template go by one name.
                place = PurePosixPath("bad" if sample.is_anomalous else GOOD) / sample.image
                copy(root / sample.image, folder / name / "photos" / place)
                references = folder / name / "references"
                if sample.references:
                    copy(root / sample.references[0], references / place)
                else:
                    save_anew(root / sample.image, references / place.with_suffix(".png"))
                if name == "test":
                    truth[place.as_posix()] = truth_of(sample, root, board_group(sample.image))
    return truth


def lay_board_tiles(folder: Path, *, limit: int | None, seed: int) -> Truths:
    """test-tiles/{photos,references}/: the tiles of tested boards, with and without a defect; their truth by name."""
    file = folder / "data/test-tiles.jsonl"
    root = resolve_root(file)
    tested = [sample for sample in read_records(file, Sample) if "_test.jpg@" in sample.image]
    truth: Truths = {}
    for sample in limited(tested, limit, seed):
        name = PurePosixPath(sample.image).relative_to("photos")
        copy(root / sample.image, folder / "test-tiles/photos" / name)
        copy(root / sample.references[0], folder / "test-tiles/references" / name)
        truth[name.as_posix()] = truth_of(sample, root, board_group(name.as_posix()))
    return truth


def board_group(name: str) -> str:
    """The board of a photo: a group of the set shows few designs, so boards are what is drawn in intervals."""
    return PurePosixPath(name).name[:8]


def fit_boards(folder: Path) -> Difference:
    """The template difference with the best boxes on the training boards."""
    file = folder / "data/train.jsonl"
    root = resolve_root(file)
    return fit_difference(
        [
            (
                open_image(root / sample.image),
                open_image(root / sample.references[0]),
                [defect.box for defect in sample.defects if defect.box is not None],
            )
            for sample in read_records(file, Sample)
            if sample.is_anomalous
        ]
    )


def judge_boards(folder: Path, truth: Truths, setting: Difference) -> list[Row]:
    """What the template difference says of photos/, each beside the photo of its name in references/."""
    rows = []
    for name, known in truth.items():
        template = folder / "references" / name
        if not template.exists():
            template = template.with_suffix(".png")  # saved anew
        judged = setting.judge(open_image(folder / "photos" / name), open_image(template))
        rows.append(row_of(known, judged, called=bool(judged.boxes)))
    return rows
