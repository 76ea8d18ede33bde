"""Data sets: readers of public ones in their real layouts, the few-shot choice, and the synthetic world."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from iadr1.datasets import mmad, mvtec, mvtec3d, refcoco
from iadr1.records import Sample


@dataclass(frozen=True)
class Source:
    """A data set that can be read.

    Attributes:
        scan: Its reader: takes the set's folder, checks all of it, then yields the samples one by one; `DataError`
            where the folder is not what it should be.
        title: Its name in full.
        licence: Its licence as stated by its owners.
        tree: Its layout in one line.
        seeded: Whether `scan` also takes a `seed` (it draws options).
    """

    scan: Callable[..., Iterator[Sample]]
    title: str
    licence: str
    tree: str
    seeded: bool = False


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "mmad": Source(mmad.scan, "MMAD", mmad.LICENCE, mmad.TREE),
        "mvtec": Source(mvtec.scan, "MVTec AD", mvtec.LICENCE, mvtec.TREE),
        "mvtec3d": Source(mvtec3d.scan, "MVTec 3D-AD as multiple choice", mvtec3d.LICENCE, mvtec3d.TREE, seeded=True),
        "refcoco": Source(refcoco.scan, "RefCOCO/+/g, VLM-R1's JSON", refcoco.LICENCE, refcoco.TREE),
    }
)
"""What `iadr1 prepare SOURCE` can read besides the synthetic world."""

__all__ = ["SOURCES", "Source"]
