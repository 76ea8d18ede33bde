"""`iadr1 export`: detections in the format of an annotation tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from iadr1.cli import terminal
from iadr1.cli.plain import plain

_NAMED = 5
"""Most photos named that were left out for their names."""

EPILOG = (
    "Example: `iadr1 export runs/detect --format coco --out detections.json`.\n\n"
    "Files: coco (.json), cvat (.xml), label-studio (.json), csv (.csv). Folders: yolo, yolo-seg and labelme, with the "
    "photos in them where --images is given, and mvtec, which needs --images.\n\n"
    "Photos that are undecided or could not be looked at are left out and counted, since most formats would call them "
    "normal; csv holds these too. Nothing that is there already is changed: the same export can be run again, for "
    "another one name another --out.\n\n"
    "Exit code: 0 written, 1 a record is wrong, or a photo was left out for its name, 2 called wrongly."
)


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="detections.jsonl of `iadr1 detect`, or the folder it lies in.")
    ],
    fmt: Annotated[
        str,
        typer.Option(
            "--format",
            help="coco, yolo, yolo-seg, labelme, cvat, label-studio, csv or mvtec.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file or folder to write.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the photos, as `detect` looked at it; each is checked to be there."),
    ] = None,
    only: Annotated[
        Literal["anomalous", "normal", "undecided"] | None,
        typer.Option("--only", help="Only photos of this verdict (default: anomalous and normal; csv: all)."),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Only photos with an anomaly score of at least this, 0..1.")
    ] = None,
) -> None:
    """Write what `iadr1 detect` found for an annotation tool.

    Every record is checked first: nothing is written where one is wrong.
    """
    from iadr1.stages import export as stage

    plan = stage.Export(file=file, fmt=fmt, out=out, images=images, only=only, min_score=min_score)
    with terminal.task_bars() as progress:
        summary = stage.run(plan, progress=progress)
    photos = ", ".join(f"{count} {verdict}" for verdict, count in sorted(summary.photos.items()))
    count, defects = sum(summary.photos.values()), terminal.counted(summary.defects, "defect")
    terminal.say(f"{out}: {terminal.counted(count, 'photo')} ({photos}) with {defects} for {fmt}")
    for reason, count in sorted(summary.left_out.items()):
        terminal.say(f"left out {terminal.counted(count, 'photo')}: {reason}")
    for line in summary.lines:
        terminal.say(line)
    for name in summary.unnamed[:_NAMED]:
        terminal.note(f"error: {plain(name)}: rename the photo and run `iadr1 detect` again")
    if summary.unnamed:
        terminal.note(f"error: {terminal.counted(len(summary.unnamed), 'photo')} left out for a backslash in the name")
        raise typer.Exit(1)
