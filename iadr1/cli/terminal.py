"""What the commands show while they work: bars on stderr, results on stdout, a curve of block characters."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

# Under torchrun only the first process shows anything.
_OTHER_RANK = os.environ.get("RANK", "0") != "0"
out = Console(quiet=_OTHER_RANK, highlight=False)
err = Console(quiet=_OTHER_RANK, stderr=True)

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def say(line: str = "") -> None:
    """One line on stdout, not wrapped, without markup: a path can be copied from it."""
    out.print(line, markup=False, emoji=False, soft_wrap=True)


def note(line: str) -> None:
    """One line on stderr, above a bar that is being drawn."""
    err.print(line, markup=False, emoji=False, soft_wrap=True)


def curve(values: Sequence[float], *, width: int = 60, height: int = 5) -> list[str]:
    """A curve as `height` lines of block characters, its highest and lowest value written at the left.

    More values than `width` are averaged in equal stretches. The lowest value still shows as the thinnest block; values
    that are not finite leave a gap; no finite value gives no line.
    """
    points = _shrink(list(values), width)
    finite = [value for value in points if math.isfinite(value)]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    levels = [1 + round((value - low) / span * (8 * height - 1)) if math.isfinite(value) else 0 for value in points]
    labels = {height - 1: f"{high:.3g}", 0: f"{low:.3g}"} if height > 1 else {0: f"{high:.3g}"}
    margin = max(map(len, labels.values()))
    return [
        f"{labels.get(row, ''):>{margin}} ┤" + "".join(_EIGHTHS[min(8, max(0, level - 8 * row))] for level in levels)
        for row in reversed(range(height))
    ]


def _shrink(values: list[float], width: int) -> list[float]:
    if len(values) <= width:
        return values
    bounds = [index * len(values) // width for index in range(width + 1)]
    stretches = ([value for value in values[start:end] if math.isfinite(value)] for start, end in pairwise(bounds))
    return [sum(part) / len(part) if part else math.nan for part in stretches]


@contextmanager
def _bars(*extra: TextColumn) -> Iterator[tuple[Progress, Callable[[], None]]]:
    """Bars, and the function that shows them.

    Until it is called there is only a spinner, so that an error before the first step leaves no empty bar behind.
    """
    # Figures take the room of the bar, so that the time left is in sight on 80 columns.
    drawn = BarColumn(bar_width=6 if extra else 40)
    counts = MofNCompleteColumn(table_column=Column(min_width=7, no_wrap=True))
    left = TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True))
    columns = (TextColumn("{task.description}"), drawn, counts, left, *extra)
    progress = Progress(*columns, console=err)
    waiting = err.status("getting ready")

    def show() -> None:
        if not progress.live.is_started:
            waiting.stop()
            progress.start()

    waiting.start()
    try:
        yield progress, show
    finally:
        waiting.stop()
        if progress.live.is_started:
            progress.stop()


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """One bar; yields the function that takes how many are done and how many there are."""
    with _bars() as (progress, show):
        task = progress.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            show()
            progress.update(task, completed=done, total=total)

        yield advance


@contextmanager
def task_bars() -> Iterator[Callable[[str, int, int], None]]:
    """One bar for each name; yields the function that takes a name, how many are done and how many (0: not known)."""
    with _bars() as (progress, show):
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            show()
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None)
            progress.update(tasks[name], completed=done, total=total or None)

        yield advance


@contextmanager
def train_bar(steps: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A bar for GRPO that shows reward, KL, length, parse rate and flat groups; yields what takes a step's figures."""

    def text(figures: Mapping[str, float]) -> str:
        shown = {
            "reward": "reward {:.3f}",
            "parse_rate": "parsed {:.0%}",
            "kl": "KL {:.3g}",
            "completion_length": "{:.0f} tokens",
            "flat_groups": "flat {:.0%}",
        }
        # There is no KL where beta is 0.
        return " ".join(form.format(figures[name]) for name, form in shown.items() if name in figures)

    with _figures_bar(steps, text) as advance:
        yield advance


@contextmanager
def loss_bar(steps: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A bar for supervised training that shows the loss; yields the function that takes a step's figures."""
    with _figures_bar(steps, lambda figures: f"loss {figures['loss']:.3f}") as advance:
        yield advance


@contextmanager
def _figures_bar(
    steps: int, text: Callable[[Mapping[str, float]], str]
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    with _bars(TextColumn("{task.fields[figures]}")) as (progress, show):
        task = progress.add_task("training", total=steps, figures="")

        def advance(figures: Mapping[str, float]) -> None:
            show()
            # With epochs=... the number of steps is known once the samples are read.
            progress.update(
                task, total=figures.get("steps", steps), completed=int(figures["step"]), figures=text(figures)
            )

        yield advance
