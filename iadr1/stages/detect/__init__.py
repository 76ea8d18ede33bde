"""`iadr1 detect`: verdict, reasoning, boxes and masks for every photo of a folder."""

from __future__ import annotations

from collections.abc import Callable

from iadr1.config import DetectConfig
from iadr1.masks import load_segmenter
from iadr1.models import Engine
from iadr1.provenance import describe
from iadr1.records import Detection, read_records
from iadr1.stages.detect.folder import RECORDS, check_folder, claim, locked, model_key, run_key
from iadr1.stages.detect.joining import join
from iadr1.stages.detect.photos import find
from iadr1.stages.detect.results import Results
from iadr1.stages.detect.settings import check_settings, folder_of, of_shard
from iadr1.stages.detect.summary import HEAD, Compared, DetectSummary, finish, head_of
from iadr1.stages.inspection import Inspector, References, load_batches
from iadr1.stages.inspection.calibrated import parse_calibration
from iadr1.stages.inspection.setup import (
    calibrated,
    calibration_of,
    check_way,
    engine_of,
    photos_at_a_time,
    references_of,
)

__all__ = ["DetectSummary", "run"]


def run(
    config: DetectConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    engine: Engine | None = None,
) -> DetectSummary:
    """Look at every photo and write records, masks, overlays, `summary.csv`, `report.html` and `run.json`.

    Photos that already have a record in the folder are skipped, so that a killed run goes on where it stopped; those
    that failed are tried again. No other run may write into the folder meanwhile. Results that are to be replaced stay
    until the first photo has been answered. With `join` the shards of `out` become one folder instead (see
    `joining.join`).

    Args:
        config: The stage's settings.
        progress: Called with (photos done, photos in all).
        on_note: Told what is to be known before the first photo, in lines.
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no photos, the folder holds the results of other settings, or another run
            writes into it.
        ModelError: The model cannot be loaded or used.
        OutputError: The folder cannot be written to.
    """
    if config.join:
        return join(config, progress=progress)
    check_settings(config, engine_given=engine is not None)
    found = find(config, glob=config.glob)
    photos, out = of_shard(config, found.photos), folder_of(config)
    references = references_of(config, on_note, out=config.out)
    check_folder(out)
    check_way(config, engine, references, photos=found.photos)
    settings = calibrated(config, parse_calibration(config.calibration) if config.calibration is not None else None)
    info = describe("detect", config, extra={"run_key": run_key(config, settings, references)})
    claim(out, info, overwrite=config.overwrite)  # what cannot go on is refused before the model is loaded
    with locked(out):
        engine = engine or engine_of(config, on_note)
        calibration = calibration_of(config, engine, photos=found.photos, references=references)
        segmenter = load_segmenter(config.segmenter, device=config.device) if config.masks else None
        inspector = Inspector(engine, settings, segmenter=segmenter)
        info |= {"run_key": info["run_key"] | model_key(engine), "asked": settings.digest}
        replace = claim(out, info, overwrite=config.overwrite)
        info[HEAD] = head_of(config, engine, settings=settings, calibration=calibration, info=info)
        with Results(config, info, replace=replace) as results:
            waiting = results.waiting(photos)
            skipped = finished = len(photos) - len(waiting)
            report = progress or (lambda done, total: None)
            report(finished, len(photos))
            for batch in load_batches(waiting, references, photos_at_a_time(config)):
                results.add(batch, inspector.findings(batch))
                finished += len(batch)
                report(finished, len(photos))
        compared = _compared(config, references)
        return finish(config, info, found=found, compared=compared, skipped=skipped, no_score=inspector.no_score)


def _compared(config: DetectConfig, references: References | None) -> Compared:
    """What the photos of all runs in the folder were compared with."""
    if references is None:
        return Compared()
    records = read_records(folder_of(config) / RECORDS, Detection)
    among = sum(references.holds(record.image_sha256) for record in records if record.error is None)
    return Compared(config.references, among, references.damaged)
