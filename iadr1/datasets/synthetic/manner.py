"""How defects are drawn: as in the evaluation sets, or in training sets varied in size, width, contrast and form."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Manner:
    """Factors on how a defect is drawn; all ones (and no ragged edge) is how evaluation sets are drawn.

    Attributes:
        size: Of lengths and radii.
        width: Of lines.
        bend: Of the curvature of scratches.
        squash: How much longer than wide holes, stains and dents are, on top of what they are anyway.
        ragged: Depth of the waves in the outline of holes, as a share of the radius.
        strength: Of the paint that is tried first.
        visible: Of the contrast that counts as visible.
    """

    size: float = 1.0
    width: float = 1.0
    bend: float = 1.0
    squash: float = 1.0
    ragged: float = 0.0
    strength: float = 1.0
    visible: float = 1.0


PLAIN = Manner()


def draw_manner(rng: np.random.Generator) -> Manner:
    """Draw a manner: a quarter as in evaluation sets, of the others a fifth faint and a fifth strong."""
    if rng.random() < 0.25:
        return PLAIN
    contrast = rng.random()
    faint, strong = contrast < 0.2, contrast > 0.8
    return Manner(
        size=float(np.exp(rng.uniform(np.log(0.65), np.log(1.7)))),
        width=float(rng.uniform(0.7, 1.7)),
        bend=float(rng.choice([1.0, 1.0, 4.0, 8.0])),
        squash=float(rng.choice([1.0, 1.0, 1.35, 1.7])),
        ragged=float(rng.choice([0.0, 0.12, 0.25])),
        strength=0.45 if faint else 1.7 if strong else 1.0,
        visible=0.62 if faint else 1.0,
    )
