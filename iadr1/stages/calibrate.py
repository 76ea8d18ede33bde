"""`iadr1 calibrate`: a threshold on the anomaly score for a budget of false alarms."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import iadr1
from iadr1.atomic import write_text_atomic
from iadr1.config import CalibrateConfig
from iadr1.errors import UsageError
from iadr1.metrics import calibration as metrics
from iadr1.models import Engine
from iadr1.records import Verdict
from iadr1.stages.inspection import (
    Calibration,
    Inspector,
    InspectSettings,
    Photo,
    References,
    Scores,
    find_photos,
    load_batches,
)
from iadr1.stages.inspection.setup import check_config, engine_of, photos_at_a_time
from iadr1.stages.inspection.verdicts import by_score

__all__ = ["CalibrateSummary", "run"]


@dataclass(frozen=True)
class CalibrateSummary:
    """What a run found.

    Attributes:
        calibration: What was written.
        out: Where.
        errors: Why photos could not be scored; they are left out.
    """

    calibration: Calibration
    out: Path
    errors: tuple[str, ...] = ()


def run(
    config: CalibrateConfig, *, progress: Callable[[int, int], None] | None = None, engine: Engine | None = None
) -> CalibrateSummary:
    """Score all photos, find the threshold and write it with what can be claimed for it.

    Args:
        config: The stage's settings.
        progress: Called with (photos done, photos in all).
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no photos, or fewer normal ones than the budget needs.
        ModelError: The model cannot be used, or gives no probabilities.
        OutputError: The file cannot be written.
    """
    settings = _settings(config, engine_given=engine is not None)
    normals = find_photos(config.normals, config.out)
    anomalies = find_photos(config.anomalies, config.out) if config.anomalies is not None else []
    _check_overlap(config, normals, anomalies)
    _check_count(len(normals), config)
    references = References(config.references, shots=config.shots) if config.references is not None else None
    engine = engine or engine_of(config)
    inspector = Inspector(engine, settings)
    scores: list[float | None] = []
    errors: list[str] = []
    report = progress or (lambda done, total: None)
    report(0, len(normals) + len(anomalies))
    for batch in load_batches([*normals, *anomalies], references, photos_at_a_time(config)):
        for finding in inspector.findings(batch):
            scores.append(finding.record.score)
            errors += [finding.record.error] if finding.record.error is not None else []
        report(len(scores), len(normals) + len(anomalies))
    good = sorted(score for score in scores[: len(normals)] if score is not None)
    bad = sorted(score for score in scores[len(normals) :] if score is not None)
    _check_count(len(good), config, errors)
    found = _calibration(config, settings, engine, Scores(normals=tuple(good), anomalies=tuple(bad)))
    write_text_atomic(config.out, json.dumps(found.model_dump(mode="json"), indent=1) + "\n")
    return CalibrateSummary(found, config.out, tuple(errors))


def _settings(config: CalibrateConfig, *, engine_given: bool) -> InspectSettings:
    check_config(config, engine_given=engine_given)
    if not 0 < config.fpr < 1:
        raise UsageError(f"fpr is {config.fpr}, it must be above 0 and below 1", hint="0.05 is one in twenty")
    return InspectSettings(
        mode="direct", shots=config.shots if config.references is not None else 0, tiles=config.tiles
    )


def _check_overlap(config: CalibrateConfig, normals: Sequence[Photo], anomalies: Sequence[Photo]) -> None:
    """A photo is good or bad, not both."""
    paths = {photo.path.resolve() for photo in normals}
    both = next((photo.path for photo in anomalies if photo.path.resolve() in paths), None)
    if both is not None:
        raise UsageError(
            f"{str(both)!r} is among the normals and among the anomalies", hint="keep them in folders side by side"
        )


def _check_count(normals: int, config: CalibrateConfig, errors: Sequence[str] = ()) -> None:
    """Refuse a claim that so few photos cannot carry."""
    needed = metrics.normals_needed(config.fpr)
    if normals >= needed:
        return
    unread = f" (and {len(errors)} that could not be scored, the first: {errors[0]})" if errors else ""
    claim = f", or claim --fpr {_rounded_up(metrics.least_budget(normals)):g}" if normals else ""
    raise UsageError(
        f"--fpr {config.fpr:g} needs {needed} normal photos, {str(config.normals)!r} holds {normals}{unread}",
        hint=f"add {needed - normals} more{claim}",
    )


def _rounded_up(share: float) -> float:
    """To three digits behind the point, so that the budget named is one that can be claimed."""
    return (int(share * 1000) + 1) / 1000


def _calibration(config: CalibrateConfig, settings: InspectSettings, engine: Engine, scores: Scores) -> Calibration:
    found = metrics.threshold(scores.normals, config.fpr)
    recognised = sum(score > found.value for score in scores.anomalies)
    final = settings.calibrated(found.value, found.band, "")

    def undecided(values: Sequence[float]) -> int:
        verdicts: list[Verdict] = [by_score(final, score) for score in values]
        return verdicts.count("undecided")

    return Calibration(
        threshold=found.value,
        band=found.band,
        fpr_budget=config.fpr,
        normals=len(scores.normals),
        normals_needed=metrics.normals_needed(config.fpr),
        false_alarms=found.false_alarms,
        fpr_interval_95=found.observed,
        true_fpr_interval_95=found.expected,
        undecided_normals=undecided(scores.normals),
        anomalies=len(scores.anomalies),
        found=recognised,
        undecided_anomalies=undecided(scores.anomalies),
        recall_interval_95=metrics.clopper_pearson(recognised, len(scores.anomalies)) if scores.anomalies else None,
        model=engine.model,
        fingerprint=engine.fingerprint,
        digest=settings.score_digest,
        scores=scores,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        iadr1=iadr1.__version__,
    )
