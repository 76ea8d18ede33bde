"""Plain reasoning about a yes/no sample, put together from templates: for training a model on the form of an answer.

It says where which kind of defect is, in varied words, and nothing that the sample does not say.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from iadr1.datasets.layout import words
from iadr1.datasets.questions import UNSPECIFIC
from iadr1.prompts.rendering import unique
from iadr1.records import Defect, Sample

_OPENING = (
    "I go through this {category} image from the top left to the bottom right.",
    "To decide, I look at every region of this {category} image.",
    "I check the {category} image one region after the other.",
    "The question is whether this {category} image shows any defect, so I look at all of it.",
)
_NORMAL = (
    "In no region do I find a defect. The answer is no.",
    "I find nothing that counts as a defect, so the image is normal.",
    "There is no defect in any of the nine regions. So this is a normal image.",
    "Neither the center nor the regions around it show a defect. The image is normal.",
)
_TYPED = (
    "I find a defect of the kind '{kind}' {places}.",
    "A defect ({kind}) shows {places}.",
    "What I see {places} is a defect: {kind}.",
)
_UNTYPED = (
    "I find a defect {places}.",
    "There is a defect {places}.",
    "What I see {places} is a defect.",
)
_TYPED_NOWHERE = (
    "I find a defect of the kind '{kind}'.",
    "A defect ({kind}) shows in the image.",
    "The image shows a defect: {kind}.",
)
_UNTYPED_NOWHERE = ("I find a defect.", "There is a defect in the image.", "The image shows a defect.")
_ONE = (
    "A normal one would not have it. The answer is yes.",
    "So the image is defective.",
    "This alone makes the image defective, so the answer is yes.",
)
_SEVERAL = (
    "That makes {count} defects in all. The answer is yes.",
    "With {count} defects the image is not normal.",
    "I count {count} defects in all, so the image is defective.",
)


def reasoning(sample: Sample, *, seed: int) -> str:
    """Reasoning that leads to the sample's answer; the same for the same seed and sample id.

    Args:
        sample: A yes/no sample whose defects have their locations, where these are known.
        seed: Decides on the wording.
    """
    # Seeding with a text is the same in every process, unlike `hash`.
    draw = random.Random(f"{seed}:{sample.dataset}:{sample.id}")
    sentences = [draw.choice(_OPENING).format(category=words(sample.category) or "product")]
    if not sample.is_anomalous:
        return " ".join([*sentences, draw.choice(_NORMAL)])
    defects = sample.defects or (Defect(type="defect"),)
    for kind in unique(defect.type for defect in defects):
        sentences.append(_finding([defect for defect in defects if defect.type == kind], draw))
    sentences.append(draw.choice(_SEVERAL if len(defects) > 1 else _ONE).format(count=len(defects)))
    return " ".join(sentences)


def _finding(defects: Sequence[Defect], draw: random.Random) -> str:
    """The sentence about all defects of one kind."""
    kind = defects[0].type
    typed = kind.lower() not in UNSPECIFIC
    places = unique(defect.location for defect in defects if defect.location)
    if len(defects) > 1:
        subject = f"Defects of the kind '{kind}' are" if typed else "There are defects"
        return f"{subject} {_where(places) if places else 'in the image'}."
    if not places:
        return draw.choice(_TYPED_NOWHERE if typed else _UNTYPED_NOWHERE).format(kind=kind)
    return draw.choice(_TYPED if typed else _UNTYPED).format(kind=kind, places=_where(places))


def _where(places: Sequence[str]) -> str:
    """`in the top left`, `in the top left and in the center`."""
    named = [f"in the {place}" for place in places]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
