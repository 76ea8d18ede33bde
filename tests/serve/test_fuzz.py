"""Random requests against the whole interface: no server error, and nothing that the OpenAPI document does not say."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("schemathesis")
pytest.importorskip("uvicorn")

import httpx
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from iadr1.stages.inspection import InspectSettings
from iadr1.stages.serve.app import create_app
from iadr1.stages.serve.bench import Bench
from iadr1.stages.serve.desk import Desk
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.settings import Limits
from tests.serve.house import png
from tests.serve.test_answers import Square
from tests.stages.fake_engine import FakeEngine

EXAMPLES = 30
"""Of each kind and operation: enough to see each field, status and kind of body."""
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    database=None,
)
ODD = settings(QUICK, max_examples=100)
"""Quick ones, and nothing else tries damaged files."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The application behind a real socket, with an engine that answers at once; its address."""
    metrics = Metrics()
    listening = socket.create_server(("127.0.0.1", 0))

    def load() -> Bench:
        return Bench(FakeEngine(), InspectSettings(), segmenter=Square())

    desk = Desk(load, Limits(wait_s=0, deadline_s=5, max_bytes=200_000), metrics)
    server = uvicorn.Server(uvicorn.Config(create_app(desk, metrics), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    address = "http://{}:{}".format(*listening.getsockname())
    until = time.monotonic() + 30
    while httpx.get(f"{address}/health").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    yield address
    server.should_exit = True
    thread.join(10)
    desk.end(wait_s=5)
    listening.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as found:
        yield found


def test_no_request_of_the_interface_is_a_server_error(address: str) -> None:
    """Schemathesis' requests by the document, valid and not, with its checks of the answers.

    Two of them do not fit forms: bytes that fit the document need not be a photo, and in a form `false` may be a text.
    """
    left_out = [positive_data_acceptance, negative_data_rejection]
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr] # a broken document fails here
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @QUICK
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(excluded_checks=left_out)

            if mode is GenerationMode.POSITIVE or operation.method == "post":
                check()
    assert count >= 2 * EXAMPLES
    assert httpx.get(f"{address}/health").json()["ready"]


HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "content-encoding", "x-request-id", "authorization", "expect", "accept"]),
    st.one_of(
        st.sampled_from(
            [
                "image/png",
                "multipart/form-data; boundary=x",
                "multipart/form-data; boundary=",
                "multipart/form-data; boundary=x; charset=idna",
                "multipart/mixed; boundary=x",
                "application/x-www-form-urlencoded",
                "gzip",
                "100-continue",
            ]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40),
    ),
)
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="\xff/../a.png"\r\n\r\n'
BODIES = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda a, b: a + b, st.sampled_from([PART, png(), png()[:30], b"GIF89a", b"II*\0", b"RIFF"]), st.binary()
    ),
    st.builds(
        lambda cut, value: png((40, 40))[:cut] + bytes([value]) + png((40, 40))[cut + 1 :],
        st.integers(0, 120),
        st.integers(0, 255),
    ).map(lambda photo: PART + photo + b"\r\n--x--\r\n"),
)


@ODD
@given(headers=HEADERS, body=BODIES, query=st.text(max_size=20))
def _odd(address: str, client: httpx.Client, headers: dict[str, str], body: bytes, query: str) -> None:
    given_headers = [(name.encode(), value.strip().encode("latin-1")) for name, value in headers.items()]
    answer = client.post(f"{address}/v1/detect", content=body, headers=given_headers, params={"masks": query})
    assert answer.status_code < 500 or answer.status_code == 504, answer.text
    assert answer.status_code == 200 or set(answer.json()) == {"error", "hint"}


def test_no_odd_body_or_header_is_a_server_error(address: str) -> None:
    with httpx.Client() as client:
        _odd(address, client)
    assert httpx.get(f"{address}/health").json()["ready"]
