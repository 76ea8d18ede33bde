"""The documented commands for the tables of AnomalyR1 at small size, as they are typed, and what `eval` prints."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from iadr1 import published
from iadr1.cli import evaluate as cli
from iadr1.cli.app import app
from iadr1.config import PrepareConfig
from iadr1.errors import Iadr1Error
from iadr1.records import Prediction, Sample, read_records, write_records
from iadr1.stages import prepare
from tests.models.fake_server import Answer, Call, FakeServer, refused, written
from tests.stages.evaluate_world import SCRATCH, World, detection, leave_out_pictures, sample, ugly, yes_no

PLAIN = {"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"}


def call(*words: str, code: int = 0) -> str:
    """One command as it is typed; what it says on both streams."""
    result = CliRunner().invoke(app, words, env=PLAIN, prog_name="iadr1")
    error = result.exception
    got = error.exit_code if isinstance(error, Iadr1Error) else result.exit_code
    assert got == code, f"{result.output}\n{error!r}"
    return f"{result.output}{error if isinstance(error, Iadr1Error) else ''}"


def answers(data: Path, out: Path, *, right: float, seed: int = 0) -> Path:
    """A file of answers to all samples, of which this share is right."""
    draw = random.Random(seed)
    lines = []
    for item in read_records(data, Sample):
        letter = item.answer if draw.random() < right else draw.choice(list(item.options))
        lines.append(json.dumps({"id": item.id, "text": f"<think>.</think><answer>{letter}</answer>"}))
    out.write_text("\n".join(lines), encoding="utf-8")
    return out


@pytest.fixture(autouse=True)
def pictures_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `iadr1 prepare` was run, small."""
    folder = tmp_path_factory.mktemp("drawn")
    prepare.run(PrepareConfig(out=folder, fewshot_images=4, eval_images=13, photos=1))
    return folder


def test_table_2(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drawn)
    model = answers(Path("data/mmad.jsonl"), drawn / "tuned.jsonl", right=0.8)
    printed = call("eval", "mmad", "--engine", "replay", "--model", str(model))
    assert "AnomalyR1 paper Table 2" in printed
    table = (drawn / "runs/eval-mmad/table.md").read_text(encoding="utf-8")
    assert all(name in table.splitlines()[2] for name in (*published.SUBTASKS, "average"))
    assert all(row.model in table for row in published.table_2() if "|" not in row.model)


