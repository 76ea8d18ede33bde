"""The few-shot set of AnomalyR1 section 3.5: few images, chosen to cover everything, one question for each.

The paper trains on 600 images of four industrial sets with questions in MMAD's manner; which images, it does not say.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from iadr1.datasets.questions import multiple_choice, vocabulary
from iadr1.errors import DataError, UsageError
from iadr1.records import Sample

NORMAL = "good"
"""The state of a normal image; a defective one's state is its defect types."""

Class = tuple[str, str, str]
"""Data set, category and state: what is covered evenly."""


@dataclass(frozen=True)
class _Photo:
    """One image: the questions about it, or the yes/no sample they can be made from, in the order of their ids."""

    samples: tuple[Sample, ...]

    @property
    def first(self) -> Sample:
        return self.samples[0]

    @property
    def name(self) -> Class:
        kinds = ", ".join(sorted({defect.type for defect in self.first.defects}))
        return self.first.dataset, self.first.category, kinds if self.first.is_anomalous else NORMAL


@dataclass(frozen=True)
class _Half:
    """All normal or all defective images, by class; `low` and `high` bound how many of a class may be taken."""

    word: str
    classes: Mapping[Class, Sequence[_Photo]]
    low: int
    high: int | None

    def room(self, name: Class) -> int:
        """How many of a class may be taken."""
        size = len(self.classes[name])
        return size if self.high is None else min(size, self.high)

    @property
    def least(self) -> int:
        return self.low * len(self.classes)

    @property
    def most(self) -> int:
        return sum(map(self.room, self.classes))

    def __str__(self) -> str:
        """What there is, for an error message."""
        images = sum(map(len, self.classes.values()))
        text = f"{images} {self.word} images in {len(self.classes)} classes"
        if self.high is not None:
            text += f", of which {self.least} to {self.most} can be taken at {self.low} to {self.high} a class"
        return text


def select(
    samples: Iterable[Sample],
    *,
    images: int,
    per_class: tuple[int, int] | None = None,
    normal_share: float = 0.5,
    seed: int = 0,
    held_out: bool = False,
) -> list[Sample]:
    """Choose `images` images and one multiple-choice question for each, sorted by id.

    A class is a data set, a category and a state (normal, or the defect types). Of the normal and of the defective
    images, data sets get equal numbers, within a data set its categories, within a category its classes, as far as
    there are images. Questions rotate over the subtasks, separately for normal and defective images, so that "is there
    a defect" is balanced. Where an image has no multiple-choice questions, they are made from its yes/no sample
    (`questions.multiple_choice`). Of files with the same SHA-256 only one is chosen; files marked `missing` never.

    Args:
        samples: Multiple-choice and yes/no samples of one or more sets, in any order; others are passed over.
        images: How many images.
        per_class: Least and most images of each class; None sets no bound.
        normal_share: Share of normal images in 0..1, rounded down where that is possible, else up. Where all images
            are asked for, it is what it is.
        seed: Decides among equals; the same samples and seed give the same set.
        held_out: Whether held-out categories may be chosen.

    Raises:
        UsageError: A number is out of its range.
        DataError: The samples cannot fulfil this; the message names the numbers.
    """
    low, high = per_class or (0, None)
    if images < 1 or not 0 <= normal_share <= 1 or (high is not None and not 0 <= low <= high):
        raise UsageError(
            f"{images} images, {normal_share} of them normal, {low} to {high or 'any'} a class: not a choice",
            hint="at least 1 image, a share in 0..1, and the least number of a class not above the most",
        )
    photos = _photos(samples, held_out=held_out)
    halves = [
        _Half(word, _by_class(photo for photo in photos if photo.first.is_anomalous is anomalous), low, high)
        for word, anomalous in (("normal", False), ("defective", True))
    ]
    _check_classes(halves)
    counts = _split(halves, images, normal_share)
    chosen: list[Sample] = []
    words = vocabulary(photo.first for photo in photos if photo.first.task == "anomaly")
    for half, count in zip(halves, counts, strict=True):
        picked = [
            photo
            for name, number in _quotas(half, count, seed).items()
            for photo in _stream(seed, *name).sample(half.classes[name], number)
        ]
        asked = [
            photo.samples if photo.first.task == "choice" else multiple_choice(photo.first, words, seed=seed)
            for photo in picked
        ]
        chosen += _one_question_each(asked, _stream(seed, half.word, "questions"))
    return sorted(chosen, key=lambda sample: sample.id)


