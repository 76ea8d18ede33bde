"""Data sets: readers of public ones in their real layouts, the few-shot choice, and the synthetic world."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iadr1.datasets import mmad, mvtec, mvtec3d, refcoco
from iadr1.datasets.base import Hub, Source
from iadr1.datasets.files import Facts, Files, Missing

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "mmad": mmad.SOURCE,
        "mvtec": mvtec.SOURCE,
        "mvtec3d": mvtec3d.SOURCE,
        "refcoco": refcoco.SOURCE,
    }
)
"""What `iadr1 prepare SOURCE` can read besides the synthetic world."""

__all__ = ["SOURCES", "Facts", "Files", "Hub", "Missing", "Source"]
