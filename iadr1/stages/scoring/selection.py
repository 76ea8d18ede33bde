"""Which questions of a samples file a run asks, and which of them a shard asks: the same for asking and for scoring."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from iadr1.errors import UsageError

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")
_FOLDER = re.compile(r"shard-([1-9]\d*)-of-([1-9]\d*)")


class Shard(NamedTuple):
    """Part `number` of `of`, counted from 1."""

    number: int
    of: int

    @property
    def folder(self) -> str:
        """Name of its folder inside the run's."""
        return f"shard-{self.number}-of-{self.of}"


def shard_folders(place: Path) -> list[str]:
    """The folders of all shards of the run whose shards lie in a place, there or not; empty where none lies there.

    Raises:
        UsageError: They are of several runs.
    """
    there = {found[0]: int(found[2]) for one in place.iterdir() if (found := _FOLDER.fullmatch(one.name))}
    if len(set(there.values())) > 1:
        raise UsageError(f"its shards are of several runs: {', '.join(sorted(there))}", where=str(place))
    return [Shard(number, of).folder for of in set(there.values()) for number in range(1, of + 1)]


def read_shard(text: str) -> Shard:
    """`2/5` -> the second of five shards.

    Raises:
        UsageError: It is not written I/N with 1 <= I <= N.
    """
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise UsageError(f"the shard {text!r} is not written I/N with I from 1 to N", hint="the first of two is 1/2")
    return Shard(int(found[1]), int(found[2]))


def draw(count: int, limit: int | None, seed: int) -> Sequence[int]:
    """The places of the questions that are asked, rising: all of `count`, or `limit` drawn at random.

    All places are permuted by the seed and the first ones taken, so that a larger limit holds what a smaller one does.

    Args:
        count: Questions that the protocol asks, in the file's order.
        limit: At most so many; None for all.
        seed: Seed of the draw.
    """
    if limit is None or limit >= count:
        return range(count)
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return sorted(order[:limit])


def shard_images(images: Sequence[str], shard: Shard) -> list[str]:
    """The images of a shard, in their order: every `of`-th of the images ranked by a hash of their paths.

    So the shards are of one size, whatever the order of the file, and the questions about an image stay together.

    Args:
        images: Paths of all images that are asked about, each once.
        shard: Which part.

    Raises:
        UsageError: There are fewer images than shards.
    """
    if shard.of > len(images):
        raise UsageError(f"{len(images)} images cannot be cut into {shard.of} shards", hint="give fewer shards")
    ranked = sorted(images, key=lambda image: hashlib.sha256(image.encode()).digest())
    members = set(ranked[shard.number - 1 :: shard.of])
    return [image for image in images if image in members]
