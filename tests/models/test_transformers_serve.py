"""The engine `server` against a real `transformers serve` with the embedded model, started here on loopback."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from iadr1 import prompts
from iadr1.cli.app import app
from iadr1.datasets.synthetic import render
from iadr1.errors import ModelError
from iadr1.geometry import iou
from iadr1.models import LoadOptions, Request, ServerOptions, load_engine, resolve_model
from iadr1.models.base import Engine
from iadr1.records import Detection, Prediction, Sample, read_records, write_records

NEEDED = ("torch", "torchvision", "transformers", "accelerate", "fastapi", "uvicorn", "openai")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}: pip install 'transformers[serving]'"
)
START_S = 120.0
TINY = str(resolve_model("tiny"))
"""`transformers serve` knows the model by the path it was started with and by no other name."""
SCENES = {"brushed_steel": ("scratch",), "woven_fabric": (), "oak_board": ("hole",), "ceramic_tile": ()}


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that is up; it ends with the tests."""
    folder = tmp_path_factory.mktemp("serve")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(folder),  # it must exist, or /v1/models answers 500
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    words = ["serve", TINY, "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", port]
    code = "from transformers.cli.transformers import main; main()"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([sys.executable, "-c", code, *words], env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/health", server, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"transformers serve ended with exit code {server.returncode}:\n{_last_lines(log)}")
        try:
            with opener.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"transformers serve is not up after {START_S:.0f} s:\n{_last_lines(log)}")


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(scope="module")
def local() -> Engine:
    return load_engine("local", "tiny", LoadOptions(device="cpu", dtype="float32"))


def served(base_url: str, family: str) -> Engine:
    return load_engine("server", TINY, LoadOptions(server=ServerOptions(base_url, family=family, concurrency=3)))


def photo(category: str, number: int) -> Image.Image:
    return Image.fromarray(render(category, number, defects=SCENES[category]).image)


def questions() -> list[Request]:
    """Each photo alone and behind a photo of a good product."""
    found = []
    for number, category in enumerate(SCENES):
        good = Image.fromarray(render(category, 1000 + number).image)
        for shots in (0, 1):
            sample = Sample(
                id=f"{category}-{shots}", dataset="d", category="c", split="test", image="p", task="grounding",
                references=("r",) * shots, question=prompts.DETECT_QUESTION, question_type="detect",
            )  # fmt: skip
            messages = prompts.render_prompt(sample, "boxes", shots=shots)
            found.append(Request(sample.id, messages, (*([good] * shots), photo(category, number))))
    return found


def test_a_server_that_does_not_start_is_no_reason_to_skip(tmp_path: Path) -> None:
    code = "import sys; print('first'); print('no such option', file=sys.stderr); sys.exit(3)"
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=file) as server:
        server.wait()
        with pytest.raises(pytest.fail.Exception, match=r"ended with exit code 3:\n(?s:.*)no such option"):
            _wait("http://127.0.0.1:9/health", server, log)


def test_answers_are_those_of_the_local_engine(base_url: str, local: Engine) -> None:
    """The image's pixels, its size and the chat template are the same, so greedy answers are too."""
    engine = served(base_url, "tiny")
    assert engine.profile == local.profile
    here = local.generate(questions(), max_new_tokens=96)
    there = engine.generate(questions(), max_new_tokens=96)
    assert [(one.id, one.text, one.finished, one.error) for one in there] == [
        (one.id, one.text, True, None) for one in here
    ]
    assert [one.prompt_tokens for one in there] == [one.prompt_tokens for one in here]
    assert any("scratch" in one.text for one in there)


