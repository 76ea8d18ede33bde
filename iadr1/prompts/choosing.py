"""Which option a text chooses: a letter, the option's own words, or a plain conclusion; never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from iadr1.prompts.cleaning import tidy, unmarked
from iadr1.prompts.formats import Answer, ParseStatus

NEGATED = re.compile(r"\b(?:not|no|never|without|cannot|neither|nor)\b|n['\u2019]t\b|不|没|無|无", re.IGNORECASE)
"""A word that denies something."""

UNSURE = re.compile(
    r"\b(?:maybe|perhaps|possibly|unsure|unclear|unknown|unable|sorry)\b|\bnot (?:sure|certain|clear)\b"
    r"|\b(?:cannot|can not|can['\u2019]?t|could not|couldn['\u2019]?t) (?:be )?(?:\w+ )?"
    r"(?:determine|tell|say|judge|assess|answer)",
    re.IGNORECASE,
)
"""A word that leaves the answer open."""


def read_choice(block: str, options: Mapping[str, str], *, sound: tuple[ParseStatus, str]) -> Answer:
    """The option that an answer block names.

    Args:
        block: What stands in the block.
        options: Letter -> text.
        sound: Status and reason of the block itself.
    """
    plain = tidy(block)
    marked = unmarked(plain)
    if marked != block.strip() and sound[0] == "ok":
        sound = "repaired", "marks around the answer"
    led = _led_by_letter(marked, options, sound=sound)
    if led is not None:
        return led
    letter = _stated(marked, options) or _option_text(marked, options) or _affirmed(marked, options)
    if letter is None:
        return Answer("failed", f"no offered option in {block[:60]!r}")
    status: ParseStatus = "truncated" if sound[0] == "truncated" else "repaired"
    return Answer(status, "the answer is not a single letter", letter=letter)


def read_untagged(text: str, options: Mapping[str, str], *, reason: str) -> Answer:
    """The option that a completion without an answer block settles on.

    Models without the format's training answer in plain words. What counts is, in this order, a stated conclusion, a
    letter the text begins with, a last line that is nothing but a letter, an option's own text.

    Args:
        text: The completion without its reasoning.
        options: Letter -> text.
        reason: Why there is no answer block.
    """
    plain = _without_echo(unmarked(tidy(text)), options)
    letter = _stated(plain, options)
    led = _led_by_letter(plain, options, sound=("repaired", reason)) if letter is None else None
    if led is not None:
        return led
    letter = letter or _last_line(plain, options) or _option_text(plain, options) or _affirmed(plain, options)
    return Answer("failed", reason) if letter is None else Answer("repaired", reason, letter=letter)


def _without_echo(text: str, options: Mapping[str, str]) -> str:
    """The text without the list of options, where it was repeated from the question."""
    listed = {f"{letter.lower()} {normal(option)}" for letter, option in options.items()}
    lines = text.split("\n")
    kept = [line for line in lines if normal(line) not in listed]
    return "\n".join(kept).strip() if len(lines) - len(kept) > 1 else text


def _last_line(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that is all the last line holds, unless other lines hold other letters."""
    alone = [match[1].upper() if (match := _ONLY_LETTER.fullmatch(line)) else None for line in text.split("\n")]
    return alone[-1] if alone[-1] in options and len(set(alone) - {None}) == 1 else None


def conclude(text: str, options: Mapping[str, str]) -> str | None:
    """The option a piece of reasoning ends on; None where it does not say.

    Only a real conclusion counts: "the answer is B", "B is correct" (the last one, if there are several), or else a
    last sentence that affirms exactly one option's own text. A sentence that denies something concludes nothing, and
    a bare capital letter, such as the article "A", never does (AnomalyR1's `extract_choice` takes it; see
    docs/paper_index.md).
    """
    return _stated(text, options) or _affirmed(text, options)


_OPENED, _CLOSED = r"[\s(\[{\"'\u201c\u2018]*", r"[\"'\u201d\u2019]?"
_LETTER = re.compile(
    rf"{_OPENED}(?:(?:option|choice|选项)[\s:]*{_OPENED})?([A-Za-z]){_CLOSED}"
    r"(?:[^\S\n]*(?:[)\]}.:,;!、。]|\n|$)|\s+[-\u2013\u2014]+\s)",
    re.IGNORECASE,
)
_ONLY_LETTER = re.compile(rf"{_OPENED}(?:option\s+)?([A-Za-z])[\s)\]}}.\"'\u201d\u2019。]*", re.IGNORECASE)


def _led_by_letter(block: str, options: Mapping[str, str], *, sound: tuple[ParseStatus, str]) -> Answer | None:
    """An answer that begins with a letter; None where it does not."""
    match = _LETTER.match(block)
    if not match:
        return None
    if match[1].upper() not in options:
        return Answer("failed", f"{match[1]!r} is not among the options")
    letter, rest = match[1].upper(), block[match.end() :]
    if not normal(rest) or normal(rest) == normal(options[letter]):
        return Answer(*sound, letter=letter)
    others = [other for other in options if other != letter]
    named = any(re.search(rf"\b{other}\b", rest) or _holds(rest, options[other]) for other in others)
    if named or NEGATED.search(rest) or UNSURE.search(rest) or re.search(r"\bor\b", rest, re.IGNORECASE):
        return Answer("failed", f"more than one answer in {block[:60]!r}")
    return Answer("truncated" if sound[0] == "truncated" else "repaired", "more than a letter", letter=letter)


def normal(text: str) -> str:
    """Words only, in lower case."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def _option_text(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose own text, alone or after its letter, is all that stands here."""
    said = normal(text)
    found = [
        letter
        for letter, option in options.items()
        if (words := normal(option)) and said in (words, f"{letter.lower()} {words}")
    ]
    if len(found) == 1:
        return found[0]
    return None if found else _yes_or_no(text, options)


