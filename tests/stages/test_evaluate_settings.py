"""Wrong use of `eval`: what is refused before a model is loaded or a file is written."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from iadr1.cli.app import app
from iadr1.config import EvalConfig
from iadr1.errors import DataError, UsageError
from iadr1.records import Sample, write_records
from iadr1.stages.engines import load_options
from iadr1.stages.evaluate import BENCHMARKS, export, run
from iadr1.stages.evaluate.settings import check_settings
from tests.stages.evaluate_world import SCRATCH, World, expression, sample, yes_no
from tests.stages.fake_engine import FakeEngine


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"benchmark": "mmda"}, r"no benchmark 'mmda' \(did you mean 'mmad'\?\)"),
        ({"benchmark": "imagenet"}, r"no benchmark 'imagenet'.*mmad, mvtec3d, iad, detection, grounding"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"shots": -1}, "shots is -1"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"price_prompt": -0.5}, "price_prompt is -0.5"),
        ({"price_prompt": math.nan}, "price_prompt is nan"),
        ({"price_completion": math.inf}, "price_completion is inf"),
        ({"timeout_s": math.inf}, "timeout_s is inf"),
        ({"timeout_s": 0.0}, "timeout_s is 0"),
        ({"scoring": "vote"}, r"no scoring 'vote' \(known: text, logprob\)"),
        ({"protocol": "mmda"}, r"no protocol 'mmda'"),
        ({"engine": "lokal"}, r"no engine 'lokal' \(known engines: local, replay, server, vllm\)"),
        (
            {"protocol": "iadr1"},
            r"the protocol 'iadr1' asks samples of the task anomaly, those of 'mmad' are of choice",
        ),
        ({"benchmark": "iad", "protocol": "mmad"}, "asks samples of the task choice"),
        ({"export": "vlmevalkit"}, r"no export 'vlmevalkit' \(known: lmms-eval\)"),
        ({"shots": 9}, "shots"),
        ({"template": "nearest", "shots": 1}, "template"),
        ({"option_order": "shuffled"}, "option_order"),
        ({"benchmark": "grounding", "option_order": "seeded"}, "option_order"),
        *(({"shard": text}, rf"the shard '{text}' is not written I/N") for text in ("0/2", "3/2", "a/b", "1", "1/0")),
        ({"masks": True, "segmenter": "magic", "benchmark": "detection"}, "no segmenter 'magic'"),
    ],
)
def test_values_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_settings(EvalConfig(**settings))


SERVER = {"engine": "server", "base_url": "http://localhost:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"base_url": "http://localhost:8000/v1"}, "--base-url"),
        ({"key_env": "KEY"}, "--key-env"),
        ({"family": "qwen2_vl"}, "--family"),
        ({"concurrency": 4}, "--concurrency"),
        ({"timeout_s": 4.0}, "--timeout-s"),
        ({"engine": "replay", "retries": 4}, "--retries"),
        ({"requests_per_minute": 4}, "--requests-per-minute"),
        ({**SERVER, "device": "cuda"}, "--device"),
        ({**SERVER, "dtype": "bfloat16"}, "--dtype"),
        ({**SERVER, "batch_size": 4}, "--batch-size"),
        ({"engine": "replay", "attention": "sdpa"}, "--attention"),
        ({"masks": True}, "--masks"),
        ({"benchmark": "grounding", "masks": True}, "--masks"),
        ({"benchmark": "detection", "segmenter": "sam2"}, "--segmenter"),
        ({"max_new_tokens": 4, "scoring": "logprob"}, "--max-new-tokens"),
        ({"template": "random"}, "--template"),
        ({"price_prompt": 2.0, "scoring": "logprob"}, "--price-prompt"),
        ({"export": "lmms-eval", "limit": 4}, "--limit"),
        ({"export": "lmms-eval", "model": "m"}, "--model"),
        ({"export": "lmms-eval", "seed": 4}, "--seed"),
    ],
)
def test_what_would_not_be_read_is_refused_by_name(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}( \S+)? has no effect: "):
        check_settings(EvalConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "server"}, r"the engine 'server' needs --base-url"),
        ({"engine": "server", "base_url": "http://localhost:1/v1"}, r"the engine 'server' needs --model \(the name"),
        ({"engine": "replay"}, r"the engine 'replay' needs --model \(the file"),
        ({**SERVER, "benchmark": "detection"}, r"--family"),
        ({"benchmark": "detection", "scoring": "logprob"}, r"the answers of the protocol 'detection' are boxes"),
        ({"benchmark": "grounding", "scoring": "logprob"}, r"the answers of the protocol 'grounding' are boxes"),
    ],
)
def test_what_does_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_settings(EvalConfig(**settings))


def test_a_segmenter_reads_the_device_whatever_the_engine() -> None:
    check_settings(EvalConfig(benchmark="detection", engine="replay", model="m", masks=True, device="cuda"))


def test_the_seed_reaches_a_protocol_that_permutes_by_itself(tmp_path: Path) -> None:
    own = check_settings(EvalConfig(protocol="anomalyr1-repo"))[1]
    seeded = check_settings(EvalConfig(protocol="anomalyr1-repo", seed=3))[1]
    assert (own.seed, seeded.seed, seeded.name) == (0, 3, "anomalyr1-repo+seed=3")
    assert seeded.digest != own.digest
    # An export asks in this order too.
    assert check_settings(EvalConfig(protocol="mmad", option_order="seeded", seed=3, export="lmms-eval"))[1].seed == 3
    # Elsewhere it draws questions, and changes no protocol.
    assert check_settings(EvalConfig(seed=3))[1].name == "anomalyr1"


@pytest.mark.parametrize("word", ["--resume", "--no-resume"])
def test_an_export_goes_on_with_nothing(word: str) -> None:
    with pytest.raises(UsageError, match=f"^{word} has no effect: --export asks nothing"):
        CliRunner().invoke(app, ["eval", "mmad", "--export", "lmms-eval", word], catch_exceptions=False)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_has_a_protocol_for_its_task(benchmark: str) -> None:
    found, protocol = check_settings(EvalConfig(benchmark=benchmark))
    assert found.task in protocol.tasks
    assert protocol.name == found.protocol


def test_the_server_is_told_everything() -> None:
    settings = {
        "base_url": "http://localhost:1/v1", "key_env": "K", "family": "llava", "concurrency": 3, "timeout_s": 2.5,
        "retries": 7, "requests_per_minute": 11,
    }  # fmt: skip
    options = load_options(EvalConfig(engine="server", **settings))  # type: ignore[arg-type]
    assert options.server is not None
    assert dataclasses.asdict(options.server) == settings
    assert load_options(EvalConfig()).server is None


def test_no_data(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    with pytest.raises(UsageError, match=r"no samples file 'data/grounding\.jsonl'.*'iadr1 prepare'"):
        run(EvalConfig(benchmark="grounding"), engine=FakeEngine())
    world.data.write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="empty"):
        world.run(FakeEngine())


@pytest.mark.parametrize(
    ("samples", "benchmark", "message"),
    [
        ([sample("a1"), sample("a1")], "mmad", "occurs twice"),
        ([sample("a1", question_type="Anomaly Detection", is_anomalous=None)], "mmad", "anomalous"),
        ([sample("a1", question_type="Colour")], "mmad", r"sample 1 \('a1'\): its subtask 'Colour' is none of MMAD's"),
        ([expression("a1", ).model_copy(update={"defects": ()})], "grounding", "no box"),
        ([yes_no("a", SCRATCH, references=())], "iad", r"sample 'a': it has 0 random references"),
    ],
)  # fmt: skip
def test_unfit_samples(world: World, samples: list[Sample], benchmark: str, message: str) -> None:
    write_records(world.data, samples)
    settings = {"shots": 1} if benchmark == "iad" else {}
    with pytest.raises(DataError, match=message):
        world.run(FakeEngine(), benchmark, **settings)
    assert not world.out.exists()


def test_samples_of_another_task_are_a_wrong_call(world: World) -> None:
    write_records(world.data, [sample("a1")])
    with pytest.raises(UsageError, match="its task is 'choice', the benchmark asks 'anomaly'"):
        world.run(FakeEngine(), "iad")
    assert not world.out.exists()


def test_the_last_sample_is_checked_before_the_first_is_asked(world: World) -> None:
    write_records(world.data, [sample("a1"), sample("b1"), sample("c1", references=("r.png",))])
    engine = FakeEngine()
    with pytest.raises(DataError, match=r"samples\.jsonl: sample 'c1': it has 1 random references.*shows 2"):
        world.run(engine, shots=2)
    assert engine.asked == []
    assert not world.out.exists()


def test_an_export_writes_a_task_and_asks_nothing(world: World) -> None:
    write_records(world.data, [sample("a1"), sample("a2")])
    config = EvalConfig(benchmark="mmad", data=world.data, out=world.out, export="lmms-eval", protocol="mmad", shots=2)
    task = export(config)
    text = task.read_text(encoding="utf-8")
    assert check_settings(config)[1].digest in text
    rows = [json.loads(line) for line in (world.out / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], row["images"]) for row in rows] == [
        ("a1", ["r.png", "s.png", "a.png"]), ("a2", ["r.png", "s.png", "a.png"]),
    ]  # fmt: skip
    assert {path.name for path in world.out.iterdir()} == {"data.jsonl", "protocol.json", "utils.py", task.name}
    with pytest.raises(UsageError, match="no export named"):
        export(EvalConfig(data=world.data))


def test_an_export_never_mixes_into_a_run(tmp_path: Path) -> None:
    write_records(tmp_path / "q.jsonl", [sample("a")])
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text('{"command": "eval"}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"out: the folder holds an evaluation \(give another --out\)"):
        export(EvalConfig(data=tmp_path / "q.jsonl", out=out, export="lmms-eval"))
