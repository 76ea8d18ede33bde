"""Receivers for the tests of the sinks: an HTTP server that answers as told, and an MQTT broker of the needed size."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Inbox:
    """An HTTP server that keeps what it gets. `answer` gives the status for a body (0: hangs up without an answer)."""

    answer: Callable[[dict[str, Any]], int] = lambda body: 200
    delay_s: float = 0.0
    retry_after: str = ""
    reply: bytes = b"thanks"
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/of-the-line?token=geheim"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The bodies that were answered with 200."""
        return [json.loads(body) for (_, body), status in zip(self.got, self.statuses, strict=False) if status == 200]

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[Inbox]:
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(inbox.delay_s)
                status = inbox.answer(json.loads(body))
                inbox.got.append((dict(self.headers.items()), body))
                inbox.statuses.append(status)
                if status:
                    self.send_response(status)
                    if inbox.retry_after:
                        self.send_header("Retry-After", inbox.retry_after)
                    if 300 <= status < 400:
                        self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                    self.send_header("Content-Length", str(len(inbox.reply)))
                    self.end_headers()
                    self.wfile.write(inbox.reply)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Nothing on the terminal."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class Broker:
    """CONNECT, PUBLISH with QoS 1 and PINGREQ of MQTT 3.1.1. `confirm` says whether a PUBLISH gets its PUBACK."""

    user: str = ""
    password: str = ""
    confirm: Callable[[dict[str, Any]], bool] = lambda body: True
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    connections: list[socket.socket] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[Broker]:
        broker = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                broker.connections.append(self.request)
                broker._talk(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        server = Server(("127.0.0.1", self.port), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            self.cut()

    def cut(self) -> None:
        """Hang up on everybody."""
        for connection in self.connections:
            connection.close() if connection.fileno() < 0 else connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def _talk(self, connection: socket.socket) -> None:
        try:
            while True:
                kind, body = _packet(connection)
                if kind >> 4 == 1:
                    connection.sendall(bytes((0x20, 2, 0, self._login(body))))
                elif kind >> 4 == 3:
                    self._publish(connection, kind, body)
                elif kind >> 4 == 12:
                    connection.sendall(b"\xd0\x00")
                elif kind >> 4 == 14:
                    return
        except OSError:
            return

    def _login(self, body: bytes) -> int:
        flags, fields = body[7], list(_fields(body[10:]))
        user, password = (fields[-2].decode(), fields[-1].decode()) if flags & 0xC0 == 0xC0 else ("", "")
        self.logins.append((user, password))
        return 0 if (user, password) == (self.user, self.password) else 5

    def _publish(self, connection: socket.socket, kind: int, body: bytes) -> None:
        assert kind & 0x06 == 0x02, "not QoS 1"
        length = struct.unpack(">H", body[:2])[0]
        topic, number, payload = body[2 : 2 + length].decode(), body[2 + length : 4 + length], body[4 + length :]
        message = json.loads(payload)
        if self.confirm(message):
            self.got.append((topic, message))
            connection.sendall(b"\x40\x02" + number)


def _packet(connection: socket.socket) -> tuple[int, bytes]:
    kind = _exactly(connection, 1)[0]
    length = shift = 0
    while True:
        byte = _exactly(connection, 1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def _fields(data: bytes) -> Iterator[bytes]:
    while data:
        length = struct.unpack(">H", data[:2])[0]
        yield data[2 : 2 + length]
        data = data[2 + length :]
