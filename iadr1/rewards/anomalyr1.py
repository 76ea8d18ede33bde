"""The two rewards of the published AnomalyR1 run, value for value: `roam-reference` and `choice-reference`.

The script registers them as `format` and `accuracy` and adds them with equal weight, so
`--reward roam-reference=1,choice-reference=1` is what the published checkpoint was trained on (0 to 2). Both look at
the raw completion (`Answer.text`). What is surprising about them stands in docs/rewards.md.
"""

from __future__ import annotations

from iadr1.prompts import Answer
from iadr1.prompts.published import extract_choice, last_blocks
from iadr1.records import Sample


def roam_reference(answer: Answer, sample: Sample) -> float | None:
    """0, 0.05, 0.1, 0.8 or 1.0: AnomalyR1's `roam_reward`; None for a sample that is not multiple choice.

    With T for the option read out of the last think block, A for the one of the last answer block, S for the truth:

        T           A = S    A = T, wrong    another A    no A
        no option   0.8      -               0.05         0
        S           1.0      -               0            0
        wrong       0        0.1             0            0

    T comes from `extract_choice`: "A crack is visible" is option A, so a right answer B with this reasoning is worth 0
    where reasoning that names nothing would give 0.8. Source: `grpo_rec.py`, `roam_reward`.
    """
    if sample.task != "choice":
        return None
    blocks = last_blocks(answer.text)
    if blocks is None:
        return 0.0
    thought, said = map(extract_choice, blocks)
    right = said == sample.answer
    if thought is None:
        return (0.8 if right else 0.05) if said is not None else 0.0
    if thought != said:
        return 0.0
    return 1.0 if right else 0.1


def choice_reference(answer: Answer, sample: Sample) -> float | None:
    """0 or 1: AnomalyR1's `choice_reward`; None for a sample that is not multiple choice.

    1 where `extract_choice` of the last answer block is the true letter and the gate of `last_blocks` is open. A
    lower-case letter is never right, and "A defect" is option A. Source: `grpo_rec.py`, `choice_reward`.
    """
    if sample.task != "choice":
        return None
    blocks = last_blocks(answer.text)
    return float(blocks is not None and extract_choice(blocks[1]) == sample.answer)
