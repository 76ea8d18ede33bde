"""`iadr1 calibrate`: a threshold on the anomaly score for a budget of false alarms."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import Field

import iadr1
from iadr1 import parallel
from iadr1.atomic import write_text_atomic
from iadr1.config import CalibrateConfig
from iadr1.errors import OutputError, UsageError
from iadr1.images import file_sha256
from iadr1.metrics import calibration as metrics
from iadr1.models import Engine
from iadr1.provenance import digest
from iadr1.records import Record, RecordWriter, read_records
from iadr1.stages.calibrate.earlier import Earlier
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
from iadr1.stages.inspection.calibrated import Way, verdicts, way_of
from iadr1.stages.inspection.photos import left_out
from iadr1.stages.inspection.setup import check_config, engine_of, photos_at_a_time, references_of

__all__ = ["CalibrateSummary", "run"]

_LARGEST_CLAIM = 0.2
"""Larger budgets are not proposed where there are too few photos: more photos are what helps."""


@dataclass(frozen=True)
class CalibrateSummary:
    """What a run found.

    Attributes:
        calibration: What was written.
        out: Where.
        errors: Why photos could not be scored; they are left out.
        copies: Photos with the bytes of an earlier one, each with its name; they are left out.
        among_references: Photos that are among the references, by their bytes: none was compared with its own copy.
        damaged_references: Why references could not be read; no photo was compared with them.
        left_out: Suffix -> files of the folders that were not scored, because it is none of an image that is read.
        unchanged: The file said so already, and was left as it is.
    """

    calibration: Calibration
    out: Path
    errors: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    among_references: int = 0
    damaged_references: tuple[str, ...] = ()
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unchanged: bool = False


@dataclass(frozen=True)
class _Photos:
    """The photos to score by their content, each once, and which copies were left out."""

    normals: Mapping[str, Photo]
    anomalies: Mapping[str, Photo]
    copies: tuple[str, ...]
    left_out: Mapping[str, int]

    @property
    def everything(self) -> dict[str, Photo]:
        """Both, the normal ones first."""
        return {**self.normals, **self.anomalies}


class PhotoScore(Record):
    """The score of a photo, kept until the calibration is written: `way` is a digest of how it was scored."""

    way: str
    sha256: str
    score: float = Field(ge=0, le=1, allow_inf_nan=False)


def run(
    config: CalibrateConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    engine: Engine | None = None,
) -> CalibrateSummary:
    """Score all photos, find the threshold and write it with what can be claimed for it.

    Until then scores are kept in a file beside `out` (`partial_of`), so that a killed run goes on where it stopped when
    the same model is asked in the same way. A calibration that is in `out` already stays unless with `overwrite`: where
    the new one would say the same it is left as it is, else it is refused as early as that shows.

    Args:
        config: The stage's settings.
        progress: Called with (photos done, photos in all).
        on_note: Told what is to be known before the first photo, in lines.
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no photos, fewer different normal ones than the budget needs, one that is
            among the anomalies too, or `out` holds something else.
        ModelError: The model cannot be used, or gives no probabilities.
        OutputError: The file cannot be written.
    """
    settings = _settings(config, engine_given=engine is not None)
    _check_out(config.out)
    earlier = Earlier.of(config)
    photos = _photos(config)
    _check_count(len(photos.normals), config, photos.copies)
    earlier.check(len(photos.normals), len(photos.anomalies))
    references = references_of(config, on_note)
    engine = engine or engine_of(config, on_note)
    way = way_of(engine, settings, references, list(photos.everything.values()))
    earlier.check_way(way)
    partial = partial_of(config.out)
    scoring = _Scoring(engine, settings, references, photos_at_a_time(config), earlier)
    scores, errors = scoring.scores(photos.everything, partial, way, progress=progress, on_note=on_note)
    good, bad = (sorted(scores[one] for one in part if one in scores) for part in (photos.normals, photos.anomalies))
    _check_count(len(good), config, photos.copies, errors)
    found = _calibration(config, engine.model, way, Scores(normals=tuple(good), anomalies=tuple(bad)))
    same = earlier.same(found, errors)
    if same is None:
        write_text_atomic(config.out, json.dumps(found.model_dump(mode="json"), indent=1) + "\n")
    partial.unlink(missing_ok=True)
    return CalibrateSummary(
        same or found,
        config.out,
        tuple(errors),
        photos.copies,
        among_references=sum(references is not None and references.holds(one) for one in photos.everything),
        damaged_references=references.damaged if references is not None else (),
        left_out=photos.left_out,
        unchanged=same is not None,
    )


def partial_of(out: Path) -> Path:
    """Where the scores are kept until the calibration `out` is written."""
    return out.with_name(f"{out.stem}.partial.jsonl")


@dataclass(frozen=True)
class _Scoring:
    """How photos are scored, and how many at a time."""

    engine: Engine
    settings: InspectSettings
    references: References | None
    at_a_time: int
    earlier: Earlier

    def scores(
        self,
        photos: Mapping[str, Photo],
        partial: Path,
        way: Way,
        *,
        progress: Callable[[int, int], None] | None,
        on_note: Callable[[str], None] | None,
    ) -> tuple[dict[str, float], list[str]]:
        """The scores of photos by their content, and why the others have none; `partial` gets each batch at once."""
        key = digest([way.model_dump(), self.engine.model])
        inspector, errors = Inspector(self.engine, self.settings), list[str]()
        report = progress or (lambda done, total: None)
        with RecordWriter(partial) as writer:
            earlier = (one for one in read_records(partial, PhotoScore) if one.way == key and one.sha256 in photos)
            scores = {one.sha256: one.score for one in earlier}
            if scores and on_note is not None:
                on_note(f"{len(scores)} of the photos have their score from a run that was stopped")
            report(len(scores), len(photos))
            waiting = {photo.path: content for content, photo in photos.items() if content not in scores}
            for batch in load_batches([photos[one] for one in waiting.values()], self.references, self.at_a_time):
                for item, finding in zip(batch, inspector.findings(batch), strict=True):
                    content, score = waiting[item.photo.path], finding.record.score
                    if score is None:
                        errors.append(str(finding.record.error))
                    else:
                        scores[content] = score
                        writer.write(PhotoScore(way=key, sha256=content, score=score))
                        self.earlier.check_score(score)
                writer.flush()
                report(len(scores) + len(errors), len(photos))
        return scores, errors


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
    places = {"normals": config.normals, **({} if config.anomalies is None else {"anomalies": config.anomalies})}
    for option, place in places.items():
        if not place.exists():
            kind = "good" if option == "normals" else "bad"
            hint = f"--{option} names a folder of photos of {kind} products, or one photo"
            raise UsageError(f"no folder or file {str(place)!r}", hint=hint)
    normals, doubled = _distinct(find_photos(config.normals, config.out, glob=config.glob))
    bad = find_photos(config.anomalies, config.out, glob=config.glob) if config.anomalies is not None else []
    anomalies, doubled_bad = _distinct(bad)
    both = next((content for content in anomalies if content in normals), None)
    if both is not None:
        good, other = str(normals[both].path), str(anomalies[both].path)
        told = repr(good) if good == other else f"{good!r}, which has the same bytes as {other!r},"
        raise UsageError(
            f"{told} is among the normals and among the anomalies", hint="keep them in folders side by side"
        )
    others = sum((Counter(left_out(place, glob=config.glob)) for place in places.values()), Counter[str]())
    return _Photos(normals, anomalies, (*doubled, *doubled_bad), others)


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
    why_not = "".join(f" (and {len(found)} {why}: {found[0]})" for found, why in rest if found)
    least = _rounded_up(metrics.least_budget(normals))
    claim = f", or claim --fpr {least:g}" if least <= _LARGEST_CLAIM else ""
    mend = "mend those that could not be scored, or " if errors else ""
    raise UsageError(
        f"--fpr {config.fpr:g} needs {needed} normal photos, {str(config.normals)!r} holds {normals}{why_not}",
        hint=f"{mend}add {needed - normals} more{claim}",
    )


def _rounded_up(share: float) -> float:
    """To three digits behind the point, so that the budget named is one that can be claimed."""
    return (int(share * 1000) + 1) / 1000


def _calibration(config: CalibrateConfig, model: str, way: Way, scores: Scores) -> Calibration:
    found = metrics.threshold(scores.normals, config.fpr)
    recognised = sum(score > found.value for score in scores.anomalies)
    return Calibration(
        threshold=found.value,
        band=found.band,
        fpr_budget=config.fpr,
        normals=len(scores.normals),
        normals_needed=metrics.normals_needed(config.fpr),
        false_alarms=found.false_alarms,
        fpr_interval_95=found.observed,
        true_fpr_interval_95=found.expected,
        undecided_normals=verdicts(found.value, found.band, scores.normals)["undecided"],
        anomalies=len(scores.anomalies),
        found=recognised,
        undecided_anomalies=verdicts(found.value, found.band, scores.anomalies)["undecided"],
        recall_interval_95=metrics.clopper_pearson(recognised, len(scores.anomalies)) if scores.anomalies else None,
        model=model,
        **way.model_dump(),
        scores=scores,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        iadr1=iadr1.__version__,
    )
