"""`iadr1 detect`: verdict, reasoning, boxes and masks for every photo of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from iadr1.config import DetectConfig
from iadr1.masks import load_segmenter
from iadr1.models import Engine
from iadr1.provenance import describe, write_run
from iadr1.records import Detection, RecordWriter, read_records
from iadr1.reports.html import write_csv, write_report
from iadr1.stages.detect.folder import RECORDS, REPORT, TABLE, check_folder, claim, make_folder, run_key, take_up
from iadr1.stages.detect.settings import check_settings, folder_of, of_shard, settings_of
from iadr1.stages.inspection import (
    Inspector,
    InspectSettings,
    References,
    artefacts,
    find_photos,
    image_root,
    load_batches,
)
from iadr1.stages.inspection.setup import engine_of, photos_at_a_time

__all__ = ["DetectSummary", "run"]


@dataclass(frozen=True)
class DetectSummary:
    """What a run left in its folder.

    Attributes:
        counts: Photos by verdict; the values add up to the number of records.
        errors: Photos that could not be looked at; they are among the undecided.
        out: The folder.
        skipped: Photos an earlier run had already done.
        without_reference: Photos looked at without one although a folder was given.
        no_score: Why photos have no anomaly score, where the engine gives none.
    """

    counts: dict[str, int]
    errors: int
    out: Path
    skipped: int = 0
    without_reference: int = 0
    no_score: str | None = None


def run(
    config: DetectConfig, *, progress: Callable[[int, int], None] | None = None, engine: Engine | None = None
) -> DetectSummary:
    """Look at every photo and write records, masks, overlays, `summary.csv`, `report.html` and `run.json`.

    Photos that already have a record in the folder are skipped, so that a killed run goes on where it stopped; those
    that failed are tried again. Nothing is made or changed before settings and model are known to be good.

    Args:
        config: The stage's settings.
        progress: Called with (photos done, photos in all).
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no photos, or the folder holds the results of other settings.
        ModelError: The model cannot be loaded or used.
        OutputError: The folder cannot be written to.
    """
    check_settings(config, engine_given=engine is not None)
    photos = of_shard(config, find_photos(config.images, config.out, glob=config.glob))
    references = References(config.references, shots=config.shots) if config.references else None
    out = folder_of(config)
    check_folder(out)
    engine = engine or engine_of(config)
    settings = settings_of(config, engine.fingerprint)
    inspector = Inspector(
        engine, settings, segmenter=load_segmenter(config.segmenter, device=config.device) if config.masks else None
    )
    key = run_key(config, engine, settings)
    claim(config, out, key)
    make_folder(out)
    info = describe("detect", config, extra={"run_key": key, "asked": settings.digest})
    write_run(out, info)
    done = take_up(config, out, photos)
    waiting = [photo for photo in photos if photo.name not in done]
    skipped = finished = len(photos) - len(waiting)
    report = progress or (lambda done, total: None)
    report(finished, len(photos))
    with RecordWriter(out / RECORDS) as writer:
        for batch in load_batches(waiting, references, photos_at_a_time(config)):
            for item, finding in zip(batch, inspector.findings(batch), strict=True):
                writer.write(artefacts.write(finding, out, item.photo.slug, overlays=config.overlays))
            writer.flush()
            finished += len(batch)
            report(finished, len(photos))
    return _finish(config, info, settings, skipped=skipped, no_score=inspector.no_score)


def _finish(
    config: DetectConfig, info: dict[str, Any], settings: InspectSettings, *, skipped: int, no_score: str | None
) -> DetectSummary:
    out = folder_of(config)
    # The run-length masks are the bulk of a record, and neither table nor report needs them.
    records = [_without_rle(record) for record in read_records(out / RECORDS, Detection)]
    verdicts = Counter(record.verdict for record in records)
    summary = DetectSummary(
        counts={verdict: verdicts[verdict] for verdict in ("anomalous", "normal", "undecided")},
        errors=sum(record.error is not None for record in records),
        out=out,
        skipped=skipped,
        without_reference=sum(not record.references and record.error is None for record in records)
        if config.references
        else 0,
        no_score=no_score,
    )
    write_csv(out / TABLE, records)
    if config.report:
        head = _report_head(config, info, settings, no_score)
        write_report(out / REPORT, records, images=image_root(config.images), info=head, language=config.language)
    figures = {"counts": summary.counts, "errors": summary.errors, "without_reference": summary.without_reference}
    write_run(out, {**info, **figures, "no_score": no_score})
    return summary


def _without_rle(record: Detection) -> Detection:
    defects = tuple(defect.model_copy(update={"mask_rle": None}) for defect in record.defects)
    return record.model_copy(update={"defects": defects})


def _report_head(
    config: DetectConfig, info: dict[str, Any], settings: InspectSettings, no_score: str | None
) -> dict[str, str]:
    head = {
        "Photos": str(config.images),
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "Model": info["run_key"]["model"],
        "Weights": info["run_key"]["weights"],
        "Mode": config.mode,
        **_verdict_rule(settings),
        "Masks": config.segmenter if config.masks else "none",
        "References": str(config.references) if config.references else "none",
        "Config hash": info["config_hash"],
        "Protocol": settings.digest,
        "iadr1": info["iadr1"],
    }
    if config.model == "tiny":
        head["Note"] = "tiny is a demonstration trained on drawn pictures, not an inspector of real products"
    return {**head, "No scores": no_score} if no_score else head


def _verdict_rule(settings: InspectSettings) -> dict[str, str]:
    """What verdicts were drawn with; nothing where they are as the model writes."""
    if settings.mode == "think":
        return {}
    rule = {"Threshold": f"{settings.limit:.6g}"}
    if settings.band is not None:
        rule["Undecided between"] = f"{settings.band[0]:.6g} and {settings.band[1]:.6g}"
    return {**rule, "Calibration": settings.calibration} if settings.calibration else rule
