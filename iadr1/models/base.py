"""What every engine offers to the stages: requests in, completions out. An engine knows no anomaly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from iadr1.errors import ImageError
from iadr1.geometry import BoxFrame, BoxSpace, Size, smart_resize
from iadr1.images import fit_within, resize


@dataclass(frozen=True)
class Profile:
    """How one VLM family sees images and writes boxes.

    Attributes:
        family: The `model_type` of the family's config, for example `qwen2_5_vl`.
        box_space: The space its boxes are written in.
        factor: Patch size times merge size, in pixels; sides of the input are multiples of it.
        min_pixels: Fewest pixels of the input.
        max_pixels: Most pixels of the input.
        cap_wh: Larger images are shrunk to fit inside this first (AnomalyR1 section 4.1: 1000 x 800).
        licence: Licence of the family's weights.
    """

    family: str
    box_space: BoxSpace
    factor: int
    min_pixels: int
    max_pixels: int
    cap_wh: Size = (1000, 800)
    licence: str = "unknown"

    def input_wh(self, image_wh: Size) -> Size:
        """The size (width, height) the model sees an image at.

        A processor with one fixed pixel count (min = max, as the embedded model's) gets a square of that area.

        Raises:
            ImageError: The aspect ratio is above 200, which the family's resize rule refuses.
        """
        if self.min_pixels == self.max_pixels:
            side = math.isqrt(self.max_pixels)
            return side, side
        width, height = fit_within(image_wh, self.cap_wh)
        try:
            return smart_resize(
                width, height, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels
            )
        except ValueError as error:
            raise ImageError(f"{error}: the model cannot take it", hint="cut the image into tiles") from error

    def frame(self, image_wh: Size) -> BoxFrame:
        """The frame of the boxes this family writes for a stored image of this size."""
        return BoxFrame(self.box_space, image_wh, self.input_wh(image_wh))

    def prepare(self, image: Image.Image) -> Image.Image:
        """The image at the model's input size, so that the processor's own resize changes nothing."""
        return resize(image, self.input_wh(image.size))


@dataclass(frozen=True)
class Request:
    """One question: chat messages with image slots, and the images for the slots in order (stored size, RGB)."""

    id: str
    messages: list[dict[str, Any]]
    images: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Completion:
    """What a model wrote for one request; `finished` is False where the token limit cut it off."""

    id: str
    text: str
    finished: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class Engine(Protocol):
    """A way to run a model."""

    name: str
    """The engine's name in the table, for example `local`."""
    model: str
    """The model as the user named it."""
    profile: Profile
    fingerprint: str
    """A digest of the weights, so that results of two models never mix."""

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """Greedy completions, one per request, in order."""
        ...

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """For each request the probability that the answer starts with each word, normalised over the words."""
        ...
