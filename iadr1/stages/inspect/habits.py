"""Which coordinates the boxes of a file are written in: pixels, fractions, or 0..1000.

All three are common, and a file that was put together from several sources mixes them without an error anywhere. A box
alone rarely tells; all boxes of a data set together do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from iadr1.geometry import Box, Size
from iadr1.stages.inspect.lines import Fault
from iadr1.stages.inspect.rules import is_fraction, text_of

_FEW = 3
"""Examples named, and boxes needed before a habit is called one."""
_OVER = 1.05
"""A box this much over its image's side is not a rounding fault."""
_MANY = 20
_CHANCE = math.log(1e-6)


@dataclass
class Examples:
    """How many boxes, and the first few with their lines."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    line: int = 0

    def add(self, line: int, box: Box) -> None:
        """Count a box."""
        self.count += 1
        self.line = self.line or line
        if len(self.first) < _FEW:
            self.first.append(f"line {line}: {text_of(box)}")


@dataclass
class Habits:
    """What the boxes of one data set look like; memory does not grow with their number.

    Attributes:
        boxes: All boxes.
        fractions: Within 0..1.
        over: Outside their image, yet within 0..1000.
        pixels: With a coordinate above 1000, so certainly neither.
        plain: Whole boxes inside their image, which may be pixels or 0..1000.
        large: Of these, on images with a side above 1000 px.
        log_chance: Logarithm of the chance that these all lie within 0..1000 if they are pixels anywhere in them.
    """

    boxes: int = 0
    fractions: Examples = field(default_factory=Examples)
    over: Examples = field(default_factory=Examples)
    pixels: Examples = field(default_factory=Examples)
    plain: Examples = field(default_factory=Examples)
    large: int = 0
    log_chance: float = 0.0

    def add(self, line: int, box: Box, size: Size | None) -> None:
        """Take one box into account; `size` is its image's (width, height) in pixels where known."""
        if not all(map(math.isfinite, box)):
            return
        self.boxes += 1
        if is_fraction(box):
            self.fractions.add(line, box)
        elif max(box) > 1000:
            self.pixels.add(line, box)
        elif size is not None and (box[2] > _OVER * size[0] or box[3] > _OVER * size[1]) and min(box) >= 0:
            self.over.add(line, box)
        else:
            self.plain.add(line, box)
            if size is not None and max(size) > 1000:
                self.large += 1
                self.log_chance += sum(math.log(min(1.0, 1000 / side)) for side in size)

    def faults(self, dataset: str) -> Iterator[tuple[int, Fault]]:
        """What is wrong with the set's boxes as a whole, each with the line of its first example."""
        others = [
            f"{part.count} {name} ({part.first[0]})"
            for part, name in ((self.plain, "in pixels"), (self.pixels, "above 1000"))
            if part.count
        ]
        rest = f"; the others: {', '.join(others)}" if others else ""
        if self.fractions.count:
            message = f"{dataset}: {self.fractions.count} of {self.boxes} boxes lie within 0..1, as fractions do{rest}"
            hint = "multiply x by the image's width and y by its height: boxes are pixels of the stored image"
            yield self.fractions.line, Fault("error", "coordinates", message, "; ".join(self.fractions.first), hint)
        if self.over.count >= _FEW or (self.over.count and self.over.count == self.boxes):
            message = (
                f"{dataset}: {self.over.count} of {self.boxes} boxes leave their image and lie within 0..1000, "
                f"as normalised ones do{rest}"
            )
            hint = "multiply x by width/1000 and y by height/1000; or are x and y swapped?"
            yield self.over.line, Fault("error", "coordinates", message, "; ".join(self.over.first), hint)
        elif self.large >= _MANY and self.log_chance < _CHANCE and not self.pixels.count:
            message = f"{dataset}: none of {self.large} boxes on images above 1000 px has a coordinate above 1000"
            hint = "if they are 0..1000 coordinates, multiply x by width/1000 and y by height/1000"
            yield self.plain.line, Fault("warning", "coordinates", message, "; ".join(self.plain.first), hint)
