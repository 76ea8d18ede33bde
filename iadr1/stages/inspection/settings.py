"""How photos are inspected, as plain values, and the digests that keep results of different ways apart."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from iadr1 import prompts
from iadr1.errors import UsageError
from iadr1.provenance import digest
from iadr1.stages.inspection.tiles import OVERLAP, read_tiles

MODES = ("direct", "think", "two-pass")
REASONINGS = ("boxes", "structured")
THRESHOLD = 0.5
"""Scores above it are anomalous, where neither a threshold nor a calibration is given."""


@dataclass(frozen=True)
class InspectSettings:
    """How photos are inspected.

    Attributes:
        mode: `direct` scores every photo by the probability of Yes and writes no word; `think` lets the model reason
            about every photo and goes by what it writes; `two-pass` scores every photo and lets the model reason
            about those that are anomalous or uncertain.
        reasoning: `boxes` (AnomalyR1: reasoning, then boxes) or `structured` (IAD-R1: reasoning, place, kind, verdict).
        shots: Most references shown before a photo; 0 for none.
        tiles: `off`, `auto`, or columns x rows such as `3x2`.
        max_new_tokens: Longest answer.
        threshold: Scores above it are anomalous; None for `THRESHOLD`.
        band: Scores from low to high are undecided; None for no such band.
        calibration: Digest of the calibration that threshold and band come from; empty where there is none.

    Raises:
        UsageError: A value that cannot be.
    """

    mode: str = "two-pass"
    reasoning: str = "boxes"
    shots: int = 0
    tiles: str = "off"
    max_new_tokens: int = 512
    threshold: float | None = None
    band: tuple[float, float] | None = None
    calibration: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (("mode", self.mode, MODES), ("reasoning", self.reasoning, REASONINGS)):
            if value not in known:
                raise UsageError(f"no {name} {value!r}", hint=f"known: {', '.join(known)}")
        for name, number, least in (("shots", self.shots, 0), ("max_new_tokens", self.max_new_tokens, 1)):
            if number < least:
                raise UsageError(f"{name} is {number}, it must be at least {least}")
        if read_tiles(self.tiles) == (1, 1):  # the same to a photo, so it is the same to a digest
            object.__setattr__(self, "tiles", "off")
        if self.threshold is not None and not 0 <= self.threshold <= 1:  # a NaN is not within either
            raise UsageError(f"threshold is {self.threshold}, it must be within 0 and 1")
        if self.band is not None and not 0 <= self.band[0] <= self.band[1] <= 1:
            raise UsageError(f"the band {self.band} must be two numbers within 0 and 1, the smaller first")

    @property
    def limit(self) -> float:
        """Scores above it are anomalous."""
        return THRESHOLD if self.threshold is None else self.threshold

    @property
    def suspicious(self) -> float:
        """Scores above it are reasoned about in `two-pass`: the verdict is not plainly normal."""
        return self.limit if self.band is None else min(self.limit, math.nextafter(self.band[0], -1.0))

    @property
    def score_digest(self) -> str:
        """Tells apart what changes a score: the question, how many references and which tiles."""
        question = f"{prompts.DETECT_QUESTION} {prompts.instruction('direct')}"
        return digest({"question": question, "shots": self.shots, "tiles": self.tiles, "overlap": OVERLAP})

    @property
    def digest(self) -> str:
        """Tells apart everything about how photos are asked about, and not how the verdict is drawn from it."""
        asked = {
            "score": self.score_digest,
            "mode": self.mode,
            "instruction": prompts.instruction(self.fmt) if self.mode != "direct" else "",
            "max_new_tokens": self.max_new_tokens if self.mode != "direct" else 0,
            "suspicious": self.suspicious if self.mode == "two-pass" else 0.0,
        }
        return digest(asked)

    @property
    def fmt(self) -> prompts.Format:
        """The answer format of the reasoning."""
        return "structured" if self.reasoning == "structured" else "boxes"

    def calibrated(self, threshold: float, band: tuple[float, float], digest: str) -> InspectSettings:
        """The same with the threshold and the band of a calibration."""
        return dataclasses.replace(self, threshold=threshold, band=band, calibration=digest)
