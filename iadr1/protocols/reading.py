"""From a completion to the answer in the sample's own letters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iadr1 import prompts
from iadr1.geometry import BoxFrame
from iadr1.protocols.base import Protocol, Turn
from iadr1.records import Sample


@dataclass(frozen=True)
class Reading:
    """What a completion says.

    Attributes:
        answer: As `records.Prediction.answer`: a letter of the sample's own, `Yes` or `No`, `box`, or None. Where
            `parse` begins with `failed` it is what a published script stores for an answer that is none.
        parse: Status and reason, as `records.Prediction.parse`.
        answer_object: Everything that was read; its letter is the sample's own as well.
    """

    answer: str | None
    parse: str
    answer_object: prompts.Answer


def read(text: str, sample: Sample, turn: Turn, protocol: Protocol, *, frame: BoxFrame | None = None) -> Reading:
    """Read a completion as the protocol does.

    Args:
        text: The whole completion.
        sample: The sample that was asked.
        turn: What was sent.
        protocol: How it was asked.
        frame: The frame of the model's boxes; needed by the readings `boxes` and `grounding`.
    """
    found = prompts.READINGS[protocol.reading].read(text, turn.options, frame)
    word, answer = found.word, found.answer
    if sample.task == "choice" and word is not None:
        word = own_letter(word, turn)
        if answer.letter is not None:
            answer = replace(answer, letter=word)
    return Reading(word, f"{answer.status}: {answer.reason}" if answer.reason else answer.status, answer)


def letters(turn: Turn) -> tuple[str, ...]:
    """The letters of the options as shown, A first; empty where no options are shown."""
    return tuple(turn.options)


def own_letter(shown: str, turn: Turn) -> str:
    """The sample's own letter for a letter as shown.

    One of A to E that was not offered stays such a one: where the sample has that letter, whose option was shown under
    another, it becomes the first of A to E that the sample has not.
    """
    own = turn.order or "".join(turn.options)
    if shown in turn.options:
        return own[letters(turn).index(shown)]
    if shown not in own or shown not in prompts.LETTERS:
        return shown
    return next(letter for letter in prompts.LETTERS if letter not in own)
