"""Penalties on how something is said, whatever it says: `length` and `repetition`, as in TRL.

TRL's functions count the model's tokens. A reward sees text only, so these count words, punctuation marks and single
CJK characters, which is about as many. The values for a given number of tokens are TRL's (`trl/rewards/
other_rewards.py`; the tests compare them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iadr1.errors import UsageError
from iadr1.prompts import Answer
from iadr1.records import Sample

_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
_ASCII_TOKEN = re.compile(r"\w+|[^\w\s]", re.ASCII)


def tokens(text: str) -> list[str]:
    """The words, punctuation marks and CJK characters of a text, in order."""
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


@dataclass(frozen=True)
class Length:
    """-1..0: 0 up to `limit - soft` tokens, falling evenly to -1 at `limit` tokens and staying there.

    It holds back answers that grow without end and never rewards brevity. Source: DAPO (arXiv 2503.14476), equation 13;
    TRL's `get_soft_overlong_punishment(limit, soft)`.

    Attributes:
        limit: The most tokens an answer should have; AnomalyR1's longest completion by default.
        soft: The stretch before it over which the penalty grows; a quarter of the limit where None.
    """

    limit: int = 256
    soft: int | None = None

    def __call__(self, answer: Answer, sample: Sample) -> float | None:
        """The penalty of one completion; it applies to every sample."""
        soft = self.limit // 4 if self.soft is None else self.soft
        over = len(tokens(answer.text)) - (self.limit - soft)
        if over <= 0:
            return 0.0
        return -over / soft if over <= soft else -1.0


def length_of(text: str) -> Length:
    """The `length` reward for a limit written out, as in `length@400`.

    Raises:
        UsageError: Not a whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"the limit of 'length@{text}' is not a whole number above 0", hint="write it like length@400")
    return Length(int(text))


@dataclass(frozen=True)
class Repetition:
    """-1..0: minus the share of n-grams that stood in the completion before; 0 where it is too short to have one.

    It stops a model that has found out that saying a thing ten times pays. Source: arXiv 2502.03373, appendix C.2;
    TRL's `get_repetition_penalty_reward(size, -1)`.

    Attributes:
        size: Tokens in an n-gram.
    """

    size: int = 3

    def __call__(self, answer: Answer, sample: Sample) -> float | None:
        """The penalty of one completion; it applies to every sample."""
        said = tokens(answer.text)
        grams = list(zip(*(said[start:] for start in range(self.size)), strict=False))
        return len(set(grams)) / len(grams) - 1 if grams else 0.0
