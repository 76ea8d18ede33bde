"""How alike two names of a defect type are: IAD-R1's table, as published and as meant.

Eight categories in two groups, each category with further keywords. Source: `Yanhui-Lee/IAD-R1` at `625b936`,
`train/stage_rl/reward_process/type_reward.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import lru_cache

_SURFACE, _STRUCTURE = "surface", "structure"
_GROUP_OF_NAME: Mapping[str, str] = {
    "surface anomalies": _SURFACE,
    "surface anomaly": _SURFACE,
    "structural anomalies": _STRUCTURE,
    "structural anomaly": _STRUCTURE,
}
_VOCABULARY: Mapping[str, Mapping[str, str]] = {
    _SURFACE: {
        "contamination": "surface contamination, stain, dirt, impurity, color anomaly",
        "presence of foreign objects": "foreign object, foreign body, debris, contaminant object, extraneous material, "
        "foreign element, foreign matter, unwanted object",
        "scratch": "surface scratch, scratch mark, linear scratch, score mark, linear anomaly",
        "missing parts": "missing part, surface notch, notch, gap, chip, surface discontinuity",
    },
    _STRUCTURE: {
        "deformation": "shape distortion, warping, bending, twisting, shape deviation, geometric distortion, "
        "irregularity, bent component",
        "hole": "opening, perforation, puncture, cavity, void, aperture, penetration defect, through-hole",
        "damage": "structural damage, breakage, fracture, rupture, deterioration, material damage, surface damage",
        "abrasion": "wear, grinding damage, surface erosion, wear mark, surface wear",
    },
}
_GROUP_OF = {category: group for group, categories in _VOCABULARY.items() for category in categories}
# Category first, then its keywords: the order decides between equals.
_CATEGORY_OF = {
    keyword: category
    for categories in _VOCABULARY.values()
    for category, others in categories.items()
    for keyword in (category, *others.split(", "))
}
_COUNTS = {keyword: Counter(keyword) for keyword in _CATEGORY_OF}
_EQUAL, _HELD, _CATEGORY, _SPELLING, _GROUP = 1.0, 0.85, 0.6, 0.4, 0.3
_ALIKE = 0.7
"""Smallest difflib ratio that counts as the same word spelled differently."""


# as published


def published_score(said: str, truth: str) -> float:
    """0..1: IAD-R1's type score of two lower-case texts, value for value.

    Surprises: texts are compared by substring, so that a lone `s` is worth 0.85 against `scratch`, punctuation alone is
    worth 0.85 against anything, and `no` is a surface anomaly (it is in `notch`); `crack` is in no list and worth 0
    against `damage`.
    """
    if not said or not truth:
        return 0.0
    said, truth = _cleaned(said), _cleaned(truth)
    groups = _GROUP_OF_NAME.get(said), _GROUP_OF_NAME.get(truth)
    one, other = _category(said), _category(truth)
    found = groups[0] or _GROUP_OF.get(one[0] or ""), groups[1] or _GROUP_OF.get(other[0] or "")
    if found[0] and found[1] and found[0] != found[1]:
        return 0.0
    if (groups[0] is None) != (groups[1] is None) and found[0] == found[1]:
        return _GROUP
    if said in truth or truth in said:
        return _EQUAL if said == truth else _HELD
    return _score_of_categories(one, other) or _SPELLING * _ratio(said, truth)


def _score_of_categories(one: tuple[str | None, float], other: tuple[str | None, float]) -> float:
    """The score of two categories with their confidence; 0 where one is unknown or the groups differ."""
    if one[0] is None or other[0] is None:
        return 0.0
    if one[0] == other[0]:
        return _CATEGORY + (_HELD - _CATEGORY) * min(one[1], other[1])
    return _GROUP if _GROUP_OF[one[0]] == _GROUP_OF[other[0]] else 0.0


def _cleaned(text: str) -> str:
    return re.sub(r"[^\w\s-]", "", re.sub(r"\s+", " ", text.lower().strip()))


@lru_cache(maxsize=4096)
def _category(text: str) -> tuple[str | None, float]:
    """The category of a cleaned text and the confidence: keyword, else substring, else spelling, else None."""
    if text in _CATEGORY_OF:
        return _CATEGORY_OF[text], 1.0
    held = _first_best({key: _length_ratio(text, key) for key in _CATEGORY_OF if text in key or key in text})
    if held[0] is not None:
        return held
    counts = Counter(text)
    close = {key: _ratio(text, key) for key in _CATEGORY_OF if _may_be_alike(text, counts, key)}
    return _first_best(close)


def _first_best(ratios: Mapping[str, float]) -> tuple[str | None, float]:
    best = max(ratios, key=lambda key: ratios[key], default=None)
    return (_CATEGORY_OF[best], ratios[best]) if best is not None and ratios[best] > 0 else (None, 0.0)


def _length_ratio(one: str, other: str) -> float:
    return min(len(one), len(other)) / max(len(one), len(other))


def _may_be_alike(text: str, counts: Mapping[str, int], keyword: str) -> bool:
    """Whether enough characters are shared for `_ALIKE`, whatever their order; spares most calls of difflib."""
    total = len(text) + len(keyword)
    if 2.0 * min(len(text), len(keyword)) / total < _ALIKE:
        return False
    shared = sum(min(number, counts.get(character, 0)) for character, number in _COUNTS[keyword].items())
    return 2.0 * shared / total >= _ALIKE


def _ratio(one: str, other: str) -> float:
    """The ratio of difflib where it is at least `_ALIKE`, else 0."""
    if 2.0 * min(len(one), len(other)) / (len(one) + len(other)) < _ALIKE:
        return 0.0
    ratio = SequenceMatcher(None, one, other).ratio()
    return ratio if ratio >= _ALIKE else 0.0


# as meant


def type_similarity(said: str, truth: str) -> float:
    """0, 0.3, 0.6, 0.85 or 1: how alike two types are, by the same table, but compared by whole words.

    1 the same words (case, punctuation and plural aside), 0.85 the words of one within the other, 0.6 the same
    category, 0.3 the same group, 0 anything else; a text without a word is like nothing.
    """
    one, other = _words(said), _words(truth)
    if not one.strip() or not other.strip():
        return 0.0
    if one in other or other in one:
        return _EQUAL if one == other else _HELD
    categories = _category_of_words(one), _category_of_words(other)
    groups = _group_of_words(one), _group_of_words(other)
    if categories[0] is not None and categories[0] == categories[1]:
        return _CATEGORY
    return _GROUP if groups[0] is not None and groups[0] == groups[1] else 0.0


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    """The words of a text in lower case and singular, one space before, between and after them."""
    words = re.findall(r"[^\W_]+", text.lower())
    return f" {' '.join(map(_singular, words))} "


_PLURAL = re.compile(r"(?:(?<=ch)es|(?<=sh)es|(?<=x)es|(?<=ss)es|(?<=[^s])s)$")


def _singular(word: str) -> str:
    """A word without its plural ending, roughly: what matters is that both texts are treated alike."""
    if len(word) < 4:
        return word
    return f"{word[:-3]}y" if word.endswith("ies") else _PLURAL.sub("", word)


_WORDS_OF_KEYWORDS = {_words(keyword): category for keyword, category in _CATEGORY_OF.items()}
_WORDS_OF_GROUPS = {_words(name): group for name, group in _GROUP_OF_NAME.items()}


@lru_cache(maxsize=4096)
def _category_of_words(words: str) -> str | None:
    """The category of the longest keyword within these words."""
    held = [keyword for keyword in _WORDS_OF_KEYWORDS if keyword in words]
    return _WORDS_OF_KEYWORDS[max(held, key=len)] if held else None


def _group_of_words(words: str) -> str | None:
    return _WORDS_OF_GROUPS.get(words) or _GROUP_OF.get(_category_of_words(words) or "")
