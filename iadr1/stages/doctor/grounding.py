"""The grounding self-test: is what a model writes in the coordinate space that its profile says?

Scenes with one plain rectangle at a known place are shown in two sizes that are not square and larger than what the
model is shown, so that every known space gives other numbers for the same place. What is written is read in each space
in turn, through the parser that all commands use; the right space is the one that finds the rectangles.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from PIL import Image, ImageDraw

from iadr1 import prompts
from iadr1.geometry import Box, BoxFrame, BoxSpace, Size, iou
from iadr1.metrics.paired import mcnemar
from iadr1.models.base import Completion, Engine, Profile, Request
from iadr1.records import Defect, Sample

SIZES: tuple[Size, ...] = ((1800, 700), (900, 1600))
"""Sizes of the scenes in turn, in pixels."""
LEAST_SCENES = 8
"""With fewer no result can be told from chance: 7 of 7 scenes have a p-value of 0.016, above `ALPHA` / 4."""
LEAST_IOU = 0.2
"""Mean IoU that the best space needs; below it the model does not point at what it was asked for in any space."""
ALPHA = 0.05
"""Chance that the best space is named for a model that only guesses, over all comparisons together."""
STORED = "stored_px"
"""Pixels of the photo as it is stored: no family writes them, but a server or a training that skips the resize does."""

_PHRASE = "Please provide the bounding box coordinate of the region this sentence describes: the red rectangle."
_BACKGROUND, _COLOUR = (232, 232, 228), (205, 25, 30)
_SIDES = (0.18, 0.36)  # of the scene's sides


@dataclass(frozen=True)
class DrawnScene:
    """A picture with one rectangle, the request about it, and where the rectangle is in pixels."""

    request: Request
    box: Box

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return self.request.images[0].size


@dataclass(frozen=True)
class Grounding:
    """What the self-test found.

    Attributes:
        expected: The space of the model's profile.
        ious: Space -> IoU of what was written, read in this space, and the rectangle, one a scene; 0 where nothing
            could be read.
        best: The space with the highest mean.
        verdict: `agrees`, `disagrees` or `not conclusive`.
        why: The figures behind the verdict, in words.
        answered: Scenes the engine gave an answer for.
        example: What was written for the first scene.
    """

    expected: str
    ious: Mapping[str, Sequence[float]]
    best: str
    verdict: str
    why: str
    answered: int
    example: str

    @property
    def means(self) -> dict[str, float]:
        """Space -> mean IoU."""
        return {space: fmean(values) for space, values in self.ious.items()}


def draw_scenes(count: int) -> list[DrawnScene]:
    """The scenes, always the same ones; their ids are `doctor-0`, `doctor-1`, ..."""
    return [_scene(number) for number in range(count)]


def _scene(number: int) -> DrawnScene:
    generator = random.Random(number)
    width, height = SIZES[number % len(SIZES)]
    w, h = (round(side * generator.uniform(*_SIDES)) for side in (width, height))
    x, y = generator.randint(0, width - w), generator.randint(0, height - h)
    box = (float(x), float(y), float(x + w), float(y + h))
    image = Image.new("RGB", (width, height), _BACKGROUND)
    ImageDraw.Draw(image).rectangle((x, y, x + w - 1, y + h - 1), fill=_COLOUR)
    key = f"doctor-{number}"
    sample = Sample(
        id=key,
        dataset="doctor",
        category="drawn",
        split="doctor",
        image=key,
        task="grounding",
        question=_PHRASE,
        question_type="doctor",
        defects=(Defect(type="the red rectangle", box=box),),
    )
    return DrawnScene(Request(key, prompts.render_prompt(sample, "grounding"), (image,)), box)


def frames(profile: Profile, size: Size) -> dict[str, BoxFrame]:
    """The frames of every known space for a picture of a size, and that of the picture's own pixels."""
    seen = profile.input_wh(size)
    known = {space.value: BoxFrame(space, size, seen) for space in BoxSpace}
    return {**known, STORED: BoxFrame(BoxSpace.INPUT_PX, size, size)}


def ground(engine: Engine, scenes: Sequence[DrawnScene], *, max_new_tokens: int) -> Grounding:
    """Ask for the rectangle of every scene and judge in which space the answers are.

    Raises:
        ModelError: The engine cannot be used.
    """
    written = engine.generate([scene.request for scene in scenes], max_new_tokens=max_new_tokens)
    ious: dict[str, list[float]] = {}
    for scene, completion in zip(scenes, written, strict=True):
        for space, frame in frames(engine.profile, scene.size).items():
            ious.setdefault(space, []).append(_iou(completion, frame, scene.box))
    verdict, best, why = judge(ious, engine.profile.box_space.value)
    answered = sum(completion.error is None for completion in written)
    example = next((one.text for one in written if one.error is None), written[0].error or "")
    return Grounding(engine.profile.box_space.value, ious, best, verdict, why, answered, example)


def _iou(completion: Completion, frame: BoxFrame, truth: Box) -> float:
    answer = prompts.parse(completion.text, "grounding", frame=frame)
    return iou(answer.boxes[0].box, truth) if answer.boxes else 0.0


def judge(ious: Mapping[str, Sequence[float]], expected: str) -> tuple[str, str, str]:
    """Verdict, best space and the reason, from the IoUs by space.

    The best space is named only where it finds the rectangles at all (mean IoU of at least `LEAST_IOU`) and is better
    than each other space in so many more scenes than it is worse that chance does not explain it: an exact sign test
    for each other space, at `ALPHA` over all of them together (Bonferroni). Scenes with the same IoU in both count for
    neither.
    """
    means = {space: fmean(values) for space, values in ious.items()}
    best = max(means, key=lambda space: (means[space], space == expected))
    scenes = len(ious[best])
    figures = ", ".join(f"{space} {means[space]:.2f}" for space in sorted(means, key=lambda space: -means[space]))
    told = f"mean IoU of {scenes} scenes read as {figures}"
    if means[best] < LEAST_IOU:
        return "not conclusive", best, f"{told}: no space finds the rectangles"
    for space, values in ious.items():
        pairs = list(zip(ious[best], values, strict=True))
        won, lost = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
        if space != best and mcnemar(won, lost).p > ALPHA / (len(ious) - 1):
            return "not conclusive", best, f"{told}: {best} beats {space} in {won} scenes and loses in {lost}"
    return ("agrees" if best == expected else "disagrees"), best, told
