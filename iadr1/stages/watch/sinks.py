"""Where results are sent: what a sink is, and the webhook."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from iadr1.errors import MissingExtraError, UsageError

SIGNATURE = "X-Iadr1-Signature"
_LONGEST_REASON = 300
_LONGEST_WAIT_S = 600.0


class Message(NamedTuple):
    """One result on its way: `id` is the same whenever it is sent again, `body` is JSON in UTF-8."""

    id: str
    body: bytes


class PassingError(Exception):
    """A message did not arrive, and may when it is sent again.

    Args:
        reason: Why, without secrets.
        wait: Seconds after which the receiver wants to be asked again; None where it does not say.
    """

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


class RefusedError(Exception):
    """A message that the receiver will never take; the text says why, without secrets."""


class Sink(Protocol):
    """Takes messages one at a time.

    Attributes:
        kind: `webhook` or `mqtt`; what its place in the results is kept under.
        shown: The receiver as it may be shown and stored, without secrets.
    """

    kind: str
    shown: str

    def send(self, message: Message, *, timeout_s: float) -> None:
        """Return once the receiver has confirmed the message.

        Raises:
            PassingError: It is to be sent again.
            RefusedError: It will never be taken.
        """

    def close(self) -> None:
        """Let go of the connection."""


class Webhook:
    """POSTs JSON to an HTTP address, with `Idempotency-Key` and, where there is a secret, an HMAC-SHA256 signature.

    A redirect is not followed and counts as a fault that may pass, since a signed result belongs to the address given.

    Args:
        url: `http://` or `https://`.
        secret: Key of the signature; empty for none.

    Raises:
        UsageError: Not such an address, or one with a password in it.
        MissingExtraError: httpx is not installed.
    """

    kind = "webhook"

    def __init__(self, url: str, secret: str) -> None:
        parts = read_address("--webhook", url, ("http", "https"))
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("httpx", "watch", purpose="--webhook") from error
        # It logs addresses, which may hold a token.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._url, self._secret = url, secret.encode()
        self.shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        self._client = httpx.Client(headers={"User-Agent": "iadr1"})
        self._faults = (httpx.HTTPError, httpx.InvalidURL, OSError)

    def send(self, message: Message, *, timeout_s: float) -> None:
        """POST it.

        Raises:
            PassingError: Nobody answered, or the answer was 3xx, 408, 429 or 5xx.
            RefusedError: Any other 4xx.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        if self._secret:
            headers[SIGNATURE] = "sha256=" + hmac.new(self._secret, message.body, hashlib.sha256).hexdigest()
        try:
            with self._client.stream(
                "POST", self._url, content=message.body, headers=headers, timeout=timeout_s
            ) as response:
                status, wait = response.status_code, response.headers.get("Retry-After", "")
                said = "" if status < 400 else _excerpt(next(response.iter_bytes(_LONGEST_REASON), b""))
        except self._faults as error:
            raise PassingError(self._clean(f"{type(error).__name__} {error}".strip())) from error
        if 200 <= status < 300:
            return
        reason = self._clean(f"HTTP {status} {said}".strip())
        if 400 <= status < 500 and status not in (408, 429):
            raise RefusedError(reason)
        # A date instead of seconds is left to our own pauses.
        raise PassingError(reason, wait=min(float(wait), _LONGEST_WAIT_S) if wait.isdecimal() else None)

    def _clean(self, text: str) -> str:
        parts = urlsplit(self._url)
        for hidden in (self._url, parts.path + "?" + parts.query, parts.query, parts.path, self._secret.decode()):
            if len(hidden) > 4:
                text = text.replace(hidden, "***")
        return text

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def read_address(option: str, url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an address.

    Raises:
        UsageError: It has another scheme, no host, an impossible port, or a user name in it, which would be shown by
            every list of processes. The message does not repeat the address.
    """
    expected = " or ".join(f"{scheme}://HOST" for scheme in schemes)
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may hold a part of a password
        good = False
    if not good or not url.isprintable() or " " in url:
        raise UsageError(f"{option} is not an address of the form {expected}")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{option} holds a user name or password", hint="give them in environment variables")
    return parts


def read_secret(option: str, variable: str) -> str:
    """A secret from the environment.

    Raises:
        UsageError: The variable is not set or empty.
    """
    found = os.environ.get(variable, "")
    if not found:
        raise UsageError(f"{option} names the environment variable {variable!r}, which is not set")
    return found


def _excerpt(data: bytes) -> str:
    text = data[:_LONGEST_REASON].decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
