"""`iadr1 calibrate`: a threshold for a budget of false alarms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import SHOTS, check_suffix, option, server_options
from iadr1.cli.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iadr1.stages.calibrate import CalibrateSummary
    from iadr1.stages.inspection import Calibration

EPILOG = (
    "Example: `iadr1 calibrate --normals good/ --fpr 0.05` writes calibration.json; `iadr1 detect parts/ --calibration "
    "calibration.json` then calls at most 5 of 100 good products anomalous, on average.\n\n"
    "How many of the bad ones it finds: `iadr1 calibrate --normals good/ --anomalies bad/ --fpr 0.01`.\n\n"
    "Exit code: 0 all photos scored, 1 at least one was not and is left out, 2 called wrongly or too few photos."
)

_CONFIG = configs.CalibrateConfig
_NORMALS = "Folder of photos of good products that the model was not trained on."


@server_options(_CONFIG)
def calibrate(
    normals: Annotated[Path, typer.Option("--normals", help=_NORMALS, show_default=False)],
    fpr: Annotated[float | None, option(_CONFIG, "fpr")] = None,
    anomalies: Annotated[Path | None, option(_CONFIG, "anomalies")] = None,
    out: Annotated[Path | None, option(_CONFIG, "out", text="The file to write.")] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    engine: Annotated[str | None, option(_CONFIG, "engine")] = None,
    references: Annotated[Path | None, option(_CONFIG, "references")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots", text=SHOTS)] = None,
    tiles: Annotated[str | None, option(_CONFIG, "tiles")] = None,
    glob: Annotated[str | None, option(_CONFIG, "glob")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    overwrite: Annotated[
        bool | None,
        option(_CONFIG, "overwrite", "--overwrite", text="Replace another calibration in --out."),
    ] = None,
    **server: Any,
) -> None:
    """Find the score above which a photo is called anomalous, for a budget of false alarms.

    The photos have to be as those that will be inspected: same camera, same products, not trained on. The budget
    holds for new photos like them, whatever the model is; it is refused where there are too few photos to claim it.
    Scores so near the threshold that other photos could have put them on the other side will be `undecided`.
    """
    given = locals()
    config = configs.build(_CONFIG, given=given | given.pop("server"))
    check_suffix(config.out, ".json")
    from iadr1.stages import calibrate as stage

    with terminal.bar("scoring") as progress:
        summary = stage.run(config, progress=progress, on_note=lambda line: terminal.note(plain(line)))
    _print_summary(summary)
    if summary.errors:
        raise typer.Exit(1)


def _print_summary(summary: CalibrateSummary) -> None:
    from iadr1.stages.inspection.photos import told_left_out

    found = summary.calibration
    terminal.say(f"threshold  {found.threshold:.6g}, undecided from {found.band[0]:.6g} to {found.band[1]:.6g}")
    terminal.say(
        f"claim      at most {_percent(found.fpr_budget)} of good products are called anomalous, on average "
        f"({found.normals} normal photos, at least {found.normals_needed} needed)"
    )
    terminal.say(f"normals    {_verdicts(found, found.scores.normals, 'normal')}")
    terminal.say(
        f"           above the threshold, undecided ones among them: {found.false_alarms}, "
        f"{_range(found.fpr_interval_95)} (exact 95 %); new ones {_range(found.true_fpr_interval_95)}"
    )
    if found.recall_interval_95 is not None:
        terminal.say(f"anomalies  {_verdicts(found, found.scores.anomalies, 'missed')}")
        terminal.say(
            f"           above the threshold, undecided ones among them: {found.found}, "
            f"{_range(found.recall_interval_95)} (exact 95 %)"
        )
    if summary.among_references:
        terminal.say(
            f"compared   {summary.among_references} of the photos are among the references themselves; none was "
            "compared with its own copy"
        )
    damaged = tuple(f"reference {why}" for why in summary.damaged_references)
    for left_out in (summary.errors, summary.copies, damaged):
        for why in left_out[:5]:
            terminal.say(f"left out   {plain(why)}")
        if len(left_out) > 5:
            terminal.say(f"left out   {len(left_out) - 5} more")
    if told := told_left_out(summary.left_out):
        terminal.say(plain(told))
    terminal.say(f"{'unchanged' if summary.unchanged else 'wrote':<10} {summary.out}")
    terminal.say(
        f"use        iadr1 detect PHOTOS --calibration {summary.out}, with the same model, engine, --dtype, "
        "--references, --shots and --tiles"
    )


def _verdicts(found: Calibration, scores: Sequence[float], below: str) -> str:
    """What `detect` calls the photos with these scores; adds up to all of them."""
    counts = found.verdicts(scores)
    parts = f"{counts['anomalous']} anomalous, {counts['undecided']} undecided, {counts['normal']} {below}"
    return f"{len(scores)}: {parts}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _range(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.2g} to {_percent(interval[1])}"
