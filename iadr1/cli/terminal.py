"""What the commands show while they work: bars on stderr, results on stdout, a curve of block characters.

Where stderr is no terminal (a file, a pipe, systemd, CI) nothing can be drawn over: a bar is plain lines there, one at
the start, at most one in `_PERIOD_S` seconds, and one at the end.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

# Under torchrun only the first process shows anything.
_OTHER_RANK = os.environ.get("RANK", "0") != "0"
out = Console(quiet=_OTHER_RANK, highlight=False)
err = Console(quiet=_OTHER_RANK, stderr=True)

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PERIOD_S = 10.0
"""Between two lines of a bar that cannot be drawn."""
_SPEED_S = 600.0
"""How far back the time left is estimated from; a step of a large model takes a minute."""


def say(line: str = "") -> None:
    """One line on stdout, not wrapped, without markup: a path can be copied from it."""
    out.print(line, markup=False, emoji=False, soft_wrap=True)


def note(line: str) -> None:
    """One line on stderr, above a bar that is being drawn."""
    err.print(line, markup=False, emoji=False, soft_wrap=True)


def counted(number: int, what: str) -> str:
    """`1 photo`, `2 photos`.

    Args:
        number: How many.
        what: One of them; more of them end with an s.
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


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
def status(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner for work whose length is not known; yields the function that takes what is done now.

    Where nothing can be drawn each of these is a line.
    """
    if err.is_interactive:
        with err.status(title) as spinner:
            yield spinner.update
    else:
        yield note


@contextmanager
def _bars(*extra: TextColumn) -> Iterator[tuple[Progress, Callable[[TaskID], None]]]:
    """Bars, and the function that shows one that has changed.

    Until it is called there is only a spinner, so that an error before the first step leaves no empty bar behind.
    """
    # Figures take the room of the bar, so that the time left is in sight on 80 columns.
    drawn = BarColumn(bar_width=6 if extra else 40)
    counts = MofNCompleteColumn(table_column=Column(min_width=7, no_wrap=True))
    left = TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True))
    columns = (TextColumn("{task.description}"), drawn, counts, left, *extra)
    progress = Progress(
        *columns,
        console=err,
        get_time=time.monotonic,
        speed_estimate_period=_SPEED_S,
        disable=not err.is_interactive,
    )
    if progress.disable:
        lines = _Lines(progress)
        try:
            yield progress, lines.show
        finally:
            lines.close()
        return
    waiting = err.status("getting ready")

    def show(_: TaskID) -> None:
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


class _Lines:
    """Bars as lines: the first state of each, then the newest one now and then, and the last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: dict[TaskID, tuple[float, float | None]] = {}
        self._due = 0.0

    def show(self, changed: TaskID) -> None:
        """Write the line of a bar where it is due: it is new, it is full, or it is time."""
        (task,) = (one for one in self._progress.tasks if one.id == changed)
        told = self._told.get(changed)
        full = task.finished and (told is None or told[0] != told[1])
        if told is None or full or time.monotonic() >= self._due:
            self._write(task)

    def close(self) -> None:
        """Write how far each bar came."""
        for task in self._progress.tasks:
            if task.id in self._told:
                self._write(task)

    def _write(self, task: Task) -> None:
        if self._told.get(task.id) != (task.completed, task.total):
            self._told[task.id] = (task.completed, task.total)
            self._due = time.monotonic() + _PERIOD_S
            note(_line(task))


def _line(task: Task) -> str:
    """`looking 40/61, 12 s left, loss 0.123`."""
    count = f"{task.completed:.0f}" + ("" if task.total is None else f"/{task.total:.0f}")
    left = task.time_remaining if not task.finished else None
    parts = [
        f"{task.description} {count}",
        *([] if left is None else [f"{_duration(left)} left"]),
        *filter(None, [str(task.fields.get("figures", ""))]),
    ]
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """`12 s`, `5 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """One bar; yields the function that takes how many are done and how many there are."""
    with _bars() as (progress, show):
        task = progress.add_task(title, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)
            show(task)

        yield advance


@contextmanager
def task_bars() -> Iterator[Callable[[str, int, int], None]]:
    """One bar for each name; yields the function that takes a name, how many are done and how many (0: not known)."""
    with _bars() as (progress, show):
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None)
            progress.update(tasks[name], completed=done, total=total or None)
            show(tasks[name])

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
            # With epochs=... the number of steps is known once the samples are read.
            progress.update(
                task, total=figures.get("steps", steps), completed=int(figures["step"]), figures=text(figures)
            )
            show(task)

        yield advance
