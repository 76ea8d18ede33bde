"""What stands before the first request to a server: its options, the client, and how images are sent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from PIL import Image

from iadr1.errors import MissingExtraError, ModelChoiceError
from iadr1.geometry import Box, BoxFrame, BoxSpace, Size
from iadr1.images import MAX_PIXELS
from iadr1.models import MODEL_PACKAGES, ServerOptions, resolve_model
from iadr1.models.base import Profile
from iadr1.models.profiles import PROFILES, profile_of

if TYPE_CHECKING:
    import openai

_EXAMPLE = "--base-url http://localhost:8000/v1, for example"

CONNECT_S = 10.0
"""Seconds to wait for a connection, where the time-out of an answer is not shorter."""


class UnknownFrame(BoxFrame):
    """The frame of boxes that cannot be read; a question without boxes never notices."""

    def to_model(self, box: Box) -> Box:
        """Not known.

        Raises:
            ModelChoiceError: Always.
        """
        raise _unknown("how its boxes are written")

    def to_image(self, box: Box) -> Box | None:
        """Not known.

        Raises:
            ModelChoiceError: Always.
        """
        raise _unknown("how its boxes are written")


@dataclass(frozen=True)
class UnknownFamily(Profile):
    """The profile of a served model whose family was not named: images are sent as they are, boxes cannot be read."""

    def input_wh(self, image_wh: Size) -> Size:
        """The size as it is: the server resizes."""
        return image_wh

    def image_tokens(self, image_wh: Size, *, images: int = 1) -> int:
        """Not known.

        Raises:
            ModelChoiceError: Always.
        """
        raise _unknown("how many tokens an image takes")

    def frame(self, image_wh: Size) -> BoxFrame:
        """A frame that refuses the first box."""
        return UnknownFrame(self.box_space, image_wh, image_wh)

    def prepare(self, image: Image.Image) -> Image.Image:
        """The image as it is."""
        return image


def _unknown(what: str) -> ModelChoiceError:
    return ModelChoiceError(
        f"the family of the served model is not named, so it is not known {what}",
        hint=f"name it with --family: {', '.join(sorted(PROFILES))}",
    )


UNKNOWN_FAMILY = UnknownFamily(
    family="",
    box_space=BoxSpace.INPUT_PX,  # never read: its frame refuses boxes
    factor=1,
    min_pixels=1,
    max_pixels=MAX_PIXELS,
    cap_wh=(MAX_PIXELS, MAX_PIXELS),
)


def profile_named(family: str) -> Profile:
    """The profile of a served model, by what is named as its family.

    Args:
        family: A key of `PROFILES`, for a model served with its family's usual sizes; or what `resolve_model` takes,
            whose config and processor then say the sizes; or nothing for `UNKNOWN_FAMILY`, with which no boxes can be
            read.

    Raises:
        ModelError: Neither a family nor a model.
        MissingExtraError: A model is named, and the packages that read it are not installed.
    """
    if not family:
        return UNKNOWN_FAMILY
    if family in PROFILES:
        return PROFILES[family]
    try:
        place = resolve_model(family)
    except ModelChoiceError as error:
        raise ModelChoiceError(
            f"{family!r} is neither a model family nor a model: {error.message}",
            hint=f"known families: {', '.join(sorted(PROFILES))}",
        ) from error
    try:
        from iadr1.models.loading import load_processor
    except ModuleNotFoundError as error:
        if error.name not in MODEL_PACKAGES:
            raise
        raise MissingExtraError(error.name, "model", purpose=f"reading the sizes of the model {family!r}") from error
    return profile_of(*load_processor(place))


def open_client(options: ServerOptions, key: str) -> openai.AsyncOpenAI:
    """The client of the `openai` package; tries are counted by the engine, not by it.

    Args:
        options: Where and how to ask.
        key: The key; empty for none.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        import openai
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise MissingExtraError("openai", "eval", purpose="the engine 'server'") from error
    return openai.AsyncOpenAI(
        base_url=options.base_url,
        # The variable of --key-env is the only one that is read (OPENAI_API_KEY by default): left without a key, the
        # package would take OPENAI_API_KEY also where --key-env names another variable.
        api_key=key or "none",
        max_retries=0,
        timeout=openai.Timeout(None, connect=min(CONNECT_S, options.timeout_s)),
        # Photos and key go to the address that was named and to no other: see `server_faults.diagnose`.
        http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
    )


def read_key(name: str) -> str:
    """The key in an environment variable; empty where there is none.

    Raises:
        ModelChoiceError: It holds what no header can be sent with; of the key itself nothing is told.
    """
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelChoiceError(
            f"the key in the environment variable {name} holds a line break or another character that no key has",
            hint=f"export {name}=... anew with the key alone",
        )
    return key


def key_headers(key: str) -> dict[str, Any]:
    """Headers for each request: where there is no key, none is sent."""
    import openai

    return {} if key else {"Authorization": openai.Omit()}


def check_options(options: ServerOptions | None) -> ServerOptions:
    """The options, if they can be used.

    Raises:
        ModelChoiceError: No address, or one that cannot be asked or that holds a password; a number out of range.
    """
    if options is None or not options.base_url:
        raise ModelChoiceError("the engine 'server' needs an address", hint=_EXAMPLE)
    _check_address(options.base_url)
    for name, value, least in (
        ("concurrency", options.concurrency, 1),
        ("retries", options.retries, 0),
        ("requests_per_minute", options.requests_per_minute, 0),
    ):
        if value < least:
            raise ModelChoiceError(f"{name} is {value}, it must be at least {least}")
    if not options.timeout_s > 0:
        raise ModelChoiceError(f"timeout_s is {options.timeout_s}, it must be above 0")
    return options


def _check_address(address: str) -> None:
    """Refuse what cannot be an API's address, and what is stored with a run and must not hold a secret."""
    # Looked for in the whole text, as it may be a secret even where the rest is no address.
    for mark, what in (("@", "a user or password"), ("?", "a query, which nothing can follow"), ("#", "a fragment")):
        if mark in address:
            raise ModelChoiceError(
                f"the address of --base-url holds {mark!r}, so {what}; it would be stored with the run",
                hint="give the address alone; the key goes into an environment variable that --key-env names",
            )
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half of an IPv6 address
        usable = False
    if not usable:
        raise ModelChoiceError(
            f"the address {address!r} is not http:// or https://, a host and, if need be, a port", hint=_EXAMPLE
        )
