"""The papers' answer formats: renders the prompt, renders the target, parses the completion.

This module is the sole owner of the tags and of every rule that reads an answer out of text. For every format,
`parse(render_target(sample))` gives the sample's truth back (rule 3 of the house).

Formats:
    choice      AnomalyR1 section 3.4: reasoning, then one option letter.
    structured  IAD-R1: reasoning, location, type, Yes/No.
    boxes       AnomalyR1 section 3.1: reasoning, then a JSON list of the defects' boxes; `[]` for a normal product.
    grounding   VLM-R1's RefCOCO prompt (AnomalyR1 section 3.1): reasoning, then the named region's box as JSON.
    direct      the bare word Yes or No, for scoring by probability.

Evaluations read through `READINGS`: these formats, and what the published scripts read.
"""

from iadr1.prompts.formats import (
    ANSWER_END,
    DETECT_QUESTION,
    FORMATS,
    TAGS,
    Answer,
    Format,
    LabelledBox,
    ParseStatus,
    instruction,
)
from iadr1.prompts.parsing import conclude, parse
from iadr1.prompts.readings import LETTERS, READINGS, Found, ReadingRule
from iadr1.prompts.rendering import question_text, render_boxes, render_prompt, render_target, with_reasoning

__all__ = [
    "ANSWER_END",
    "DETECT_QUESTION",
    "FORMATS",
    "LETTERS",
    "READINGS",
    "TAGS",
    "Answer",
    "Format",
    "Found",
    "LabelledBox",
    "ParseStatus",
    "ReadingRule",
    "conclude",
    "instruction",
    "parse",
    "question_text",
    "render_boxes",
    "render_prompt",
    "render_target",
    "with_reasoning",
]
