"""Evaluation protocols: frozen, versioned and hashed definitions of how questions are asked and answers are read.

A protocol is one YAML file of this folder, or a user's own. `turns` says what is sent for the questions about an image,
`fit` at which size, and `read` what an answer says.
"""

from iadr1.protocols.asking import Knowledge, asked, fit, turns
from iadr1.protocols.base import IMAGE_SLOT, Part, Protocol, Turn
from iadr1.protocols.changes import vary
from iadr1.protocols.files import find, load, names
from iadr1.protocols.reading import Reading, letters, own_letter, read

__all__ = [
    "IMAGE_SLOT",
    "Knowledge",
    "Part",
    "Protocol",
    "Reading",
    "Turn",
    "asked",
    "find",
    "fit",
    "letters",
    "load",
    "names",
    "own_letter",
    "read",
    "turns",
    "vary",
]
