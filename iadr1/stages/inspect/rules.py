"""What a sample must be like, apart from its files: pure functions from a sample to its faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from string import ascii_uppercase

from iadr1.geometry import LOCATIONS, Box, Size, box_area, location_word
from iadr1.records import Sample
from iadr1.stages.inspect.lines import Fault

TINY_SHARE = 1e-4
"""A box below this share of its image is called tiny."""
_SLACK = 0.01
"""Pixels a box may lie outside its image: rounding of decimal coordinates."""


def faults_of(sample: Sample, size: Size | None, *, tiny_px: int) -> Iterator[Fault]:
    """Everything that is wrong with a sample by itself.

    Args:
        sample: A sample that follows the schema.
        size: Its image's (width, height) in pixels; None where unknown, then boxes are not held against it.
        tiny_px: Boxes narrower or lower than this are warned of.
    """
    yield from _options(sample)
    yield from _verdict(sample)
    yield from _references(sample)
    for defect in sample.defects:
        if defect.box is not None:
            yield from _box(defect.box, size, tiny_px)
        if defect.location is not None:
            yield from _location(defect.location, defect.box, size)


def is_fraction(box: Box) -> bool:
    """Whether a box is written as fractions of the image: within 0..1, and not just the pixel in the corner."""
    return all(0 <= value <= 1 for value in box) and any(0 < value < 1 for value in box)


def _options(sample: Sample) -> Iterator[Fault]:
    if not sample.question.strip():
        yield Fault("error", "question", "the question is empty", repr(sample.question), "write what is asked")
    letters = "".join(sample.options)
    if letters != ascii_uppercase[: len(sample.options)]:
        hint = "name the options A, B, C ... in the order they are shown"
        yield Fault("error", "options", "the option letters do not run from A without a gap", letters, hint)
    texts = Counter(" ".join(text.lower().split()) for text in sample.options.values())
    twice = [text for text, count in texts.items() if count > 1]
    if twice:
        hint = "no answer can tell them apart; replace one"
        yield Fault("error", "options", "two options have the same text", "; ".join(twice), hint)
    if "" in texts:
        yield Fault("error", "options", "an option has no text", letters, "write its text or remove it")


def _verdict(sample: Sample) -> Iterator[Fault]:
    types = ", ".join(dict.fromkeys(defect.type for defect in sample.defects)) or "no defect"
    if sample.task == "grounding":
        if not any(defect.box for defect in sample.defects):
            hint = "the region that the question describes belongs into `defects` with its box"
            yield Fault("error", "verdict", "a grounding sample without the box that is looked for", types, hint)
        return
    value = f"is_anomalous={sample.is_anomalous}, answer={sample.answer!r}, defects: {types}"
    if sample.task == "anomaly" and sample.is_anomalous is not (sample.answer == "Yes"):
        hint = "Yes means anomalous: correct `answer` or `is_anomalous`"
        yield Fault("error", "verdict", "the answer and `is_anomalous` contradict each other", value, hint)
    if sample.is_anomalous is False and sample.defects:
        yield Fault("error", "verdict", "a normal product has defects", value, "correct `is_anomalous` or `defects`")
    if sample.task == "anomaly" and sample.is_anomalous and not sample.defects:
        hint = "name its defects; one of unknown place has a `type` and no `box`"
        yield Fault("error", "verdict", "an anomalous product has no defect", value, hint)


def _references(sample: Sample) -> Iterator[Fault]:
    if sample.image in (*sample.references, *sample.similar_references):
        hint = "a reference must show another, normal product"
        yield Fault("error", "reference", "the image is its own reference", sample.image, hint)


def _box(box: Box, size: Size | None, tiny_px: int) -> Iterator[Fault]:
    value = text_of(box)
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        yield Fault("error", "box", "a box is not made of numbers", value, "write x1, y1, x2, y2 in pixels")
        return
    if x2 <= x1 or y2 <= y1:
        hint = "a box is x1, y1, x2, y2 with x2 > x1 and y2 > y1; is it x, y, width, height?"
        yield Fault("error", "box", "a box is empty or reversed", value, hint)
        return
    if size is None or is_fraction(box):  # fractions are told once for the whole file
        return
    width, height = size
    if x1 < -_SLACK or y1 < -_SLACK or x2 > width + _SLACK or y2 > height + _SLACK:
        hint = "boxes are pixels of the stored image after EXIF orientation"
        yield Fault("error", "box", f"a box leaves the {width}x{height} image", value, hint)
    elif min(x2 - x1, y2 - y1) < tiny_px or box_area(box) < TINY_SHARE * width * height:
        share = 100 * box_area(box) / (width * height)
        message = f"a tiny box: {x2 - x1:g}x{y2 - y1:g} px, {share:.2g} % of the image"
        yield Fault("warning", "tiny box", message, value, "a speck in its mask? models hardly see less than a patch")


def _location(word: str, box: Box | None, size: Size | None) -> Iterator[Fault]:
    if word not in LOCATIONS:
        hint = f"known: {', '.join(LOCATIONS)}"
        yield Fault("warning", "location", "a location is not one of the 3x3 words", repr(word), hint)
    elif box is not None and size is not None and not is_fraction(box) and location_word(box, size) != word:
        message = f"the location is {word!r}, the box lies {location_word(box, size)!r}"
        yield Fault("warning", "location", message, text_of(box), "one is wrong, or x and y are swapped")


def text_of(box: Box) -> str:
    """A box in short: `[10, 20.5, 30, 40]`."""
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"
