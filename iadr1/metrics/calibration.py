"""A threshold on the anomaly score for a budget of false alarms, and what can be claimed for it.

The threshold is split conformal prediction's (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World",
2005; Lei et al., JASA 2018): of n scores of normal photos the ceil((n + 1)(1 - budget))-th smallest. Where new photos
of good products come as these came, the share of them above it is at most the budget, on average over the draw of the
n photos and whatever the model is. A score is above the threshold only where it is greater, so ties do no harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from scipy import stats

Interval = tuple[float, float]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """A threshold and what is known about it.

    Attributes:
        value: Scores greater than it are anomalous.
        false_alarms: Normal photos above it, of those it was made from.
        observed: Clopper-Pearson interval of their share.
        expected: 95 % interval of the share on new photos, given these: a Beta(n + 1 - k, k), the k-th score being the
            threshold. It is exact for scores without ties; with ties the share is smaller.
        band: Scores from low to high are uncertain: the 95 % interval of the (1 - budget) quantile of normal scores by
            order statistics. Where there are too few photos for its upper end it ends at the largest score seen.
    """

    value: float
    false_alarms: int
    observed: Interval
    expected: Interval
    band: Interval


def normals_needed(budget: float) -> int:
    """The fewest normal photos for which a budget can be claimed: n >= 1 / budget - 1.

    Args:
        budget: Share of false alarms, above 0 and below 1.

    Raises:
        ValueError: It is not.
    """
    return math.ceil(1 / _exact(budget) - 1)


def least_budget(normals: int) -> float:
    """The smallest budget that so many normal photos can claim."""
    return 1 / (normals + 1)


def threshold(scores: Sequence[float], budget: float) -> Threshold:
    """The conformal threshold of the scores of normal photos.

    Args:
        scores: One for each normal photo, in 0..1, in any order.
        budget: Share of false alarms, above 0 and below 1.

    Raises:
        ValueError: A budget out of range, or fewer scores than `normals_needed`.
    """
    count, needed = len(scores), normals_needed(budget)
    if count < needed:
        raise ValueError(f"{count} normal scores, a budget of {budget} needs {needed}")
    rising = sorted(scores)
    rank = math.ceil((count + 1) * (1 - _exact(budget)))
    value = rising[rank - 1]
    false_alarms = sum(score > value for score in rising)
    tail = (1 - CONFIDENCE) / 2
    beta = stats.beta(count + 1 - rank, rank)
    return Threshold(
        value,
        false_alarms,
        clopper_pearson(false_alarms, count),
        (float(beta.ppf(tail)), float(beta.ppf(1 - tail))),
        _band(rising, budget),
    )


def clopper_pearson(hits: int, count: int) -> Interval:
    """The exact 95 % interval of a share, 0..1.

    Raises:
        ValueError: More hits than trials, or no trial.
    """
    found = stats.binomtest(hits, count).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return float(found.low), float(found.high)


def _band(rising: Sequence[float], budget: float) -> Interval:
    """Order statistics around the (1 - budget) quantile (David and Nagaraja, "Order Statistics", section 7.1).

    The number of scores below the quantile is binomial, so its 2.5 % and 97.5 % points are ranks that enclose it.
    """
    count, tail = len(rising), (1 - CONFIDENCE) / 2
    below = stats.binom(count, 1 - budget)
    low = max(1, int(below.ppf(tail)))
    high = min(count, int(below.ppf(1 - tail)) + 1)
    return rising[low - 1], rising[high - 1]


def _exact(budget: float) -> Fraction:
    """The number as it was written: 0.05 is 1/20, which its float is not."""
    if not 0 < budget < 1:
        raise ValueError(f"a budget of {budget} is not above 0 and below 1")
    return Fraction(str(budget))
