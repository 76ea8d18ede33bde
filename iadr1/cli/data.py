"""`iadr1 data`: check, count and look at samples files, and list their licences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iadr1.cli import terminal
from iadr1.cli.options import check_suffix
from iadr1.cli.plain import plain

if TYPE_CHECKING:
    from iadr1.reports.grid import Grid, Row
    from iadr1.stages.inspect.check import CheckSummary
    from iadr1.stages.inspect.stats import Count, Stats

HELP = "Check, count and look at samples files, and list their licences."

CHECK_EPILOG = (
    "Example: `iadr1 data check data/mmad.jsonl --out findings.jsonl`.\n\n"
    "Looked at: schema, ids, options and answers, verdicts against defects, files (their header; with --hash all "
    "of it), boxes inside the image and in one kind of coordinates, mask sizes, location words, references, "
    "licences.\n\n"
    "Exit code: 0 without errors (there may be warnings), 1 with errors, 2 called wrongly."
)
STATS_EPILOG = "Example: `iadr1 data stats data/mmad.jsonl --out stats.json --plot stats.png`. No image is opened."
VIEW_EPILOG = (
    "Example: `iadr1 data view data/mmad.jsonl --out samples.html --limit 60`. The page needs no other file and no "
    "network."
)
LICENCES_EPILOG = (
    "Example: `iadr1 data licences data/mmad.jsonl data/fewshot.jsonl`.\n\n"
    "A licence whose name does not tell whether commercial use is permitted counts as one that does not permit it: "
    "`iadr1 prepare --commercial-only` leaves both out."
)

_ROWS = 30
"""Rows shown of each table; --out has all."""

_File = Annotated[Path, typer.Argument(metavar="FILE", help="Samples, a JSONL file written by `iadr1 prepare`.")]
_Root = Annotated[
    Path | None, typer.Option("--root", help="Folder that the image paths are relative to.", show_default=False)
]


def check(
    file: _File,
    root: _Root = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every finding to this JSONL file.", show_default=False)
    ] = None,
    hashes: Annotated[
        bool, typer.Option("--hash", help="Also read every image whole and compare it with its hash.", metavar="")
    ] = False,
    tiny: Annotated[
        int, typer.Option("--tiny", min=0, help="Warn of boxes narrower or lower than this, in pixels.")
    ] = 4,
) -> None:
    """Find every fault of a samples file, with its line, before it is trained or scored on."""
    check_suffix(out, ".jsonl")
    from iadr1.stages.inspect import check as stage

    with terminal.task_bars() as progress:
        summary = stage.run(file, root=root, out=out, hashes=hashes, tiny_px=tiny, progress=progress)
    _print_findings(summary)
    errors, warnings = summary.count("error"), summary.count("warning")
    verdict = f"{errors} errors, {warnings} warnings" if errors or warnings else "no faults found"
    terminal.say(f"{file}: {summary.records} records on {summary.images} images: {verdict}")
    if out is not None:
        terminal.say(f"findings {out}")
    if errors:
        raise typer.Exit(1)


def _print_findings(summary: CheckSummary) -> None:
    for kind in summary.kinds:
        terminal.say(f"{kind.level:<7}  {kind.name}: {kind.count}")
        for finding in kind.first:
            name = f"  {finding.id}" if finding.id else ""
            value = f": {finding.value}" if finding.value else ""
            terminal.say(plain(f"  {finding.where}{name}  {finding.message}{value}"))
        if kind.count > len(kind.first):
            terminal.say(f"  and {kind.count - len(kind.first)} more")
        for hint in dict.fromkeys(finding.hint for finding in kind.first):
            terminal.say(f"  -> {hint}")
        terminal.say()


def stats(
    file: _File,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all figures to this JSON file.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw them into this PNG file.", show_default=False)
    ] = None,
) -> None:
    """Count records and images by data set, category, defect type, split, task and question type."""
    check_suffix(out, ".json")
    check_suffix(plot, ".png", name="--plot")
    from iadr1.reports.grid import to_rich
    from iadr1.stages.inspect import stats as stage

    with terminal.task_bars() as progress:
        found = stage.run(file, out=out, plot=plot, progress=progress)
    for table in _tables(found):
        terminal.out.print(to_rich(table))
    terminal.say(f"{file}: {found.records} records on {found.images} images, {found.with_reasoning} with reasoning")
    if found.missing:
        terminal.say(f"{found.missing} records are marked as missing their image")
    if found.boxes_without_size:
        terminal.say(f"{found.boxes_without_size} of {found.boxes} boxes are on images of unknown size")
    for path in (out, plot):
        if path is not None:
            terminal.say(f"wrote {path}")


def _tables(found: Stats) -> list[Grid]:
    columns = ("records", "images", "normal", "anomalous")
    tables = [_table(name, columns, _count_rows(values)) for name, values in found.groups.items()]
    if found.types:
        tables.append(_table("defect type", ["images"], [(name, [str(count)]) for name, count in found.types.items()]))
    if found.letters:
        letters = [
            (name, [str(letter.offered), str(letter.right), f"{100.0 * letter.right / letter.offered:.1f}"])
            for name, letter in found.letters.items()
        ]
        tables.append(_table("answer", ["offered", "right", "%"], letters))
    numbers = [(str(number), [str(count)]) for number, count in found.boxes_per_image.items()]
    tables.append(_table("boxes per image", ["images"], numbers))
    if found.area_share:
        shares = [(_quantile(quantile), [f"{100 * share:.1f}"]) for quantile, share in found.area_share.items()]
        tables.append(_table("area of a box in % of its image", ["%"], shares))
    return tables


def _table(title: str, columns: Sequence[str], rows: Sequence[Row]) -> Grid:
    """The first `_ROWS` rows, and how many there are."""
    from iadr1.reports.grid import Grid, Group

    shown = [(" ".join(label.split()) or "(none)", cells) for label, cells in rows[:_ROWS]]
    return Grid(title, [(name, name) for name in columns], [Group("", shown)], _more(len(rows)))


def _count_rows(values: dict[str, Count]) -> list[Row]:
    return [
        (name, [str(number) for number in (count.records, count.images, count.normal, count.anomalous)])
        for name, count in values.items()
    ]


def _quantile(value: float) -> str:
    return {0.0: "smallest", 0.5: "median", 1.0: "largest"}.get(value, f"{100 * value:g} % are smaller than")


def _more(rows: int) -> str:
    return f"The first {_ROWS} of {rows}; --out has all." if rows > _ROWS else ""


def _plain(name: str) -> str:
    """A name from a file, which must not be read as colours."""
    from rich.markup import escape

    return escape(" ".join(name.split())) or "(none)"


def view(
    file: _File,
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.", show_default=False)],
    root: _Root = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="Samples shown at most (default: 60).", show_default=False)
    ] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choice (default: 0).", show_default=False)] = 0,
) -> None:
    """Show samples as a page: boxes and masks drawn, question, options with the right one marked, references.

    Each category, and in it each question type and verdict, gets its turn before any gets a second.
    """
    check_suffix(out, ".html", ".htm")
    from iadr1.stages.inspect import view as stage

    with terminal.task_bars() as progress:
        summary = stage.run(file, out=out, root=root, limit=limit, seed=seed, progress=progress)
    kinds = f"{summary.kinds} kinds (category, question type, verdict)"
    terminal.say(f"{summary.out}: {summary.shown} of {summary.records} samples, of {kinds}")


def licences(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Samples, JSONL files written by `iadr1 prepare`.")
    ],
) -> None:
    """List the licences of all records: how many, from which data sets, and whether commercial use is permitted."""
    from rich.box import SIMPLE
    from rich.table import Table

    from iadr1.stages.inspect import licences as stage

    with terminal.task_bars() as progress:
        uses = stage.run(files, progress=progress)
    table = Table(box=SIMPLE, padding=(0, 1))
    for heading in ("licence", "records", "images", "data sets", "source", "commercial use"):
        table.add_column(heading, justify="right" if heading in ("records", "images") else "left", overflow="fold")
    words = {True: "permitted", False: "not permitted", None: "not known: ask"}
    for use in uses:
        names = (_plain(use.licence), str(use.records), str(use.images), _plain(", ".join(use.datasets)))
        table.add_row(*names, _plain(", ".join(use.sources)), words[use.commercial])
    terminal.out.print(table)
    barred = sum(use.records for use in uses if not use.commercial)
    total = sum(use.records for use in uses)
    terminal.say(f"{total - barred} of {total} records may be used commercially")
