from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iadr1.errors import MissingExtraError, UsageError
from iadr1.stages import watch
from iadr1.stages.watch import courier, outbox, sinks
from iadr1.stages.watch.mqtt import Mqtt
from iadr1.stages.watch.sinks import Message, PassingError, RefusedError, Webhook
from tests.stages.fake_engine import NORMAL, FakeEngine
from tests.watch.receivers import Broker, Inbox, free_port
from tests.watch.world import SlowEngine, config, in_process, kill_9, names, once, photo, records, until, watching


@pytest.fixture(autouse=True)
def _no_proxy_and_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(courier, "FIRST_PAUSE_S", 0.05)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox().serving() as found:
        yield found


def _photos(root: Path, count: int, start: int = 0) -> list[str]:
    """Photos, in the order in which they are looked at."""
    for number in range(start, start + count):
        photo(root / "in" / f"{number:02d}.png", number)
    return [f"{number:02d}.png" for number in range(start, start + count)]


def _images(bodies: list[dict[str, Any]]) -> list[str]:
    return [body["detection"]["image"] for body in bodies]


def _delivery(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "out" / "delivery.json").read_text(encoding="utf-8"))
    return found


# webhook


def test_every_record_is_posted_once_in_order_and_signed(
    tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINE_SECRET", "s3cret-of-the-line")
    _photos(tmp_path, 5)
    settings = config(tmp_path, webhook=inbox.url, webhook_secret_env="LINE_SECRET", drain_s=10.0)
    summary = once(settings)
    assert _images(inbox.taken) == names(tmp_path)
    for headers, body in inbox.got:
        expected = hmac.new(b"s3cret-of-the-line", body, hashlib.sha256).hexdigest()
        assert headers["X-Iadr1-Signature"] == f"sha256={expected}"
        assert headers["Idempotency-Key"] == json.loads(body)["id"]
        assert headers["Content-Type"] == "application/json"
    assert len({body["id"] for body in inbox.taken}) == 5
    counts, trouble = summary.status.sinks["webhook"]
    assert (counts.delivered, counts.waiting, trouble) == (5, 0, "")
    once(settings)
    assert len(inbox.got) == 5


def test_the_body_is_the_record_without_run_lengths(tmp_path: Path, inbox: Inbox) -> None:
    _photos(tmp_path, 1)
    once(config(tmp_path, mode="two-pass", masks=True, webhook=inbox.url, drain_s=10.0))
    (record,), (body,) = records(tmp_path), inbox.taken
    assert record.defects[0].mask_rle
    assert body["detection"]["defects"][0]["mask"] == record.defects[0].mask
    assert "mask_rle" not in body["detection"]["defects"][0]
    assert body["detection"]["verdict"] == record.verdict == "anomalous"
    assert "X-Iadr1-Signature" not in inbox.got[0][0]


def test_a_webhook_that_is_down_holds_up_nothing_and_gets_all_later_in_order(tmp_path: Path) -> None:
    inbox, port = Inbox(), free_port()
    settings = config(tmp_path, webhook=f"http://127.0.0.1:{port}/hook")
    _photos(tmp_path, 4)
    with watching(settings) as running:
        until(lambda: len(running.notes.photos) == 4)
        until(lambda: running.notes.told("webhook: ConnectError"))
        with inbox.serving(port):
            until(lambda: len(inbox.taken) == 4)
            assert running.notes.told("webhook: works again")
        running.end()
    assert _images(inbox.taken) == names(tmp_path)


def test_what_could_not_be_sent_is_said_kept_and_sent_by_the_next_run(tmp_path: Path, inbox: Inbox) -> None:
    _photos(tmp_path, 3)
    summary = once(config(tmp_path, webhook=f"http://127.0.0.1:{free_port()}/", drain_s=0.2))
    assert summary.status.sinks["webhook"][0].waiting == 3
    once(config(tmp_path, webhook=inbox.url, drain_s=10.0))
    assert _images(inbox.taken) == names(tmp_path)
    assert _delivery(tmp_path)["sinks"]["webhook"]["delivered"] == 3


@pytest.mark.parametrize("status", [500, 503, 429, 408, 302, 0])
def test_faults_that_may_pass_are_tried_again_with_the_same_key(tmp_path: Path, inbox: Inbox, status: int) -> None:
    faults = [status, status, 200]
    inbox.answer = lambda body: faults.pop(0)
    _photos(tmp_path, 1)
    once(config(tmp_path, webhook=inbox.url, drain_s=10.0))
    assert inbox.statuses == [status, status, 200]
    assert len({headers["Idempotency-Key"] for headers, _ in inbox.got}) == 1
    assert not (tmp_path / "out" / "undelivered.jsonl").exists()


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refused_message_is_kept_with_the_reason_and_the_next_one_is_sent(
    tmp_path: Path, inbox: Inbox, status: int
) -> None:
    inbox.answer = lambda body: status if body["detection"]["image"] == "01.png" else 200
    inbox.reply = b"no such\x1b[31m part"
    _photos(tmp_path, 3)
    with watching(config(tmp_path, webhook=inbox.url, drain_s=10.0, batch_size=1)) as running:
        until(lambda: len(inbox.got) == 3)
        assert running.notes.told("refused for good")
        running.end()
    kept = [json.loads(line) for line in (tmp_path / "out" / "undelivered.jsonl").read_text().splitlines()]
    assert [(entry["sink"], entry["reason"]) for entry in kept] == [("webhook", f"HTTP {status} no such [31m part")]
    assert kept[0]["detection"]["image"] == "01.png"
    assert sorted(_images(inbox.taken)) == ["00.png", "02.png"]
    assert _delivery(tmp_path)["sinks"]["webhook"]["refused"] == 1


def test_refusals_are_whole_lines_on_the_disk_before_the_next_message_is_up(
    tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.answer = lambda body: 400
    _photos(tmp_path, 1)
    refusals = tmp_path / "out" / "undelivered.jsonl"
    refusals.parent.mkdir()
    refusals.write_text('{"half a line, as a full disk lea', encoding="utf-8")
    synced: list[Path] = []
    fsync, step = os.fsync, outbox.Outbox._step

    def syncing(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink())
        fsync(file)

    def stepping(*args: Any, **counts: Any) -> None:
        assert refusals in synced
        step(*args, **counts)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(outbox.Outbox, "_step", stepping)
    once(config(tmp_path, webhook=inbox.url, drain_s=10.0))
    (kept,) = [json.loads(line) for line in refusals.read_text(encoding="utf-8").splitlines()]
    assert list(kept) == ["time", "sink", "reason", "id", "detection"]
    assert _delivery(tmp_path)["sinks"]["webhook"]["refused"] == 1


def test_the_receiver_may_ask_for_a_pause(inbox: Inbox) -> None:
    inbox.answer, inbox.retry_after = lambda body: 429, "7"
    with pytest.raises(PassingError) as found:
        Webhook(inbox.url, "").send(Message("1", b"{}"), timeout_s=5)
    assert found.value.wait == 7


@pytest.mark.parametrize(("send", "sent"), [("all", [0, 1, 2]), ("anomalous", [0]), ("bad", [0, 2])])
def test_only_chosen_verdicts_are_sent(tmp_path: Path, inbox: Inbox, send: str, sent: list[int]) -> None:
    images = _photos(tmp_path, 3)
    engine = FakeEngine({"01.png": NORMAL, "02.png": "no idea"})
    summary = once(config(tmp_path, mode="think", webhook=inbox.url, send=send, drain_s=10.0), engine)
    by_name = {record.image: record.verdict for record in records(tmp_path)}
    assert [by_name[image] for image in images] == ["anomalous", "normal", "undecided"]
    assert sorted(_images(inbox.taken)) == [images[number] for number in sent]
    assert summary.status.sinks["webhook"][0].waiting == 0


def test_a_slow_webhook_does_not_slow_the_inspection(tmp_path: Path, inbox: Inbox) -> None:
    inbox.delay_s = 2.0
    _photos(tmp_path, 20)
    start = time.monotonic()
    with watching(config(tmp_path, webhook=inbox.url)) as running:
        until(lambda: len(running.notes.photos) == 20)
        seconds = time.monotonic() - start
        assert len(inbox.got) < 20
        running.end()
    assert seconds < 20 * inbox.delay_s / 2
    assert names(tmp_path) == [f"{number:02d}.png" for number in range(20)]


def test_killed_while_sending_nothing_is_lost(tmp_path: Path, inbox: Inbox) -> None:
    inbox.delay_s = 0.02
    settings = config(tmp_path, webhook=inbox.url, drain_s=10.0)
    (tmp_path / "in").mkdir()
    for start in range(0, 30, 10):
        process = in_process(lambda: once(settings, SlowEngine(0.01)))
        _photos(tmp_path, 10, start)
        time.sleep(0.25 + start / 100)
        kill_9(process)
    once(settings)
    got = _images(inbox.taken)
    assert set(got) == set(names(tmp_path))
    assert len(names(tmp_path)) == 30
    firsts = list(dict.fromkeys(body["id"] for body in inbox.taken))
    assert _images([next(body for body in inbox.taken if body["id"] == key) for key in firsts]) == names(tmp_path)


def test_a_sink_that_is_new_gets_what_comes_from_then_on(tmp_path: Path, inbox: Inbox) -> None:
    _photos(tmp_path, 2)
    once(config(tmp_path))
    photo(tmp_path / "in" / "new.png", 77)
    once(config(tmp_path, webhook=inbox.url, drain_s=10.0))
    assert _images(inbox.taken) == ["new.png"]


def test_no_secret_is_stored_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inbox: Inbox) -> None:
    monkeypatch.setenv("LINE_SECRET", "s3cret-of-the-line")
    monkeypatch.setenv("MQTT_USER", "karl")
    monkeypatch.setenv("MQTT_PASSWORD", "pass-of-karl")
    inbox.reply = b"bad token=geheim for /hook/of-the-line s3cret-of-the-line"
    inbox.answer = lambda body: 400
    _photos(tmp_path, 2)
    settings = config(
        tmp_path,
        webhook=inbox.url,
        webhook_secret_env="LINE_SECRET",
        mqtt=f"mqtt://127.0.0.1:{free_port()}/line",
        drain_s=1.0,
    )
    with watching(settings) as running:
        until(lambda: len(inbox.got) == 2 and running.notes.told("mqtt:"))
        running.end()
    stored = "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.is_file())
    for secret in ("geheim", "of-the-line", "s3cret", "pass-of-karl"):
        assert secret not in stored + "".join(running.notes.lines)
    assert f"http://127.0.0.1:{inbox.port}" in stored


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"webhook": "ftp://host/x"}, "--webhook is not an address of the form http://HOST or https://HOST"),
        ({"webhook": "http://"}, "not an address"),
        ({"webhook": "http://host:99999/x"}, "not an address"),
        ({"webhook": "https://user:geheim/x@host/y"}, "--webhook is not an address of the form"),
        ({"mqtt": "mqtt://karl:geheim/x@host/y"}, "--mqtt is not an address of the form"),
        ({"mqtt": "mqtt://host/x", "mqtt_user_env": "NOT_SET_ANYWHERE"}, "--mqtt-user-env names the environment"),
        (
            {"mqtt": "mqtt://host/x", "mqtt_password_env": "NOT_SET_ANYWHERE"},
            "--mqtt-password-env names the environment variable 'NOT_SET_ANYWHERE', which is not set",
        ),
        ({"webhook": "http://user:geheim@host/x"}, "holds a user name or password"),
        (
            {"webhook": "http://host/x", "webhook_secret_env": "NOT_SET_ANYWHERE"},
            "'NOT_SET_ANYWHERE', which is not set",
        ),
        ({"webhook_secret_env": "HOME"}, "add --webhook"),
        ({"send": "bad"}, "nothing is sent"),
        ({"webhook": "http://host/x", "send": "some"}, "send is 'some'"),
        ({"webhook": "http://host/x", "drain_s": -1.0}, "drain_s is -1.0"),
        ({"webhook": "http://host/x", "send_timeout_s": 0.0}, "send_timeout_s is 0.0"),
        ({"mqtt": "mqtt://host"}, "needs a topic"),
        ({"mqtt": "mqtt://host/line/#"}, "needs a topic"),
        ({"mqtt": "mqtt://host/line/+/x"}, "needs a topic"),
        ({"mqtt": "http://host/line"}, "--mqtt is not an address of the form mqtt://HOST or mqtts://HOST"),
        ({"mqtt": "mqtt://karl:geheim@host/line"}, "holds a user name or password"),
        ({"mqtt_user_env": "HOME"}, "add --mqtt"),
        ({"interval": 0.0}, "interval is 0.0"),
        ({"settle": float("nan")}, "settle is nan"),
        ({"attempts": 0}, "attempts is 0"),
        ({"max_photos": -1}, "max_photos is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    photo(tmp_path / "in" / "a.png")
    with pytest.raises(UsageError) as found:
        watch.run(config(tmp_path, **values), engine=FakeEngine())
    assert message in str(found.value)
    assert "geheim" not in str(found.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["nonsense", '{"version": 1, "stream": "x", "sinks": {"webhook": {"offset": 10000000}}}']
)
def test_places_of_the_sinks_that_cannot_be_are_an_error(tmp_path: Path, inbox: Inbox, text: str) -> None:
    _photos(tmp_path, 1)
    settings = config(tmp_path, webhook=inbox.url, drain_s=10.0)
    once(settings)
    (tmp_path / "out" / "delivery.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"delivery\.json"):
        once(settings)


def test_max_photos_ends_it_and_the_next_run_goes_on(tmp_path: Path) -> None:
    _photos(tmp_path, 5)
    for count in (2, 4, 5):
        watch.run(config(tmp_path, max_photos=2 if count < 5 else 1), engine=FakeEngine())
        assert len(records(tmp_path)) == count


# MQTT


def test_every_record_is_published_in_order_and_with_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_USER", "karl")
    monkeypatch.setenv("MQTT_PASSWORD", "pass-of-karl")
    _photos(tmp_path, 4)
    with Broker(user="karl", password="pass-of-karl").serving() as broker:
        once(config(tmp_path, mqtt=f"mqtt://127.0.0.1:{broker.port}/line3/inspection", drain_s=10.0))
    assert broker.logins == [("karl", "pass-of-karl")]
    assert {topic for topic, _ in broker.got} == {"line3/inspection"}
    assert _images([body for _, body in broker.got]) == names(tmp_path)


def test_a_broker_that_goes_away_gets_the_rest_when_it_is_back(tmp_path: Path) -> None:
    broker = Broker()
    with broker.serving():
        settings = config(tmp_path, mqtt=f"mqtt://127.0.0.1:{broker.port}/line", send_timeout_s=1.0, drain_s=5.0)
        _photos(tmp_path, 2)
        running_context = watching(settings)
        running = running_context.__enter__()
        until(lambda: len(broker.got) == 2)
    _photos(tmp_path, 2, 2)
    until(lambda: len(running.notes.photos) == 4)
    until(lambda: running.notes.told("mqtt:"))
    with broker.serving():
        until(lambda: len(broker.got) == 4)
        running.end()
    assert _images([body for _, body in broker.got]) == names(tmp_path)


def test_what_the_broker_does_not_confirm_is_published_again(tmp_path: Path) -> None:
    tries: list[str] = []

    def confirm(body: dict[str, Any]) -> bool:
        tries.append(body["id"])
        return len(tries) > 1

    _photos(tmp_path, 2)
    with Broker(confirm=confirm).serving() as broker:
        settings = config(tmp_path, mqtt=f"mqtt://127.0.0.1:{broker.port}/line", send_timeout_s=0.4, drain_s=10.0)
        once(settings)
    assert tries[0] == tries[1]
    assert _images([body for _, body in broker.got]) == names(tmp_path)


def test_a_refused_login_is_told_without_the_password() -> None:
    with Broker(user="karl", password="right").serving() as broker:
        sink = Mqtt(f"mqtt://127.0.0.1:{broker.port}/line", user="karl", password="wrong-password")
        with pytest.raises(PassingError, match="refused the connection") as found:
            sink.send(Message("1", b"{}"), timeout_s=5)
    assert "wrong-password" not in str(found.value)


def test_both_sinks_have_their_own_pace(tmp_path: Path, inbox: Inbox) -> None:
    _photos(tmp_path, 3)
    settings = config(tmp_path, webhook=inbox.url, mqtt=f"mqtt://127.0.0.1:{free_port()}/line", drain_s=1.0)
    summary = once(settings)
    found = {kind: counts.waiting for kind, (counts, _) in summary.status.sinks.items()}
    assert found == {"webhook": 0, "mqtt": 3}


def test_refused_errors_name_the_status(inbox: Inbox) -> None:
    inbox.answer = lambda body: 410
    with pytest.raises(RefusedError, match="HTTP 410 thanks"):
        Webhook(inbox.url, "").send(Message("1", b"{}"), timeout_s=5)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"iadr1\[watch\]"):
        sinks.Webhook("http://host/", "")
