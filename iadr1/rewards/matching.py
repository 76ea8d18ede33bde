"""The best one-to-one matching of two lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

T = TypeVar("T")


def matched(found: Sequence[T], truth: Sequence[T], score: Callable[[T, T], float]) -> float:
    """0..1: the scores of the matching with the largest sum, divided by the longer list's length; two empty lists: 1.

    What is missed or invented therefore counts 0.

    Args:
        found: What was said.
        truth: What is there.
        score: Compares one of either, 0..1.
    """
    if not truth or not found:
        return float(not truth and not found)
    table = [[score(a, b) for b in truth] for a in found]
    if len(found) == 1 or len(truth) == 1:
        best = max(max(row) for row in table)
    elif len(found) == len(truth) == 2:  # the usual small case, ten times faster than the general one
        best = max(table[0][0] + table[1][1], table[0][1] + table[1][0])
    else:
        values = np.array(table)
        best = float(values[linear_sum_assignment(values, maximize=True)].sum())
    return best / max(len(found), len(truth))
