"""ROAM, the Reasoned Outcome Alignment Metric (AnomalyR1, sections 3.3 and 4.5): answers count with their reasons.

What the paper means, not what its published code does: there the reasoning's option is guessed from any lone capital,
so that the article "A" names option A. Here `prompts.conclude` decides (departures: docs/paper_index.md).
"""

from __future__ import annotations

from iadr1.prompts import Answer, conclude
from iadr1.records import Sample


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
    if sample.task != "choice":
        return None
    if answer.status != "ok" or not answer.think or answer.letter is None:
        return 0.0
    concluded = conclude(answer.think, sample.options)
    if concluded not in (None, answer.letter):
        return 0.0
    return process_alignment(concluded, sample.answer) + outcome_synergy(answer.letter, sample.answer)


def process_alignment(concluded: str | None, truth: str) -> float:
    """Phi, 0..0.2: 0 for reasoning that concludes nothing, 0.05 for another option, 0.2 for the true one."""
    if concluded is None:
        return 0.0
    return 0.2 if concluded == truth else 0.05


def outcome_synergy(letter: str, truth: str) -> float:
    """Psi, 0.05..0.8: 0.05 for an answer that is there but wrong, 0.8 for the right one."""
    return 0.8 if letter == truth else 0.05
