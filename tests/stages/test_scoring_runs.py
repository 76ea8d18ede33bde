"""Which questions a run asked, which answers belong to it, and what its shards add up to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iadr1.errors import DataError, UsageError
from iadr1.records import Prediction, Sample
from iadr1.stages import scoring
from iadr1.stages.score import ScoreSettings, compare, score
from tests.stages.scoring_world import World, answer, match, sample, yes_no

PARTIAL = ScoreSettings(partial=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def questions(images: int = 9) -> list[Sample]:
    """Three questions about each image, of two data sets."""
    return [
        sample(f"{image}#{number}", dataset="XY"[image % 2], question_type=kind, category=f"c{image % 3}")
        for image in range(images)
        for number, kind in enumerate(("Anomaly Detection", "Defect Analysis", "Object Analysis"))
    ]


def answers(samples: list[Sample]) -> list[Prediction]:
    """Some right, some wrong, some unread."""
    letters = ("A", "A", "B", "A", None)
    return [
        answer(one.id, letters[place % 5], prompt_tokens=100, completion_tokens=place, seconds=0.25)
        for place, one in enumerate(samples)
    ]


def write_shards(world: World, number: int, **changed: dict[str, Any]) -> list[Sample]:
    """A run in shards; `changed` are entries of `run.json` of a shard, by the name `s1`."""
    samples = questions()
    given = {one.sample_id: one for one in answers(samples)}
    images = list(dict.fromkeys(one.image for one in samples))
    for place in range(1, number + 1):
        members = scoring.shard_images(images, scoring.Shard(place, number))
        part = [given[one.id] for one in samples if one.image in members]
        world.extra = changed.get(f"s{place}", {})
        world.write(samples, part, shard=f"{place}/{number}")
    return samples


@pytest.mark.parametrize("number", [1, 2, 5, 9])
def test_shards_are_of_one_size_and_hold_every_image_once(number: int) -> None:
    images = [f"{place}.png" for place in range(9)]
    parts = [scoring.shard_images(images, scoring.Shard(place, number)) for place in range(1, number + 1)]
    assert sorted(image for part in parts for image in part) == images
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [sorted(scoring.shard_images(images[::-1], scoring.Shard(1, number)))] == [sorted(parts[0])]
    assert parts[0] == [image for image in images if image in parts[0]]


def test_the_ranking_of_images_never_changes() -> None:
    """Another one would cut the shards of an earlier run differently."""
    assert scoring.shard_images(["a", "b", "c", "d"], scoring.Shard(1, 2)) == ["b", "d"]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1-2", "1/", "1/2/3", " 1/2", "01/2", "x"])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not written I/N"):
        scoring.read_shard(text)
    assert scoring.read_shard("2/10") == scoring.Shard(2, 10)
    assert scoring.Shard(2, 10).folder == "shard-2-of-10"


def test_more_shards_than_images() -> None:
    with pytest.raises(UsageError, match="1 images cannot be cut into 2 shards"):
        scoring.shard_images(["a"], scoring.Shard(1, 2))


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "predictions"}


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize("limit", [None, 14])
def test_shards_add_up_to_the_whole_run(tmp_path: Path, number: int, limit: int | None) -> None:
    whole, parts = World(tmp_path / "a"), World(tmp_path / "a")
    parts.out = tmp_path / "a" / "parts"
    samples = questions()
    asked = {samples[place].id for place in scoring.draw(len(samples), limit, 3)}
    for world in (whole, parts):
        world.config |= {"limit": limit, "seed": 3}
    given = [one for one in answers(samples) if one.sample_id in asked]
    whole.write(samples, given)
    images = list(dict.fromkeys(one.image for one in samples if one.id in asked))
    for place in range(1, number + 1):
        members = scoring.shard_images(images, scoring.Shard(place, number))
        mine = [one for one in given if f"{one.sample_id.partition('#')[0]}.png" in members]
        parts.write(samples, mine, shard=f"{place}/{number}")
        # A shard alone is held to its own questions.
        alone = score(parts.out / f"shard-{place}-of-{number}", ScoreSettings()).metrics
        assert (alone["answers"], alone["complete"]) == (len(mine), True)
    expected = score(whole.out, ScoreSettings()).metrics
    result = score(parts.out, ScoreSettings())
    assert figures(result.metrics) == figures(expected)
    assert result.metrics["answers"] == (limit or 27)
    assert list(result.metrics["predictions"]["shards"]) == [f"shard-{n}-of-{number}" for n in range(1, number + 1)]
    assert result.out == parts.out / "score"
    assert compare(whole.out, parts.out, ScoreSettings()).content["mcnemar"]["all"]["p"] == 1


def test_leaks_of_shards_are_read_together(world: World) -> None:
    samples = questions(4)
    images = [f"{n}.png" for n in range(4)]
    members = [scoring.shard_images(images, scoring.Shard(place, 2)) for place in (1, 2)]
    for place, part in enumerate(members, start=1):
        world.leaks([match(image, trained=image == "0.png") for image in part], "c1", folder=f"shard-{place}-of-2")
        world.write(samples, [one for one in answers(samples) if f"{one.sample_id[0]}.png" in part], shard=f"{place}/2")
    metrics = score(world.out, ScoreSettings()).metrics
    assert metrics["includes_trained_images"] == 1
    assert {name: part["images"] for name, part in metrics["splits"].items()} == {
        "held-out images": 1, "held-out categories": 2, "trained images": 1,
    }  # fmt: skip


def test_missing_shards_are_named(world: World) -> None:
    write_shards(world, 5)
    for place in (2, 4):
        (world.out / f"shard-{place}-of-5" / "predictions.jsonl").unlink()
    with pytest.raises(DataError, match="2 shards are not there: shard-2-of-5, shard-4-of-5; 12 questions have no ans"):
        score(world.out, ScoreSettings())
    assert score(world.out, PARTIAL).metrics["missing"] == 12


def test_an_unfinished_shard_is_missing_questions(world: World) -> None:
    samples = write_shards(world, 2)
    path = world.out / "shard-1-of-2" / "predictions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match=r"1 questions have no answer: \d#2"):
        score(world.out, ScoreSettings())
    assert score(world.out, PARTIAL).metrics["answers"] == len(samples) - 1


def test_an_answer_in_two_shards_is_doubled(world: World) -> None:
    write_shards(world, 2)
    first, second = (world.out / f"shard-{n}-of-2" / "predictions.jsonl" for n in (1, 2))
    line = first.read_text(encoding="utf-8").splitlines(keepends=True)[0]
    second.write_text(second.read_text(encoding="utf-8") + line, encoding="utf-8")
    with pytest.raises(DataError, match="1 questions have more than one answer"):
        score(world.out, ScoreSettings())


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"data": {"samples.jsonl": "0" * 64}}, "of the data [0-9a-f]{64}, .*shard-2-of-2/run.json of 0{64}"),
        ({"protocol": {"hash": "fedc"}}, "of the protocol 0123456789abcdef, .* of fedc"),
        ({"model_fingerprint": "b00"}, "of the model f00d, .* of b00"),
        ({"domain_knowledge": "b00"}, "of the domain knowledge None, .* of b00"),
        ({"score_prompt": "b00"}, "of the score prompt None, .* of b00"),
        ({"dtype": "bfloat16"}, "of dtype None, .* of bfloat16"),
        ({"config": {"limit": 3, "seed": 0, "shard": "2/2"}}, "of limit None, .* of 3"),
        ({"config": {"limit": None, "seed": 0, "shard": "1/2"}}, "not the run of shard-2-of-2: its shard is 1/2"),
    ],
)
def test_shards_of_two_runs_are_refused(world: World, entry: dict[str, Any], told: str) -> None:
    write_shards(world, 2, s2=entry)
    with pytest.raises(UsageError, match=told):
        score(world.out, PARTIAL)


@pytest.mark.parametrize("count", [600, 39_672])
def test_a_larger_limit_holds_what_a_smaller_one_does(count: int) -> None:
    limits = (1, 2, 99, 100, 599, 600, 5_000, 20_000)
    drawn = [scoring.draw(count, limit, 3) for limit in limits]
    for limit, smaller, larger in zip(limits, drawn, drawn[1:], strict=False):
        assert len(smaller) == min(limit, count)
        assert set(smaller) <= set(larger)
        assert list(smaller) == sorted(smaller)
    assert scoring.draw(count, 99, 4) != drawn[2]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"limit": -5}, "its limit is -5, not a whole number from 1"),
        ({"limit": "5"}, "its limit is '5', not a whole number from 1"),
        ({"limit": 3, "seed": None}, "a limit without the seed"),
        ({"seed": "x"}, "its seed is 'x'"),
        ({"price_prompt": "x"}, "its price_prompt is 'x', not a number from 0"),
        ({"price_completion": float("nan")}, "its price_completion is nan"),
    ],
)
def test_a_run_file_that_was_changed(world: World, config: dict[str, Any], told: str) -> None:
    world.config |= config
    world.write(questions(1), answers(questions(1)))
    with pytest.raises(DataError, match=rf"run\.json: .*{told}"):
        score(world.out, ScoreSettings())


def test_a_shard_that_was_changed(world: World) -> None:
    world.write(questions(1), answers(questions(1)))
    info = json.loads((world.out / "run.json").read_text(encoding="utf-8"))
    for value in ("3/2", 7):
        info["config"]["shard"] = value
        (world.out / "run.json").write_text(json.dumps(info), encoding="utf-8")
        with pytest.raises(DataError, match=rf"run\.json: the shard '{value}' is not written I/N"):
            score(world.out, ScoreSettings())


@pytest.mark.parametrize("entry", [{"scoring": "logprob"}, {"domain_knowledge": "b00"}])
def test_runs_that_were_asked_differently_are_not_compared_silently(world: World, entry: dict[str, Any]) -> None:
    world.write(questions(1), answers(questions(1)))
    first, [(what, value)] = world.out, entry.items()
    world.out, world.extra = world.folder / "other", entry
    world.write(questions(1), answers(questions(1)))
    with pytest.raises(UsageError, match=rf"of the {what.replace('_', ' ')} .* of the .* {value} \(--across-protocols"):
        compare(first, world.out, ScoreSettings())
    assert compare(first, world.out, ScoreSettings(), across_protocols=True).content["questions"] == 3


def test_every_table_says_that_answers_were_not_written(world: World) -> None:
    world.extra = {"scoring": "logprob"}
    world.write(questions(1), answers(questions(1)))
    measured = score(world.out, ScoreSettings())
    for end in ("md", "tex"):
        text = (measured.out / f"table.{end}").read_text(encoding="utf-8")
        assert text.count("protocol mine v2 0123456789abcdef, logprob") == len(measured.tables)
    found = compare(world.out, world.out, ScoreSettings()).tables
    assert all(table.note.count("0123456789abcdef, logprob") == 2 for table in found)


def test_a_folder_that_holds_too_much(world: World) -> None:
    samples = write_shards(world, 2)
    world.write(samples, answers(samples))
    with pytest.raises(UsageError, match=r"it holds predictions\.jsonl and shards"):
        score(world.out, ScoreSettings())
    (world.out / "predictions.jsonl").unlink()
    (world.out / "shard-1-of-3").mkdir()
    with pytest.raises(UsageError, match="shards are of several runs: shard-1-of-2, shard-1-of-3, shard-2-of-2"):
        score(world.out, ScoreSettings())
    empty = world.folder / "empty"
    (empty / "shard-1-of-3").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"none of its shards holds predictions\.jsonl"):
        score(empty, ScoreSettings())


def test_only_the_first_question_of_an_image_is_asked(world: World) -> None:
    samples = [yes_no(f"{image}#{number}") for image in "ab" for number in range(2)]
    world.definition = {"questions": "first"}
    world.write(samples, [answer("a#0", "No"), answer("b#0", "No")])
    metrics = score(world.out, ScoreSettings()).metrics
    assert (metrics["answers"], metrics["complete"]) == (2, True)
    world.write(samples, [answer("a#0", "No"), answer("b#1", "No")])
    with pytest.raises(DataError, match="the run did not ask: b#1"):
        score(world.out, ScoreSettings())


def test_the_first_of_several_answers_counts(world: World) -> None:
    world.write([sample("a")], [answer("a", "A"), answer("a", "B")])
    assert score(world.out, PARTIAL).metrics["strict"]["X"]["average"] == 100


def cost(world: World) -> None:
    world.config |= {"price_prompt": 2.0, "price_completion": 8.0}


def no_cost(world: World) -> None:
    world.config |= {"price_prompt": 0.0, "price_completion": 0.0}


@pytest.mark.parametrize(("change", "expected"), [(cost, 0.0042), (no_cost, None), (lambda world: None, None)])
def test_what_the_answers_took(world: World, change: Callable[[World], None], expected: float | None) -> None:
    change(world)
    given = answers(questions(1))
    given[1] = given[1].model_copy(update={"finished": False})
    given[2] = given[2].model_copy(update={"error": "no image", "completion_tokens": 449})
    world.write(questions(1), given)
    metrics = score(world.out, ScoreSettings()).metrics
    assert metrics["tokens"] == {"prompt": 300, "completion": 450}
    assert (metrics["seconds"], metrics["errors"]) == (0.75, 1)
    assert metrics["truncated"] == pytest.approx(100 / 3)
    assert metrics.get("cost") == expected


def test_every_number_says_how_it_was_asked(world: World) -> None:
    world.definition = {"shots": 2}
    world.write(questions(1), answers(questions(1)))
    measured = score(world.out, ScoreSettings())
    assert measured.metrics["protocol"] == {"name": "mine", "version": 2, "hash": "0123456789abcdef"}
    assert (measured.metrics["shots"], measured.metrics["scoring"]) == (2, "text")
    markdown, latex = ((measured.out / f"table.{end}").read_text(encoding="utf-8") for end in ("md", "tex"))
    for text in (markdown, latex):
        assert text.count("protocol mine v2 0123456789abcdef") == len(measured.tables)
        assert text.count("n = 3") == len(measured.tables)
    found = compare(world.out, world.out, ScoreSettings(), out=world.folder / "c")
    text = (world.folder / "c" / "compare.md").read_text(encoding="utf-8")
    assert text.count("protocol mine v2 0123456789abcdef") == 2 * len(found.tables)


def test_the_seed_is_the_runs_own(world: World) -> None:
    samples = questions()
    world.config["seed"] = 5
    world.write(samples, answers(samples))
    first = score(world.out, ScoreSettings()).metrics
    assert first["seed"] == 5
    assert first["interval_95"] == score(world.out, ScoreSettings(seed=5)).metrics["interval_95"]
    assert first["interval_95"] != score(world.out, ScoreSettings(seed=6)).metrics["interval_95"]


def test_a_run_file_that_is_none(world: World) -> None:
    world.write(questions(1), answers(questions(1)))
    for text, told in (("[]", "not an object"), ("{", "cannot read")):
        (world.out / "run.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=rf"run\.json: {told}"):
            score(world.out, ScoreSettings())


def test_predictions_alone_are_scored_with_their_samples(world: World) -> None:
    world.write(questions(1), answers(questions(1)))
    (world.out / "run.json").unlink()
    metrics = score(world.out, ScoreSettings(data=world.data)).metrics
    assert metrics["protocol"] == {"name": None, "version": None, "hash": "0123456789abcdef"}
    assert json.loads((world.out / "score" / "metrics.json").read_text(encoding="utf-8"))["complete"] is True
