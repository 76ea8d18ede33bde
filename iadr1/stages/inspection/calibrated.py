"""`calibration.json`: a threshold with what can be claimed for it, and which model and question it belongs to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from iadr1 import provenance
from iadr1.errors import UsageError
from iadr1.records import Record

Interval = tuple[float, float]


class Scores(Record):
    """The scores that a calibration was made from, rising."""

    normals: tuple[float, ...]
    anomalies: tuple[float, ...] = ()


class Calibration(Record):
    """A threshold for a budget of false alarms; see `iadr1.metrics.calibration` for how the figures are found.

    `band` is the uncertain range of scores, both ends included. `fpr_interval_95` is Clopper-Pearson's of
    `false_alarms` among `normals`, `true_fpr_interval_95` that of the rate on new photos. `digest` says how photos
    were asked about, `fingerprint` which weights.
    """

    version: Literal[1] = 1
    threshold: float = Field(ge=0, le=1)
    band: tuple[float, float]
    fpr_budget: float = Field(gt=0, lt=1)
    normals: int
    normals_needed: int
    false_alarms: int
    fpr_interval_95: Interval
    true_fpr_interval_95: Interval
    undecided_normals: int = 0
    anomalies: int = 0
    found: int = 0
    undecided_anomalies: int = 0
    recall_interval_95: Interval | None = None
    model: str
    fingerprint: str
    digest: str
    scores: Scores
    created: str = ""
    iadr1: str = ""

    @model_validator(mode="after")
    def _band_is_a_range(self) -> Calibration:
        if not 0 <= self.band[0] <= self.band[1] <= 1 or math.isnan(self.threshold):
            raise ValueError(f"band {self.band} and threshold {self.threshold} are not within 0 and 1")
        return self

    @property
    def key(self) -> str:
        """A digest of everything in it."""
        return provenance.digest(self.model_dump(mode="json"))

    @property
    def told(self) -> str:
        """Its digest and what it claims, in one line for a report; intervals are exact 95 % ones."""
        budget = f"{self.key}: FPR \u2264 {100 * self.fpr_budget:.3g} %"
        above = f"{self.false_alarms} of {self.normals} good photos above it ({_percent(self.fpr_interval_95)})"
        if self.recall_interval_95 is None:
            return f"{budget}, {above}"
        return f"{budget}, {above}, {self.found} of {self.anomalies} bad ones ({_percent(self.recall_interval_95)})"


def _percent(interval: Interval) -> str:
    return f"{100 * interval[0]:.3g} to {100 * interval[1]:.3g} %"


def read_calibration(path: Path, *, fingerprint: str, digest: str) -> Calibration:
    """The calibration of a file, for this model and this way of asking only.

    Args:
        path: A file written by `iadr1 calibrate`.
        fingerprint: Of the model that is to be used with it.
        digest: `InspectSettings.score_digest` of the settings that are to be used with it.

    Raises:
        UsageError: It cannot be read, or was made with another model, question, number of references or tiling.
    """
    again = "run 'iadr1 calibrate' again with the model, --shots and --tiles of this run"
    try:
        found = Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the calibration: {error}", hint="make one with 'iadr1 calibrate'") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise UsageError(f"not a calibration: {told}", where=str(path), hint=again) from error
    if found.fingerprint != fingerprint:
        raise UsageError(
            f"the calibration is of the model {found.model!r} with the fingerprint {found.fingerprint}, "
            f"this one's is {fingerprint}",
            where=str(path),
            hint=again,
        )
    if found.digest != digest:
        raise UsageError(
            f"the calibration is of photos asked about as {found.digest}, here they are asked about as {digest}",
            where=str(path),
            hint=again,
        )
    return found
