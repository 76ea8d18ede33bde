"""`iadr1 serve` as a process, and what it refuses before it begins."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import httpx
import uvicorn

import iadr1
from iadr1.cli.app import app
from iadr1.config import ServeConfig
from iadr1.errors import MissingExtraError, ModelError, OutputError, UsageError
from iadr1.models import EMBEDDED, Engine
from iadr1.models.fingerprint import folder_fingerprint
from iadr1.records import Detection, read_records
from iadr1.stages import serve as stage
from iadr1.stages.inspection import Calibration, InspectSettings, References, Scores
from iadr1.stages.serve.app import create_app
from iadr1.stages.serve.bench import Bench
from iadr1.stages.serve.desk import Desk
from iadr1.stages.serve.metrics import Metrics
from iadr1.stages.serve.request_log import Entry, RequestLog
from iadr1.stages.serve.server import _Server
from iadr1.stages.serve.settings import Limits, check_files, check_settings, limits_of, read_token
from tests.serve.house import HeldEngine, png
from tests.stages.fake_engine import FakeEngine

CHECKOUT = Path(iadr1.__file__).parents[1]


@contextmanager
def process(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, once it is ready; its address."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "iadr1", "serve", "--port", "0", *words]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        try:
            first = running.stdout.readline()
            found = re.search(r"http://[\d.:]+", first)
            assert found, first + running.stdout.read()
            assert running.stdout.readline().startswith("ready: tiny")
            yield running, found[0]
        finally:
            if running.poll() is None:
                running.kill()


def test_a_process_answers_and_ends_with_0(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with process(tmp_path, "--log", "requests.jsonl") as (running, address):
        answer = httpx.post(f"{address}/v1/detect", files={"image": ("a.png", png())}, timeout=60)
        record = Detection.model_validate_json(answer.content)
        assert (answer.status_code, record.model, record.image) == (200, "tiny", "a.png")
        assert record.score is not None
        running.send_signal(signal.SIGTERM)
        output = running.communicate(timeout=30)[0]
    assert running.returncode == 0, output
    assert output.splitlines()[-1] == "stopped"
    assert [entry.outcome for entry in read_records(tmp_path / "requests.jsonl", Entry)] == ["answered"]


def test_the_end_may_come_while_the_model_is_loaded() -> None:
    """`python -m` with a model that takes long to load: the signal comes before it is there."""
    code = (
        "import time, threading, os, signal\n"
        "from iadr1.config import ServeConfig\n"
        "from iadr1.stages import serve\n"
        "from iadr1.stages.serve import bench\n"
        "bench.loader = lambda config, engine, references: lambda: time.sleep(60)\n"
        "threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()\n"
        "summary = serve.run(ServeConfig(port=0))\n"
        "print(summary.finished, summary.idle, flush=True)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert result.stdout.split() == ["True", "False"], result.stderr
    assert time.monotonic() - started < 45


def test_an_error_of_loading_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def loader(config: ServeConfig, engine: Engine | None, references: References | None) -> Callable[[], Bench]:
        def fail() -> Bench:
            raise ModelError("no weights")

        return fail

    monkeypatch.setattr("iadr1.stages.serve.bench.loader", loader)
    told: list[str] = []
    with pytest.raises(ModelError, match="no weights"):
        stage.run(ServeConfig(port=0), announce=told.append)
    assert told[0].startswith("listening on ")


def _calibrated(folder: Path, **other: Any) -> Path:
    """A calibration of the embedded model as `iadr1 calibrate` would write it, but for `other`."""
    way = {
        "fingerprint": folder_fingerprint(EMBEDDED / "tiny"),
        "engine": "local",
        "dtype": "float32",
        "sizes": "any",
        "shots": 0,
        "tiles": "off",
        "references": "",
        "paired": False,
        "digest": InspectSettings().score_digest,
    }
    figures = {
        "threshold": 0.5,
        "band": (0.4, 0.6),
        "fpr_budget": 0.05,
        "normals": 1,
        "normals_needed": 1,
        "false_alarms": 0,
        "fpr_interval_95": (0.0, 1.0),
        "true_fpr_interval_95": (0.0, 1.0),
        "model": "tiny",
        "scores": Scores(normals=(0.1,)),
    }
    path = folder / "calibration.json"
    path.write_text(Calibration(**(way | figures | other)).model_dump_json())
    return path


def test_a_calibration_that_may_be_for_this_server_is_taken(tmp_path: Path) -> None:
    """What only the loaded model says is compared when it is loaded."""
    path = _calibrated(tmp_path)
    check_files(ServeConfig(calibration=path))
    check_files(ServeConfig(calibration=path, dtype="float32"))
    check_files(ServeConfig(calibration=path, model="org/name"))
    (tmp_path / "good").mkdir()
    (tmp_path / "good/a.png").write_bytes(png())
    references = References(tmp_path / "good")
    shown = {"shots": 1, "references": references.digest, "digest": InspectSettings(shots=1).score_digest}
    path = _calibrated(tmp_path, **shown)
    check_files(ServeConfig(calibration=path, references=tmp_path / "good"))


@pytest.mark.parametrize(
    ("made", "given", "told"),
    [
        ({}, {"dtype": "bfloat16"}, "--dtype float32, here bfloat16"),
        ({"engine": "vllm"}, {}, "--engine vllm, here local"),
        ({"tiles": "2x2"}, {}, "--tiles 2x2, here off"),
        ({"fingerprint": "0" * 16, "model": "parts"}, {}, "other weights: 'parts' 0000000000000000, here"),
        ({"shots": 2, "references": "abc"}, {}, "--shots 2, here 0; --references, here none"),
        ({"digest": "abc"}, {}, "another question or overlap of tiles: abc"),
        ({"shots": 1, "references": "abc"}, {"references": "good"}, r"other files \(by names and contents: abc, here "),
        ({}, {"references": "none"}, "no folder '.*none'"),
        ({}, {"model": "nowhere"}, "no model 'nowhere'"),
        ({}, {"engine": "replay", "model": "nowhere"}, "no file of stored answers 'nowhere'"),
        ({}, {"attention": "magic"}, "no attention 'magic'"),
    ],
)
def test_what_cannot_work_is_refused_before_the_server_listens(
    tmp_path: Path, made: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good/a.png").write_bytes(png())
    if "references" in given:
        given = given | {"references": tmp_path / given["references"]}
    config = ServeConfig(port=0, calibration=_calibrated(tmp_path, **made), **given)
    announced: list[str] = []
    with pytest.raises(UsageError, match=told):
        stage.run(config, announce=announced.append)
    assert announced == []


def test_references_that_cannot_be_read_are_told_before_the_server_listens(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(b"no photo")
    announced: list[str] = []
    found = check_files(ServeConfig(references=tmp_path), FakeEngine(), announced.append)
    assert found is not None
    assert announced[0].startswith("1 of the references cannot be read and are left out")


def test_a_given_engine_is_compared_with_the_calibration_before_the_server_listens(tmp_path: Path) -> None:
    announced: list[str] = []
    config = ServeConfig(port=0, calibration=_calibrated(tmp_path))
    with pytest.raises(UsageError, match="other weights: 'tiny'"):
        stage.run(config, engine=FakeEngine(), announce=announced.append)
    assert announced == []


@pytest.mark.parametrize("signals", [1, 2])
def test_the_first_signal_finishes_what_is_inside_and_the_second_refuses_it(signals: int) -> None:
    engine, told = HeldEngine(), list[str]()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        desk = Desk(lambda: Bench(engine, InspectSettings()), Limits(deadline_s=20), metrics := Metrics())
        settings = uvicorn.Config(create_app(desk, metrics), log_config=None, timeout_graceful_shutdown=5)
        server = _Server(settings, desk, 20.0, told.append)
        ready = threading.Event()
        desk.on_ready = ready.set
        running = pool.submit(server.run, sockets=[listening])
        assert ready.wait(10)
        address = "http://{}:{}/v1/detect".format(*listening.getsockname())
        answer = pool.submit(httpx.post, address, files={"image": ("a.png", png())}, timeout=30)
        assert engine.begun.wait(10)
        started = time.monotonic()
        for _ in range(signals):
            server.handle_exit(signal.SIGTERM, None)
            time.sleep(0.2)
        if signals == 1:
            assert not answer.done()
            engine.let_go()
        assert (answer.result(10).status_code, server.finished) == ((200, True) if signals == 1 else (503, False))
        running.result(10)
        assert time.monotonic() - started < 10
        engine.let_go()
        assert desk.end(wait_s=5)
    assert told == ["stopping: 1 requests in the house, at most 20 s"]


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
            stage.run(ServeConfig(port=port), engine=FakeEngine())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "0.0.0.0"}, "other machines could send photos"),
        ({"host": "::"}, "other machines could send photos"),
        ({"host": "inspection.example"}, "other machines could send photos"),
        ({"token_env": "A", "no_token": True}, "contradict"),
        ({"queue": 0}, "queue is 0"),
        ({"port": 70000}, "port is 70000"),
        ({"port": -1}, "port is -1"),
        ({"max_wait_ms": -1.0}, "max_wait_ms is -1.0"),
        ({"deadline_s": 0.0}, "deadline_s is 0.0"),
        ({"deadline_s": float("nan")}, "deadline_s is nan"),
        ({"drain_s": float("inf")}, "drain_s is inf"),
        ({"max_mb": 0.0}, "max_mb is 0.0"),
        ({"max_mb": 1e-9}, "max_mb is 1e-09, it must be at least 0.001"),
        ({"max_mb": float("inf")}, "max_mb is inf, it must be at most 100000"),
        ({"max_megapixels": 1e-9}, "max_megapixels is 1e-09, it must be at least 0.001"),
        ({"max_megapixels": float("inf")}, "max_megapixels is inf, it must be at most 250"),
        ({"calibration": Path("none.json")}, "cannot read the calibration"),
        ({"max_megapixels": 300.0}, "max_megapixels is 300.0, it must be at most 250"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"mode": "guess"}, "no mode 'guess'"),
        ({"masks": True, "mode": "direct"}, "gives no boxes"),
        ({"shots": 3}, "add --references"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_settings(ServeConfig(**given), engine_given=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    check_settings(ServeConfig(host=host), engine_given=False)
    check_settings(ServeConfig(host="0.0.0.0", no_token=True), engine_given=False)
    check_settings(ServeConfig(host="0.0.0.0", token_env="A"), engine_given=False)


def test_the_token_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServeConfig(token_env="LINE_TOKEN")
    monkeypatch.setenv("LINE_TOKEN", "abc")
    assert read_token(config) == "abc"
    assert read_token(ServeConfig()) is None
    for value in ("", "two words", "ümlaut", "line\n"):
        monkeypatch.setenv("LINE_TOKEN", value)
        with pytest.raises(UsageError, match="LINE_TOKEN"):
            read_token(config)


def test_limits_are_what_was_asked_for() -> None:
    limits = limits_of(ServeConfig(queue=3, batch_size=5, max_wait_ms=20, max_mb=1.5, max_megapixels=2, deadline_s=4))
    assert dataclasses.asdict(limits) == {
        "queue": 3,
        "batch": 5,
        "wait_s": 0.02,
        "deadline_s": 4,
        "max_bytes": 1_500_000,
        "max_pixels": 2_000_000,
    }
    assert limits.places == 8
    assert limits_of(ServeConfig(engine="server", concurrency=7)).batch == 7


def test_only_the_last_folder_of_the_log_is_made(tmp_path: Path) -> None:
    RequestLog(tmp_path / "logs" / "requests.jsonl").close()
    assert (tmp_path / "logs" / "requests.jsonl").exists()
    with pytest.raises(OutputError, match=r"cannot write the request log: No such file .*\(name a file in a folder"):
        RequestLog(tmp_path / "typing" / "error" / "requests.jsonl")
    assert not (tmp_path / "typing").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("iadr1.stages.serve.")]:
        if not name.endswith("settings"):
            monkeypatch.delitem(sys.modules, name)
    for module, package in (("python_multipart", "python-multipart"), ("prometheus_client", "prometheus-client")):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            with pytest.raises(MissingExtraError, match=package) as raised:
                stage.run(ServeConfig(port=0), engine=FakeEngine())
            assert "iadr1[serve]" in str(raised.value)


def test_the_help_names_every_setting() -> None:
    text = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).output
    missing = [one.name for one in dataclasses.fields(ServeConfig) if f"--{one.name.replace('_', '-')}" not in text]
    assert not missing
    assert json.dumps(ServeConfig().queue) in text
