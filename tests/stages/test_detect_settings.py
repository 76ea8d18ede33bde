"""Shards, the settings of a served model, and settings that nothing would read."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import iadr1
from iadr1.cli import main
from iadr1.config import DetectConfig
from iadr1.errors import ModelError, UsageError
from iadr1.models import LoadOptions, ServerOptions
from iadr1.records import Detection, read_records
from iadr1.stages import detect
from iadr1.stages.inspection import setup
from tests.models.fake_server import Answer, Call, FakeServer, refused, written
from tests.stages.fake_engine import BAD, FakeEngine

SERVER = {"engine": "server", "base_url": "http://localhost:1/v1", "family": "qwen2_5_vl"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(7):
        Image.new("RGB", (30, 20), (90, 90, 90)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


def _config(images: Path, **values: object) -> DetectConfig:
    return DetectConfig(images=images, out=images.parent / "out", **values)  # type: ignore[arg-type]


def test_shards_share_the_photos_and_each_has_its_folder(images: Path) -> None:
    config = DetectConfig(images=images, out=images / "out", shard="1/3")
    found: list[str] = []
    for number in (1, 2, 3):
        shard = DetectConfig(images=images, out=images / "out", shard=f"{number}/3")
        summary = detect.run(shard, engine=FakeEngine())
        assert summary.out == images / "out" / f"shard-{number}-of-3"
        found += [record.image for record in read_records(summary.out / "detections.jsonl", Detection)]
    # The results of one shard inside the folder of the photos are no photos for the next.
    assert sorted(found) == [f"{number}.png" for number in range(7)]
    again = FakeEngine()
    assert detect.run(config, engine=again).skipped in (2, 3)
    assert again.asked == []


@pytest.mark.parametrize(
    ("shard", "message"), [("3/2", "not written I/N"), ("0/2", "not written I/N"), ("1/8", "7 images cannot be cut")]
)
def test_a_shard_that_cannot_be(images: Path, shard: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detect.run(_config(images, shard=shard), engine=FakeEngine())
    assert not (images.parent / "out").exists()


def test_a_server_gets_its_options_and_more_photos_at_a_time(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, model: str, options: LoadOptions) -> FakeEngine:
        asked.append((name, model, options.server))
        return FakeEngine()

    monkeypatch.setattr(setup, "load_engine", load)
    config = _config(images, **SERVER, concurrency=3, retries=1, timeout_s=5.0, requests_per_minute=60, key_env="KEY")
    detect.run(config)
    options = ServerOptions(SERVER["base_url"], "KEY", "qwen2_5_vl", 3, 5.0, 1, 60)
    assert asked == [("server", "tiny", options)]
    assert setup.photos_at_a_time(config) == 12
    assert setup.photos_at_a_time(_config(images, batch_size=2)) == 2


def test_the_model_is_named_before_it_is_loaded(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def load(name: str, model: str, options: LoadOptions) -> FakeEngine:
        lines.append("loaded")
        return FakeEngine()

    monkeypatch.setattr(setup, "load_engine", load)
    detect.run(_config(images), on_note=lines.append)
    assert lines == ["loading tiny ...", "loaded"]
    lines.clear()
    detect.run(dataclasses.replace(_config(images, **SERVER), out=images.parent / "served"), on_note=lines.append)
    assert lines == ["loaded"], "nothing is loaded here"


@pytest.mark.parametrize(("command", "given"), [("detect", ["{}"]), ("calibrate", ["--normals", "{}"])])
def test_the_commands_say_it_on_stderr(
    images: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, given: list[str]
) -> None:
    def load(name: str, model: str, options: LoadOptions) -> FakeEngine:
        sys.stderr.write("loaded")
        raise ModelError("not today")

    monkeypatch.setattr(setup, "load_engine", load)
    for number in range(7, 30):
        Image.new("RGB", (30, 20), (number, 90, 90)).save(images / f"{number}.png")
    options = [one.format(images) for one in given]
    with pytest.raises(SystemExit):
        main([command, *options, "--out", str(images.parent / "out.json")])
    err = capfd.readouterr().err
    assert "loading tiny ...\n" in err.partition("loaded")[0]


def test_the_commands_say_what_became_of_the_references(
    images: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "load_engine", lambda *_: FakeEngine())
    for number in range(20):
        Image.new("RGB", (30, 20), (number, 90, 90)).save(images / f"{number}.png")
    good = images.parent / "good"
    shutil.copytree(images, good)
    (good / "zz.png").write_bytes(b"")
    out = images.parent / "out.json"
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "--normals", str(images), "--references", str(good), "--out", str(out)])
    assert ended.value.code == 0
    said = capfd.readouterr().out
    assert "20 of the photos are among the references themselves; none was compared with its own copy" in said
    assert f"left out   reference {good / 'zz.png'}: the file is empty" in said
    with pytest.raises(SystemExit) as ended:
        main(["detect", str(images), "--references", str(good), "--mode", "direct", "--out", str(images.parent / "o")])
    assert ended.value.code == 0
    said = capfd.readouterr().out
    assert "20 are among the references themselves; none was compared with its own copy" in said
    assert f"1 of the references cannot be read and are left out, the first: {good / 'zz.png'}: the file" in said


def test_a_photo_the_server_gave_no_answer_for_is_asked_again(images: Path) -> None:
    engine = FakeEngine(errors={"3.png": "timed out after 5 tries"})
    summary = detect.run(_config(images), engine=engine)
    assert (summary.errors, summary.counts["undecided"]) == (1, 1)
    again = FakeEngine()
    assert detect.run(_config(images), engine=again).errors == 0
    assert [request.id for request in again.asked] == ["3.png"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "server"}, "needs --base-url .for example http"),
        ({"engine": "server", "base_url": "http://x"}, "name its family with --family"),
        ({**SERVER, "batch_size": 2}, "--batch-size 2 has no effect: a server is asked as much"),
        ({**SERVER, "dtype": "float16"}, "--dtype float16 has no effect: it is for --engine local"),
        ({**SERVER, "concurrency": 0}, "concurrency is 0, it must be at least 1"),
        ({**SERVER, "timeout_s": 0.0}, "timeout_s is 0.0, it must be above 0"),
        ({"concurrency": 3}, "--concurrency 3 has no effect: it is for --engine server"),
        ({"shots": 2}, "--shots 2 has no effect: add --references"),
        ({"shots": 0, "references": Path("good")}, "shots is 0, it must be at least 1"),
        ({"mode": "direct", "masks": True}, "'direct' gives no boxes to draw masks in"),
        ({"mode": "direct", "reasoning": "structured"}, "--reasoning structured has no effect"),
        ({"reasoning": "structured", "masks": True}, "structured answers hold no boxes"),
        ({"mode": "think", "threshold": 0.4}, "--threshold 0.4 has no effect: the mode 'think'"),
        ({"language": "fr"}, "'fr'"),
        ({"language": "de", "report": False}, "--language de has no effect: no report"),
        ({"mode": "quick"}, "no mode 'quick'"),
    ],
)
def test_settings_are_refused_before_anything_is_loaded(images: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detect.run(_config(images, **values))
    assert not (images.parent / "out").exists()


def test_the_report_says_how_verdicts_were_drawn(images: Path) -> None:
    summary = detect.run(_config(images, threshold=0.7, language="de"), engine=FakeEngine())
    text = (summary.out / "report.html").read_text(encoding="utf-8")
    assert re.search(r"Schwelle</dt><dd>0\.7</dd>", text)
    assert "Kalibrierung</dt>" not in text
    run = json.loads((summary.out / "run.json").read_text(encoding="utf-8"))
    protocol = next(iter(read_records(summary.out / "detections.jsonl", Detection))).protocol
    assert run["asked"] == protocol
    assert f"<dd>{protocol}</dd>" in text
    head = run["report_head"]
    assert head["Versions"].startswith(f"iadr1 {iadr1.__version__}, Python 3.")
    assert "numpy " in head["Versions"]
    assert head["Licences"] == "model: unknown"
    assert "Date" not in head, "the report says when it was written"


def test_the_report_says_under_which_licences(images: Path) -> None:
    engine = FakeEngine(model="Qwen/Qwen2.5-VL-3B-Instruct")
    engine.profile = dataclasses.replace(engine.profile, licence="Qwen Research")
    config = _config(images, masks=True, mode="think", segmenter="grabcut")
    text = (detect.run(config, engine=engine).out / "report.html").read_text(encoding="utf-8")
    assert "<dd>model: Qwen Research; masks: Apache-2.0 (OpenCV, no weights)</dd>" in text
    detect.run(dataclasses.replace(config, overwrite=True), engine=FakeEngine(model="tiny"))
    assert "<dd>model: CC0-1.0 (part of iadr1); masks" in (config.out / "report.html").read_text(encoding="utf-8")


def test_a_served_model_scores_reasons_and_refuses_photo_by_photo(images: Path) -> None:
    pytest.importorskip("openai")
    Image.new("RGB", (30, 20), (255, 0, 0)).save(images / "red.png")

    def act(one: Call) -> Answer:
        red, green, _ = one.images[0].convert("RGB").getpixel((0, 0))  # type: ignore[misc] # three bands
        if red > 200 and green < 50:
            return refused(400, "this picture is not allowed")
        if one.fields.get("logprobs"):
            top = [{"token": token, "logprob": math.log(share)} for token, share in (("Yes", 0.9), ("No", 0.1))]
            return written("Yes", logprobs={"content": [{**top[0], "top_logprobs": top}]})
        return written(BAD)

    with FakeServer(act) as server:
        config = _config(images, **{**SERVER, "base_url": server.url}, model="m", concurrency=2, retries=0)
        summary = detect.run(config)
    assert (summary.errors, summary.counts) == (1, {"anomalous": 7, "normal": 0, "undecided": 1})
    records = {one.image: one for one in read_records(summary.out / "detections.jsonl", Detection)}
    assert records["red.png"].error == "HTTP 400: this picture is not allowed"
    assert records["0.png"].score == pytest.approx(0.9)
    assert (len(records["0.png"].defects), records["0.png"].completion_tokens) == (1, 3)