def _stream(seed: int, *words: str) -> random.Random:
    """Random numbers of their own for each purpose, so that other classes change nothing."""
    return random.Random("\0".join([str(seed), *words]))


def _photos(samples: Iterable[Sample], *, held_out: bool) -> list[_Photo]:
    """The images that may be chosen, each once, sorted by data set and path."""
    groups: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.task in ("choice", "anomaly") and not sample.missing and (held_out or not sample.held_out):
            if sample.is_anomalous is None:
                raise DataError(
                    "it does not say whether its image is normal", where=sample.id, hint="leave such samples out"
                )
            groups[sample.dataset, sample.image].append(sample)
    photos = [_photo(groups[key]) for key in sorted(groups)]
    # An image of several sets: the one with questions of its own goes before the one whose questions must be made.
    known: set[str] = set()
    kept = []
    for photo in sorted(photos, key=lambda photo: photo.first.task != "choice"):
        digest = photo.first.image_sha256
        if digest is None or digest not in known:
            kept.append(photo)
        if digest is not None:
            known.add(digest)
    return sorted(kept, key=lambda photo: (photo.first.dataset, photo.first.image))


def _photo(found: Sequence[Sample]) -> _Photo:
    ordered = sorted(found, key=lambda sample: sample.id)
    return _Photo(tuple(sample for sample in ordered if sample.task == "choice") or tuple(ordered[:1]))


def _by_class(photos: Iterable[_Photo]) -> dict[Class, list[_Photo]]:
    classes: defaultdict[Class, list[_Photo]] = defaultdict(list)
    for photo in photos:
        classes[photo.name].append(photo)
    return {name: classes[name] for name in sorted(classes)}


def _check_classes(halves: Sequence[_Half]) -> None:
    for half in halves:
        for name, photos in half.classes.items():
            if len(photos) < half.low:
                raise DataError(
                    f"the class {' / '.join(name)} has {len(photos)} images, at least {half.low} are asked for",
                    hint="ask for fewer a class, or leave that class out",
                )


def _split(halves: Sequence[_Half], images: int, normal_share: float) -> tuple[int, int]:
    """How many normal and how many defective images."""
    normal, defective = halves
    there = [sum(map(len, half.classes.values())) for half in halves]
    if images > sum(there):
        raise DataError(
            f"{images} images asked for, the samples have {sum(there)} different ones",
            hint="ask for fewer, or give more samples; images of equal content count once",
        )
    exact = images * normal_share
    if images == sum(there):
        tried = [there[0]]
    elif math.isclose(exact, round(exact), abs_tol=1e-9):
        tried = [round(exact)]
    else:
        tried = [math.floor(exact), math.ceil(exact)]
    for number in tried:
        if normal.least <= number <= normal.most and defective.least <= images - number <= defective.most:
            return number, images - number
    raise DataError(
        f"{images} images, {tried[0]} of them normal, cannot be chosen: there are {normal}, and {defective}",
        hint="change the number of images, the share of normal ones or the bounds of a class",
    )


def _quotas(half: _Half, count: int, seed: int) -> dict[Class, int]:
    """How many images of each class: always one more for the data set with the fewest, and so on down."""
    quotas = dict.fromkeys(half.classes, half.low)
    taken: Counter[tuple[str, ...]] = Counter()
    for name in quotas:
        _count(taken, name, half.low)
    order = _stream(seed, half.word, "order").sample(list(quotas), len(quotas))
    for _ in range(count - half.least):
        least = min(
            (name for name in order if quotas[name] < half.room(name)),
            key=lambda name: (taken[name[:1]], taken[name[:2]], taken[name]),
        )
        quotas[least] += 1
        _count(taken, least, 1)
    return quotas


def _count(taken: Counter[tuple[str, ...]], name: Class, number: int) -> None:
    for level in range(1, len(name) + 1):
        taken[name[:level]] += number


def _one_question_each(asked: Sequence[Sequence[Sample]], rng: random.Random) -> Iterator[Sample]:
    """The questions in turn; which of those whose turn it is, is drawn, so that it does not go by class."""
    used: Counter[tuple[str, str]] = Counter()
    for questions in asked:
        # The subtask first, then the raw type, so that a folded subtask is not asked thrice as often.
        best = min(
            rng.sample(questions, len(questions)),
            key=lambda q: (used["subtask", q.reported_as], used["raw", q.question_type]),
        )
        used["subtask", best.reported_as] += 1
        used["raw", best.question_type] += 1
        yield best
