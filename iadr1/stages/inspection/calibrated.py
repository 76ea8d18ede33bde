"""`calibration.json`: a threshold with what can be claimed for it, and which model and question it belongs to."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from iadr1 import provenance
from iadr1.errors import UsageError
from iadr1.models import Engine
from iadr1.records import Record, Verdict
from iadr1.stages.inspection.photos import Photo
from iadr1.stages.inspection.references import References
from iadr1.stages.inspection.settings import InspectSettings
from iadr1.stages.inspection.verdicts import by_score

Interval = tuple[float, float]
Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


_AGAIN = "run 'iadr1 calibrate' again with the settings of this run"
_WHICH = "--calibration names the file that 'iadr1 calibrate' wrote, calibration.json where its --out said nothing else"


class Way(Record):
    """All that a score depends on besides the photo; a calibration is for one such way only.

    Attributes:
        fingerprint: Of the model's weights.
        engine: What runs the model: `local`, `server`, `vllm`.
        dtype: The number format of the weights, where the engine has one.
        sizes: The sizes at which the model sees photos.
        shots: Most references shown before a photo.
        tiles: As in `InspectSettings`.
        references: Digest of the references' names and contents; empty where there are none.
        paired: Each photo is compared with a reference of its own (`References.paired`). New photos then come with
            new references, so that another digest is no other way.
        digest: `InspectSettings.score_digest`.
    """

    fingerprint: str
    engine: str
    dtype: str
    sizes: str
    shots: int
    tiles: str
    references: str
    paired: bool
    digest: str


def way_of(engine: Engine, settings: InspectSettings, references: References | None, photos: Sequence[Photo]) -> Way:
    """The way in which an engine with these settings scores photos.

    Args:
        engine: The loaded model.
        settings: How it is asked.
        references: Photos of good products; None for none.
        photos: All photos of the run, where they are known before they are looked at.
    """
    profile = engine.profile
    return Way(
        fingerprint=engine.fingerprint,
        engine=engine.name,
        dtype=str(getattr(engine, "dtype", "")).removeprefix("torch."),  # what computes elsewhere says none
        sizes=f"{profile.family} of {profile.min_pixels} to {profile.max_pixels} pixels",
        shots=settings.shots,
        tiles=settings.tiles,
        references=references.digest if references is not None else "",
        paired=references is not None and references.paired(photos),
        digest=settings.score_digest,
    )


class Scores(Record):
    """The scores that a calibration was made from, rising."""

    normals: tuple[Score, ...]
    anomalies: tuple[Score, ...] = ()


def verdicts(threshold: float, band: tuple[float, float], scores: Sequence[float]) -> Counter[Verdict]:
    """How many photos with these scores are called what, as `detect` does where the model does not reason."""
    settings = InspectSettings().calibrated(threshold, band, "")
    return Counter(by_score(settings, score) for score in scores)


class Calibration(Way):
    """A threshold for a budget of false alarms; see `iadr1.metrics.calibration` for how the figures are found.

    `band` is the uncertain range of scores, both ends included. `fpr_interval_95` is Clopper-Pearson's of
    `false_alarms` among `normals`, `true_fpr_interval_95` that of the rate on new photos. `false_alarms` and `found`
    are above the threshold, those that the band makes undecided among them. It holds for the `Way` whose fields it has.
    """

    version: Literal[2] = 2
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

    def verdicts(self, scores: Sequence[float]) -> Counter[Verdict]:
        """How many photos with these scores it calls what."""
        return verdicts(self.threshold, self.band, scores)

    @property
    def told(self) -> str:
        """Its digest and what it claims, in one line for a report; intervals are exact 95 % ones."""
        good, bad = self.verdicts(self.scores.normals), self.verdicts(self.scores.anomalies)
        above = f"{self.false_alarms} of {self.normals} good ones ({_percent(self.fpr_interval_95)})"
        parts = [
            f"{self.key}: FPR \u2264 {100 * self.fpr_budget:.3g} %",
            f"good photos: {good['anomalous']} anomalous, {good['undecided']} undecided, {good['normal']} normal",
        ]
        if self.recall_interval_95 is not None:
            parts.append(f"bad: {bad['anomalous']} anomalous, {bad['undecided']} undecided, {bad['normal']} missed")
            above += f", {self.found} of {self.anomalies} bad ones ({_percent(self.recall_interval_95)})"
        return "; ".join([*parts, f"above the threshold, undecided ones among them: {above}"])


def _percent(interval: Interval) -> str:
    return f"{100 * interval[0]:.3g} to {100 * interval[1]:.3g} %"


def read_calibration(path: Path, way: Way) -> Calibration:
    """The calibration of a file, for this way of scoring only.

    Args:
        path: A file written by `iadr1 calibrate`.
        way: How photos are to be scored with it.

    Raises:
        UsageError: It cannot be read, or was made in another way; the message names what differs.
    """
    found = parse_calibration(path)
    if other := list(_differences(found, way)):
        raise UsageError(f"the calibration was made with {'; '.join(other)}", where=str(path), hint=_AGAIN)
    return found


def parse_calibration(path: Path) -> Calibration:
    """The calibration of a file, whatever it is for.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_other(text, path)
        return Calibration.model_validate_json(text)
    except FileNotFoundError as error:
        told = f"cannot read the calibration {str(path)!r}: there is no such file"
        raise UsageError(told, hint=f"{_WHICH}; it is made from photos of good products") from error
    except OSError as error:
        told = f"cannot read the calibration {str(path)!r}: {error.strerror}"
        raise UsageError(told, hint=_WHICH) from error
    except UnicodeDecodeError as error:
        raise UsageError("not a calibration: it is no text", where=str(path), hint=_WHICH) from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise UsageError(f"not a calibration: {told}", where=str(path), hint=_AGAIN) from error


