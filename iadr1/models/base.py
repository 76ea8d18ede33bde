"""What every engine offers to the stages: requests in, completions out. An engine knows no anomaly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from iadr1.errors import ImageError
from iadr1.geometry import BoxFrame, BoxSpace, Size, smart_resize
from iadr1.images import fit_within, resize
from iadr1.models.tiling import Tiling

PAD_RGB = (122, 116, 104)
"""CLIP's mean colour, which LLaVA pads with."""


@dataclass(frozen=True)
class Profile:
    """How one VLM family sees images and writes boxes.

    Attributes:
        family: The `model_type` of the family's config, for example `qwen2_5_vl`.
        box_space: The space its boxes are written in.
        factor: Side of what one image token stands for, in pixels of the input; without tiles, sides of the input are
            multiples of it.
        min_pixels: Fewest pixels of the input; with tiles, those of one tile.
        max_pixels: Most pixels of the input; with tiles, of the image before it is cut.
        cap_wh: Larger images are shrunk to fit inside this first (AnomalyR1 section 4.1: 1000 x 800).
        licence: Licence of the family's weights.
        tiling: How the processor cuts an image into tiles; None for the families that take it in one piece.
        pads: The image is padded to a square, not stretched (LLaVA-1.5).
    """

    family: str
    box_space: BoxSpace
    factor: int
    min_pixels: int
    max_pixels: int
    cap_wh: Size = (1000, 800)
    licence: str = "unknown"
    tiling: Tiling | None = None
    pads: bool = False

    def input_wh(self, image_wh: Size) -> Size:
        """The size (width, height) the processor gets an image at.

        A model with one fixed pixel count (min = max: LLaVA-1.5, the embedded model) gets a square of that area. The
        processors of the families with tiles do the resizing, to the sizes their tiles allow.

        Raises:
            ImageError: The aspect ratio is above 200, which the Qwen-VL families' resize rule refuses.
        """
        if self.min_pixels == self.max_pixels:
            side = math.isqrt(self.max_pixels)
            return side, side
        width, height = fit_within(image_wh, self.cap_wh)
        if self.tiling is not None:
            shrink = min(1.0, math.sqrt(self.max_pixels / (width * height)))
            return max(1, int(width * shrink)), max(1, int(height * shrink))
        try:
            return self._steady(width, height)
        except ValueError as error:
            raise ImageError(f"{error}: the model cannot take it", hint="cut the image into tiles") from error

    def _steady(self, width: int, height: int) -> Size:
        """The family's resize, repeated until it changes nothing: a sliver can come out of it above `max_pixels`."""
        for _ in range(10):
            size = smart_resize(
                width, height, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels
            )
            if size == (width, height):
                return size
            width, height = size
        raise ValueError(
            f"no size between {self.min_pixels} and {self.max_pixels} pixels has the aspect of {width}x{height}"
        )

    def image_tokens(self, image_wh: Size, *, images: int = 1) -> int:
        """How many tokens of the prompt hold the content of an image of this stored size.

        Args:
            image_wh: (width, height) in pixels.
            images: Images in the prompt; LLaVA-OneVision gives each of several images fewer tokens.

        Raises:
            ImageError: As `input_wh`.
        """
        width, height = self.input_wh(image_wh)
        if self.tiling is not None:
            return self.tiling.tokens((width, height), images=images)
        return (width // self.factor) * (height // self.factor)

    def frame(self, image_wh: Size) -> BoxFrame:
        """The frame of the boxes this family writes for a stored image of this size."""
        return BoxFrame(self.box_space, image_wh, self.input_wh(image_wh))

    def prepare(self, image: Image.Image) -> Image.Image:
        """The image as the family's processor should get it.

        Where the input is one piece, at its size, so that the processor's own resize or crop changes nothing. The
        published LLaVA-1.5 processors would cut off what lies outside the middle square, where the model was trained
        on padded images.
        """
        if self.pads:
            image = resize(image, fit_within(image.size, self.cap_wh))
            side = max(image.size)
            square = Image.new("RGB", (side, side), PAD_RGB)
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            image = square
        return resize(image, self.input_wh(image.size))


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        id: What tells it apart.
        messages: Chat messages with image slots.
        images: The images for the slots in order (RGB). They are what the model is shown: an engine only does what its
            family's processor needs.
        prefix: What the answer begins with, already written for the model; completions are without it.
        plain: A prompt to be sent without a chat template, in place of `messages`, with `IMAGE_SLOT` where an image
            stands; None for a chat.
    """

    id: str
    messages: list[dict[str, Any]]
    images: tuple[Image.Image, ...]
    prefix: str = ""
    plain: str | None = None


IMAGE_SLOT = "<image>"
"""Where an image stands in `Request.plain`; an engine puts its family's own token there."""


@dataclass(frozen=True)
class Completion:
    """What a model wrote for one request.

    Attributes:
        id: Of the request.
        text: What was written, without the request's prefix.
        finished: False where the token limit cut it off.
        prompt_tokens: Tokens of the prompt, images included.
        completion_tokens: Tokens written.
        seconds: Wall time; for a batch its share.
        error: Why there is no answer, where a server gave none after all tries; the text is then empty.
    """

    id: str
    text: str
    finished: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    error: str | None = None


class Unweighed(dict[str, float]):
    """No probabilities for a request, and why.

    Args:
        reason: In words that may be shown and stored.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def why_none(shares: Mapping[str, float], otherwise: str) -> str:
    """Why a request has no probabilities, `otherwise` where the engine did not say."""
    return shares.reason if isinstance(shares, Unweighed) else otherwise


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
        """For each request the probability that the answer starts with each word, normalised over the words.

        Each is within 0 and 1, never NaN. A request without a usable answer has an `Unweighed`, which is empty.

        Raises:
            NoProbabilitiesError: The engine gives no probabilities, or none for these requests.
            ModelError: The model cannot be run.
        """
        ...