def test_the_familys_usual_sizes_are_not_those_of_this_model(base_url: str, local: Engine) -> None:
    """It looks at fewer pixels; with `--family qwen2_5_vl` its boxes are read in the 224 x 224 of the photo."""
    shrunk = 224 / math.isqrt(local.profile.max_pixels)
    (request,) = (one for one in questions() if one.id == "brushed_steel-0")
    boxes = []
    for engine in (served(base_url, "tiny"), served(base_url, "qwen2_5_vl")):
        (answer,) = engine.generate([request], max_new_tokens=96)
        read = prompts.parse(answer.text, "boxes", frame=engine.profile.frame(request.images[0].size))
        assert read.boxes
        boxes.append(read.boxes[0].box)
    (truth,) = render("brushed_steel", 0, defects=("scratch",)).defects
    assert shrunk > 1
    assert boxes[0] == pytest.approx([shrunk * value for value in boxes[1]])
    assert iou(boxes[0], truth.box) > 0.3
    assert iou(boxes[1], truth.box) < iou(boxes[0], truth.box)


def test_it_gives_no_probabilities_and_that_is_said(base_url: str) -> None:
    with pytest.raises(ModelError, match="gives no log-probabilities"):
        served(base_url, "tiny").probabilities(questions()[:1], ("Yes", "No"))


def test_an_answer_that_is_begun_is_refused_and_that_is_said(base_url: str) -> None:
    (first, *_) = questions()
    begun = Request("begun", first.messages, first.images, prefix="It")
    with pytest.raises(ModelError, match="does not continue an answer that is begun"):
        served(base_url, "tiny").generate([begun], max_new_tokens=8)


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"}, prog_name="iadr1")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_detect_through_the_command_line(base_url: str, tmp_path: Path) -> None:
    for number, category in enumerate(SCENES):
        photo(category, number).save(tmp_path / f"{category}.png")
    asked = ("detect", tmp_path, "--mode", "think", "--no-report", "--no-overlays")
    where = ("--engine", "server", "--base-url", base_url, "--family", "tiny", "--model", TINY)
    printed = call(*asked, *where, "--out", tmp_path / "there")
    assert "2 anomalous, 2 normal, 0 undecided" in printed
    assert "gives no log-probabilities" in printed
    call(*asked, "--out", tmp_path / "here", "--device", "cpu", "--glob", "*.png")
    here, there = (
        {record.image: record for record in read_records(tmp_path / name / "detections.jsonl", Detection)}
        for name in ("here", "there")
    )
    assert set(here) == set(there) == {f"{category}.png" for category in SCENES}
    for name, record in there.items():
        assert (record.verdict, record.raw) == (here[name].verdict, here[name].raw)
        assert [defect.box for defect in record.defects] == [defect.box for defect in here[name].defects]
        assert record.score is None


def test_the_default_mode_says_which_one_works(base_url: str, tmp_path: Path) -> None:
    photo("oak_board", 2).save(tmp_path / "a.png")
    where = ("--engine", "server", "--base-url", base_url, "--family", "tiny", "--model", TINY)
    for name in ("b", "c", "d"):
        photo("oak_board", 2).save(tmp_path / f"{name}.png")
    with pytest.raises(ModelError, match=r"gives no log-probabilities.*--mode think"):
        call("detect", tmp_path, *where, "--out", tmp_path / "out")


def test_eval_through_the_command_line(base_url: str, tmp_path: Path) -> None:
    samples = []
    for number, (category, defects) in enumerate(SCENES.items()):
        photo(category, number).save(tmp_path / f"{category}.png")
        sample = Sample(
            id=category, dataset="synthetic", category=category, split="test", image=f"{category}.png", task="anomaly",
            question=prompts.DETECT_QUESTION, question_type="Anomaly Detection", is_anomalous=bool(defects),
            answer="Yes" if defects else "No",
        )  # fmt: skip
        samples.append(sample)
    data = tmp_path / "anomaly.jsonl"
    write_records(data, samples)
    where = ("--engine", "server", "--base-url", base_url, "--model", TINY)
    asked = ("eval", "iad", "--data", data, "--root", tmp_path, "--shots", "0")
    call(*asked, *where, "--out", tmp_path / "there")
    call(*asked, "--device", "cpu", "--out", tmp_path / "here")
    here, there = (
        {record.sample_id: record.raw for record in read_records(tmp_path / name / "predictions.jsonl", Prediction)}
        for name in ("here", "there")
    )
    assert len(there) == len(SCENES)
    assert there == here
    metrics = json.loads((tmp_path / "there" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["parse_rate"] == 100