def _refuse_other(text: str, path: Path) -> None:
    """Another file than a calibration, or one of version 1, which does not say which references and engine it is for.

    Raises:
        UsageError: It is one.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageError("not a calibration: it is no JSON", where=str(path), hint=_WHICH) from error
    if not isinstance(values, dict) or "threshold" not in values:
        what = f"it is what 'iadr1 {values['command']}' was run with" if _is_run(values) else "it holds no threshold"
        raise UsageError(f"not a calibration: {what}", where=str(path), hint=_WHICH)
    if values.get("version") == 1:
        raise UsageError(
            "the calibration is of an older iadr1: it does not say for which references, engine and number format",
            where=str(path),
            hint=_AGAIN,
        )


def _is_run(values: object) -> bool:
    """Whether this is a `run.json`."""
    return isinstance(values, dict) and {"command", "config"} <= values.keys()


def _differences(found: Calibration, way: Way) -> Iterator[str]:
    """What was otherwise: the setting, its value then and its value now."""
    names = {
        "fingerprint": f"other weights: {found.model!r}",
        "engine": "--engine",
        "dtype": "--dtype",
        "sizes": "photo sizes of another --family or processor:",
        "shots": "--shots",
        "tiles": "--tiles",
    }
    for name, told in names.items():
        then, now = getattr(found, name), getattr(way, name)
        if then != now:
            yield f"{told} {_value(then)}, here {_value(now)}"
    if found.references != way.references and not (found.paired and way.paired):
        yield _other_references(found.references, way.references)
    if (found.shots, found.tiles) == (way.shots, way.tiles) and found.digest != way.digest:
        yield f"another question or overlap of tiles: {found.digest}, here {way.digest}"


def _other_references(then: str, now: str) -> str:
    """The digests only where both have some: without, what is missing is the option."""
    if not now:
        return "--references, here none"
    if not then:
        return "no --references, here some"
    return f"--references with other files (by names and contents: {then}, here {now})"


def _value(value: str | int) -> str:
    return "none" if value == "" else str(value)
