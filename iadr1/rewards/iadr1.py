"""The two rewards of the published SC-GRPO run (IAD-R1), value for value: `iadr1-accuracy`, `iadr1-consistency`.

The script registers them as `accuracy` and `format` and adds them: `--reward iadr1-accuracy=1,iadr1-consistency=1`.
Both look at the raw completion (`Answer.text`) and at the solution text the sample's defects would give. What is
surprising about them stands in docs/rewards.md; `sc-grpo` is the same intent without it.
"""

from __future__ import annotations

from iadr1.prompts import Answer
from iadr1.prompts.published import Tagged, in_defect_shape, in_normal_shape, read_tagged, tagged_truth
from iadr1.records import Sample
from iadr1.rewards.defect_types import published_score


def iadr1_accuracy(answer: Answer, sample: Sample) -> float | None:
    """0..2: IAD-R1's `accuracy_reward`; None for a sample that is not a Yes/No question.

    True No: 1 for exactly "no". True Yes: half the type score plus half the location score, plus 1 for exactly "yes";
    the halves are paid for a "no" as well. A block with a line break in it is not seen. Source: `reward.py`.
    """
    if sample.task != "anomaly":
        return None
    said = read_tagged(answer.text)
    verdict = said.answer.lower() if said.answer is not None else None
    if sample.answer == "No":
        return float(verdict == "no")
    truth = tagged_truth(sample)
    return (_type_score(said, truth) + _location_score(said, truth)) / 2.0 + float(verdict == "yes")


def iadr1_consistency(answer: Answer, sample: Sample) -> float | None:
    """0 or 1: IAD-R1's `consistency_reward`; None for a sample that is not a Yes/No question.

    1 where the completion has the shape of the *true* verdict, whatever it answers: think, location, type and answer
    block for a defect, think and answer block alone for a normal image, not even a line break between blocks. Source:
    `reward.py`.
    """
    if sample.task != "anomaly":
        return None
    return float(in_normal_shape(answer.text) if sample.answer == "No" else in_defect_shape(answer.text))


def _type_score(said: Tagged, truth: Tagged) -> float:
    if said.type is None or truth.type is None:
        return 0.0
    return published_score(said.type.lower(), truth.type.lower())


def _location_score(said: Tagged, truth: Tagged) -> float:
    if said.location is None or truth.location is None:
        return 0.0
    return float(published_region(said.location) == published_region(truth.location))


def published_region(text: str) -> int:
    """IAD-R1's region of a location text, 1 (top left) to 9 (bottom right) as on a keypad turned upside down.

    Words are found inside other words ("flower" is lower, "upright" is right), left and top win where both sides are
    named, and any text without them, also the empty one, is the centre, 5. Source: `location_reward.py`.
    """
    text, region = text.lower(), 5
    if "left" in text:
        region -= 1
    elif "right" in text:
        region += 1
    if "top" in text or "upper" in text:
        region -= 3
    elif "bottom" in text or "lower" in text:
        region += 3
    return region
