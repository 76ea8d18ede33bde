"""Colours drawn at random around named ones, so that a question about the colour keeps a right answer."""

from collections.abc import Sequence

import numpy as np

from iadr1.datasets.synthetic.draw import Rgb
from iadr1.datasets.synthetic.product import Setup, Swatch

NAMED: dict[str, Rgb] = {
    "black": (48.0, 48.0, 52.0),
    "dark grey": (86.0, 87.0, 91.0),
    "grey": (132.0, 133.0, 135.0),
    "silver": (172.0, 174.0, 178.0),
    "light grey": (196.0, 196.0, 194.0),
    "white": (226.0, 226.0, 222.0),
    "cream": (220.0, 208.0, 176.0),
    "beige": (198.0, 182.0, 150.0),
    "light brown": (196.0, 156.0, 108.0),
    "brown": (156.0, 108.0, 68.0),
    "dark brown": (104.0, 72.0, 50.0),
    "gold": (190.0, 158.0, 84.0),
    "yellow": (222.0, 190.0, 66.0),
    "orange": (214.0, 128.0, 56.0),
    "red": (182.0, 58.0, 54.0),
    "pink": (216.0, 148.0, 160.0),
    "purple": (122.0, 84.0, 150.0),
    "blue": (62.0, 94.0, 164.0),
    "light blue": (150.0, 182.0, 212.0),
    "green": (70.0, 124.0, 78.0),
    "light green": (156.0, 194.0, 152.0),
}

ANY: tuple[str, ...] = tuple(NAMED)
METAL: tuple[str, ...] = ("silver", "grey", "dark grey", "light grey", "gold")
STONE: tuple[str, ...] = (
    "grey", "dark grey", "light grey", "white", "beige", "cream", "light brown", "black", "green", "pink",
)  # fmt: skip
WOOD: tuple[str, ...] = ("light brown", "brown", "dark brown", "beige", "cream", "grey")
HIDE: tuple[str, ...] = ("brown", "dark brown", "light brown", "black", "beige", "red", "blue", "green", "white")


def colour(setup: Setup, words: Sequence[str] = ANY, *, far: Rgb | None = None, gap: float = 130.0) -> Swatch:
    """Draw a colour: a named one with its tone and hue shifted, so that no two products share one.

    Args:
        setup: The instance.
        words: Names to choose from, keys of ``NAMED``.
        far: A colour to stand off from, if any.
        gap: By at least so many grey levels, added up over the channels, where one of the names does.
    """
    names = list(words)
    if far is not None:
        names = [name for name in words if apart(NAMED[name], far) > gap] or [
            max(words, key=lambda name: apart(NAMED[name], far))
        ]
    word = names[int(setup.params.integers(len(names)))]
    tone = setup.params.uniform(0.9, 1.1)
    red, green, blue = np.clip(np.asarray(NAMED[word]) * tone + setup.params.uniform(-9, 9, 3), 20.0, 240.0).tolist()
    return word, (red, green, blue)


def apart(one: Rgb, other: Rgb) -> float:
    """Distance of two colours: grey levels added up over the channels."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))
