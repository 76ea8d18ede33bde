"""A picture of what a samples file holds, as a PNG drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iadr1.errors import MissingExtraError, OutputError

_BLUE, _GREY, _GREEN, _ORANGE = "#1f5fa8", "#8a8f98", "#2e7d4f", "#c46a12"
_MOST = 40
"""Categories drawn; more would not be readable."""


def plot_samples(
    path: Path,
    *,
    categories: Mapping[str, tuple[int, int]],
    letters: Mapping[str, tuple[int, int]],
    boxes_per_image: Mapping[int, int],
    shares: Sequence[float],
    title: str,
) -> Path:
    """Draw images per category, balance of the answers, boxes per image and the size of the boxes.

    Args:
        path: The PNG to write.
        categories: Name -> normal and anomalous images, the most frequent first; the first 40 are drawn.
        letters: Answer -> how often it is offered and how often right.
        boxes_per_image: Number of boxes -> images.
        shares: Area of each box as a share of its image, 0..1.
        title: The line above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train", purpose="drawing the statistics") from error
    drawn = list(categories)[:_MOST]
    figure = Figure(figsize=(11, max(6.0, 1.6 + 0.24 * len(drawn))), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2, width_ratios=(1.2, 1))
    _categories(figure.add_subplot(grid[:, 0]), {name: categories[name] for name in drawn}, total=len(categories))
    _letters(figure.add_subplot(grid[0, 1]), letters)
    _counts(figure.add_subplot(grid[1, 1]), boxes_per_image)
    _shares(figure.add_subplot(grid[2, 1]), shares)
    figure.suptitle(title, fontsize=11)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error
    return path


def _categories(axes: Any, categories: Mapping[str, tuple[int, int]], *, total: int) -> None:
    names = list(categories)
    places = np.arange(len(names))
    normal = np.array([categories[name][0] for name in names])
    anomalous = np.array([categories[name][1] for name in names])
    axes.barh(places, normal, color=_GREEN, label="normal")
    axes.barh(places, anomalous, left=normal, color=_ORANGE, label="anomalous")
    # A `$` in a name would be read as a formula.
    axes.set_yticks(places, [_short(name).replace("$", r"\$") for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    more = f" (the first {len(names)} of {total} categories)" if total > len(names) else ""
    _plain(axes, f"images{more}")
    if normal.sum() + anomalous.sum():
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)


def _letters(axes: Any, letters: Mapping[str, tuple[int, int]]) -> None:
    if not letters:
        _nothing(axes, "right in % of the questions that offer it", "no questions with options")
        return
    shares = [100 * right / offered for offered, right in letters.values()]
    bars = axes.bar(list(letters), shares, color=_BLUE)
    axes.bar_label(bars, [f"{share:.0f} %" for share in shares], fontsize=8, padding=2)
    axes.margins(y=0.2)
    _plain(axes, "right in % of the questions that offer it")


def _counts(axes: Any, boxes_per_image: Mapping[int, int]) -> None:
    most = 10
    counts = [boxes_per_image.get(number, 0) for number in range(most)]
    counts.append(sum(images for number, images in boxes_per_image.items() if number >= most))
    axes.bar([*map(str, range(most)), f"{most}+"], counts, color=_GREY)
    _plain(axes, "images by number of boxes")


def _shares(axes: Any, shares: Sequence[float]) -> None:
    percent = 100 * np.asarray([share for share in shares if share > 0])
    if not percent.size:
        _nothing(axes, "boxes by area in % of the image", "no box on an image of known size")
        return
    axes.hist(percent, bins=np.geomspace(0.99 * percent.min(), 1.01 * percent.max(), 30), color=_BLUE)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    _plain(axes, "boxes by area in % of the image")


def _nothing(axes: Any, title: str, reason: str) -> None:
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=9, color=_GREY, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    _plain(axes, title)


def _short(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:35]}…"


def _plain(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
