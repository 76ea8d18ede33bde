"""The engine `server` against a real loopback server that misbehaves in every way that a server can."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import os
import random
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iadr1.datasets.synthetic import CATEGORIES, render
from iadr1.errors import MissingExtraError, ModelChoiceError, ModelError, NoProbabilitiesError
from iadr1.models import Completion, LoadOptions, Request, ServerOptions, load_engine, server
from iadr1.models.base import Unweighed
from iadr1.models.profiles import PROFILES
from iadr1.models.server import ServerEngine
from iadr1.models.server_requests import data_url
from iadr1.prompts import ANSWER_END, parse, render_prompt, render_target
from iadr1.records import Sample
from tests.models.fake_server import Answer, Call, FakeServer, refused, written

KEY = "sk-secret-0123456789"
SAMPLE = Sample(
    id="s", source="x", dataset="d", category="c", split="test", task="choice", question_type="Anomaly Detection",
    image="i.png", references=("r.png",), question="What?", options={"A": "a", "B": "b"}, answer="B",
    reasoning="dark spot", is_anomalous=True,
)  # fmt: skip
RED = Image.new("RGB", (20, 10), "red")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerEngine, "_backoff_s", 0.005)
    # Each engine would read the certificates of all authorities, and no server here has one.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **kwargs: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def engine_for(url: str, **options: Any) -> ServerEngine:
    engine = load_engine("server", "vlm", LoadOptions(server=ServerOptions(url, **options)))
    assert isinstance(engine, ServerEngine)
    return engine


def question(text: str, *images: Image.Image, prefix: str = "") -> Request:
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
    return Request(text, [{"role": "user", "content": content}], images, prefix=prefix)


def questions(count: int) -> list[Request]:
    return [question(f"question {index}") for index in range(count)]


def ask(act: Callable[[Call], Answer], requests: list[Request], **options: Any) -> tuple[list[Completion], FakeServer]:
    with FakeServer(act) as fake:
        return engine_for(fake.url, **options).generate(requests, max_new_tokens=64), fake


def one(answer: Answer, **options: Any) -> Completion:
    """The completion for a single request that is always answered like this."""
    (completion,), _ = ask(lambda call: answer, [question("q")], retries=1, **options)
    return completion


def refusal(act: Callable[[Call], Answer], request: Request | None = None, **options: Any) -> tuple[str, FakeServer]:
    """The words of the error that ends the run."""
    models = options.pop("models", None)
    with FakeServer(act, models=models) as fake, pytest.raises(ModelError) as caught:
        engine_for(fake.url, **options).generate([request or question("q", RED)], max_new_tokens=64)
    return str(caught.value), fake


# what is sent


def test_images_arrive_with_their_pixels_in_the_slots() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    request = Request("s", render_prompt(SAMPLE, "choice", shots=1), (RED, Image.fromarray(noise)))
    _, fake = ask(lambda call: written("x"), [request])
    (call,) = fake.calls
    kinds = [part["type"] for part in call.fields["messages"][0]["content"]]
    assert kinds == ["text", "image_url", "text", "image_url", "text"]
    assert [image.size for image in call.images] == [(20, 10), (40, 30)]
    assert np.array_equal(np.asarray(call.images[1]), noise)
    assert (call.fields["model"], call.fields["max_tokens"], call.fields["temperature"]) == ("vlm", 64, 0)


def test_a_family_brings_images_to_the_size_its_boxes_are_in() -> None:
    photo = Image.new("RGB", (1300, 700))
    with FakeServer(lambda call: written("x")) as fake:
        engine = engine_for(fake.url, family="qwen2_5_vl")
        engine.generate([question("q", photo)], max_new_tokens=8)
    assert engine.profile == PROFILES["qwen2_5_vl"]
    assert fake.calls[0].images[0].size == engine.profile.frame(photo.size).input_wh


def test_without_a_family_images_go_as_they_are_and_boxes_cannot_be_read() -> None:
    with FakeServer(lambda call: written("x")) as fake:
        engine = engine_for(fake.url)
        engine.generate([question("q", Image.new("RGB", (1301, 701)))], max_new_tokens=8)
    assert fake.calls[0].images[0].size == (1301, 701)
    assert engine.profile.input_wh((1301, 701)) == (1301, 701)
    frame = replace(engine.profile.frame((10, 10)), image_wh=(20, 20))  # as the stages do
    assert parse("no boxes", "boxes", frame=frame).status == "failed"
    for convert in (frame.to_image, frame.to_model):
        with pytest.raises(ModelChoiceError, match=r"--family.*qwen2_5_vl"):
            convert((1, 2, 3, 4))
    with pytest.raises(ModelChoiceError, match="how many tokens"):
        engine.profile.image_tokens((10, 10))


def test_the_key_goes_only_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another server's")
    _, bare = ask(lambda call: written("x"), [question("q")], key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", KEY)
    _, keyed = ask(lambda call: written("x"), [question("q")], key_env="MY_KEY")
    assert "authorization" not in {name.lower() for name in bare.calls[0].headers}
    assert {name.lower(): value for name, value in keyed.calls[0].headers.items()}["authorization"] == f"Bearer {KEY}"


def test_the_variable_of_key_env_is_openais_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/evaluation.md says: a key that is set there goes to any address."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    _, fake = ask(lambda call: written("x"), [question("q")])
    assert {name.lower(): value for name, value in fake.calls[0].headers.items()}["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_photos_are_not_sent_on_to_another_address(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FakeServer(lambda call: written("x")) as other:
        target = other.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        sent_on = Answer("", status, {"location": f"{target}?token=abc"})
        message, fake = refusal(lambda call: sent_on)
        assert other.calls == []
    assert len(fake.calls) == 1
    assert f"{fake.url} sends requests on to {target} (HTTP {status}), which is not followed" in message
    assert "--base-url" in message
    assert "abc" not in message


def test_a_redirect_to_nowhere_is_told() -> None:
    message, _ = refusal(lambda call: Answer("", 304))
    assert "sends requests on to an address that it does not name (HTTP 304)" in message


def test_a_plain_prompt_is_refused_before_anything_is_sent() -> None:
    request = Request("q", [], (RED,), plain="<image> What?")
    words, fake = refusal(lambda call: written("x"), request)
    assert "plain prompt" in words
    assert "--engine local" in words
    assert not fake.calls


def test_slots_and_images_must_agree() -> None:
    request = Request("q7", [{"role": "user", "content": [{"type": "image"}]}], (RED, RED))
    assert "'q7' has 1 image slots and 2 images" in refusal(lambda call: written("x"), request)[0]


def test_encoded_images_are_bounded_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    alive, peak, made = 0, 0, 0

    class Url(str):
        __slots__ = ()

        def __new__(cls, text: str) -> Url:
            nonlocal alive, peak, made
            alive, made = alive + 1, made + 1
            peak = max(peak, alive)
            return super().__new__(cls, text)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    encode = data_url
    monkeypatch.setattr(server, "data_url", lambda image: Url(encode(image)))
    reference = Image.new("RGB", (8, 8))
    requests = [question(f"q{index}", reference, Image.new("RGB", (8, 8))) for index in range(60)]
    _, fake = ask(lambda call: written("x", usage=False), requests, concurrency=4)
    assert len(fake.calls) == 60
    assert made == 61  # the reference once
    assert peak <= 4 * 2 + 2 * 4  # four requests with two images each, and the eight used last


# many at a time


def test_order_is_kept_and_concurrency_is_bounded() -> None:
    chance = random.Random(0)
    delays = {f"question {index}": chance.uniform(0, 0.03) for index in range(60)}

    def act(call: Call) -> Answer:
        answer = written(call.text.upper())
        answer.delay = delays[call.text]
        return answer

    completions, fake = ask(act, questions(60), concurrency=7)
    assert [completion.id for completion in completions] == [f"question {index}" for index in range(60)]
    assert [completion.text for completion in completions] == [f"QUESTION {index}" for index in range(60)]
    assert 2 <= fake.peak <= 7


def test_200_requests_survive_random_failures() -> None:
    chance = random.Random(1)
    fates = [chance.random() for _ in range(1000)]

    def act(call: Call) -> Answer:
        return refused(500, "boom") if fates[call.number] < 0.1 else written(call.text)

    completions, fake = ask(act, questions(200), concurrency=16)
    assert [completion.text for completion in completions] == [f"question {index}" for index in range(200)]
    assert len(fake.calls) > 210


def test_requests_per_minute_are_kept_over_batches() -> None:
    with FakeServer(lambda call: written("x")) as fake:
        engine = engine_for(fake.url, requests_per_minute=1200)
        began = time.monotonic()
        engine.generate(questions(5), max_new_tokens=8)
        engine.generate(questions(5), max_new_tokens=8)
    assert time.monotonic() - began >= 9 * 0.05


def test_tries_count_as_requests_per_minute() -> None:
    began = time.monotonic()
    act = lambda call: written("x") if call.attempt == 4 else refused(500, "boom")  # noqa: E731
    (completion,), _ = ask(act, questions(1), requests_per_minute=600)
    assert completion.text == "x"
    assert time.monotonic() - began >= 4 * 0.1


def test_it_works_inside_a_running_event_loop() -> None:
    async def notebook() -> list[Completion]:
        return ask(lambda call: written("x"), questions(3))[0]

    assert [completion.text for completion in asyncio.run(notebook())] == ["x"] * 3


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_it_at_once_and_the_engine_goes_on() -> None:
    done: list[int] = []

    def act(call: Call) -> Answer:
        if call.number == 1:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        if call.number < 2:
            time.sleep(1.2)
            done.append(call.number)
        return written("x")

    with FakeServer(act) as fake:
        engine = engine_for(fake.url, concurrency=2)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(questions(10), max_new_tokens=8)
        assert not done
        while len(done) < 2:
            time.sleep(0.05)
        time.sleep(0.2)
        assert len(fake.calls) == 2  # nothing more was sent
        assert len(engine.generate(questions(3), max_new_tokens=8)) == 3


# too many requests


def test_a_pause_holds_all_requests_back() -> None:
    told: list[float] = []

    def act(call: Call) -> Answer:
        if call.number == 4:
            told.append(time.monotonic())
            return refused(429, "slow down", retry_after="0.6")
        answer = written("x")
        answer.delay = 0.01
        return answer

    completions, fake = ask(act, questions(30), concurrency=4)
    assert all(completion.error is None for completion in completions)
    early = [call for call in fake.calls if 0.25 < call.begun - told[0] < 0.58]
    assert not early
    assert max(call.begun for call in fake.calls) > told[0] + 0.59


def test_a_server_with_a_strict_limit_answers_everything() -> None:
    free = [0.0]

    def act(call: Call) -> Answer:
        if call.begun < free[0]:
            return refused(429, "rate limit", retry_after="0.03")
        free[0] = call.begun + 0.03
        return written(call.text)

    completions, fake = ask(act, questions(40), concurrency=16)
    assert [completion.error for completion in completions] == [None] * 40
    assert len(fake.calls) < 300


def test_a_request_waits_as_long_as_others_are_answered() -> None:
    """At each refusal one other request has been answered since the last: the client has sent the one behind it."""
    may_answer, next_came = threading.Semaphore(0), threading.Semaphore(0)

    def act(call: Call) -> Answer:
        if call.text == "unlucky":
            may_answer.release(1 if call.attempt < 5 else 100)
            if call.attempt < 5:
                assert next_came.acquire(timeout=5)
                return refused(429, "rate limit", retry_after="0.01")
        else:
            if call.text != "question 0":
                next_came.release()
            assert may_answer.acquire(timeout=5)
        return written(call.text)

    completions, fake = ask(act, [question("unlucky"), *questions(12)], concurrency=2, retries=1)
    assert [completion.error for completion in completions] == [None] * 13
    assert len(fake.calls) == 13 + 5


def test_too_many_requests_for_ever_is_an_error_of_the_request() -> None:
    (completion,), fake = ask(lambda call: refused(429, "busy"), [question("q")], retries=3)
    assert completion.error == "HTTP 429: busy (4 tries)"
    assert len(fake.calls) == 4


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"retry_after": email.utils.formatdate(time.time() + 2, usegmt=True)}, 0.0),
        ({"retry_after": "soon"}, 0.0),
        ({"retry_after_ms": "120"}, 0.11),
        ({"retry_after": "0.12"}, 0.11),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], least: float) -> None:
    if "," in headers.get("retry_after", ""):
        headers = {"retry_after": email.utils.formatdate(time.time() + 1, usegmt=True)}
    completions, fake = ask(
        lambda call: written("x") if call.attempt else refused(503, "busy", **headers), [question("q")]
    )
    assert completions[0].text == "x"
    assert fake.calls[1].begun - fake.calls[0].begun >= least


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_day_is_not_waited_for(status: int) -> None:
    words, _ = refusal(lambda call: refused(status, "daily limit", retry_after="36000"))
    assert "wants no request for 36000 seconds" in words


def test_no_credit_is_told_at_once() -> None:
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    words, fake = refusal(lambda call: Answer(body, 429))
    assert "no credit left" in words
    assert len(fake.calls) == 1


def test_the_pauses_between_tries_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def passing(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(ServerEngine, "_backoff_s", 0.5)
    monkeypatch.setattr(asyncio, "sleep", passing)
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    act = lambda call: written("x") if call.attempt == 8 else refused(500, "boom")  # noqa: E731
    ask(act, [question("q")], retries=8)
    assert [pause for pause in pauses if pause] == [0.5, 1, 2, 4, 8, 16, 30, 30]


# failures of one request


GARBAGE = {
    "no JSON": (Answer("{'a': nothing"), "not JSON"),
    "brackets without end": (Answer("[" * 100_000), "not JSON"),
    "HTML": (Answer("<html><title>Welcome</title><body>to the gateway</body></html>"), "Welcome to the gateway"),
    "empty": (Answer(""), "it is empty"),
    "a list": (Answer([1]), "no JSON object"),
    "no choices": (Answer({"id": "x"}), "no choice"),
    "empty choices": (Answer({"choices": []}), "no choice"),
    "an error with 200": (Answer({"error": {"message": "upstream broke"}}), "upstream broke"),
    "a choice that is a text": (Answer({"choices": ["x"]}), "no choice"),
    "no message": (Answer({"choices": [{"text": "x"}]}), "no message"),
    "null": (written(None), "no text (finish_reason 'stop')"),
    "a number": (written(5), "no text"),
    "a list without text": (written([{"type": "image"}]), "no text"),
    "filtered": (written(None, finish="content_filter"), "content filter"),
    "half a body": (Answer(written("x" * 500).body, half=True), "connection broke"),
    "nothing": (Answer(silent=True), "connection broke"),
    "502": (Answer("<html><h1>502</h1> Bad Gateway</html>", 502), "HTTP 502: 502 Bad Gateway"),
}


@pytest.mark.parametrize("name", list(GARBAGE))
def test_garbage_is_asked_for_again_and_then_told(name: str) -> None:
    answer, words = GARBAGE[name]
    healed, _ = ask(lambda call: answer if call.attempt < 2 else written("fine"), [question("q")], retries=2)
    assert (healed[0].text, healed[0].error) == ("fine", None)

    def act(call: Call) -> Answer:
        return answer if call.text == "bad" else written("good")

    (bad, good), fake = ask(act, [question("bad"), question("good")], retries=2)
    assert good.text == "good"
    assert bad.text == ""
    assert bad.error is not None
    assert words in bad.error
    assert bad.error.endswith("(3 tries)")
    assert sum(call.text == "bad" for call in fake.calls) == 3


def test_a_server_that_does_not_answer_in_time() -> None:
    answer = written("late")
    answer.delay = 1.5
    (completion,), fake = ask(lambda call: answer, [question("q")], timeout_s=0.4, retries=1)
    assert completion.error == "no answer within 0.4 seconds (2 tries)"
    assert len(fake.calls) == 2


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"),
        (413, "Request too large"),
        (422, "Input is not valid"),
        (400, "The image is too small. The request was {'temperature': 0}. Unexpected size"),
    ],
)
def test_what_is_refused_for_good_is_sent_once(status: int, message: str) -> None:
    def act(call: Call) -> Answer:
        return refused(status, message) if call.text == "long" else written("good")

    (long, good), fake = ask(act, [question("long", RED), question("short")])
    assert long.error == f"HTTP {status}: {message}"
    assert good.text == "good"
    assert len(fake.calls) == 2
    assert fake.calls[-1].fields["temperature"] == 0


def test_no_requests_are_no_work() -> None:
    assert ask(lambda call: written("x"), [])[0] == []


def test_the_words_of_fastapi_are_read() -> None:
    body = {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "input": "A" * 5000}]}
    assert one(Answer(body, 422)).error == "HTTP 422: Field required"
    assert len(one(Answer("A" * 5000, 400)).error or "") < 300


# failures of all


def test_nobody_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = engine_for(f"http://127.0.0.1:{port}/v1", concurrency=4, retries=50)
    began = time.monotonic()
    with pytest.raises(ModelError, match=rf"no server answers at http://127.0.0.1:{port}/v1: "):
        engine.generate(questions(500), max_new_tokens=8)
    assert time.monotonic() - began < 5


def test_a_server_that_goes_away_ends_the_run() -> None:
    with FakeServer(lambda call: written("x")) as fake:
        engine = engine_for(fake.url, retries=2, concurrency=2)
        engine.generate(questions(2), max_new_tokens=8)
    with pytest.raises(ModelError, match="no server answers"):
        engine.generate(questions(50), max_new_tokens=8)


def test_a_web_site_is_not_asked_forty_thousand_times() -> None:
    with FakeServer(lambda call: Answer("<html>Welcome</html>")) as fake:
        engine = engine_for(fake.url, concurrency=2, retries=1)
        with pytest.raises(ModelError, match=r"answered none of the first 6 requests.*not JSON: 'Welcome'"):
            engine.generate(questions(100), max_new_tokens=8)
    assert len(fake.calls) <= 2 * (6 + 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    words, fake = refusal(lambda call: refused(status, f"Incorrect API key provided: {KEY}"), key_env="MY_KEY")
    assert f"refuses the key in the environment variable MY_KEY (HTTP {status})" in words
    assert ("Incorrect API key" in words) is (status == 403)  # OpenAI's words for 401 quote a part of the key
    assert len(fake.calls) == 1


def test_a_key_that_is_not_set() -> None:
    words, _ = refusal(lambda call: refused(401, "no key"), key_env="MY_KEY")
    assert "asks for a key (HTTP 401) and the environment variable MY_KEY is not set" in words


def test_an_unknown_model_lists_the_known() -> None:
    words, _ = refusal(lambda call: refused(404, "The model `vlm` does not exist."), models=["b", "a"])
    assert "has no model 'vlm' (it serves: a, b)" in words
    words, _ = refusal(lambda call: refused(404, "Not Found"), models=["b", "vlm"])
    assert "lists the model 'vlm' and has no chat completions for it" in words
    # What `transformers serve` says.
    pinned = Answer({"detail": "Server is pinned to '/m'; requested 'vlm'."}, 400)
    assert "has no model 'vlm'" in refusal(lambda call: pinned)[0]


@pytest.mark.parametrize("body", ["{", "[" * 100_000])
def test_a_list_of_models_that_cannot_be_read_is_none(body: str) -> None:
    class Broken(FakeServer):
        def _answer(self, path: str, raw: bytes, headers: dict[str, str]) -> Answer:
            if path.endswith("/models"):
                return Answer(body, headers={"content-type": "application/json"})
            return super()._answer(path, raw, headers)

    told = "has no model 'vlm', or no chat completions: no such model"
    with Broken(lambda call: refused(404, "no such model")) as fake, pytest.raises(ModelChoiceError, match=told):
        engine_for(fake.url).generate([question("q")], max_new_tokens=8)


def test_an_address_without_the_api() -> None:
    with FakeServer(lambda call: written("x")) as fake, pytest.raises(ModelChoiceError, match="mostly ends in /v1"):
        engine_for(fake.url.removesuffix("/v1")).generate([question("q")], max_new_tokens=8)
    assert "mostly ends in /v1" in refusal(lambda call: Answer("Method Not Allowed", 405))[0]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, "text-model is not a multimodal model"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (400, "this model does not support image input (ref: 1)"),
        (422, "This model does not accept image input"),
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (500, 'Failed to parse messages: Unsupported content part type: "image_url"'),
        (404, "No endpoints found that support image input"),
        (422, "messages[0]: unknown variant `image_url`, expected `text`"),
    ],
)
def test_a_model_without_image_support(status: int, message: str) -> None:
    words, fake = refusal(lambda call: refused(status, message))
    assert "takes no images" in words
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "words", ["does not support images larger than 20 MB", "does not accept image files above 5 MB"]
)
def test_an_image_that_is_too_large_is_a_fault_of_its_question(words: str) -> None:
    def act(call: Call) -> Answer:
        return refused(400, f"This model {words}") if call.text == "large" else written("good")

    (large, good), _ = ask(act, [question("large", RED), question("small", RED)])
    assert (large.error, good.text) == (f"HTTP 400: This model {words}", "good")


def test_what_is_refused_in_the_same_words_from_the_first_is_not_asked_forty_thousand_times() -> None:
    with FakeServer(lambda call: refused(422, "Nothing but text, please")) as fake:
        engine = engine_for(fake.url, concurrency=2)
        with pytest.raises(ModelError, match=r"answered none of the first 6 requests.*Nothing but text"):
            engine.generate(questions(100), max_new_tokens=8)
    assert len(fake.calls) <= 6 + 2


@pytest.mark.parametrize("answered", [True, False])
def test_refusals_of_single_questions_do_not_end_the_run(answered: bool) -> None:
    """Each in words of its own, or the same words from a server that has answered others."""

    def act(call: Call) -> Answer:
        if answered:
            return refused(413, "too long") if call.number else written("good")
        return refused(413, f"{call.text}: too long")

    completions, _ = ask(act, questions(20), concurrency=1)
    assert sum(completion.error is not None for completion in completions) == 20 - answered


def test_a_server_that_takes_fewer_images() -> None:
    act = lambda call: refused(400, "At most 1 image(s) may be provided in one prompt.")  # noqa: E731
    words, _ = refusal(act, question("q", RED, RED))
    assert "takes fewer images than the 2" in words
    assert "--limit-mm-per-prompt '{\"image\": 2}'" in words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (None, "needs an address"),
        (ServerOptions(""), "needs an address"),
        (ServerOptions("localhost:8000/v1"), "is not http:// or https://, a host"),
        (ServerOptions("ftp://x/v1"), "is not http:// or https://, a host"),
        (ServerOptions("http:///v1"), "is not http:// or https://, a host"),
        (ServerOptions("http://x:abc/v1"), "is not http:// or https://, a host"),
        (ServerOptions("http://[::1/v1"), "is not http:// or https://, a host"),
        (ServerOptions("http://x/v1", concurrency=0), "concurrency is 0"),
        (ServerOptions("http://x/v1", retries=-1), "retries is -1"),
        (ServerOptions("http://x/v1", requests_per_minute=-1), "requests_per_minute is -1"),
        (ServerOptions("http://x/v1", timeout_s=0), "timeout_s is 0"),
        (ServerOptions("http://x/v1", timeout_s=math.nan), "timeout_s is nan"),
        (ServerOptions("http://x/v1", family="blip"), "'blip' is neither a model family nor a model"),
    ],
)
def test_options_that_cannot_be_used(options: ServerOptions | None, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_engine("server", "vlm", LoadOptions(server=options))


@pytest.mark.parametrize(
    "address", [f"http://user:{KEY}@x/v1", f"{KEY}@x/v1", f"http://x/v1?key={KEY}", f"http://x/v1#{KEY}"]
)
def test_a_secret_in_the_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ModelChoiceError, match=r"--base-url holds .* it would be stored with the run") as caught:
        load_engine("server", "vlm", LoadOptions(server=ServerOptions(address)))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["sk-abc\ndef12345", "sk-abc\x00def", "sk-schl\N{LATIN SMALL LETTER U WITH DIAERESIS}ssel"]
)
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # No environment holds a zero byte, but other ways to set a variable may give any text.
    monkeypatch.setattr(os, "environ", {**os.environ, "MY_KEY": key})
    words, fake = refusal(lambda call: written("x"), key_env="MY_KEY")
    assert "the key in the environment variable MY_KEY holds a line break or another character" in words
    assert not any(part in words for part in ("sk-", "def", "ssel"))
    assert not fake.calls


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"the engine 'server' needs the package 'openai' .*iadr1\[eval\]"):
        load_engine("server", "vlm", LoadOptions(server=ServerOptions("http://x/v1")))


def test_the_key_is_in_no_error_and_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    echoes = [
        refused(401, f"bad {KEY}"), refused(403, f"bad {KEY}"), refused(404, f"bad {KEY}"), refused(422, KEY),
        refused(500, f"bad {KEY}"), refused(429, KEY), Answer(f"<p>{KEY}</p>"), Answer({"error": KEY}),
    ]  # fmt: skip
    for echo in echoes:
        with FakeServer(lambda call, echo=echo: echo) as fake:  # type: ignore[misc]
            engine = engine_for(fake.url, retries=1)
            try:
                told = engine.generate([question("q", RED)], max_new_tokens=8)[0].error
            except ModelError as error:
                told = "".join(traceback.format_exception(error))
        assert told
        assert KEY not in told
    assert KEY not in caplog.text


# what an answer holds


def test_the_parts_of_an_answer() -> None:
    whole = one(written("yes"))
    assert (whole.text, whole.finished, whole.prompt_tokens, whole.completion_tokens) == ("yes", True, 11, 3)
    assert 0 < whole.seconds < 5
    cut = one(written("ye", finish="length", usage=False))
    assert (cut.text, cut.finished, cut.prompt_tokens, cut.completion_tokens) == ("ye", False, 0, 0)
    assert one(written(None, message={"refusal": "I cannot help."})).text == "I cannot help."
    assert one(written([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).text == "ab"
    empty = one(written(""))
    assert (empty.text, empty.finished, empty.error) == ("", True, None)
    nothing = one(written(None, finish="length"))
    assert (nothing.text, nothing.finished, nothing.error) == ("", False, None)
    odd = written("x")
    odd.body["usage"] = {"prompt_tokens": None, "completion_tokens": "many"}
    assert (one(odd).prompt_tokens, one(odd).completion_tokens) == (0, 0)


def test_a_failed_try_is_not_in_the_seconds() -> None:
    late = refused(500, "boom")
    late.delay = 0.9
    (completion,), _ = ask(lambda call: written("x") if call.attempt else late, [question("q")])
    assert completion.seconds < 0.8


TARGET = render_target(SAMPLE, "choice")
THOUGHT, _, REST = TARGET.partition("dark spot")
GOES_ON = TARGET + "\nThe user may also ask: <answer>A" + ANSWER_END


def model_text(call: Call) -> tuple[str, bool]:
    """What a server makes of a model that writes on after its answer, and whether the stop text ended it."""
    stop = call.fields.get("stop")
    before, found, _ = GOES_ON.partition(stop[0]) if stop else (GOES_ON, "", "")
    return before, bool(found)


def vllm(call: Call) -> Answer:
    text, stopped = model_text(call)
    return written(text, stop_reason=ANSWER_END if stopped else None)


def sglang(call: Call) -> Answer:
    text, stopped = model_text(call)
    return written(text, matched_stop=ANSWER_END if stopped else 151645)


def openai_like(call: Call) -> Answer:
    return written(model_text(call)[0])


def gateway(call: Call) -> Answer:
    """Passes on to two servers, one of which does not say what stopped it."""
    return vllm(call) if call.number % 3 == 0 else openai_like(call)


@pytest.mark.parametrize(("act", "stops"), [(vllm, True), (sglang, True), (openai_like, False), (gateway, None)])
def test_an_answer_ends_behind_its_tag_on_every_server(act: Callable[[Call], Answer], stops: bool | None) -> None:
    completions, fake = ask(act, questions(12), concurrency=2)
    assert {completion.text for completion in completions} == {TARGET}
    assert all(completion.finished for completion in completions)
    told = ["stop" in call.fields for call in fake.calls]
    assert not told[0]
    if stops is not None:
        assert any(told) is stops
        assert not stops or told.count(False) <= 2


@pytest.mark.parametrize("fields", [{"stop_reason": None}, {"matched_stop": 151645}, {}])
def test_an_answer_that_the_model_left_open_stays_open(fields: dict[str, Any]) -> None:
    left = TARGET.removesuffix(ANSWER_END)
    completions, _ = ask(lambda call: written(left, **fields), questions(6), concurrency=1)
    assert {completion.text for completion in completions} == {left}


def test_a_complete_answer_is_finished_even_at_the_limit() -> None:
    assert one(written(GOES_ON, finish="length")).finished
    assert not one(written("<answer", finish="length")).finished


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_that_the_server_sets_apart_is_put_back(name: str) -> None:
    opening, closing = THOUGHT, REST.partition(">")[0] + ">"
    message = {name: f"I am to answer as {ANSWER_END}"}
    act = lambda call: written(REST.removeprefix(closing), stop_reason=None, message=message)  # noqa: E731
    completions, fake = ask(act, questions(4), concurrency=1)
    assert {completion.text for completion in completions} == {f"{opening}I am to answer as {ANSWER_END}{REST}"}
    assert not any("stop" in call.fields for call in fake.calls)  # it would stop the reasoning
    cut = one(written(None, finish="length", message={name: "dark"}))
    assert (cut.text, cut.finished) == (f"{opening}dark", False)


def test_a_model_that_reasons_apart_is_never_told_to_stop_again() -> None:
    def act(call: Call) -> Answer:
        return written(TARGET, stop_reason=None, message={"reasoning_content": "hm"} if call.number == 2 else {})

    _, fake = ask(act, questions(6), concurrency=1)
    assert ["stop" in call.fields for call in fake.calls] == [False, True, True, False, False, False]


# what servers do not take


def test_the_name_of_the_token_limit_is_learned_once() -> None:
    def act(call: Call) -> Answer:
        if "max_tokens" in call.fields:
            words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
            return refused(400, f"{words} instead.")
        return written("x")

    completions, fake = ask(act, questions(20), concurrency=4, retries=0)
    assert {completion.text for completion in completions} == {"x"}
    assert sum("max_tokens" in call.fields for call in fake.calls) <= 4
    assert {call.fields.get("max_completion_tokens") for call in fake.calls} == {None, 64}


def test_decoding_that_a_server_refuses_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    def act(call: Call) -> Answer:
        if "temperature" in call.fields:
            return refused(400, "Unsupported value: 'temperature' does not support 0 with this model.")
        if "seed" in call.fields:
            return Answer({"detail": "Unexpected fields in the request: {'seed'}"}, 422)
        return written("x")

    completions, fake = ask(act, questions(10), concurrency=3, retries=0)
    assert {completion.text for completion in completions} == {"x"}
    assert len(fake.calls) <= 10 + 2 * 3
    assert [record.getMessage() for record in caplog.records if record.name.startswith("iadr1")] == [
        "the server does not take temperature 0: its answers are not greedy and may differ each time"
    ]


def test_a_prefix_is_continued_by_servers_that_say_so() -> None:
    request = question("q", prefix="The answer is")
    (completion,), fake = ask(lambda call: written(" B", stop_reason=None), [request])
    assert completion.text == " B"
    assert fake.calls[0].fields["messages"][-1] == {"role": "assistant", "content": "The answer is"}
    assert fake.calls[0].fields["continue_final_message"] is True
    assert fake.calls[0].fields["add_generation_prompt"] is False
    assert "does not continue" in refusal(lambda call: written(" B"), request)[0]
    words = "Unrecognized request arguments supplied: add_generation_prompt, continue_final_message"
    assert "does not continue" in refusal(lambda call: refused(400, words), request)[0]


# probabilities


def scored(*tokens: tuple[str, float], **choice: Any) -> Answer:
    top = [{"token": text, "logprob": math.log(share)} for text, share in tokens]
    logprobs = {"content": [{**top[0], "top_logprobs": top}]} if top else None
    return written(tokens[0][0] if tokens else "x", logprobs=logprobs, **choice)


def weighed(**logs: float | None) -> Answer:
    """First tokens with their log-probabilities as they stand in the answer."""
    top = [{"token": text, "logprob": value} for text, value in logs.items()]
    return written(top[0]["token"], logprobs={"content": [{**top[0], "top_logprobs": top}]})


def probabilities(act: Callable[[Call], Answer], words: list[str]) -> tuple[list[dict[str, float]], FakeServer]:
    with FakeServer(act) as fake:
        return engine_for(fake.url).probabilities([question("q", RED)], words), fake


def test_probabilities_are_those_of_the_first_token() -> None:
    (found,), fake = probabilities(lambda call: scored(("Yes", 0.5), ("No", 0.1), ("yes", 0.3)), ["Yes", "No"])
    assert found == pytest.approx({"Yes": 5 / 6, "No": 1 / 6})
    fields = fake.calls[0].fields
    assert (fields["max_tokens"], fields["logprobs"], fields["top_logprobs"]) == (1, True, 20)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([(" B", 0.2), ("B", 0.2), ("\u0120C", 0.1), ("A.", 0.3)], {"A": 0.0, "B": 0.8, "C": 0.2}),
        ([("C", 0.9), ("The", 0.1)], {"A": 0.0, "B": 0.0, "C": 1.0}),
        ([("Scr", 0.3), ("De", 0.1), ("", 0.2), (" ", 0.2)], {"Scratch": 0.75, "Dent": 0.25}),
        ([("Dent", 0.3), ("De", 0.3), ("Scr", 0.1)], {"Scratch": 0.25, "Dent": 0.75}),
        ([("D", 0.5), ("Dr", 0.1), ("De", 0.3)], {"Dent": 0.75, "Drop": 0.25}),
    ],
)
def test_tokens_that_stand_for_words(tokens: list[tuple[str, float]], expected: dict[str, float]) -> None:
    (found,), _ = probabilities(lambda call: scored(*tokens), list(expected))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "yes"),
    [
        ({"Yes": -math.inf, "No": -1.0}, 0.0),
        ({"Yes": 1e-4, "No": -9.0}, 0.9998766),  # rounded
        ({"Yes": -1.0, "No": -1.0, "The": math.nan, "It": 9.0}, 0.5),  # stand for no word
    ],
)
def test_values_that_say_enough(given: dict[str, float], yes: float) -> None:
    (found,), _ = probabilities(lambda call: weighed(**given), ["Yes", "No"])
    assert found["Yes"] == pytest.approx(yes, abs=1e-6)


def test_a_broken_value_costs_its_own_request_only() -> None:
    with FakeServer(lambda call: weighed(Yes=-1.0 if call.number == 0 else math.nan, No=-1.0)) as fake:
        engine = engine_for(fake.url, concurrency=1)
        first, second = engine.probabilities([question(key, RED) for key in "ab"], ["Yes", "No"])
    assert first == {"Yes": 0.5, "No": 0.5}
    assert isinstance(second, Unweighed)
    assert (dict(second), second.reason) == ({}, "the log-probability of 'Yes' is nan, it must be a number up to 0")


def test_a_first_token_that_ends_the_answer_still_has_probabilities() -> None:
    answer = scored(("", 0.5), ("Yes", 0.3), ("No", 0.1))
    answer.body["choices"][0]["message"]["content"] = None
    (found,), _ = probabilities(lambda call: answer, ["Yes", "No"])
    assert found == pytest.approx({"Yes": 0.75, "No": 0.25})


def test_fewer_top_tokens_where_the_server_gives_fewer() -> None:
    def act(call: Call) -> Answer:
        if call.fields["top_logprobs"] > 5:
            return refused(400, "Requested sample logprobs of 20, which is greater than max allowed: 5")
        return scored(("Yes", 0.9), ("No", 0.1))

    (found,), fake = probabilities(act, ["Yes", "No"])
    assert found == pytest.approx({"Yes": 0.9, "No": 0.1})
    assert [call.fields["top_logprobs"] for call in fake.calls] == [20, 10, 5]


def test_a_request_without_probabilities_costs_the_others_nothing() -> None:
    def act(call: Call) -> Answer:
        too_long = refused(400, "This model's maximum context length is 10")
        return too_long if call.number in (1, 3) else scored(("Yes", 0.5))

    with FakeServer(act) as fake:
        engine = engine_for(fake.url, concurrency=1)
        requests = [question(key, RED) for key in "abc"]
        assert engine.probabilities(requests, ["Yes", "No"]) == [{"Yes": 1.0, "No": 0.0}, {}, {"Yes": 1.0, "No": 0.0}]
        # It can, so that a batch that gets none says nothing about the server.
        assert engine.probabilities(requests[:1], ["Yes", "No"]) == [{}]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (written("x"), "gives no log-probabilities"),
        (scored(), "gives no log-probabilities"),
        (refused(400, "'logprobs' is not supported with this model"), "gives no log-probabilities"),
        (refused(403, "You are not allowed to request logprobs from this model"), "gives no log-probabilities"),
        (scored(("The", 0.9), ("It", 0.1)), "for 'q': no log-probabilities of Yes, No: the answer .* 'The', 'It'"),
        (weighed(Yes=math.nan, No=-1.0), "for 'q': the log-probability of 'Yes' is nan, it must be a number up to 0"),
        (weighed(Yes=None, No=-1.0), "'Yes' is nan"),  # as servers write it that keep to JSON
        (weighed(Yes=-1.0, No=math.nan), "'No' is nan"),
        (weighed(Yes=-1.0, No=math.inf), "'No' is inf"),
        (weighed(Yes=50.0, No=40.0), "'Yes' is 50"),
        (weighed(Yes=-math.inf, No=-math.inf), "no log-probabilities of Yes, No"),
        (weighed(Ye=math.nan, No=-1.0), "'Ye' is nan"),
        (refused(400, "This model's maximum context length is 10"), "no probabilities for 'q': HTTP 400"),
    ],
)
def test_no_probabilities(answer: Answer, words: str) -> None:
    with pytest.raises(NoProbabilitiesError, match=words):
        probabilities(lambda call: answer, ["Yes", "No"])


@pytest.mark.parametrize(
    ("answer", "words"), [(refused(401, "no"), "asks for a key"), (refused(404, "model vlm not found"), "no model")]
)
def test_what_is_wrong_with_the_server_is_no_lack_of_probabilities(answer: Answer, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        probabilities(lambda call: answer, ["Yes", "No"])
    assert not isinstance(caught.value, NoProbabilitiesError)


def test_the_fingerprint_is_that_of_the_model_not_of_the_address() -> None:
    first, second = engine_for("http://a/v1"), engine_for("https://b:8000/v1", family="llava")
    assert first.fingerprint == second.fingerprint == "server:vlm"
    assert (first.name, first.model) == ("server", "vlm")


# a model behind the server


def test_a_served_model_answers_as_it_does_here() -> None:
    """The embedded model behind the wire: same pixels, same order of images, same end of the answer."""
    pytest.importorskip("torch")
    local = load_engine("local", "tiny", LoadOptions(device="cpu"))
    turn = threading.Lock()

    def serve(call: Call) -> Answer:
        messages = [
            {**message, "content": [
                {"type": "image"} if part["type"] == "image_url" else part for part in message["content"]
            ]}
            for message in call.fields["messages"]
        ]  # fmt: skip
        request = Request("r", messages, tuple(call.images))
        with turn:
            if call.fields.get("logprobs"):
                (shares,) = local.probabilities([request], ["Yes", "No"])
                return scored(*shares.items())
            (found,) = local.generate([request], max_new_tokens=call.fields["max_tokens"])
        text = found.text.removesuffix(ANSWER_END)
        stopped = ANSWER_END if ANSWER_END in found.text else None
        return written(text, finish="stop" if found.finished else "length", stop_reason=stopped)

    photos = [Image.fromarray(render(next(iter(CATEGORIES)), seed).image) for seed in (2_900_000, 2_900_001)]
    requests = [
        Request(f"r{shots}", render_prompt(SAMPLE, "choice", shots=shots), tuple(photos[: shots + 1]))
        for shots in (0, 1)
    ]
    with FakeServer(serve) as fake:
        engine = engine_for(fake.url, concurrency=3)
        there = engine.generate(requests, max_new_tokens=96)
        shares = engine.probabilities(requests, ["Yes", "No"])
    here = local.generate(requests, max_new_tokens=96)
    assert [found.text for found in there] == [found.text for found in here]
    assert any(ANSWER_END in found.text for found in here)
    assert [found.finished for found in there] == [found.finished for found in here]
    for served, expected in zip(shares, local.probabilities(requests, ["Yes", "No"]), strict=True):
        assert served == pytest.approx(expected, abs=1e-4)