@pytest.mark.parametrize("template", ["random", "similar"])
def test_table_3(drawn: Path, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.chdir(drawn)
    model = answers(Path("data/mmad.jsonl"), drawn / "base.jsonl", right=0.5)
    words = ("--engine", "replay", "--model", str(model), "--shots", "1", "--template", template)
    printed = call("eval", "mmad", *words, "--out", f"runs/{template}", "--limit", "20")
    name = "anomalyr1+shots=1" + ("+template=similar" if template == "similar" else "")
    assert re.search(rf"protocol  {re.escape(name)}, [0-9a-f]{{16}}\n", printed)
    found = list(read_records(drawn / f"runs/{template}/predictions.jsonl", Prediction))
    assert [prediction.images for prediction in found] == [2] * 20


def test_table_3_with_two_references_on_mmads_own_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    names = list(published.table_3()[0].figures)[:-1]
    samples = [detection(f"{image}{name}", bad=image == "a", dataset=name) for name in names for image in "abcd"]
    write_records(world.data, samples)
    model = answers(world.data, tmp_path / "two.jsonl", right=1.0)
    words = ("--data", str(world.data), "--engine", "replay", "--model", str(model))
    call("eval", "mmad", *words, "--shots", "2", "--template", "similar")
    table = (tmp_path / "runs/eval-mmad/table.md").read_text(encoding="utf-8")
    assert "2-shot" in table
    for row in published.table_3():
        assert " | ".join(f"{row.figures[name]:.2f}" for name in names) in table
    found = list(read_records(tmp_path / "runs/eval-mmad/predictions.jsonl", Prediction))
    assert {prediction.images for prediction in found} == {3}


def test_table_4(drawn: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(drawn)
    model = answers(Path("data/mvtec3d.jsonl"), drawn / "3d.jsonl", right=0.8)
    assert "Syn-3D" in call("eval", "mvtec3d", "--engine", "replay", "--model", str(model))
    classes = list(published.table_4()[0].figures)[:-1]
    world = World(tmp_path)
    write_records(world.data, [sample(f"a{name}", dataset="MVTec 3D-AD", category=name) for name in classes])
    model = answers(world.data, tmp_path / "own.jsonl", right=1.0)
    words = ("--data", str(world.data), "--engine", "replay", "--model", str(model), "--out", str(world.out))
    call("eval", "mvtec3d", *words)
    table = (world.out / "table.md").read_text(encoding="utf-8")
    for row in published.table_4():
        assert " | ".join(f"{row.figures[name]:.2f}" for name in classes) in table


def test_table_5(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column Anomaly Detection for three ways of training, and whether they differ."""
    monkeypatch.chdir(drawn)
    shares = {"base": 0.0, "classical": 0.5, "roam": 1.0}
    for name, right in shares.items():
        model = answers(Path("data/mmad.jsonl"), drawn / f"{name}.jsonl", right=right)
        call("eval", "mmad", "--engine", "replay", "--model", str(model), "--out", f"runs/{name}")
    found = {
        name: json.loads((drawn / f"runs/{name}/metrics.json").read_text(encoding="utf-8"))["strict"]["average"]
        for name in shares
    }
    assert found["base"]["Anomaly Detection"] < found["roam"]["Anomaly Detection"] == 100.0
    printed = call("compare", "runs/base", "runs/roam")
    assert "Anomaly Detection" in printed


def test_the_help_names_these_commands() -> None:
    for command in (
        "Table 2: `iadr1 eval mmad`",
        "Table 3: `iadr1 eval mmad --shots 1 --template similar`, then `--shots 2`",
        "Table 4: `iadr1 eval mvtec3d`",
        "Table 5: `iadr1 eval mmad` for each way of training, then `iadr1 compare runs/a runs/b`",
    ):
        assert command in cli.EPILOG


def test_shards_are_joined_by_score(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drawn)
    model = answers(Path("data/mmad.jsonl"), drawn / "parts.jsonl", right=0.6)
    words = ("eval", "mmad", "--engine", "replay", "--model", str(model), "--out")
    for part in ("1/2", "2/2"):
        printed = call(*words, "runs/parts", "--shard", part)
        assert "joined    by 'iadr1 score runs/parts' when all shards are there" in printed
    call("score", "runs/parts", "--out", "runs/joined")
    call(*words, "runs/whole")
    joined, whole = (
        json.loads((drawn / f"runs/{name}/metrics.json").read_text(encoding="utf-8")) for name in ("joined", "whole")
    )
    assert joined["strict"] == whole["strict"]
    assert joined["interval_95"] == whole["interval_95"]


# what is printed


def test_the_summary(tmp_path: Path) -> None:
    world = World(tmp_path)
    model = world.write(ugly()).model
    words = ("eval", "mmad", "--data", str(world.data), "--out", str(world.out), "--engine", "replay", "--model", model)
    printed = call(*words)
    assert re.search(r"^protocol  anomalyr1, [0-9a-f]{16}$", printed, re.MULTILINE)
    assert "answers   7; 71.43 % could be read" in printed
    for name in ("predictions.jsonl", "metrics.json", "table.md", "table.tex", "run.json"):
        assert f"wrote     {world.out / name}" in printed
    assert "answers   7, 7 of them by an earlier run" in call(*words)
    assert "give another --out, or --resume" in call(*words, "--no-resume", code=2)


def test_figures_of_boxes_and_scores_are_printed_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    box = '<answer>[{"bbox_2d": [0, 0, 50, 50], "label": "scratch"}]</answer>'
    model = world.write([(yes_no("a", SCRATCH), box), (yes_no("b"), "<answer>[]</answer>")]).model
    words = ("--data", str(world.data), "--out", str(world.out), "--engine", "replay", "--model", model)
    printed = call("eval", "detection", *words)
    assert "F1@0.5" in printed
    assert "2 answers have no anomaly score: " in printed


def test_what_got_no_answer_is_told_with_the_next_step(tmp_path: Path) -> None:
    world = World(tmp_path)
    model = world.write(ugly()).model
    (world.folder / "b.png").unlink()
    words = ("eval", "mmad", "--data", str(world.data), "--out", str(world.out), "--engine", "replay", "--model", model)
    printed = call(*words, code=1)
    assert re.search(r"1 question got no answer \(the first: .*b\.png.*\); run the same command again", printed)


def test_an_export(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write(ugly())
    printed = call("eval", "mmad", "--data", str(world.data), "--out", str(world.out), "--export", "lmms-eval")
    assert f"lmms-eval --include_path {world.out} --tasks iadr1_anomalyr1" in printed
    assert not (world.out / "predictions.jsonl").exists()


# a server


def served(act: Callable[[Call], Answer], world: World, *more: str, code: int = 0) -> tuple[str, FakeServer]:
    with FakeServer(act) as server:
        printed = call(
            *("eval", "mmad", "--data", str(world.data), "--out", str(world.out), "--engine", "server"),
            *("--base-url", server.url, "--model", "m", "--retries", "1", *more),
            code=code,
        )
    return printed, server


def test_a_server_answers_with_tokens_and_cost(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    world = World(tmp_path)
    world.write(ugly())
    text = "<think>.</think><answer>A</answer>"
    printed, server = served(lambda _: written(text), world, "--shots", "1", "--price-prompt", "1000000")
    assert [len(one.images) for one in server.calls] == [2] * 7
    assert "tokens    77 of prompts, 21 written, cost 77.00" in printed
    assert {p.answer for p in world.predictions()} == {"A"}
    assert {p.model for p in world.predictions()} == {"m@server:m"}


def test_what_a_server_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    world = World(tmp_path)
    world.write([(sample("a1"), ""), (sample("b1", question="Odd?"), ""), (sample("c1"), "")])
    text = "<think>.</think><answer>B</answer>"

    def moody(one: Call) -> Answer:
        return refused(400, "this prompt is too odd") if "Odd?" in one.text else written(text)

    printed, _ = served(moody, world, code=1)
    assert re.search(r"1 question got no answer \(the first: .*too odd.*\); run the same command again", printed)
    assert [p.error is None for p in world.predictions()] == [True, False, True]
    printed, server = served(lambda _: written(text), world)
    assert len(server.calls) == 1
    assert [p.answer for p in world.predictions()] == ["B", "B", "B"]


def test_a_server_without_probabilities_is_told_once(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    world = World(tmp_path)
    write_records(world.data, [yes_no(key, SCRATCH) for key in "abcd"])
    with FakeServer(lambda one: written("<answer>Yes</answer>", logprobs=None)) as server:
        printed = call(
            *("eval", "iad", "--data", str(world.data), "--out", str(world.out), "--engine", "server"),
            *("--base-url", server.url, "--model", "m", "--concurrency", "1"),
        )
    assert printed.count("4 answers have no anomaly score: ") == 1
