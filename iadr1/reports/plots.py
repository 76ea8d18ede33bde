"""Figures as PNG files, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1.errors import MissingExtraError, OutputError

_BLUE, _GREY, _GREEN, _ORANGE = "#1f5fa8", "#8a8f98", "#2e7d4f", "#c46a12"


def smooth(values: Sequence[float], *, span: int) -> NDArray[np.float64]:
    """Running mean over `span` values centred on each, fewer at the ends; same length as `values`."""
    data = np.asarray(values, dtype=np.float64)
    half = max(0, span // 2)
    return np.array([data[max(0, i - half) : i + half + 1].mean() for i in range(data.size)])


def plot_reward_curve(
    path: Path,
    *,
    steps: Sequence[int],
    reward: Sequence[float],
    reward_std: Sequence[float],
    parse_rate: Sequence[float],
    completion_length: Sequence[float],
    title: str,
) -> Path:
    """Draw a training run: reward with its running mean and spread, parse rate and completion length.

    Args:
        path: The PNG to write.
        steps: Step numbers; all other sequences have the same length.
        reward: Mean reward of each step.
        reward_std: Spread of the rewards within a group, drawn as a band of one standard deviation.
        parse_rate: Share of completions that hold an answer, 0..1.
        completion_length: Mean length in tokens.
        title: The line above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure = _figure(8, 5.2)
    grid = figure.add_gridspec(2, 2, height_ratios=(2.4, 1))
    span = max(3, len(steps) // 8)
    _draw_reward(figure.add_subplot(grid[0, :]), steps, reward, reward_std, span=span)
    _draw_small(figure.add_subplot(grid[1, 0]), steps, parse_rate, name="parse rate", colour=_GREEN, top=1.05)
    _draw_small(
        figure.add_subplot(grid[1, 1]), steps, completion_length, name="completion length (tokens)", colour=_ORANGE
    )
    return _save(figure, path, title)


def plot_loss_curve(path: Path, *, steps: Sequence[int], loss: Sequence[float], title: str) -> Path:
    """Draw a supervised run: the loss of each step with its running mean.

    Args:
        path: The PNG to write.
        steps: Step numbers.
        loss: Loss of each step, in nats a token; of the same length.
        title: The line above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure = _figure(8, 3.6)
    axes = figure.add_subplot()
    span = max(3, len(steps) // 8)
    axes.plot(steps, loss, color=_GREY, linewidth=0.8, label="loss of the step")
    axes.plot(steps, smooth(loss, span=span), color=_BLUE, linewidth=2.2, label=f"running mean over {span} steps")
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("loss (nats a token)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=8, frameon=False)
    _plain(axes)
    return _save(figure, path, title)


def _figure(width: float, height: float) -> Any:
    """A figure of this size in inches that needs no display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", purpose="drawing the curve") from error
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path, title: str) -> Path:
    figure.suptitle(title, fontsize=11)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error
    return path


def _draw_reward(
    axes: Any, steps: Sequence[int], reward: Sequence[float], reward_std: Sequence[float], *, span: int
) -> None:
    line, spread = smooth(reward, span=span), smooth(reward_std, span=span)
    axes.fill_between(
        steps, line - spread, line + spread, color=_BLUE, alpha=0.15, linewidth=0, label="±1 std in a group"
    )
    axes.plot(steps, reward, "o-", color=_GREY, markersize=3, linewidth=0.8, label="mean of the step")
    axes.plot(steps, line, color=_BLUE, linewidth=2.2, label=f"running mean over {span} steps")
    axes.set_ylabel("reward")
    axes.legend(loc="best", fontsize=8, frameon=False)
    _plain(axes)


def _draw_small(
    axes: Any, steps: Sequence[int], values: Sequence[float], *, name: str, colour: str, top: float | None = None
) -> None:
    axes.plot(steps, values, "o-", color=colour, markersize=2.5, linewidth=1.2)
    axes.set_ylim(0, top if top is not None else max(1.0, 1.15 * max(values)))
    axes.set_title(name, fontsize=9, loc="left")
    axes.set_xlabel("step", fontsize=9)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=8)
