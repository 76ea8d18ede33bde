"""ROAM, the Reasoned Outcome Alignment Metric (AnomalyR1, sections 3.3 and 4.5): answers count with their reasons.

What the paper means, not what its published code does (that is `roam-reference`): there the reasoning's option is
guessed from any lone capital, so that the article "A" names option A. Here `prompts.conclude` decides (departures:
docs/rewards.md).
"""

from __future__ import annotations

from collections.abc import Callable

from iadr1.prompts import Answer, conclude
from iadr1.records import Sample

Similarity = Callable[[str, str], float]
"""How alike two pieces of reasoning are, 0..1: what the model wrote, the reference."""


def roam(answer: Answer, sample: Sample) -> float | None:
    """0, 0.05, 0.1, 0.8 or 1.0; None for a sample that is not multiple choice.

    `R = Phi + Psi` (equation 7), where reasoning and answer agree; 0 where the reasoning concludes another option
    than the answer, or where either is missing or not in the asked format. With one row for what the reasoning
    concludes and one column for the answer:

        reasoning        right answer   wrong answer
        nothing          0.8            0.05
        that answer      1.0            0.1
        another option   0              0
    """
    return aligned(answer, sample)


def aligned(answer: Answer, sample: Sample, similarity: Similarity | None = None) -> float | None:
    """0..1: ROAM with the given Phi; None for a sample that is not multiple choice.

    Args:
        answer: The parsed answer.
        sample: The truth; its `reasoning` is the reference.
        similarity: Compares the reasoning with the reference and takes the place of the conclusion in Phi: a right
            answer is worth 0.8 + 0.2 s, a wrong one 0.05 + 0.05 s. Where None, or where the sample has no reference,
            Phi is `process_alignment`. Reasoning that contradicts the answer is worth 0 in any case.
    """
    if sample.task != "choice":
        return None
    if answer.status != "ok" or not answer.think or answer.letter is None:
        return 0.0
    concluded = conclude(answer.think, sample.options)
    if concluded not in (None, answer.letter):
        return 0.0
    if similarity is None or not sample.reasoning:
        phi = process_alignment(concluded, sample.answer)
    else:
        phi = process_alignment(answer.letter, sample.answer) * similarity(answer.think, sample.reasoning)
    return phi + outcome_synergy(answer.letter, sample.answer)


def process_alignment(concluded: str | None, truth: str) -> float:
    """Phi, 0..0.2: 0 for reasoning that concludes nothing, 0.05 for another option, 0.2 for the true one."""
    if concluded is None:
        return 0.0
    return 0.2 if concluded == truth else 0.05


def outcome_synergy(letter: str, truth: str) -> float:
    """Psi, 0.05..0.8: 0.05 for an answer that is there but wrong, 0.8 for the right one."""
    return 0.8 if letter == truth else 0.05
