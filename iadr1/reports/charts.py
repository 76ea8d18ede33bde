"""A heat map and bars with intervals, as PNG files drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iadr1.errors import MissingExtraError, OutputError

MOST_BARS = 60
"""Bars of a picture; of more categories the worst and the best are drawn, half of the places each."""

_BLUE, _ORANGE, _GREY, _PALE = "#0072b2", "#d55e00", "#5c6574", "#e9ecf0"
_MAP = "cividis"
"""Made so that people with and without colour blindness see nearly the same (Nunez et al., 2018)."""
_DPI = 150
_LABEL = 42
"""Characters of a line of a name; longer ones lose their middle."""
_HEADING = 120
"""The same of a heading."""
_FONTS = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS", "Noto Serif CJK SC"),
)
"""Fonts in which a sign is looked for, as far as they are installed: the later ones for names of the Far East."""

Scores = Mapping[str, float]
"""Column -> percent; what was not asked is left out."""


@dataclass(frozen=True)
class MapRows:
    """Rows of a heat map that belong together.

    Attributes:
        heading: What they are; empty for none.
        rows: Name, of one or two lines -> figures.
        own: Whether they are the run's own, which are framed.
    """

    heading: str
    rows: Mapping[str, Scores]
    own: bool = False


@dataclass(frozen=True)
class Bar:
    """A category.

    Attributes:
        name: Its name.
        value: Percent.
        interval: Lower and upper bound of the 95 % interval in percent; None where there is none.
        count: Questions.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    count: int


