"""What is written besides the figures, and that `eval` and `score` write the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from iadr1.config import EvalConfig
from iadr1.errors import UsageError
from iadr1.geometry import BoxSpace
from iadr1.images import file_sha256
from iadr1.models.profiles import PROFILES
from iadr1.models.replay import ReplayEngine
from iadr1.records import Sample, write_records
from iadr1.reports.answers import Card
from iadr1.stages import evaluate
from iadr1.stages.score import ScoreSettings, score
from tests.stages.scoring_world import World, answer, sample, target, yes_no

REPORT = ScoreSettings(report=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def choice_run(world: World, *, template: str = "similar", shots: int = 1) -> list[Sample]:
    world.definition = {"shots": shots, "template": template}
    given = {"references": ("a.png", "b.png"), "similar_references": ("c.png",)}
    samples = [sample(key, category=f"part {key}", **given) for key in "abc"]
    world.pictures(samples)
    raw = "<think>It is {}.</think>"
    world.write(samples, [answer(key, word, raw=raw.format(word)) for key, word in zip("abc", "AB-", strict=True)])
    return samples


def test_pictures_and_the_page_of_answers(world: World) -> None:
    world.extra = {"scoring": "logprob", "domain_knowledge": "fedcba9876543210"}
    choice_run(world)
    measured = score(world.out, REPORT)
    names = [path.name for path in measured.files]
    assert names == ["metrics.json", "table.md", "table.tex", "heat_map.png", "categories.png", "report.html"]
    assert all(path.parent == world.out / "score" for path in measured.files)
    for path in measured.files[3:5]:
        assert min(Image.open(path).size) > 100
    page = measured.files[-1].read_text(encoding="utf-8")
    for text in (
        "It is B.",
        "mine",
        "0123456789abcdef",
        file_sha256(world.data),
        "33.33 %",
        "66.67 %",
        *world.extra.values(),
    ):
        assert text in page
    # The reference that was sent is the similar one.
    assert page.count("c.png") >= 3
    assert not measured.notes


@pytest.mark.parametrize(
    ("template", "shots", "shown"),
    [("random", 0, ()), ("random", 1, ("a.png",)), ("random", 2, ("a.png", "b.png")), ("similar", 1, ("c.png",))],
)
def test_what_the_page_says_of_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch, template: str, shots: int, shown: tuple[str, ...]
) -> None:
    cards: list[Card] = []
    monkeypatch.setattr("iadr1.stages.scoring.page.write_report", lambda path, given, *_, **__: cards.extend(given))
    choice_run(world, template=template, shots=shots)
    score(world.out, REPORT)
    assert [(card.sample.id, card.prediction.answer, card.status) for card in cards] == [
        ("a", "A", "right"), ("b", "B", "wrong"), ("c", "-", "unread"),
    ]  # fmt: skip
    assert [card.reasoning for card in cards] == ["It is A.", "It is B.", "It is -."]
    assert {tuple(card.references) for card in cards} == {shown}


def test_a_target_is_right_where_all_of_it_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cards: list[Card] = []
    monkeypatch.setattr("iadr1.stages.scoring.page.write_report", lambda path, given, *_, **__: cards.extend(given))
    left, right = (0, 0, 10, 10), (10, 0, 20, 10)
    found = {"a": [left, right], "b": [left], "c": []}
    given = [
        answer(key, "box" if boxes else None, boxes=[{"box": box, "label": "it"} for box in boxes])
        for key, boxes in found.items()
    ]
    world.write([target(key, left, right) for key in "abc"], given)
    score(world.out, REPORT)
    assert [card.status for card in cards] == ["right", "wrong", "unread"]


def test_without_report_there_are_only_figures(world: World) -> None:
    choice_run(world)
    measured = score(world.out, ScoreSettings())
    assert sorted(path.name for path in measured.out.iterdir()) == ["metrics.json", "table.md", "table.tex"]
    with_report = score(world.out, ScoreSettings(report=True), out=world.folder / "other")
    for name in ("metrics.json", "table.md"):
        assert (measured.out / name).read_bytes() == (with_report.out / name).read_bytes()


def test_without_matplotlib_the_rest_is_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    choice_run(world)
    measured = score(world.out, REPORT)
    [note] = measured.notes
    assert "matplotlib" in note
    assert 'pip install "iadr1[eval]"' in note
    assert [path.name for path in measured.files] == ["metrics.json", "table.md", "table.tex", "report.html"]
    assert "notes" not in measured.metrics


def test_the_page_needs_the_images(world: World) -> None:
    choice_run(world)
    run_file = world.out / "run.json"
    info = json.loads(run_file.read_text(encoding="utf-8"))
    del info["root"]
    run_file.write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(UsageError, match=r"nothing says where its images are .*--root"):
        score(world.out, REPORT)
    assert score(world.out, ScoreSettings(report=True, root=world.folder)).files[-1].name == "report.html"


def test_a_page_of_yes_no_answers_and_of_targets(world: World) -> None:
    box = {"box": (0, 0, 10, 10), "label": "scratch"}
    samples = [yes_no("a", {"type": "scratch", "box": (0, 0, 10, 10)}), yes_no("b")]
    world.pictures(samples)
    world.write(samples, [answer("a", "Yes", boxes=[box]), answer("b", "E", parse="failed: no tag")])
    assert {"heat_map.png", "categories.png", "report.html"} <= {path.name for path in score(world.out, REPORT).files}
    world.write([target("a", (0, 0, 10, 10))], [answer("a", "box", boxes=[box])])
    assert score(world.out, REPORT).files[-1].name == "report.html"


def test_shards_have_one_page(world: World) -> None:
    samples = choice_run(world)
    for path in world.out.iterdir():
        path.unlink()
    members = {"c.png": 1, "b.png": 2, "a.png": 1}
    for place in (1, 2):
        mine = [
            answer(one.id, "A", raw=f"<think>of {one.id}</think>") for one in samples if members[one.image] == place
        ]
        world.write(samples, mine, shard=f"{place}/2")
    page = score(world.out, REPORT).files[-1].read_text(encoding="utf-8")
    assert all(f"of {one.id}" in page for one in samples)


LEFT_HALF = {"size": [10, 20], "counts": [0, 100, 100]}
SECTIONS = {"mmad": (), "iad": ("words",), "detection": ("boxes", "pixels"), "grounding": ("grounding",)}
BENCHMARKS: dict[str, tuple[list[Sample], list[str]]] = {
    "mmad": (
        [sample("a"), sample("b", held_out=True), sample("c")],
        ["<answer>A</answer>", "<answer>B</answer>", "no idea"],
    ),
    "iad": (
        [yes_no("a"), yes_no("b", {"type": "scratch", "location": "top left"}), yes_no("c")],
        [
            "<answer>No</answer>",
            "<location>top left</location><type>scratch</type><answer>Yes</answer>",
            "<answer>perhaps</answer>",
        ],
    ),
    "detection": (
        [yes_no("a", {"type": "scratch", "box": (0, 0, 10, 10), "mask_rle": LEFT_HALF}), yes_no("b")],
        ['<answer>[{"bbox_2d": [0, 0, 500, 1000], "label": "scratch"}]</answer>', "<answer>[]</answer>"],
    ),
    "grounding": (
        [target("a", (0, 0, 20, 10)), target("b", (0, 0, 10, 10))],
        ['<answer>[{"bbox_2d": [0, 0, 1000, 1000], "label": "it"}]</answer>', "nothing"],
    ),
}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_eval_and_score_give_the_same_figures(world: World, benchmark: str) -> None:
    samples, texts = BENCHMARKS[benchmark]
    samples = [one.model_copy(update={"references": ("a.png",)}) for one in samples]
    world.pictures(samples)
    write_records(world.data, samples)
    engine = stored_answers(world, {one.id: text for one, text in zip(samples, texts, strict=True)})
    config = EvalConfig(benchmark, data=world.data, out=world.out, seed=4, masks=benchmark == "detection")
    result = evaluate.run(config, engine=engine)
    assert (result.out / "report.html").exists()
    measured = score(world.out, ScoreSettings())
    assert measured.metrics == result.metrics
    for name in ("metrics.json", "table.md", "table.tex"):
        assert (measured.out / name).read_bytes() == (world.out / name).read_bytes()
    assert measured.metrics["seed"] == 4
    found = {"quality", "boxes", "pixels", "words", "grounding"} & measured.metrics.keys()
    assert found == set(SECTIONS[benchmark])
    assert measured.metrics["protocol"]["hash"] == result.protocol.digest


@pytest.mark.parametrize(("benchmark", "number"), [("mmad", 2), ("iad", 3)])
def test_shards_that_were_evaluated_add_up(world: World, benchmark: str, number: int) -> None:
    samples = [one for key in "abcdef" for one in questions_of(key, benchmark)]
    world.pictures(samples)
    write_records(world.data, samples)
    keys = [f"{one.id}{turn}" for one in samples for turn in ("", "#1", "#2", "#3")]
    engine = stored_answers(world, dict.fromkeys(keys, "<answer>A</answer> Yes"))
    config = EvalConfig(benchmark, data=world.data, limit=5, option_order="circular" if benchmark == "mmad" else None)
    whole = evaluate.run(replace(config, out=world.folder / "whole"), engine=engine).metrics
    for place in range(1, number + 1):
        evaluate.run(replace(config, out=world.out, shard=f"{place}/{number}"), engine=engine)
    merged = score(world.out, ScoreSettings()).metrics
    own = {"predictions": None, "seconds": None}
    assert {**merged, **own} == {**whole, **own}
    assert merged["answers"] == (20 if benchmark == "mmad" else 5)


def questions_of(key: str, benchmark: str) -> list[Sample]:
    make = sample if benchmark == "mmad" else yes_no
    return [make(f"{key}#{number}", references=("a.png",)) for number in range(2)]


def stored_answers(world: World, texts: Mapping[str, str]) -> ReplayEngine:
    stored = world.folder / "stored.jsonl"
    lines = [json.dumps({"id": key, "text": text}) for key, text in texts.items()]
    stored.write_text("\n".join(lines), encoding="utf-8")
    return ReplayEngine(str(stored), profile=replace(PROFILES["qwen2_5_vl"], box_space=BoxSpace.NORM1000))
