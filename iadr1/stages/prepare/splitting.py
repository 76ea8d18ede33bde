"""A prepared file in two parts, so that photos of one piece are on one side: a split by image leaks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from iadr1.errors import DataError, UsageError
from iadr1.records import Sample

SIDES = ("train", "test")


def divide(samples: Sequence[Sample], *, group: str, share: float, seed: int) -> list[Sample]:
    """The samples with `train` or `test` as their split; all images of a group have the same.

    Groups that show the same kinds of defects are dealt out together, in an order drawn with the seed, each to the
    side that has least of its share of their images, then of all, then to `train`. A reference of the
    other side is replaced by the first normal image of the same category and side and of another group, where there
    is one, and left out otherwise: what is shown in training would be known in the test.

    Args:
        samples: Samples of any task.
        group: Regular expression; what it matches in an image's path is the name of the image's group.
        share: Share of the images for `train`, within 0 and 1; whole groups come near it.
        seed: Decides the order.

    Raises:
        UsageError: No regular expression, one that matches an image's path nowhere, or a share out of range.
        DataError: There is only one group.
    """
    if not 0 < share < 1:
        raise UsageError(f"--share is {share}, it must be above 0 and below 1")
    groups = _groups(samples, group)
    side = _sides(samples, groups, {"train": share, "test": 1 - share}, seed)
    known = {sample.image: sample for sample in samples}
    return [
        sample.model_copy(
            update={
                "split": side[groups[sample.image]],
                "references": _references(sample, sample.references, known, groups, side),
                "similar_references": _references(sample, sample.similar_references, known, groups, side),
            }
        )
        for sample in samples
    ]


def _groups(samples: Sequence[Sample], pattern: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group {pattern!r} is no regular expression: {error}") from error
    found = {sample.image: compiled.search(sample.image) for sample in samples}
    lost = [image for image, match in found.items() if match is None or not match.group()]
    if lost:
        raise UsageError(
            f"--group {pattern!r} matches nothing in {len(lost)} of {len(found)} paths, such as {lost[0]!r}",
            hint="it has to match the part of the path that tells which piece is shown, such as 'part[0-9]+'",
        )
    groups = {image: match.group() for image, match in found.items() if match is not None}
    if len(set(groups.values())) < len(SIDES):
        raise DataError(f"all images are of one group, {next(iter(groups.values()))!r}", hint="take another --group")
    return groups


def _sides(
    samples: Sequence[Sample], groups: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    kinds: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        kinds[groups[sample.image]] |= {defect.type for defect in sample.defects}
    sizes = Counter(groups.values())
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in sorted(kinds, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
        alike[tuple(sorted(kinds[name]))].append(name)
    side: dict[str, str] = {}
    total: Counter[str] = Counter()
    for shown in sorted(alike):
        own: Counter[str] = Counter()
        for name in alike[shown]:
            side[name] = min(SIDES, key=lambda one: (own[one] / shares[one], total[one] / shares[one]))
            own[side[name]] += sizes[name]
            total[side[name]] += sizes[name]
    return side


def _references(
    sample: Sample,
    paths: Sequence[str],
    known: Mapping[str, Sample],
    groups: Mapping[str, str],
    side: Mapping[str, str],
) -> tuple[str, ...]:
    """The references without those of the other side; one that is no sample of the file stays."""
    own = side[groups[sample.image]]
    kept = tuple(path for path in paths if path not in groups or side[groups[path]] == own)
    if kept or not paths:
        return kept
    other = (
        path
        for path, one in known.items()
        if one.is_anomalous is False
        and one.category == sample.category
        and side[groups[path]] == own
        and groups[path] != groups[sample.image]
    )
    return tuple(path for path in (next(other, None),) if path is not None)
