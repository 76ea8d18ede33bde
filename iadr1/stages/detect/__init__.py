"""`iadr1 detect`: verdict, reasoning, boxes and masks for every photo of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from iadr1.config import DetectConfig
from iadr1.errors import UsageError
from iadr1.masks import check_segmenter
from iadr1.models import LoadOptions, load_engine
from iadr1.models.base import Engine
from iadr1.provenance import describe, write_run
from iadr1.records import Detection, RecordWriter, read_records
from iadr1.reports.html import write_csv, write_report
from iadr1.stages.detect.detector import Detector
from iadr1.stages.detect.folder import RECORDS, REPORT, TABLE, check_folder, claim, make_folder, run_key, take_up
from iadr1.stages.detect.photos import References, find_photos, image_root, load_batches

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
    _check(config)
    photos = find_photos(config.images, config.out, glob=config.glob)
    references = References(config.references) if config.references else None
    check_folder(config.out)
    engine = engine or load_engine(
        config.engine, config.model, LoadOptions(config.device, config.dtype, config.attention, config.batch_size)
    )
    detector = Detector(config, engine)
    key = run_key(config, engine)
    claim(config, key)
    make_folder(config.out)
    info = describe("detect", config, extra={"run_key": key})
    write_run(config.out, info)
    done = take_up(config, photos)
    waiting = [photo for photo in photos if photo.name not in done]
    skipped = finished = len(photos) - len(waiting)
    report = progress or (lambda done, total: None)
    report(finished, len(photos))
    with RecordWriter(config.out / RECORDS) as writer:
        for batch in load_batches(waiting, references, config.batch_size):
            for record in detector.detect(batch):
                writer.write(record)
            writer.flush()
            finished += len(batch)
            report(finished, len(photos))
    return _finish(config, info, skipped=skipped, no_score=detector.no_score)


def _check(config: DetectConfig) -> None:
    """Refuse what cannot be, and what would silently be left out."""
    for name, value in (("batch_size", config.batch_size), ("max_new_tokens", config.max_new_tokens)):
        if value < 1:
            raise UsageError(f"{name} is {value}, it must be at least 1")
    check_segmenter(config.segmenter)
    if not config.masks and config.segmenter != DetectConfig.segmenter:
        raise UsageError(f"the segmenter {config.segmenter!r} draws nothing without masks", hint="add --masks")


def _finish(config: DetectConfig, info: dict[str, Any], *, skipped: int, no_score: str | None) -> DetectSummary:
    # The run-length masks are the bulk of a record, and neither table nor report needs them.
    records = [_without_rle(record) for record in read_records(config.out / RECORDS, Detection)]
    verdicts = Counter(record.verdict for record in records)
    summary = DetectSummary(
        counts={verdict: verdicts[verdict] for verdict in ("anomalous", "normal", "undecided")},
        errors=sum(record.error is not None for record in records),
        out=config.out,
        skipped=skipped,
        without_reference=sum(not record.references and record.error is None for record in records)
        if config.references
        else 0,
        no_score=no_score,
    )
    write_csv(config.out / TABLE, records)
    if config.report:
        head = _report_head(config, info, no_score)
        write_report(config.out / REPORT, records, images=image_root(config.images), info=head)
    figures = {"counts": summary.counts, "errors": summary.errors, "without_reference": summary.without_reference}
    write_run(config.out, {**info, **figures, "no_score": no_score})
    return summary


def _without_rle(record: Detection) -> Detection:
    defects = tuple(defect.model_copy(update={"mask_rle": None}) for defect in record.defects)
    return record.model_copy(update={"defects": defects})


def _report_head(config: DetectConfig, info: dict[str, Any], no_score: str | None) -> dict[str, str]:
    head = {
        "Photos": str(config.images),
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "Model": info["run_key"]["model"],
        "Masks": config.segmenter if config.masks else "none",
        "References": str(config.references) if config.references else "none",
        "Config hash": info["config_hash"],
        "iadr1": info["iadr1"],
    }
    if config.model == "tiny":
        head["Note"] = "tiny is a demonstration trained on drawn pictures, not an inspector of real products"
    return {**head, "No scores": no_score} if no_score else head
