"""What went wrong with a request to a server: a fault that may pass, one of this request only, or one of them all."""

from __future__ import annotations

import email.utils
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from iadr1.errors import ModelChoiceError, ModelError, NoProbabilitiesError
from iadr1.models.server_replies import brief, error_words

if TYPE_CHECKING:
    import openai

Kind = Literal["passing", "limited", "unreached", "refused"]

LONGEST_WAIT_S = 600.0
"""The longest pause that a server may ask for; an empty quota is not waited for."""

_NO_IMAGES = re.compile(
    r"not a multimodal model|(?:not|that) (?:support|accept) (?:\w+ ){0,2}(?:images?|vision|multimodal|image_url)\b"
    # Not "images larger than 20 MB": that is about one image.
    r"(?! (?:\w+ )?(?:larger|bigger|smaller|wider|higher|above|below|over|of|with|than)\b)"
    r"|image_url is only supported by|\bimages?(?: inputs?)? (?:is|are) not supported|unknown variant `?image_url"
    r"|unsupported content (?:part )?type:? .{0,3}image_url|content must be a string|at most 0 image",
    re.IGNORECASE,
)
_FEWER_IMAGES = re.compile(r"at most \d+ image", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"\bmodel\b[^.]{0,120}(?:not found|not exist|doesn't exist)|unknown model|server is pinned to", re.IGNORECASE
)


class RequestFaultError(Exception):
    """A request that got no completion.

    Args:
        kind: `passing`: may work when it is sent again. `limited`: the server is asked too often. `unreached`: nobody
            answers at the address. `refused`: this request as it is will never be answered.
        reason: Why, in words that may be shown and stored.
        wait: Seconds after which the server wants to be asked again; None where it does not say.
        status: The HTTP status; 0 where there was none.
    """

    def __init__(self, kind: Kind, reason: str, *, wait: float | None = None, status: int = 0) -> None:
        super().__init__(reason)
        self.kind, self.reason, self.wait, self.status = kind, reason, wait, status


class UnknownModelError(Exception):
    """The server does not know the model, or the address has no such API; the text is what it says."""


@dataclass(frozen=True)
class Place:
    """Where requests go, for messages; nothing it gives back holds the key.

    Attributes:
        url: Address of the API.
        key_env: Name of the environment variable with the key.
        key: The key; empty where there is none.
        model: The model's name.
    """

    url: str
    key_env: str
    key: str
    model: str

    def clean(self, text: str) -> str:
        """The text without the key; "none" and the like are no secrets, but parts of other words."""
        return text.replace(self.key, "***") if len(self.key) > 4 else text


def diagnose(error: openai.APIError, place: Place, *, sent: dict[str, Any], images: int) -> RequestFaultError:
    """What an exception of the `openai` package means for a request.

    Args:
        error: The exception.
        place: Where the request went.
        sent: Its fields beside model and messages.
        images: How many images it held.

    Raises:
        ModelError: No request to this server can succeed: it sends them on to another address, a wrong key, no credit,
            a model without image support, or fewer images than this protocol shows, a server that does not continue
            an answer or gives no log-probabilities.
        UnknownModelError: The server does not know the model.
    """
    import openai

    if not isinstance(error, openai.APIStatusError):
        return _broken(error, place)
    status = error.status_code
    if 300 <= status < 400:
        raise _sent_on(status, error.response.headers.get("location", ""), place)
    said = place.clean(error_words(error.body) or brief(error.response.text))
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        raise _no_entry(status, said, place, sent=sent)
    wait = _retry_after(error)
    _check_wait(wait, str(error.code or ""), reason, place)
    if status == 429 or (status == 503 and wait is not None):
        return RequestFaultError("limited", reason, wait=wait, status=status)
    if images and status != 429 and (_NO_IMAGES.search(said) or _FEWER_IMAGES.search(said)):
        raise _no_images(said, place, images=images)
    if status in (408, 409, 425) or status >= 500:
        return RequestFaultError("passing", reason, wait=wait, status=status)
    if status in (404, 405) or _NO_MODEL.search(said):
        raise UnknownModelError(said)
    if "continue_final_message" in sent and "continue_final_message" in said:
        raise no_continuing(place)
    return RequestFaultError("refused", reason, status=status)


def _broken(error: openai.APIError, place: Place) -> RequestFaultError:
    cause = error.__cause__
    name = type(cause).__name__
    words = place.clean(brief(str(cause or error))) or name
    if name in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "ProxyError"):
        return RequestFaultError("unreached", words)
    return RequestFaultError("passing", f"the connection broke: {words}")


