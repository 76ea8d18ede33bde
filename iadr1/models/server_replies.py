"""Reading what an OpenAI-compatible chat server answers: a completion, or nothing that can be used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iadr1.models.base import Unweighed
from iadr1.prompts import ANSWER_END, with_reasoning

_TELLING = ("stop_reason", "matched_stop")
"""Fields of a choice in which vLLM and SGLang say what ended it; OpenAI's protocol has neither."""

_SPACES = " \t\r\n\u2581\u0120\u010a"
"""White space before a token's text, also as tokenizers write it."""


_ROUNDING = 1e-3
"""How far a log-probability may stand above 0: that of a certain token, in 16 bits."""


class UnusableReplyError(Exception):
    """A reply with status 200 that holds no completion; the text says why."""


@dataclass(frozen=True)
class Reply:
    """One completion.

    Attributes:
        text: What was written, up to the end of the answer; reasoning that the server set apart stands before it.
        finished: False where the token limit cut it off.
        prompt_tokens: As the server counts them, 0 where it does not.
        completion_tokens: The same.
        tells_stop: The server says what ended the answer.
        reasoned: The server set reasoning apart from the answer.
        top: The first token's most probable texts with their log-probabilities, NaN where the server gives no number;
            None where it gives none at all.
    """

    text: str
    finished: bool
    prompt_tokens: int
    completion_tokens: int
    tells_stop: bool
    reasoned: bool
    top: tuple[tuple[str, float], ...] | None


def read_reply(body: str) -> Reply:
    """The completion in the body of a chat completion response.

    Raises:
        UnusableReplyError: The body is not JSON, holds no choice, or the choice no text.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:  # the second: brackets within brackets without end
        raise UnusableReplyError(f"the answer is not JSON: {brief(body) or 'it is empty'!r}") from error
    if not isinstance(value, dict):
        raise UnusableReplyError(f"the answer is no JSON object: {brief(body)!r}")
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        said = error_words(value)
        raise UnusableReplyError(f"the answer holds no choice{f': {said}' if said else ''}")
    choice: dict[str, Any] = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UnusableReplyError("the answer's choice holds no message")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    reasoning = reasoning if isinstance(reasoning, str) else ""
    top = _top(choice.get("logprobs"))
    text, complete = _answer(choice, _content(message), explained=bool(reasoning) or top is not None)
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    return Reply(
        text=with_reasoning(reasoning, text) if reasoning else text or "",
        finished=complete or choice.get("finish_reason") != "length",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        tells_stop=any(name in choice for name in _TELLING),
        reasoned=bool(reasoning),
        top=top,
    )


def _content(message: Mapping[str, Any]) -> str | None:
    """The written text; where there is none, the text of a refusal; None where there is neither."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in texts if isinstance(text, str)) or None
    if content is None:
        content = message.get("refusal")
    return content if isinstance(content, str) else None


def _answer(choice: Mapping[str, Any], content: str | None, *, explained: bool) -> tuple[str | None, bool]:
    """The text up to the end of the answer, and whether the answer is complete.

    The same whether or not the server stopped there: what it wrote on is cut off, and the closing tag, which servers
    remove where they stop at it, is put back where the server says that it was written.

    Raises:
        UnusableReplyError: There is no text, and nothing that explains it.
    """
    if content is None:
        reason = choice.get("finish_reason")
        if reason == "content_filter":
            raise UnusableReplyError("the server's content filter removed the answer")
        if reason != "length" and not explained:
            raise UnusableReplyError(f"the answer holds no text (finish_reason {reason!r})")
        return None, False
    before, end, _ = content.partition(ANSWER_END)
    stopped = any(choice.get(name) == ANSWER_END for name in _TELLING)
    return (before + ANSWER_END, True) if end or stopped else (content, False)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _top(logprobs: Any) -> tuple[tuple[str, float], ...] | None:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], dict):
        return None
    found = {}
    for item in (tokens[0], *(tokens[0].get("top_logprobs") or ())):
        token, value = (item.get("token"), item.get("logprob")) if isinstance(item, dict) else (None, None)
        if isinstance(token, str):  # JSON has no NaN: some servers write null for it
            found[token] = float(value) if isinstance(value, int | float) else math.nan
    return tuple(found.items()) or None


def word_probabilities(top: Sequence[tuple[str, float]], words: Sequence[str]) -> dict[str, float]:
    """The probability of each word as the answer's first, normalised over the words.

    A token counts for a word that it spells, white space before it left out; for a word that no token spells whole,
    the tokens count that only this one of the words begins with. Case matters.

    Args:
        top: The most probable first tokens and their log-probabilities.
        words: Different words.

    Returns:
        A word that is not among the tokens has 0. An `Unweighed` where none of them begins any of the words, all that
        do have probability 0, or the value of one that counts is no log-probability (NaN, above 0).
    """
    share = dict.fromkeys(words, 0.0)
    texts = [(token.lstrip(_SPACES), value) for token, value in top]
    spelled = {text for text, _ in texts} & set(words)
    for text, value in texts:
        begun = [text] if text in share else [word for word in words if text and word.startswith(text)]
        if len(begun) != 1 or (begun[0] != text and begun[0] in spelled):
            continue
        if not value <= _ROUNDING:  # a NaN is not
            return Unweighed(f"the log-probability of {text!r} is {value:g}, it must be a number up to 0")
        share[begun[0]] += math.exp(min(value, 0.0))
    total = sum(share.values())
    if total > 0:
        return {word: value / total for word, value in share.items()}
    instead = ", ".join(repr(token) for token, _ in top[:5])
    return Unweighed(f"no log-probabilities of {', '.join(words)}: the answer would begin with {instead}")


def error_words(body: Any) -> str:
    """What the body of an error says, in a few words: OpenAI's `error.message`, FastAPI's `detail`, or the text."""
    for name in ("error", "message", "detail", "msg"):
        while isinstance(body, dict) and body.get(name):
            body = body[name]
        if isinstance(body, list) and body:
            body = body[0]
    return brief(body) if isinstance(body, str) else ""


def brief(text: str, most: int = 240) -> str:
    """Text on one line without markup, cut to `most` characters."""
    line = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return line if len(line) <= most else line[: most - 3] + "..."
