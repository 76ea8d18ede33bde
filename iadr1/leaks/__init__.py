"""Leak manifests: which images a model was trained on, and whether an evaluation's images are among them.

An image is told by the SHA-256 of its file and, so that a copy in another format or size is found as well, by a
perceptual hash: pHash, 64 bits, the low DCT coefficients of the image at 32x32 px in grey against their median.

What that hash can tell of industrial photos was measured on the 417 magnetic tiles and 180 DeepPCB boards at hand and
on the synthetic world (600 training, 360 evaluation images). Within so many differing bits (always even) lie:

| bits | copies of tiles / boards / synthetic images | pairs of different tiles | evaluation beside training images |
|---:|---:|---:|---:|
| 0 | 74 / 94 / 59 % | 1 of 85,552 | 0 of 360 |
| 2 | 99 / 100 / 90 % | 22 | 0 |
| 4 | 100 / 100 / 96 % | 41 | 4 |
| 8 | 100 / 100 / 100 % | 141 | 42 |

Copies are JPEGs of quality 95, 75 and 50, the image at half its size and at 448x448 px, and both at once. Photos of one
product are near each other, so only 0 bits count as the same image (`SAME`). Up to `NEAR` bits an image is reported as
near, to be looked at, and counts as held out. An image of one tone has no perceptual hash and matches by its SHA-256
only.
"""

from __future__ import annotations

from iadr1.leaks.manifest import (
    MANIFEST_NAME,
    RUN_KEY,
    LeakManifest,
    TrainedImage,
    build_manifest,
    find_manifest,
    manifest_path,
    merge,
    perceptual_hash,
    read_manifest,
    write,
    write_for_run,
)
from iadr1.leaks.matching import (
    HELD_OUT_CATEGORIES,
    HELD_OUT_IMAGES,
    NEAR,
    SAME,
    SPLITS,
    TRAINED_IMAGES,
    ImageMatch,
    LeakReport,
    Split,
    category_key,
    compare,
)

__all__ = [
    "HELD_OUT_CATEGORIES",
    "HELD_OUT_IMAGES",
    "MANIFEST_NAME",
    "NEAR",
    "RUN_KEY",
    "SAME",
    "SPLITS",
    "TRAINED_IMAGES",
    "ImageMatch",
    "LeakManifest",
    "LeakReport",
    "Split",
    "TrainedImage",
    "build_manifest",
    "category_key",
    "compare",
    "find_manifest",
    "manifest_path",
    "merge",
    "perceptual_hash",
    "read_manifest",
    "write",
    "write_for_run",
]