_VERDICT = re.compile(r"\W*(yes|no)\b(?=\s*(?:[.,;:!\n(\u2013\u2014]|-\s|$))(.*)", re.IGNORECASE | re.DOTALL)


def verdict(text: str) -> bool | None:
    """True for a text that begins with a clear Yes, False for No; None where it goes on to deny or to doubt it."""
    match = _VERDICT.match(text)
    if match is None or UNSURE.search(match[2]):
        return None
    yes = match[1].lower() == "yes"
    against = NEGATED.search(match[2]) if yes else re.search(r"\byes\b", match[2], re.IGNORECASE)
    return None if against else yes


def _yes_or_no(text: str, options: Mapping[str, str]) -> str | None:
    said = verdict(text)
    found = [letter for letter, option in options.items() if normal(option) == ("yes" if said else "no")]
    return found[0] if said is not None and len(found) == 1 else None


_MARK = r"[\s:\"'(\[{*]*"
_ANOTHER = (
    r"(?![\s)\]\"'*]*(?:[,/&+;、和或与]|\b(?i:and|or)\b)[\s(\[\"'*]*(?:(?i:option)\s+)?(?:[A-HJ-Z]|I(?!\s+[a-z]))\b)"
)
"""Not followed by a second letter: "A or B", "A/B" and "A, C" choose nothing."""
_ARTICLE = r"(?!\s+(?!(?:because|since|as|due)\b)[a-z])"
"""Not followed by a word, as the article "A" is."""
_CONCLUSIONS = (
    re.compile(
        r"\b(?i:answer|choose|select|pick|(?:right|correct|best) (?:option|choice))\b"
        r"(?:\s+(?:is|would be|should be|must be|option|choice))*"
        rf"{_MARK}(?:(?i:option|choice)\b{_MARK})?([A-Z])\b(?![a-z']){_ARTICLE}(?!\s*\?){_ANOTHER}"
    ),
    # The letter first: a search for a capital is quick, one for what does not stand before it is not.
    re.compile(
        r"\b([A-Z])(?<!\bor [A-Z])(?<!\band [A-Z])(?<![/,&] [A-Z])(?<![/,&][A-Z])\)?\s+is\s+(?:the\s+)?"
        r"(?:right|correct|best|answer)\b"
    ),
    # "Therefore, B.", "So it must be B.": only where the letter is the sentence's last word.
    re.compile(
        r"\b(?i:must be|therefore|thus|hence)\b(?:[\s,:]|\b(?i:it|this|that|is|must be|should be|option|choice)\b)*"
        r"[\"'(\[{*]*([A-Z])[)\]}\"'*]*\s*[.!]?$"
    ),
    re.compile(rf"(?:答案|正确选项|选择?(?!项))应?该?(?:是|为)?[\uff1a\uff08]?{_MARK}([A-Z])(?![A-Za-z]){_ANOTHER}"),
    re.compile(r"([A-Z])项?是?正确"),
)
_IN_ENGLISH = 3
"""How many of them are English."""


def _stated(text: str, options: Mapping[str, str]) -> str | None:
    """The last "the answer is B" or "B is correct" that is not denied."""
    if not _has_cue(text):
        return None
    for sentence in reversed(_sentences(text)):
        if not _has_cue(sentence):
            continue
        patterns = _CONCLUSIONS[:_IN_ENGLISH] if sentence.isascii() else _CONCLUSIONS
        found = sorted((m for p in patterns for m in p.finditer(sentence)), key=lambda m: m.start(1), reverse=True)
        letter = next((m[1] for m in found if m[1] in options and not _denied(sentence, m.start())), None)
        if letter is not None:
            return letter
    return None


def _affirmed(text: str, options: Mapping[str, str]) -> str | None:
    """The one option whose own text stands in the last sentence."""
    sentences = _sentences(text)
    if not sentences or NEGATED.search(sentences[-1]):
        return None
    # Texts of one short word, such as "No.", stand in too many sentences that say something else.
    last = f" {normal(sentences[-1])} "
    named = [letter for letter, text in options.items() if len(words := normal(text)) > 3 and f" {words} " in last]
    return named[0] if len(named) == 1 else None


_ENGLISH = (
    *("answer", "choose", "select", "pick", "right", "correct", "best"),
    *("must be", "therefore", "thus", "hence"),
)
_CHINESE = ("答案", "选", "正确")
"""Every phrase of `_CONCLUSIONS` holds one of them; looking for these first spares most sentences the search."""


def _has_cue(text: str) -> bool:
    lowered = text.lower()
    for cue in _ENGLISH:  # a loop, since this is asked of every sentence that a reward reads
        if cue in lowered:
            return True
    return not text.isascii() and any(cue in text for cue in _CHINESE)


_SENTENCE_END = re.compile(r"[.!?\n](?:(?<=\n)|(?=\s))")


def _sentences(text: str) -> list[str]:
    """The parts between line breaks, and between full stops, question or exclamation marks before white space."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    parts = (text[start:end].strip() for start, end in pairwise([0, *ends, len(text)]))
    return [part for part in parts if part]


def _denied(sentence: str, end: int) -> bool:
    """Whether the clause that leads up to a conclusion denies it; "No, the answer is A" does not."""
    start = max(sentence.rfind(mark, 0, end) for mark in ",;:")
    return bool(NEGATED.search(sentence, start + 1, end))


def _holds(text: str, option: str) -> bool:
    """Whether the option's text stands in the text as whole words."""
    return bool(normal(option)) and f" {normal(option)} " in f" {normal(text)} "
