"""A chat server on the loopback address that answers, or misbehaves, as a test says."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from PIL import Image


@dataclass
class Call:
    """One request to /chat/completions; `number` counts them from 0, `attempt` those with the same text from 0."""

    number: int
    attempt: int
    fields: dict[str, Any]
    headers: dict[str, str]
    begun: float

    @property
    def text(self) -> str:
        """All texts of the messages."""
        parts: list[str] = []
        for message in self.fields["messages"]:
            content = message["content"]
            parts += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        return " ".join(part for part in parts if part)

    @property
    def images(self) -> list[Image.Image]:
        """The images of the messages in order, decoded."""
        urls = [
            part["image_url"]["url"]
            for message in self.fields["messages"]
            if isinstance(message["content"], list)
            for part in message["content"]
            if part["type"] == "image_url"
        ]
        return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


@dataclass
class Answer:
    """What the server does with a call."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    half: bool = False
    silent: bool = False


def written(text: Any = "ok", *, finish: str = "stop", usage: bool = True, **choice: Any) -> Answer:
    """A completion as OpenAI sends it; `choice` adds fields to the choice, `message` to its message."""
    message = {"role": "assistant", "content": text, **choice.pop("message", {})}
    body: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}]}
    if usage:
        body["usage"] = {"prompt_tokens": 11, "completion_tokens": 3}
    return Answer(body)


def refused(status: int, message: str, **headers: str) -> Answer:
    """An error as OpenAI sends it; `retry_after` becomes the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer({"error": {"message": message, "type": "error"}}, status, named)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of connections that come at once, else some are reset


class FakeServer:
    """Serves on a free port of 127.0.0.1 while it is used as a context.

    Args:
        act: What is done with each call.
        models: Names for GET /models; None answers 404 there.

    Attributes:
        calls: All calls in the order of their arrival.
        peak: The most calls that were under way at a time.
    """

    def __init__(self, act: Callable[[Call], Answer], *, models: list[str] | None = None) -> None:
        self._act, self._models = act, models
        self._lock = threading.Lock()
        self._busy = 0
        self._connections: list[socket.socket] = []
        self._seen: dict[str, int] = {}
        self.calls: list[Call] = []
        self.peak = 0
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, path: str, raw: bytes, headers: dict[str, str]) -> Answer:
        if path == "/v1/models":
            listed = [{"id": name, "object": "model"} for name in self._models or ()]
            return Answer("none", 404) if self._models is None else Answer({"object": "list", "data": listed})
        if path != "/v1/chat/completions":
            return Answer("Not Found", 404)
        call = Call(0, 0, json.loads(raw), headers, time.monotonic())
        with self._lock:
            call.number, call.attempt = len(self.calls), self._seen.get(call.text, 0)
            self._seen[call.text] = call.attempt + 1
            self.calls.append(call)
            self._busy += 1
            self.peak = max(self.peak, self._busy)
        try:
            answer = self._act(call)
            time.sleep(answer.delay)
            return answer
        finally:
            with self._lock:
                self._busy -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                fake._connections.append(self.request)
                super().setup()

            def do_GET(self) -> None:
                self._send(fake._answer(self.path, b"", dict(self.headers)))

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                self._send(fake._answer(self.path, raw, dict(self.headers)))

            def _send(self, answer: Answer) -> None:
                text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
                body = text.encode()
                self.close_connection = answer.silent or answer.half
                if answer.silent:
                    return
                kind = "application/json" if not isinstance(answer.body, str) else "text/html"
                lines = {"content-type": kind, "content-length": str(len(body)), **answer.headers}
                head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                part = body[: len(body) // 2] if answer.half else body
                try:
                    self.wfile.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode() + part)
                except OSError:
                    self.close_connection = True  # the client did not wait

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Keep the test output clean."""

        return Handler
