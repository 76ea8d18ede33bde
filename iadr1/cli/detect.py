"""`iadr1 detect`: verdict, reasoning, boxes and masks for photos."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import SHOTS, option, server_options
from iadr1.cli.plain import named, plain

if TYPE_CHECKING:
    from iadr1.records import Detection
    from iadr1.stages.detect import DetectSummary

_WORST = 5
"""How many of the worst and of the failed photos are named; the report names all."""

EPILOG = (
    "Example: `iadr1 detect images/ --masks` looks at every photo below images/ and writes detections.jsonl, masks/, "
    "overlays/ and report.html to runs/detect.\n\n"
    "Own photos, with photos of good products to compare against and a larger model: "
    "`iadr1 detect parts/ --masks --references good/ --model Qwen/Qwen2.5-VL-3B-Instruct --out runs/parts`.\n\n"
    "At most one false alarm in twenty: `iadr1 calibrate --normals good/ --fpr 0.05`, then "
    "`iadr1 detect parts/ --calibration calibration.json`.\n\n"
    "A served model: `iadr1 detect parts/ --engine server --base-url http://localhost:8000/v1 --family qwen2_5_vl "
    "--model NAME`.\n\n"
    "On four machines: `iadr1 detect parts/ --out runs/parts --shard 1/4` to `--shard 4/4`, then "
    "`iadr1 detect parts/ --out runs/parts --join`.\n\n"
    "Exit code: 0 all photos read, 1 at least one failed (its record says why), 2 called wrongly."
)

_CONFIG = configs.DetectConfig


@server_options(_CONFIG)
def detect(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A photo or a folder of photos.")],
    masks: Annotated[bool | None, option(_CONFIG, "masks", "--masks/--no-masks")] = None,
    out: Annotated[Path | None, option(_CONFIG, "out", text="Folder for the results.")] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    engine: Annotated[str | None, option(_CONFIG, "engine")] = None,
    mode: Annotated[str | None, option(_CONFIG, "mode")] = None,
    reasoning: Annotated[str | None, option(_CONFIG, "reasoning")] = None,
    threshold: Annotated[float | None, option(_CONFIG, "threshold")] = None,
    calibration: Annotated[Path | None, option(_CONFIG, "calibration")] = None,
    references: Annotated[Path | None, option(_CONFIG, "references")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots", text=SHOTS)] = None,
    tiles: Annotated[str | None, option(_CONFIG, "tiles")] = None,
    glob: Annotated[str | None, option(_CONFIG, "glob")] = None,
    segmenter: Annotated[str | None, option(_CONFIG, "segmenter")] = None,
    overlays: Annotated[bool | None, option(_CONFIG, "overlays", "--overlays/--no-overlays")] = None,
    report: Annotated[bool | None, option(_CONFIG, "report", "--report/--no-report")] = None,
    language: Annotated[str | None, option(_CONFIG, "language")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    shard: Annotated[
        str | None, option(_CONFIG, "shard", text="Only part I of N, written I/N from 1, into a folder of its own.")
    ] = None,
    join: Annotated[bool | None, option(_CONFIG, "join", "--join")] = None,
    overwrite: Annotated[bool | None, option(_CONFIG, "overwrite", "--overwrite")] = None,
    **server: Any,
) -> None:
    """Say for every photo whether it is bad, where, why and how sure.

    By default every photo is scored by the probability that it is bad, and the model reasons about those that are
    above the threshold; where it then says otherwise the photo is `undecided`. `--mode direct` only scores, `--mode
    think` reasons about every photo and goes by what is written. `iadr1 calibrate` finds a threshold for a budget of
    false alarms.

    An answer that cannot be read is `undecided`, never `normal`. A photo that cannot be read gets a record with the
    error, and the others go on.
    """
    given = locals()
    config = configs.build(_CONFIG, given=given | given.pop("server"))
    from iadr1.stages import detect as stage

    with terminal.bar("joining" if config.join else "looking") as progress:
        summary = stage.run(config, progress=progress, on_note=lambda line: terminal.note(plain(line)))
    _print_summary(summary)
    if summary.errors:
        raise typer.Exit(1)


def _print_summary(summary: DetectSummary) -> None:
    from iadr1.records import Detection, read_records

    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in summary.counts.items())
    unread = f" ({summary.errors} could not be looked at)" if summary.errors else ""
    terminal.say(f"{terminal.counted(sum(summary.counts.values()), 'photo')}: {verdicts}{unread}")
    for line in (*_photos(summary), *_references(summary)):
        terminal.say(plain(line))
    if summary.no_score:
        terminal.say(f"no scores: {plain(summary.no_score)}")
    records = summary.out / "detections.jsonl"
    defective = (record for record in read_records(records, Detection) if record.verdict == "anomalous")
    for place, record in enumerate(nlargest(_WORST, defective, key=_badness)):
        terminal.say(f"{'worst' if place == 0 else '':<7} {plain(record.image)}  {_findings(record)}")
    failed = (record for record in read_records(records, Detection) if record.error)
    for place, record in enumerate(islice(failed, _WORST)):
        terminal.say(f"{'failed' if place == 0 else '':<7} {_failure(record)}")
    if summary.errors > _WORST:
        terminal.say(f"{'':<7} {summary.errors - _WORST} more, whose records say why")
    for name in ("report.html", "detections.jsonl", "summary.csv", "masks", "overlays", "run.json"):
        if (summary.out / name).exists():
            terminal.say(f"wrote   {summary.out / name}")


def _photos(summary: DetectSummary) -> Iterator[str]:
    """Where the photos come from, and which files are none."""
    from iadr1.stages.detect.photos import told_passed_by
    from iadr1.stages.inspection.photos import told_left_out

    if summary.joined:
        yield f"joined  {terminal.counted(summary.joined, 'shard')}"
    if summary.skipped:
        yield f"{summary.skipped} of them had a result from an earlier run"
    if summary.gone:
        what = "photo of an earlier run is" if summary.gone == 1 else "photos of earlier runs are"
        yield f"{summary.gone} {what} not in the folder any more; what was found in it is kept"
    yield from filter(None, (told_left_out(summary.left_out), told_passed_by(summary.passed_by)))


def _references(summary: DetectSummary) -> Iterator[str]:
    """What is to be known of the photos that others were compared with."""
    for count, what in (
        (summary.without_reference, "had no matching reference"),
        (summary.fewer_references, "had fewer references than --shots says"),
        (summary.among_references, "are among the references themselves; none was compared with its own copy"),
    ):
        if count:
            yield f"{count} {what}"
    if damaged := summary.damaged_references:
        yield f"{len(damaged)} of the references cannot be read and are left out, the first: {damaged[0]}"


def _failure(record: Detection) -> str:
    """Why a photo failed; an error of the file names it, one of the model does not."""
    image, error = plain(record.image), plain(record.error or "")
    return error if image in error else f"{image}: {error}"


def _badness(record: Detection) -> tuple[float, int, int]:
    """Score first, then the number of defects and their area."""
    areas = [defect.area_px or 0 for defect in record.defects]
    return (record.score if record.score is not None else 0.0, len(areas), sum(areas))


def _findings(record: Detection) -> str:
    score = [f"score {_digits(record.score)}"] if record.score is not None else []
    return ", ".join([*score, *named([defect.label for defect in record.defects])])


def _digits(score: float) -> str:
    """Two digits behind the point where that is all there is, else six that count: a threshold may lie at .9999."""
    short, long = f"{score:.2f}", f"{score:.6g}"
    return short if float(short) == float(long) else long
