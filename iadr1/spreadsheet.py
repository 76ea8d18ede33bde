"""Texts in a table that people open in a spreadsheet, which takes some of them for formulas and runs them.

The rule is OWASP's for CSV injection: https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTE = "'"


def guard(text: str) -> str:
    """A text as it may stand in a cell: with an apostrophe before it where it could be taken for a formula.

    One that already looks guarded gets an apostrophe as well, so that `unguard` gives every text back.
    """
    return _QUOTE + text if text.lstrip(_QUOTE).startswith(_STARTS) else text


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    guarded = text.startswith(_QUOTE) and text.lstrip(_QUOTE).startswith(_STARTS)
    return text[1:] if guarded else text