def plot_heat_map(
    path: Path, groups: Sequence[MapRows], columns: Sequence[tuple[str, str]], *, title: str, note: str = ""
) -> Path:
    """Draw figures in percent as a map with the values written in its cells; the colours run from 0 to 100.

    Args:
        path: The PNG to write.
        groups: The rows; a group without rows is passed over.
        columns: Key of a figure and its heading, which may have line breaks.
        title: The line above the figure.
        note: Sentences below it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
        ValueError: There is no row or no column.
    """
    groups = [group for group in groups if group.rows]
    names = [name for group in groups for name in group.rows]
    if not names or not columns:
        raise ValueError("a heat map needs rows and columns")
    gaps = sum(bool(group.heading) for group in groups)
    longest = max(len(line) for name in names for line in _short(name).split("\n"))
    reach = max(len(_short(group.heading, _HEADING)) for group in groups)
    width = 1.2 + 0.08 * longest + max(2.4, 0.78 * len(columns), 0.06 * reach)
    figure = _figure(width, 1.4 + 0.36 * (len(names) + gaps) + 0.16 * _lines(note, width))
    axes = figure.add_subplot()
    places: list[tuple[float, str]] = []
    line = 0.0
    for group in groups:
        if group.heading:
            heading = axes.text(-0.5, line + 0.12, _short(group.heading, _HEADING), fontsize=7.5, color=_GREY)
            heading.set(va="center", style="italic", in_layout=False)
            line += 1
        for name, scores in group.rows.items():
            _draw_row(axes, line, [scores.get(key) for key, _ in columns])
            places.append((line, name))
            line += 1
        if group.own:
            _frame(axes, line - len(group.rows) - 0.5, line - 0.5, len(columns))
    axes.set_xlim(-0.55, len(columns) - 0.45)
    axes.set_ylim(line - 0.45, -0.55)
    axes.set_yticks([place for place, _ in places], [_short(name) for _, name in places], fontsize=8)
    axes.set_xticks(range(len(columns)), [heading for _, heading in columns], fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _save(figure, path, title, note)


def _draw_row(axes: Any, line: float, values: Sequence[float | None]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colours = colormaps[_MAP]
    for column, value in enumerate(values):
        colour = _PALE if value is None else colours(value / 100)
        axes.add_patch(Rectangle((column - 0.5, line - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1.2))
        dark = value is not None and np.dot(colour[:3], (0.2126, 0.7152, 0.0722)) < 0.45
        ink = "white" if dark else "black"
        text = "" if value is None else f"{value:.1f}"
        axes.text(column, line, text, ha="center", va="center", fontsize=8.5, color=ink)


def _frame(axes: Any, top: float, bottom: float, columns: int) -> None:
    from matplotlib.patches import Rectangle

    frame = Rectangle((-0.5, top), columns, bottom - top, fill=False, edgecolor=_ORANGE, linewidth=2.2, zorder=3)
    frame.set_clip_on(False)
    axes.add_patch(frame)


def plot_bars(path: Path, bars: Sequence[Bar], *, title: str, label: str, note: str = "") -> Path:
    """Draw a bar for each category, the best first, with its 95 % interval and its number of questions.

    Args:
        path: The PNG to write.
        bars: The categories, in any order.
        title: The line above the figure.
        label: What is measured, below the axis.
        note: Sentences below.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
        ValueError: There is no category.
    """
    if not bars:
        raise ValueError("there is no category to draw")
    ranked = sorted(bars, key=lambda bar: (-bar.value, bar.name))
    drawn = ranked if len(ranked) <= MOST_BARS else [*ranked[: MOST_BARS // 2], *ranked[-MOST_BARS // 2 :]]
    if len(drawn) < len(ranked):
        half = MOST_BARS // 2
        note = f"The {half} best and the {half} worst of {len(ranked)} categories. {note}".strip()
    figure = _figure(7.6, 1.5 + 0.235 * len(drawn) + 0.16 * _lines(note, 7.6))
    axes = figure.add_subplot()
    if len(drawn) < len(ranked):
        axes.axhline(MOST_BARS // 2 - 0.5, color=_GREY, linewidth=1, linestyle="--")
    _draw_bars(axes, drawn)
    axes.set_xlabel(label, fontsize=8.5)
    return _save(figure, path, title, note)


def _draw_bars(axes: Any, drawn: Sequence[Bar]) -> None:
    places, values = np.arange(len(drawn)), np.array([bar.value for bar in drawn])
    axes.barh(places, values, height=0.72, color=_BLUE, alpha=0.85)
    for place, bar in zip(places, drawn, strict=True):
        low, high = bar.interval or (bar.value, bar.value)
        if bar.interval is not None:
            reach = [[max(0.0, bar.value - low)], [max(0.0, high - bar.value)]]
            axes.errorbar(bar.value, place, xerr=reach, fmt="none", ecolor="black", elinewidth=1, capsize=2.5)
        text = f"{bar.value:.1f}   n = {bar.count:,}"
        axes.text(max(bar.value, high) + 1.2, place, text, va="center", fontsize=7.5, color=_GREY)
    axes.set_yticks(places, [_short(bar.name) for bar in drawn], fontsize=8.5)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlim(0, 126)
    axes.set_xticks(range(0, 101, 20))
    axes.spines.bottom.set_bounds(0, 100)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _figure(width: float, height: float) -> Any:
    """A figure of this size in inches that needs no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "eval", purpose="drawing the figures") from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path, title: str, note: str) -> Path:
    """Set title, note and fonts, and write the file."""
    from matplotlib.font_manager import fontManager
    from matplotlib.text import Text

    figure.suptitle(_wrapped(title, figure.get_figwidth(), size=11), fontsize=11)
    if note:
        figure.supxlabel(_wrapped(note, figure.get_figwidth(), size=7.5), fontsize=7.5, color=_GREY, x=0.02, ha="left")
    installed = {font.name for font in fontManager.ttflist}
    for text in figure.findobj(Text):
        text.set_fontfamily([name for name in _FONTS if name in installed])
        text.set_parse_math(False)  # a `$` in a name is no formula
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error
    return path


def _lines(note: str, width: float) -> int:
    return _wrapped(note, width, size=7.5).count("\n") + 1 if note else 0


def _wrapped(text: str, width: float, *, size: float) -> str:
    """Text in lines that fit into a figure of a width in inches; a letter is about half as wide as it is high."""
    from textwrap import wrap

    return "\n".join(wrap(text, max(20, int(0.94 * width * 72 / (0.56 * size)))))


def _short(name: str, most: int = _LABEL) -> str:
    half = (most - 1) // 2
    lines = name.split("\n")
    return "\n".join(line if len(line) <= most else f"{line[:half]}…{line[-half:]}" for line in lines)
