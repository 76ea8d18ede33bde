"""Rewards: what one completion is worth. `resolve_reward` turns `--reward` into functions.

A reward is a pure function `(Answer, Sample) -> float | None`: it sees one parsed answer and the truth, does no I/O,
and gives None where it does not apply. To add one, write the function and a row of `REWARDS`; to use your own
without touching this package, name it by its dotted path (`examples/my_reward.py`).
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from iadr1.errors import UsageError
from iadr1.prompts import Answer
from iadr1.records import Sample
from iadr1.rewards.boxes import boxes
from iadr1.rewards.classical import accuracy, format_reward
from iadr1.rewards.roam import roam

Reward = Callable[[Answer, Sample], float | None]
WeightedReward = tuple[str, Reward, float]
"""Name (used in logs), function, weight."""

REWARDS: Mapping[str, Reward] = {
    "roam": roam,
    "accuracy": accuracy,
    "format": format_reward,
    "boxes": boxes,
}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "classical": ("accuracy", "format"),
}
"""Names that stand for several rewards; a weight goes to each of them."""


def resolve_reward(text: str) -> list[WeightedReward]:
    """The weighted rewards that a text such as `roam=1,format=0.1` names, in its order.

    Each part is a name of `REWARDS` or `GROUPS`, or a dotted path `package.module:function` (looked up in the current
    folder too), with an optional `=weight` (1 where absent).

    Raises:
        UsageError: Unknown name, module or function, a weight that is not a finite number, or a name given twice.
    """
    found: dict[str, WeightedReward] = {}
    for part in text.split(","):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        weight = _weight(number, part) if sign else 1.0
        for member in GROUPS.get(name, (name,)):
            function = REWARDS[member] if member in REWARDS else _import_reward(member)
            label = member.rpartition(":")[2]
            if label in found:
                raise UsageError(f"the reward {label!r} is named twice in {text!r}")
            found[label] = (label, function, weight)
    return list(found.values())


def _weight(number: str, part: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UsageError(f"the weight of {part.strip()!r} is not a number", hint="write it like roam=1,format=0.1")
    return weight


def _import_reward(path: str) -> Reward:
    module_name, colon, function_name = path.partition(":")
    if not (colon and module_name and function_name):
        known = ", ".join([*REWARDS, *GROUPS])
        raise UsageError(
            f"no reward {path!r}; known rewards: {known}", hint="your own is named like package.module:function"
        )
    with _current_folder_importable():
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise UsageError(
                f"cannot import the reward {path!r}: {error}", hint="the module must be installed or lie below here"
            ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"the module {module_name!r} has no function {function_name!r}", where=module.__file__)
    reward: Reward = function
    return reward


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """A console script, unlike `python -m`, does not look for modules in the current folder."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
