"""`iadr1 calibrate`: a threshold on the anomaly score for a budget of false alarms."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import iadr1
from iadr1 import parallel
from iadr1.atomic import write_text_atomic
from iadr1.config import CalibrateConfig
from iadr1.errors import OutputError, UsageError
from iadr1.images import file_sha256
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
from iadr1.stages.inspection.calibrated import Way, way_of
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
        copies: Photos with the bytes of an earlier one, each with its name; they are left out.
    """

    calibration: Calibration
    out: Path
    errors: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Photos:
    """The photos to score, each content once, and which copies were left out."""

    normals: Sequence[Photo]
    anomalies: Sequence[Photo]
    copies: tuple[str, ...]


def run(
    config: CalibrateConfig, *, progress: Callable[[int, int], None] | None = None, engine: Engine | None = None
) -> CalibrateSummary:
    """Score all photos, find the threshold and write it with what can be claimed for it.

    Args:
        config: The stage's settings.
        progress: Called with (photos done, photos in all).
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no photos, fewer different normal ones than the budget needs, or one that
            is among the anomalies too.
        ModelError: The model cannot be used, or gives no probabilities.
        OutputError: The file cannot be written.
    """
    settings = _settings(config, engine_given=engine is not None)
    _check_out(config.out)
    photos = _photos(config)
    _check_count(len(photos.normals), config, photos.copies)
    references = References(config.references, shots=config.shots) if config.references is not None else None
    engine = engine or engine_of(config)
    inspector = Inspector(engine, settings)
    scores: list[float | None] = []
    errors: list[str] = []
    report = progress or (lambda done, total: None)
    everything = [*photos.normals, *photos.anomalies]
    report(0, len(everything))
    for batch in load_batches(everything, references, photos_at_a_time(config)):
        for finding in inspector.findings(batch):
            scores.append(finding.record.score)
            errors += [finding.record.error] if finding.record.error is not None else []
        report(len(scores), len(everything))
    good = sorted(score for score in scores[: len(photos.normals)] if score is not None)
    bad = sorted(score for score in scores[len(photos.normals) :] if score is not None)
    _check_count(len(good), config, photos.copies, errors)
    way = way_of(engine, settings, references, everything)
    found = _calibration(config, settings, engine.model, way, Scores(normals=tuple(good), anomalies=tuple(bad)))
    write_text_atomic(config.out, json.dumps(found.model_dump(mode="json"), indent=1) + "\n")
    return CalibrateSummary(found, config.out, tuple(errors), photos.copies)


def _settings(config: CalibrateConfig, *, engine_given: bool) -> InspectSettings:
    check_config(config, engine_given=engine_given)
    if not 0 < config.fpr < 1:
        raise UsageError(f"--fpr is {config.fpr}, it must be above 0 and below 1", hint="0.05 is one in twenty")
    return InspectSettings(
        mode="direct", shots=config.shots if config.references is not None else 0, tiles=config.tiles
    )


def _check_out(out: Path) -> None:
    """Refuse, before anything is scored, what could not be written in the end."""
    if out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a folder", hint="name a file, for example calibration.json")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(out), hint="name another --out") from error


def _photos(config: CalibrateConfig) -> _Photos:
    """The photos, each content once: a copy is no further evidence, and a photo is good or bad, not both."""
    normals, doubled = _distinct(find_photos(config.normals, config.out))
    bad = find_photos(config.anomalies, config.out) if config.anomalies is not None else []
    anomalies, doubled_bad = _distinct(bad)
    both = next((content for content in anomalies if content in normals), None)
    if both is not None:
        good, other = str(normals[both].path), str(anomalies[both].path)
        told = repr(good) if good == other else f"{good!r}, which has the same bytes as {other!r},"
        raise UsageError(
            f"{told} is among the normals and among the anomalies", hint="keep them in folders side by side"
        )
    return _Photos(list(normals.values()), list(anomalies.values()), (*doubled, *doubled_bad))


def _distinct(photos: Sequence[Photo]) -> tuple[dict[str, Photo], list[str]]:
    """The photos by their content, and which are copies of an earlier one."""
    found: dict[str, Photo] = {}
    copies: list[str] = []
    for photo, content in zip(photos, parallel.ordered(_content, photos), strict=True):
        first = found.setdefault(content, photo)
        copies += [f"{str(photo.path)!r} is a copy of {str(first.path)!r}"] if first is not photo else []
    return found, copies


def _content(photo: Photo) -> str:
    """What tells a photo's content apart; its path where it has none that can be read, which scoring will tell."""
    try:
        return file_sha256(photo.path) if photo.path.stat().st_size else str(photo.path.resolve())
    except OSError:
        return str(photo.path.resolve())


def _check_count(normals: int, config: CalibrateConfig, copies: Sequence[str], errors: Sequence[str] = ()) -> None:
    """Refuse a claim that so few photos cannot carry."""
    needed = metrics.normals_needed(config.fpr)
    if normals >= needed:
        return
    rest = [(errors, "that could not be scored, the first"), (copies, "with the same bytes as others, the first")]
    left_out = "".join(f" (and {len(found)} {why}: {found[0]})" for found, why in rest if found)
    claim = f", or claim --fpr {_rounded_up(metrics.least_budget(normals)):g}" if normals else ""
    raise UsageError(
        f"--fpr {config.fpr:g} needs {needed} normal photos, {str(config.normals)!r} holds {normals}{left_out}",
        hint=f"add {needed - normals} more{claim}",
    )


def _rounded_up(share: float) -> float:
    """To three digits behind the point, so that the budget named is one that can be claimed."""
    return (int(share * 1000) + 1) / 1000


def _calibration(
    config: CalibrateConfig, settings: InspectSettings, model: str, way: Way, scores: Scores
) -> Calibration:
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
        model=model,
        **way.model_dump(),
        scores=scores,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        iadr1=iadr1.__version__,
    )
