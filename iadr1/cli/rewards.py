"""`iadr1 rewards`: what can be rewarded, and what a reward gives for completions in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iadr1.cli import terminal
from iadr1.cli.options import check_suffix

if TYPE_CHECKING:
    from rich.console import Console

    from iadr1.stages.rewards import Bar, Scored, Trial

_SHOWN = 3
"""How many strange rows of each kind are shown; --out has all."""
_WIDTH = 40
"""Characters of the longest bar."""

HELP = "List the rewards, and try one on completions before training on it."

LS_EPILOG = (
    "Example: `iadr1 rewards ls`. Each name is what `--reward` takes; weights make a sum (roam=1,format=0.1), and your "
    "own function is named like package.module:function."
)
TRY_EPILOG = (
    "Example: `iadr1 rewards try roam answers.jsonl --out scored.jsonl`, with lines such as "
    '`{"completion": "...", "solution": "B"}`.\n\n'
    "A solution is an option letter (with `options` as an object, or lettered in `problem`), IAD-R1's tagged text, a "
    "box in pixels, or a list of boxes ([] for a normal image; with `image_size` and a `model` family, the "
    "completion's boxes are read in its coordinates). A line can hold a whole `sample` instead. All that is read: "
    "docs/rewards.md."
)


def ls() -> None:
    """Show every reward: its range, what it rewards, and where it is from."""
    from rich.box import SIMPLE
    from rich.table import Table

    from iadr1.stages import rewards as stage

    rows, groups = stage.known()
    table = Table(box=SIMPLE, padding=(0, 1))
    for heading in ("name", "range", "rewards", "for", "source"):
        table.add_column(heading, no_wrap=heading in ("name", "range"))
    for name, row in rows.items():
        table.add_row(name, f"{row.low:g}..{row.high:g}", row.what, row.needs, row.source)
    terminal.out.print(table)
    for name, row in rows.items():
        if row.argument:
            terminal.say(f"{name} takes {name}@{row.argument}")
    for name, members in groups.items():
        terminal.say(f"{name} stands for {' and '.join(members)}")


def try_(
    reward: Annotated[str, typer.Argument(metavar="NAME", help="What --reward takes, for example roam=1,format=0.1.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Completions and their solutions, one a line.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File for the lines with their rewards (default: standard output).", show_default=False),
    ] = None,
) -> None:
    """Score completions from a file, and show the histogram and the strangest of them.

    Each line is repeated with `reward` added (null where the reward does not apply), and `rewards` where there are
    several. Without --out the lines go to standard output, and everything else to standard error.
    """
    check_suffix(out, ".jsonl", ".json")
    from iadr1.stages import rewards as stage

    with terminal.err.status("scoring"):
        trial = stage.try_reward(reward, file, out=out)
    if out is None:
        for line in trial.lines:
            typer.echo(line)
    _print_summary(trial, terminal.err if out is None else terminal.out)
    if out is not None:
        terminal.say(f"wrote {out}")
    if all(row.value is None for row in trial.rows):
        terminal.note(f"{reward} applies to none of these lines: does their task fit? `iadr1 rewards ls` says which do")
        raise typer.Exit(1)


def _print_summary(trial: Trial, console: Console) -> None:
    def say(line: str) -> None:
        # What a model wrote is shown as it is: neither `[bold]` nor `:smile:` means anything here.
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    values = [row.value for row in trial.rows if row.value is not None]
    left_out = len(trial.rows) - len(values)
    if values:
        mean = sum(values) / len(values)
        say(f"{len(values)} completions, mean {mean:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}")
    if left_out:
        say(f"not applicable, null: {left_out}")
    if len(trial.means) > 1:
        say("mean by reward: " + ", ".join(f"{name} {mean:.4g}" for name, mean in trial.means.items()))
    for line in _histogram(trial.bars):
        say(line)
    if len(trial.bars) == 1 and len(values) > 1:
        say("every line is worth the same: a group like this teaches nothing")
    for group in trial.strange:
        say(f"{group.title}: {len(group.rows)}")
        for place, row in enumerate(group.rows[:_SHOWN]):
            times = f" ({group.repeats[place]} times)" if group.repeats else ""
            say(f"  {_row(row)}{times}")


def _histogram(bars: tuple[Bar, ...]) -> list[str]:
    """One line for each bar: what it covers, its count, and a bar as long as its count."""
    labels = [f"{bar.low:.4g}" if bar.low == bar.high else f"{bar.low:.4g} to {bar.high:.4g}" for bar in bars]
    width, most = max(map(len, labels), default=0), max((bar.count for bar in bars), default=0)
    digits = len(str(most))
    return [
        f"{label:>{width}} ┤{bar.count:>{digits}} {'█' * -(-bar.count * _WIDTH // most)}"
        for label, bar in zip(labels, bars, strict=True)
    ]


def _row(row: Scored) -> str:
    """Line number, reward, and the end of the completion, where the answer is."""
    value = "null" if row.value is None else f"{row.value:.4g}"
    text = " ".join(row.completion.split())
    text = "".join(character if character.isprintable() else "?" for character in text)
    return f"line {row.number}: {value}  {'...' + text[-90:] if len(text) > 90 else text or '(empty)'}"
