"""`iadr1 score` and `iadr1 compare`: figures from answers on disk, and whether two runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iadr1.cli import terminal

if TYPE_CHECKING:
    from iadr1.stages.score import CompareResult, Measured

SCORE_EPILOG = (
    "Example: `iadr1 eval mmad`, then `iadr1 score runs/eval-mmad`; metrics.json, table.md and table.tex are written "
    "to runs/eval-mmad/score, with --report also heat_map.png, categories.png and report.html.\n\n"
    "The shards of a run: `iadr1 score runs/eval-mmad`, where shard-1-of-2 and shard-2-of-2 lie.\n\n"
    "The answers of MMAD's own scripts: `iadr1 score answers_1_shot_model.json --from mmad`, with `--data` to learn "
    "which questions are missing.\n\n"
    "strict: an answer that cannot be read is wrong (the headline). parsed: it is left out. mmad_compat: what MMAD's "
    "published script prints, faults included; compare this one with published tables."
)
COMPARE_EPILOG = (
    "Example: `iadr1 compare runs/base runs/tuned`. Differences are B minus A, with 95 % bootstrap intervals over "
    "images and the p-value of a paired randomisation test by image; single questions by McNemar's exact test.\n\n"
    "Runs that were asked differently (protocol, --scoring, domain knowledge) are refused unless --across-protocols is "
    "given; other samples are always refused."
)

_Source = Annotated[
    str,
    typer.Option("--from", help="Format of the answers: `iadr1`, or `mmad` for the answers file of MMAD's scripts."),
]
_Data = Annotated[
    Path | None, typer.Option(help="Samples that were asked (default: what run.json names).", show_default=False)
]
_Partial = Annotated[
    bool, typer.Option("--partial", help="Score what is there where answers are missing or doubled.", metavar="")
]
_Leaks = Annotated[
    Path | None,
    typer.Option(
        help="Leak manifest that the run was compared with (default: where run.json says).", show_default=False
    ),
]
_Seed = Annotated[
    int | None, typer.Option(help="Seed of intervals and tests (default: the run's, else 0).", show_default=False)
]


def score(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="predictions.jsonl, its folder or that of its shards, or answers.")
    ],
    source: _Source = "iadr1",
    data: _Data = None,
    leaks: _Leaks = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of the images, for masks and --report (default: as run.json).", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results (default: `score` beside FILE).", show_default=False)
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write pictures and report.html, the answers to browse.", metavar="")
    ] = False,
    partial: _Partial = False,
    seed: _Seed = None,
) -> None:
    """Score answers on disk, without a model: the subtasks by dataset, beside published rows.

    Missing and doubled answers are listed and refused; so are answers of another protocol, model or data version.
    """
    from iadr1.stages import score as stage

    settings = stage.ScoreSettings(source, data, leaks, root, partial, report, seed)
    _show(stage.score(file, settings, out=out))


def _show(result: Measured) -> None:
    from iadr1.reports.grid import to_rich

    terminal.out.print(to_rich(result.tables[0]))
    metrics = result.metrics
    terminal.say(f"{metrics['questions']} questions about {metrics['images']} images")
    if metrics.get("without_truth"):
        terminal.note(f"without a right letter, left out: {metrics['without_truth']}")
    if result.gaps:
        terminal.note(f"partial: {result.gaps.describe()}")
    for note in result.notes:
        terminal.note(note)
    for path in result.files:
        terminal.say(str(path))


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A run: predictions.jsonl or its folder, or an answers file.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The other run, on the same questions.")],
    source: _Source = "iadr1",
    data: _Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.json, .md and .tex (default: none).", show_default=False)
    ] = None,
    partial: _Partial = False,
    across_protocols: Annotated[
        bool, typer.Option("--across-protocols", help="Compare runs that were asked differently.", metavar="")
    ] = False,
    seed: _Seed = None,
) -> None:
    """Compare two runs on the same questions: every difference with its interval and p-value."""
    from iadr1.stages import score as stage

    settings = stage.ScoreSettings(source, data, partial=partial, seed=seed)
    result = stage.compare(a, b, settings, across_protocols=across_protocols, out=out)
    _show_comparison(result)
    if out is not None:
        for name in ("compare.json", "compare.md", "compare.tex"):
            terminal.say(str(out / name))


def _show_comparison(result: CompareResult) -> None:
    from iadr1.reports.grid import to_rich

    for table in result.tables:
        terminal.out.print(to_rich(table))
    terminal.say(f"{result.content['questions']} questions")
    if not result.content["complete"]:
        terminal.note("partial: only questions that both have answered are compared")
