"""From a request to what an OpenAI-compatible chat server is sent, and what such a server was found not to take."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from iadr1.errors import ModelChoiceError, ModelError
from iadr1.models.base import Request
from iadr1.models.server_replies import Reply
from iadr1.prompts import ANSWER_END

_LOG = logging.getLogger(__name__)

CONTINUE: Mapping[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
"""Makes vLLM and SGLang go on with the assistant's last message (SGLang reads the first of the two only)."""

_TOP_LOGPROBS = (20, 10, 5, 2, 1)
"""How many of the most probable tokens are asked for: the most that OpenAI gives, then what a server allows."""


def check_requests(requests: Sequence[Request]) -> None:
    """Refuse what cannot be sent to any server, before anything is sent.

    Raises:
        ModelChoiceError: A request has a plain prompt.
        ModelError: A request has more or fewer image slots than images.
    """
    for request in requests:
        if request.plain is not None:
            raise ModelChoiceError(
                "the protocol sends a plain prompt (no chat template), which no chat server takes",
                hint="use --engine local, or a protocol with a chat",
            )
        slots = sum(part.get("type") == "image" for message in request.messages for part in _parts(message))
        if slots != len(request.images):
            raise ModelError(f"the request {request.id!r} has {slots} image slots and {len(request.images)} images")


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return () if isinstance(content, str) else content


def chat(request: Request, urls: Sequence[str]) -> list[dict[str, Any]]:
    """The messages of a request in OpenAI's form, with `urls` in the image slots and the prefix as last message."""
    waiting = iter(urls)
    messages = [{**message, "content": _content(message, waiting)} for message in request.messages]
    if request.prefix:
        messages.append({"role": "assistant", "content": request.prefix})
    return messages


def _content(message: Mapping[str, Any], urls: Iterator[str]) -> str | list[dict[str, Any]]:
    parts = [
        {"type": "image_url", "image_url": {"url": next(urls)}} if part["type"] == "image" else dict(part)
        for part in _parts(message)
    ]
    if not parts:
        return str(message["content"])
    # Some servers take nothing but a string as the system's turn.
    return str(parts[0]["text"]) if len(parts) == 1 and "text" in parts[0] else parts


def data_url(image: Image.Image) -> str:
    """The image as a data URL: PNG, so that the server sees the pixels that the local engine sees.

    zlib's level 1: 1000x800 pixels of smooth shading with noise of standard deviation 3 take 70 ms of one core (CPU
    time, best of seven) and 1.5 MB; level 6 takes twice as long for 14 % less. JPEG at quality 95 takes 2 ms and
    0.2 MB, but changes the pixels of small defects.
    """
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


class Encoder:
    """Encodes images on threads when a request is about to be sent, each once while it is among the last used.

    The questions about one image follow each other, and so do those with the same reference.

    Args:
        encode: Image -> data URL.
        keep: Most encoded images held.
    """

    def __init__(self, encode: Callable[[Image.Image], str], *, keep: int) -> None:
        self._encode, self._keep = encode, keep
        self._known: OrderedDict[int, asyncio.Future[str]] = OrderedDict()

    async def urls(self, images: Sequence[Image.Image]) -> list[str]:
        """The images' data URLs in order; the caller must hold the images as long as it uses the encoder."""
        return [await self._url(image) for image in images]

    async def _url(self, image: Image.Image) -> str:
        url = self._known.get(id(image))
        if url is None:
            url = self._known[id(image)] = asyncio.ensure_future(asyncio.to_thread(self._encode, image))
        self._known.move_to_end(id(image))
        while len(self._known) > self._keep:
            self._known.popitem(last=False)
        return await url


_REFUSAL = (
    r"(?:unsupported|not support|unrecogni[sz]ed|unexpected|unknown|not (?:allowed|permitted|accept)|extra inputs"
    r"|only|instead|must be|(?:less|greater|larger) than|at most|out of range|exceed)"
)


def _refuses(refusal: str, name: str) -> bool:
    """Whether a refusal is about the field `name`, and does not only quote the request."""
    near = r"[^.]{0,80}"
    pattern = rf"{_REFUSAL}{near}\b{name}\b|\b{name}\b{near}{_REFUSAL}"
    return re.search(pattern, refusal, re.IGNORECASE | re.DOTALL) is not None


@dataclass
class Dialect:
    """What of the protocol a server takes, learned from what it answers.

    Attributes:
        limit: The field that limits the tokens; OpenAI's newer models refuse the older name, most servers know it.
        decoding: Greedy decoding, less what the server refused.
        top_logprobs: How many of the most probable tokens are asked for.
        stops: Whether the server is told to stop behind the answer; None until an answer has shown whether it says
            what ended it (vLLM `stop_reason`, SGLang `matched_stop`). Every server removes the text it stops at, and
            where it does not say so, a complete answer could not be told from one that the model left open.
    """

    limit: str = "max_tokens"
    decoding: dict[str, int] = field(default_factory=lambda: {"temperature": 0, "seed": 0})
    top_logprobs: int = _TOP_LOGPROBS[0]
    stops: bool | None = None

    def settings(self, max_new_tokens: int, *, prefix: bool = False, logprobs: bool = False) -> dict[str, Any]:
        """The fields beside model and messages."""
        fields: dict[str, Any] = {self.limit: max_new_tokens, **self.decoding}
        if prefix:
            fields |= CONTINUE
        if logprobs:
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        elif self.stops:
            fields["stop"] = [ANSWER_END]
        return fields

    def heed(self, reply: Reply, sent: Mapping[str, Any]) -> bool:
        """Learn from a reply whether the server may be told to stop; it never is again once one speaks against it.

        A model whose reasoning is set apart may think about the format it is to answer in, and would be stopped there.

        Returns:
            False where the request must be sent again: it said where to stop, and the reply does not say what ended it.
        """
        self.stops = reply.tells_stop and not reply.reasoned and self.stops is not False
        return reply.tells_stop or "stop" not in sent

    def learn(self, refusal: str, sent: Mapping[str, Any]) -> bool:
        """Leave out from now on what this refusal of a request with the fields `sent` names.

        Returns:
            Whether the request is worth another try: it held something that is now left out or asked for otherwise.
        """
        if "max_tokens" in sent and _refuses(refusal, "max_tokens") and "max_completion_tokens" in refusal:
            self.limit = "max_completion_tokens"
        for name in ("temperature", "seed"):
            if name in sent and _refuses(refusal, name):
                self._drop(name)
        if sent.get("top_logprobs") == self.top_logprobs and _refuses(refusal, "(?:top_)?logprobs"):
            fewer = [count for count in _TOP_LOGPROBS if count < self.top_logprobs]
            self.top_logprobs = fewer[0] if fewer else self.top_logprobs
        return any(
            (
                self.limit not in sent,
                any(name in sent and name not in self.decoding for name in ("temperature", "seed")),
                sent.get("top_logprobs", self.top_logprobs) != self.top_logprobs,
            )
        )

    def _drop(self, name: str) -> None:
        if self.decoding.pop(name, None) is not None and name == "temperature":
            _LOG.warning("the server does not take temperature 0: its answers are not greedy and may differ each time")
