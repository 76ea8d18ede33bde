"""A reward of your own, in one function.

Look at what it gives, then train with it, from the folder that holds this file:

    iadr1 rewards try my_reward:brief answers.jsonl
    iadr1 train --reward my_reward:brief
    iadr1 train --reward roam=1,my_reward:brief=0.2     (added to ROAM, with a weight)

The function sees one answer (`iadr1.prompts.Answer`) and the truth (`iadr1.records.Sample`), and gives a number, or
None where it does not apply. A finite number is all that is asked; only differences within a group count.
"""

from iadr1.prompts import Answer
from iadr1.records import Sample


def brief(answer: Answer, sample: Sample) -> float | None:
    """0..1: an answer with reasoning of at most 20 words; less for each word more."""
    if not answer.think:
        return 0.0
    return min(1.0, 20 / len(answer.think.split()))
