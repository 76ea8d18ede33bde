"""Data sets: readers of public ones in their real layouts, the few-shot choice, and the synthetic world."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iadr1.datasets import (
    btad,
    coco,
    dagm,
    deeppcb,
    ds_mvtec,
    dtd,
    expert_ad,
    folder,
    goodsad,
    labelme,
    magnetic_tile,
    mmad,
    mpdd,
    mvtec,
    mvtec3d,
    mvtec_loco,
    real_iad,
    refcoco,
    sdd,
    table,
    visa,
    yolo,
)
from iadr1.datasets.base import Hub, Source
from iadr1.datasets.files import Facts, Files, Missing

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        # Benchmarks of the papers.
        "mmad": mmad.SOURCE,
        "mvtec3d": mvtec3d.SOURCE,
        "dagm": dagm.SOURCE,
        "dtd": dtd.SOURCE,
        "mpdd": mpdd.SOURCE,
        "sdd": sdd.SOURCE,
        "mvtec": mvtec.SOURCE,
        "visa": visa.SOURCE,
        # Further sets of product photos.
        "ds-mvtec": ds_mvtec.SOURCE,
        "mvtec-loco": mvtec_loco.SOURCE,
        "goodsad": goodsad.SOURCE,
        "btad": btad.SOURCE,
        "real-iad": real_iad.SOURCE,
        "deeppcb": deeppcb.SOURCE,
        "magnetic-tile": magnetic_tile.SOURCE,
        # Grounding and chain of thought.
        "refcoco": refcoco.REFCOCO,
        "refcoco+": refcoco.REFCOCO_PLUS,
        "refcocog": refcoco.REFCOCOG,
        "expert-ad": expert_ad.SOURCE,
        # A user's own.
        "folder": folder.SOURCE,
        "coco": coco.SOURCE,
        "yolo": yolo.SOURCE,
        "labelme": labelme.SOURCE,
        "csv": table.SOURCE,
    }
)
"""What `iadr1 prepare SOURCE` can read besides the synthetic world."""

__all__ = ["SOURCES", "Facts", "Files", "Hub", "Missing", "Source"]
