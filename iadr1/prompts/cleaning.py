"""What models write around an answer: chat tokens, markdown, LaTeX, full-width letters, tags that are nearly right.

Nothing here changes what is said. A completion in the format asked for needs none of it.
"""

from __future__ import annotations

import html
import re
import unicodedata

# White space is bounded in what may fail after it: a model can loop on blanks, and reading has to stay linear.
_TAG = re.compile(r"[<\uff1c]\s{0,3}([/\uff0f]?)\s{0,3}(think|location|type|answer)\s{0,3}[>\uff1e]", re.IGNORECASE)
_ESCAPED_TAG = re.compile(r"&lt;/?(?:think|answer)&gt;", re.IGNORECASE)
_TURN_END = re.compile(
    r"<\|(?:im_end|endoftext|eot_id|end_of_text|end|eos|user)\|>|</s>|<end_of_turn>|<\uff5cend\u2581of\u2581sentence\uff5c>"
)
_TOKEN = re.compile(r"<\|im_start\|>\s*(?:assistant)?|<\|[^|<>\n]{1,30}\|>|</?s>|<start_of_turn>(?:model)?")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0f\ufeff]"
)
_HALF_CLOSED = re.compile(r"</?(?:a(?:n(?:s(?:w(?:er?)?)?)?)?)?\Z", re.IGNORECASE)
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mathsf)\s*\{")
_MARKS = re.compile(
    r"[*`$]+|__|^#{1,6} |^> |\\[()\[\]]|</?(?:b|i|u|p|em|strong|span|div|code|br)\s?/?>", re.MULTILINE | re.IGNORECASE
)


def own_turn(text: str) -> str:
    """The model's own turn, its tags spelled as asked for.

    What follows a token that ends the turn is another turn, made up by a model that ran on.
    """
    if "<answer>" not in text and _ESCAPED_TAG.search(text):
        text = html.unescape(text)
    start = 0
    for match in _TURN_END.finditer(text):
        if _TOKEN.sub("", text[start : match.start()]).strip():
            text = text[: match.start()]
            break
        start = match.end()
    return _TAG.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    return f"<{'/' if match[1] else ''}{match[2].lower()}>"


def unthought(text: str) -> str:
    """What stands outside the reasoning; reasoning that is not closed goes on to the end."""
    if "think>" not in text:
        return text
    return _THOUGHT.sub(" ", text).rpartition("</think>")[2].strip()


def blocks(text: str, tag: str) -> tuple[list[str], list[str]]:
    """What stands in a tag's blocks: those that are closed, and those that are not; innermost where they are nested."""
    closed: list[str] = []
    unclosed: list[str] = []
    for part in text.split(f"<{tag}>")[1:]:
        inside, closing, _ = part.partition(f"</{tag}>")
        (closed if closing else unclosed).append(inside.strip())
    return closed, unclosed


def tidy(block: str) -> str:
    """A short text in plain letters: no HTML entity, chat token, invisible character or half a closing tag."""
    if "&" in block:
        block = html.unescape(block)
    if not block.isascii():
        block = unicodedata.normalize("NFKC", block)
    if "<" in block:
        block = _HALF_CLOSED.sub("", _TOKEN.sub(" ", _TURN_END.sub(" ", block)).rstrip())
    return _INVISIBLE.sub("", block).strip()


def unmarked(text: str) -> str:
    r"""A text without marks of markdown, LaTeX and HTML; `\boxed{B}`, which marks an answer, becomes `answer: B`."""
    if "\\" in text:
        text = _LATEX_TEXT.sub("", text).replace("\\boxed", " answer: ").replace("\\fbox", " answer: ")
    return _MARKS.sub("", text).strip()
