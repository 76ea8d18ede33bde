"""What a run leaves behind its records: `summary.csv`, `report.html`, and `run.json` with the figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from iadr1.config import DetectConfig
from iadr1.masks import licence_of
from iadr1.models import EMBEDDED, Engine
from iadr1.provenance import write_run
from iadr1.records import Detection, read_records
from iadr1.reports.html import write_csv, write_report
from iadr1.stages.detect.folder import RECORDS, REPORT, TABLE
from iadr1.stages.detect.photos import Found
from iadr1.stages.detect.settings import folder_of
from iadr1.stages.inspection import Calibration, InspectSettings, image_root

HEAD = "report_head"
"""Entry of `run.json`: what the report's head says, for who writes it again without the model."""

REFERENCE_FIGURES = ("among_references", "damaged_references")
"""Entries of `run.json`: what was found of the references at the run's end."""


@dataclass(frozen=True)
class Compared:
    """The photos of good products that were shown.

    Attributes:
        folder: Where they lie; None where none were.
        among: Photos that are among them, by their bytes: none was compared with its own copy.
        damaged: Why files could not be read; no photo was compared with them.
    """

    folder: Path | None = None
    among: int = 0
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectSummary:
    """What a run left in its folder.

    Attributes:
        counts: Photos by verdict; the values add up to the number of records.
        errors: Photos that could not be looked at; they are among the undecided.
        out: The folder.
        skipped: Photos an earlier run had already done.
        without_reference: Photos looked at without one although a folder was given.
        fewer_references: Photos looked at with some, but fewer than `shots`: the folder holds no more that belong to
            them.
        among_references: Photos that are among the references, by their bytes: none was compared with its own copy.
        damaged_references: Why references could not be read; they were left out.
        no_score: Why photos have no anomaly score, where the engine gives none.
        joined: How many shards were joined; 0 for a run of its own.
        gone: Photos of earlier runs that are not in the folder any more; their records stay and are counted.
        left_out: Suffix -> files of the folder that were not looked at, because it is none of an image that is read.
        passed_by: Links to folders, pipes and results of other runs, which were not opened, by kind.
    """

    counts: dict[str, int]
    errors: int
    out: Path
    skipped: int = 0
    without_reference: int = 0
    fewer_references: int = 0
    among_references: int = 0
    damaged_references: tuple[str, ...] = ()
    no_score: str | None = None
    joined: int = 0
    gone: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    passed_by: Mapping[str, list[str]] = field(default_factory=dict)


def finish(
    config: DetectConfig,
    info: Mapping[str, Any],
    *,
    found: Found,
    compared: Compared,
    no_score: str | None,
    skipped: int = 0,
    joined: int = 0,
) -> DetectSummary:
    """Write table, report and `run.json` from the records of the folder.

    Args:
        config: `images`, `out`, `shard`, `shots`, `report` and `language` are read.
        info: What `run.json` holds so far, with `HEAD` and the whole run's config.
        found: All photos of the run, and what else lies among them.
        compared: The photos of good products that were shown.
        no_score: As in the summary.
        skipped: As in the summary.
        joined: As in the summary.

    Raises:
        DataError: The records cannot be read.
        OutputError: The folder cannot be written to.
    """
    out = folder_of(config)
    # The run-length masks are the bulk of a record, and neither table nor report needs them.
    records = [_without_rle(record) for record in read_records(out / RECORDS, Detection)]
    verdicts = Counter(record.verdict for record in records)
    root, photos = image_root(config.images), {photo.name for photo in found.photos}
    shown = Counter(len(record.references) for record in records if record.error is None)
    summary = DetectSummary(
        counts={verdict: verdicts[verdict] for verdict in ("anomalous", "normal", "undecided")},
        errors=sum(record.error is not None for record in records),
        out=out,
        skipped=skipped,
        without_reference=shown[0] if compared.folder is not None else 0,
        fewer_references=sum(shown[count] for count in range(1, config.shots)),
        among_references=compared.among,
        damaged_references=compared.damaged,
        no_score=no_score,
        joined=joined,
        gone=sum(one.image not in photos and not (root / one.image).exists() for one in records),
        left_out=found.left_out,
        passed_by=found.passed_by,
    )
    write_csv(out / TABLE, records)
    if config.report:
        write_report(
            out / REPORT,
            records,
            images=root,
            info=_dated(info[HEAD], no_score),
            language=config.language,
            references=image_root(compared.folder) if compared.folder is not None else None,
        )
    names = ("counts", "errors", "without_reference", "fewer_references", "gone", "left_out", "passed_by")
    figures = {name: getattr(summary, name) for name in (*names, *REFERENCE_FIGURES)}
    write_run(out, {**info, **figures, "no_score": no_score})
    return summary


def _without_rle(record: Detection) -> Detection:
    defects = tuple(defect.model_copy(update={"mask_rle": None}) for defect in record.defects)
    return record.model_copy(update={"defects": defects})


def _dated(head: Mapping[str, str], no_score: str | None) -> dict[str, str]:
    dated = {**head, "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")}
    return {**dated, "No scores": no_score} if no_score else dated


def head_of(
    config: DetectConfig,
    engine: Engine,
    *,
    settings: InspectSettings,
    calibration: Calibration | None,
    info: Mapping[str, Any],
) -> dict[str, str]:
    """What the report's head says about a run.

    Args:
        config: The stage's settings.
        engine: The model.
        settings: How it is asked.
        calibration: What threshold and band come from.
        info: As `provenance.describe` gives it.
    """
    head = {
        "Photos": str(config.images),
        "Model": engine.model,
        "Weights": engine.fingerprint,
        "Mode": config.mode,
        **_verdict_rule(settings, calibration),
        "Masks": config.segmenter if config.masks else "none",
        "References": str(config.references) if config.references else "none",
        "Config hash": info["config_hash"],
        "Protocol": settings.digest,
        "Versions": _versions(info),
        "Licences": _licences(config, engine),
    }
    if config.model == "tiny":
        head["Note"] = "tiny is a demonstration trained on drawn pictures, not an inspector of real products"
    return head


def _verdict_rule(settings: InspectSettings, calibration: Calibration | None) -> dict[str, str]:
    """What verdicts were drawn with; nothing where they are as the model writes."""
    if settings.mode == "think":
        return {}
    rule = {"Threshold": f"{settings.limit:.9g}"}
    if settings.band is not None:
        rule["Undecided between"] = f"{settings.band[0]:.9g} and {settings.band[1]:.9g}"
    return rule if calibration is None else {**rule, "Calibration": calibration.told}


def _versions(info: Mapping[str, Any]) -> str:
    used = {"iadr1": info["iadr1"], "Python": info["python"], **info["packages"]}
    return ", ".join(f"{name} {version}" for name, version in used.items())


def _licences(config: DetectConfig, engine: Engine) -> str:
    own = engine.model == "tiny" or Path(engine.model).resolve().is_relative_to(EMBEDDED.resolve())
    model = "CC0-1.0 (part of iadr1)" if own else engine.profile.licence
    return f"model: {model}" + (f"; masks: {licence_of(config.segmenter)}" if config.masks else "")
