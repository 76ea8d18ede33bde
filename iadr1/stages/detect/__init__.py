"""`iadr1 detect`: verdict, reasoning, boxes and masks for every photo of a folder."""

from __future__ import annotations

from collections.abc import Callable

from iadr1.config import DetectConfig
from iadr1.masks import load_segmenter
from iadr1.models import Engine
from iadr1.provenance import describe, write_run
from iadr1.records import Detection, RecordWriter, read_records
from iadr1.stages.detect.folder import RECORDS, check_folder, claim, make_folder, run_key, take_up
from iadr1.stages.detect.joining import join
from iadr1.stages.detect.settings import check_settings, folder_of, of_shard
from iadr1.stages.detect.summary import HEAD, Compared, DetectSummary, finish, head_of
from iadr1.stages.inspection import Inspector, References, artefacts, find_photos, load_batches
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
    that failed are tried again. Nothing is made or changed before settings and model are known to be good. With
    `join` the shards of `out` become one folder instead (see `joining.join`).

    Args:
        config: The stage's settings.
        progress: Called with (photos done, photos in all).
        on_note: Told what is to be known before the first photo, in lines.
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be, no photos, or the folder holds the results of other settings.
        ModelError: The model cannot be loaded or used.
        OutputError: The folder cannot be written to.
    """
    if config.join:
        return join(config, progress=progress)
    check_settings(config, engine_given=engine is not None)
    everything = find_photos(config.images, config.out, glob=config.glob)
    photos = of_shard(config, everything)
    references = references_of(config, on_note, out=config.out)
    out = folder_of(config)
    check_folder(out)
    check_way(config, engine, references, photos=everything)
    engine = engine or engine_of(config, on_note)
    calibration = calibration_of(config, engine, photos=everything, references=references)
    settings = calibrated(config, calibration)
    inspector = Inspector(
        engine, settings, segmenter=load_segmenter(config.segmenter, device=config.device) if config.masks else None
    )
    key = run_key(config, engine, settings, references)
    info = describe("detect", config, extra={"run_key": key, "asked": settings.digest})
    claim(out, info, overwrite=config.overwrite)
    make_folder(out)
    info[HEAD] = head_of(config, engine, settings=settings, calibration=calibration, info=info)
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
    compared = _compared(config, references)
    names = {photo.name for photo in everything}
    return finish(config, info, photos=names, compared=compared, skipped=skipped, no_score=inspector.no_score)


def _compared(config: DetectConfig, references: References | None) -> Compared:
    """What the photos of all runs in the folder were compared with."""
    if references is None:
        return Compared()
    records = read_records(folder_of(config) / RECORDS, Detection)
    among = sum(references.holds(record.image_sha256) for record in records if record.error is None)
    return Compared(config.references, among, references.damaged)