def _no_entry(status: int, said: str, place: Place, *, sent: dict[str, Any]) -> ModelError:
    if status == 403 and "logprobs" in sent and "logprobs" in said:
        return no_logprobs(place)
    if not place.key:
        return ModelError(
            f"{place.url} asks for a key (HTTP {status}) and the environment variable {place.key_env} is not set",
            hint=f"export {place.key_env}=..., or name another variable with --key-env",
        )
    # OpenAI's words for status 401 quote a part of the key.
    words = f": {said}" if status == 403 and said else ""
    return ModelError(
        f"{place.url} refuses the key in the environment variable {place.key_env} (HTTP {status}){words}",
        hint="check the key, and that it belongs to this server and may use this model",
    )


def _sent_on(status: int, target: str, place: Place) -> ModelError:
    """For a redirect: what the target's query holds may be a secret, and is not shown."""
    named = place.clean(brief(target.partition("?")[0])) or "an address that it does not name"
    return ModelError(
        f"{place.url} sends requests on to {named} (HTTP {status}), which is not followed: "
        "photos and key go to the address of --base-url only",
        hint="if the photos may go there, give that server's address as --base-url",
    )


def _no_images(said: str, place: Place, *, images: int) -> ModelError:
    if _FEWER_IMAGES.search(said) and "at most 0" not in said.lower():
        return ModelError(
            f"{place.model!r} at {place.url} takes fewer images than the {images} of a request: {said}",
            hint=f"serve it with --limit-mm-per-prompt '{{\"image\": {images}}}' (vLLM), or show fewer with --shots",
        )
    return ModelError(f"{place.model!r} at {place.url} takes no images: {said}", hint="serve a vision-language model")


def nobody_answers(place: Place, fault: RequestFaultError) -> ModelError:
    """For an address at which nobody answers."""
    return ModelError(
        f"no server answers at {place.url}: {fault.reason}",
        hint="check --base-url and that the server is up; a run goes on where it stopped",
    )


def nothing_answered(place: Place, lost: int, fault: RequestFaultError) -> ModelError:
    """For a server of which not one of the first requests got an answer, after all tries."""
    return ModelError(
        f"{place.url} has answered none of the first {lost} requests, the last one with: {fault.reason}",
        hint="check --base-url, --model and the server's log; a run goes on where it stopped",
    )


def no_continuing(place: Place) -> ModelError:
    """For a request with a prefix where the server does not say that it continues one."""
    return ModelError(
        f"{place.url} does not continue an answer that is begun, as this protocol asks; vLLM and SGLang do",
        hint="use one of these, --engine local, or a protocol without an answer prefix",
    )


BY_TEXT = "go by what the model writes (iadr1 detect --mode think, iadr1 eval --scoring text)"


def no_logprobs(place: Place) -> NoProbabilitiesError:
    """For a server that answers, but without log-probabilities."""
    return NoProbabilitiesError(
        f"{place.model!r} at {place.url} gives no log-probabilities",
        hint=f"{BY_TEXT}, or use a server that gives them, such as vLLM",
    )


def unknown_model(place: Place, said: str, known: list[str] | None) -> ModelChoiceError:
    """For a model that the server does not know.

    Args:
        place: Where.
        said: The server's words.
        known: Names of the models it has; None where it does not list any.
    """
    if known and place.model in known:
        return ModelChoiceError(
            f"{place.url} lists the model {place.model!r} and has no chat completions for it: {said or 'HTTP 404'}",
            hint="check --base-url; the address mostly ends in /v1",
        )
    if known:
        listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        return ModelChoiceError(f"{place.url} has no model {place.model!r}", hint=f"it serves: {listed}")
    return ModelChoiceError(
        f"{place.url} has no model {place.model!r}, or no chat completions: {said or 'HTTP 404'}",
        hint="check --model and --base-url; the address mostly ends in /v1",
    )


def _check_wait(wait: float | None, code: str, reason: str, place: Place) -> None:
    if code == "insufficient_quota":
        raise ModelError(f"the account at {place.url} has no credit left: {reason}")
    if wait is not None and wait > LONGEST_WAIT_S:
        raise ModelError(
            f"{place.url} wants no request for {wait:.0f} seconds: {reason}",
            hint="run the same command again then; it goes on where it stopped",
        )


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return float(value) * unit
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
