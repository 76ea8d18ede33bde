"""Texts in a table that people open in a spreadsheet, which takes some of them for formulas and runs them.

The rule is OWASP's for CSV injection: https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

import re

_PIECE = r"(?:^|(?<=[;\t\r\n]))"
"""Where a cell begins: at the start, and where a spreadsheet cuts that takes another separator or knows no quotes."""
_FORMULA = r"(?='*[=+\-@\t\r\n])"
_GUARD, _UNGUARD = re.compile(_PIECE + _FORMULA), re.compile(_PIECE + "'" + _FORMULA)


def guard(text: str) -> str:
    """A text as it may stand in a cell: with an apostrophe before each piece that could be taken for a formula.

    One that already looks guarded gets an apostrophe as well, so that `unguard` gives every text back. The script of
    the report (`review.js`) has the same rule.
    """
    return _GUARD.sub("'", text)


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    return _UNGUARD.sub("", text)
