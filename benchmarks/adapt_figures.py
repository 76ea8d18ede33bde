"""The figures of `benchmarks/adapt.py`: each with a 95 % interval over groups of photos that show one piece."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iadr1.geometry import Box, box_mask
from iadr1.metrics.boxes import match
from iadr1.stages.scoring.intervals import Figure, Ranking, Ratio, intervals

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]
DRAWS = 1000
IOUS = (0.33, 0.5)


@dataclass(frozen=True)
class Truth:
    """What a test photo shows: its group, verdict, true boxes, and for each box its mask where one is known."""

    group: str
    bad: bool
    boxes: tuple[Box, ...]
    masks: tuple[Mask | None, ...]


@dataclass(frozen=True)
class Row:
    """What a method says of a photo; None in `masks` where it drew none for a box."""

    known: Truth
    score: float | None
    called: bool
    boxes: Sequence[Box] = ()
    masks: Sequence[Mask | None] = ()


NORMAL = "all normal"


def figures(found: Mapping[str, Sequence[Row]], *, seed: int) -> dict[str, Any]:
    """The figures of every method, and of the answer "all normal" for each kind of photos that was looked at."""
    methods = dict(found)
    for prefix in ("", "tiles: "):
        rows = next((own for name, own in found.items() if name.startswith("tiles: ") == bool(prefix)), None)
        if rows is not None:
            methods[f"{prefix}{NORMAL}"] = [replace(one, score=0.0, called=False, boxes=(), masks=()) for one in rows]
    return {name: of_method(rows, seed=seed) for name, rows in methods.items()}


def of_method(rows: Sequence[Row], *, seed: int) -> dict[str, Any]:
    """AUROC, balanced accuracy and box F1 in percent, mean mask IoU of the true defects in 0..1; with intervals.

    A photo without a score counts as not called; it is left out of the AUROC. Mask IoU is of the box that meets the
    defect best, 0 where none does; a box without a mask counts as filled.
    """
    groups = [one.known.group for one in rows]
    truth = [one.known.bad for one in rows]
    figure: dict[str, Figure] = {
        "auroc": Ranking([math.nan if one.score is None else one.score for one in rows], truth)
    }
    for limit in IOUS:
        hits = [sum(iou >= limit for *_, iou in match(one.boxes, one.known.boxes)) for one in rows]
        boxes = [float(len(one.boxes) + len(one.known.boxes)) for one in rows]
        figure[f"f1@{limit:g}"] = Ratio([200.0 * count for count in hits], boxes)
    overlaps = [mask_overlaps(one) for one in rows]
    figure["mask_iou"] = Ratio([sum(one) for one in overlaps], [float(len(one)) for one in overlaps])
    spread = intervals({"set": (groups, figure)}, seed=seed).get("set", {})
    values = {name: value for name, one in figure.items() if (value := value_of(one)) is not None}
    ba, ba_spread = balanced_accuracy([one.called for one in rows], truth, groups, seed=seed)
    return {
        "n": len(rows),
        "good": truth.count(False),
        "groups": len(set(groups)),
        "true_boxes": sum(len(one.known.boxes) for one in rows),
        "masks": sum(map(len, overlaps)),
        "unscored": sum(one.score is None for one in rows),
        "values": {**values, "ba": ba},
        "interval_95": {**{name: list(spread[name]) for name in values if name in spread}, "ba": list(ba_spread)},
    }


def value_of(figure: Figure) -> float | None:
    """A figure over all photos; None where there is nothing to divide by."""
    if isinstance(figure, Ratio):
        return sum(figure.above) / below if (below := sum(figure.below)) else None
    pairs = [(s, t) for s, t in zip(figure.scores, figure.truth, strict=True) if not math.isnan(s)]
    bad, good = ([s for s, t in pairs if t is kind] for kind in (True, False))
    won = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    return 100 * won / (len(bad) * len(good)) if bad and good else None


def balanced_accuracy(
    called: Sequence[bool], truth: Sequence[bool], groups: Sequence[str], *, seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean of recall and of the share of good photos that were not called, in percent, and its interval."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(names), 4))
    for said, bad, group in zip(called, truth, groups, strict=True):
        sums[names[group]] += (said and bad, bad, not said and not bad, not bad)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)

    def of(total: Array) -> Array:
        with np.errstate(invalid="ignore"):
            found: Array = 50 * (total[..., 0] / total[..., 1] + total[..., 2] / total[..., 3])
        return found

    low, high = np.nanpercentile(of(drawn @ sums), (2.5, 97.5))
    return float(of(sums.sum(axis=0))), (float(low), float(high))


def mask_overlaps(row: Row) -> list[float]:
    """The mask IoU of each true defect whose mask is known."""
    known = [place for place, mask in enumerate(row.known.masks) if mask is not None]
    found = dict.fromkeys(known, 0.0)
    for at, true, _ in match(row.boxes, row.known.boxes):
        wanted = row.known.masks[true]
        if wanted is not None:
            drawn = row.masks[at]
            drawn = box_mask(row.boxes[at], (wanted.shape[1], wanted.shape[0])) if drawn is None else drawn
            found[true] = float((drawn & wanted).sum() / (drawn | wanted).sum())
    return list(found.values())


_COLUMNS = {"auroc": "AUROC", "ba": "BA", "f1@0.33": "F1@.33", "f1@0.5": "F1@.5", "mask_iou": "mask IoU"}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, a row for each set and method: figure [95 % interval], `-` where it is not defined."""
    lines = [
        f"| set | method | n (good) | groups | {' | '.join(_COLUMNS.values())} |",
        f"|---|---|---|---|{'---|' * len(_COLUMNS)}",
    ]
    for name, methods in found.items():
        for method, row in methods.items():
            cells = [cell(key, row) for key in _COLUMNS]
            lines.append(f"| {name} | {method} | {row['n']} ({row['good']}) | {row['groups']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(key: str, row: Mapping[str, Any]) -> str:
    """A figure with its interval."""
    if key not in row["values"]:
        return "-"
    form = "{:.2f}" if key == "mask_iou" else "{:.1f}"
    low, high = (form.format(bound) for bound in row["interval_95"].get(key, (math.nan, math.nan)))
    return f"{form.format(row['values'][key])} [{low}, {high}]"
