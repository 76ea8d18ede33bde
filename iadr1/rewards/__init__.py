"""Rewards: what one completion is worth. `resolve_reward` turns `--reward` into functions.

A reward is a pure function `(Answer, Sample) -> float | None`: it sees one parsed answer and the truth, does no I/O,
and gives None where it does not apply. To add one, write the function and a row of `TABLE`; to use your own without
touching this package, name it by its dotted path (`examples/my_reward.py`). docs/rewards.md has the values of each.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from numbers import Real

from iadr1.errors import MissingExtraError, UsageError, nearest
from iadr1.rewards.anomalyr1 import choice_reference, roam_reference
from iadr1.rewards.base import Reward, RewardInfo
from iadr1.rewards.classical import accuracy, format_reward
from iadr1.rewards.grounding import box_format, grounding, grounding_giou, grounding_hard
from iadr1.rewards.iadr1 import iadr1_accuracy, iadr1_consistency
from iadr1.rewards.own import OwnReward, import_reward
from iadr1.rewards.reasoning import RoamEmbedding, roam_exact, roam_f1
from iadr1.rewards.roam import roam
from iadr1.rewards.sc_grpo import sc_grpo
from iadr1.rewards.shaping import Length, Repetition, length_of

__all__ = [
    "GROUPS",
    "REWARDS",
    "TABLE",
    "OwnReward",
    "Reward",
    "RewardInfo",
    "WeightedReward",
    "checked",
    "resolve_reward",
]

WeightedReward = tuple[str, Reward, float]
"""Name (used in logs), function, weight."""

_ROAM = "AnomalyR1 3.3, 4.5"
_AR1_CODE = "AnomalyR1 grpo_rec.py"
_IAD_CODE = "IAD-R1 reward.py"

TABLE: Mapping[str, RewardInfo] = {
    "roam": RewardInfo(roam, 0, 1, "right answer, with reasoning that leads to it", _ROAM, "options"),
    "roam-exact": RewardInfo(roam_exact, 0, 1, "roam; reasoning equal to the reference", _ROAM, "options"),
    "roam-f1": RewardInfo(roam_f1, 0, 1, "roam; words shared with the reference reasoning", _ROAM, "options"),
    "roam-embedding": RewardInfo(
        function=RoamEmbedding(),
        low=0,
        high=1,
        what="roam; embedding similar to the reference reasoning's",
        source=_ROAM,
        needs="options",
        make=RoamEmbedding,
        argument="FOLDER_OR_HUB_ID",
        extra=("sentence_transformers", "embedding"),
    ),
    "roam-reference": RewardInfo(roam_reference, 0, 1, "roam, value for value as published", _AR1_CODE, "options"),
    "choice-reference": RewardInfo(choice_reference, 0, 1, "right letter, as published", _AR1_CODE, "options"),
    "accuracy": RewardInfo(accuracy, 0, 1, "right letter or verdict", "DeepSeek-R1; AnomalyR1 Table 5", "answer"),
    "format": RewardInfo(format_reward, 0, 1, "reasoning and answer exactly as asked", "DeepSeek-R1", "any"),
    "sc-grpo": RewardInfo(sc_grpo, 0, 3, "shape, verdict, place and kind of a defect", "IAD-R1, cleaned", "verdict"),
    "iadr1-accuracy": RewardInfo(
        iadr1_accuracy, 0, 2, "verdict, place and kind, value for value as published", _IAD_CODE, "verdict"
    ),
    "iadr1-consistency": RewardInfo(
        iadr1_consistency, 0, 1, "shape of the true verdict, value for value as published", _IAD_CODE, "verdict"
    ),
    "grounding": RewardInfo(grounding, 0, 1, "IoU of matched boxes", "VLM-R1 qwen_module.py", "boxes"),
    "grounding-giou": RewardInfo(grounding_giou, 0, 1, "(1 + GIoU) / 2 of matched boxes", "arXiv 1902.09630", "boxes"),
    "grounding-hard": RewardInfo(
        grounding_hard, 0, 1, "share of matched boxes with IoU above 0.5", "VLM-R1, first version", "boxes"
    ),
    "box-format": RewardInfo(box_format, 0, 1, "reasoning, then nothing but usable boxes as JSON", "VLM-R1", "boxes"),
    "length": RewardInfo(
        function=Length(),
        low=-1,
        high=0,
        what="penalty on answers of more than 192 tokens, growing up to 256",
        source="DAPO eq. 13; TRL",
        needs="any",
        make=length_of,
        argument="TOKENS",
    ),
    "repetition": RewardInfo(Repetition(), -1, 0, "penalty on repeated 3-grams", "arXiv 2502.03373 C.2; TRL", "any"),
}
"""Every reward by the name `--reward` takes, with its range, what it rewards and where it is from."""

REWARDS: Mapping[str, Reward] = {name: row.function for name, row in TABLE.items()}

GROUPS: Mapping[str, tuple[str, ...]] = {
    "classical": ("accuracy", "format"),
}
"""Names that stand for several rewards; a weight goes to each of them."""


def resolve_reward(text: str) -> list[WeightedReward]:
    """The weighted rewards that a text such as `roam=1,format=0.1` names, in its order.

    Each part is a name of `TABLE` or `GROUPS`, or a dotted path `package.module:function` (looked up in the current
    folder too), with an optional `=weight` (1 where absent). `length@400` hands a reward its argument.

    Raises:
        UsageError: Unknown name, module or function, a module that cannot be imported, a weight that is not a finite
            number, no weight but 0, or a name given twice.
        MissingExtraError: A package the reward needs is not installed.
    """
    found: dict[str, WeightedReward] = {}
    for part in text.split(","):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        weight = _weight(number, part) if sign else 1.0
        for member in GROUPS.get(name, (name,)):
            label, function = _named_reward(member)
            if label in found:
                raise UsageError(f"the reward {label!r} is named twice in {text!r}")
            found[label] = (label, function, weight)
    if not any(weight for _, _, weight in found.values()):
        raise UsageError(f"every weight of {text!r} is 0, nothing would be rewarded")
    return list(found.values())


def checked(name: str, value: object, where: str) -> float | None:
    """A reward's value as a float; None stays None.

    Args:
        name: The reward's name, for the message.
        value: What the reward gave.
        where: The sample or the line it was about, for the message.

    Raises:
        UsageError: It is not a finite number.
    """
    if value is None:
        return None
    if not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(
            f"the reward {name!r} gave {value!r} for {where}",
            hint="a reward is a finite number, or None where it does not apply",
        )
    return float(value)


def _weight(number: str, part: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UsageError(f"the weight of {part.strip()!r} is not a number", hint="write it like roam=1,format=0.1")
    return weight


def _own_reward(path: str) -> Reward:
    if not all(path.partition(":")):
        known = nearest(path, [*TABLE, *GROUPS], what="known rewards")
        raise UsageError(f"no reward {path!r}; {known}", hint="your own is named like package.module:function")
    return import_reward(path)


def _named_reward(text: str) -> tuple[str, Reward]:
    """The name for logs and the function of `name`, `name@argument` or `package.module:function`."""
    name, sign, argument = text.partition("@")
    row = TABLE.get(name)
    if row is None:
        return text.rpartition(":")[2], _own_reward(text)
    if row.extra is not None and importlib.util.find_spec(row.extra[0]) is None:
        package, extra = row.extra
        raise MissingExtraError(package.replace("_", "-"), extra, purpose=f"the reward {name!r}")
    if not sign:
        return name, row.function
    if row.make is None:
        raise UsageError(f"the reward {name!r} takes nothing after '@', it got {argument!r}")
    if not argument:
        raise UsageError(f"nothing stands after '@' in {text!r}", hint=f"write it like {name}@{row.argument}")
    return name, row.make(argument)
