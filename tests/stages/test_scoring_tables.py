"""Tables worked out by hand: seven subtasks by data set, rotations of the options, splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iadr1 import leaks
from iadr1.errors import DataError, UsageError
from iadr1.metrics.counts import SUBTASKS
from iadr1.records import Prediction, Sample
from iadr1.stages.score import ScoreSettings, compare, score
from tests.stages.scoring_world import KINDS, World, answer, match, sample

PARTIAL = ScoreSettings(partial=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# Data set -> answers by subtask, detection on normal and anomalous images apart: right, wrong and unread ones.
ANSWERS: dict[str, dict[str, str]] = {
    "DS-MVTec": {
        "normal": "AAAB",
        "anomalous": "AB-B",
        "Defect Classification": "AB",
        "Defect Localization": "AAAA",
        "Defect Description": "AAB-",
        "Defect Analysis": "B",
        "Object Classification": "AAAAB",
        "Object Analysis": "AAABBBBBBB",
    },
    "GoodsAD": {
        "normal": "A-",
        "anomalous": "AAAAB",
        "Defect Classification": "AAB",
        "Defect Localization": "B-",
        "Defect Description": "A",
        "Defect Analysis": "AABB",
        "Object Classification": "AA",
        "Object Analysis": "ABBBB",
    },
}
STRICT = {
    # Detection: (75 + 25) / 2 and (50 + 80) / 2; the averages are sums over seven columns.
    "DS-MVTec": (50, 50, 100, 50, 0, 80, 30, 360 / 7, 25, 75),
    "GoodsAD": (65, 200 / 3, 0, 100, 50, 100, 20, (335 + 200 / 3) / 7, 50, 20),
    "average": (
        *(57.5, (50 + 200 / 3) / 2, 50, 75, 25, 90, 25),
        *((360 / 7 + (335 + 200 / 3) / 7) / 2, 37.5, 47.5),
    ),
}
PARSED = {
    # Without the unread: detection (75 + 100/3) / 2 and (100 + 80) / 2; descriptions 2 of 3; places 0 of 1.
    "DS-MVTec": (325 / 6, 50, 100, 200 / 3, 0, 80, 30, (325 / 6 + 260 + 200 / 3) / 7, 25, 200 / 3),
    "GoodsAD": (90, 200 / 3, 0, 100, 50, 100, 20, (360 + 200 / 3) / 7, 0, 20),
}


def seven_subtasks() -> tuple[list[Sample], list[Prediction]]:
    samples, given = [], []
    for dataset, cells in ANSWERS.items():
        for cell, letters in cells.items():
            for place, letter in enumerate(letters):
                kind = cell if cell in SUBTASKS else "Anomaly Detection"
                key = f"{dataset}/{cell}/{place}".replace(" ", "_")
                samples.append(
                    sample(key, dataset=dataset, question_type=kind, is_anomalous=cell not in ("normal", *SUBTASKS[5:]))
                )
                given.append(answer(key, None if letter == "-" else letter))
    return samples, given


@pytest.mark.parametrize("shift", [0, 7])
def test_seven_subtasks_by_data_set(world: World, shift: int) -> None:
    samples, given = seven_subtasks()
    # The order of the predictions, unlike that of the samples, means nothing.
    world.write(samples, given[shift:] + given[:shift])
    metrics = score(world.out, ScoreSettings()).metrics
    columns = (*SUBTASKS, "average", "overkill", "miss")
    for name, table in (("strict", STRICT), ("parsed", PARSED)):
        for dataset, values in table.items():
            expected = dict(zip(columns, values, strict=True))
            assert metrics[name][dataset] == pytest.approx(expected, abs=1e-9), (name, dataset)
    assert metrics["parse_rate"] == pytest.approx(100 * 54 / 58)
    called = {"DS-MVTec": (1, 1 + 1, 4), "GoodsAD": (4, 4 + 0, 5)}
    for dataset, (hits, claimed, anomalous) in called.items():
        assert metrics["detection"][dataset] == pytest.approx(
            {
                "precision": 100 * hits / claimed,
                "recall": 100 * hits / anomalous,
                "f1": 200 * hits / (claimed + anomalous),
            }
        )
    assert metrics["counts"]["GoodsAD"]["Anomaly Detection"] == {"asked": 7, "parsed": 6, "right": 5}
    for dataset in ("DS-MVTec", "GoodsAD", "average"):
        for column, (low, high) in metrics["interval_95"][dataset].items():
            assert low <= metrics["strict"][dataset][column] <= high


# rotations of the options


def rotations(key: str, letters: str, **fields: Any) -> list[Prediction]:
    """Answers (in the sample's own letters, `-` for unread) to the rotations of four options."""
    return [
        answer(key, None if letter == "-" else letter, rotation=place, order="ABCD"[place:] + "ABCD"[:place], **fields)
        for place, letter in enumerate(letters)
    ]


def circular(world: World) -> list[Prediction]:
    world.definition = {"option_order": "circular"}
    # A is at place 1, 4, 3, 2 in the rotations.
    return [*rotations("a#0", "AAAA"), *rotations("a#1", "AABA"), *rotations("b#0", "ABC-"), *rotations("c#0", "BBBB")]


SAMPLES = [sample("a#0"), sample("a#1"), sample("b#0"), sample("c#0")]


def test_order_sensitivity(world: World) -> None:
    world.write(SAMPLES, circular(world))
    metrics = score(world.out, ScoreSettings()).metrics
    assert (metrics["questions"], metrics["answers"], metrics["images"]) == (4, 16, 3)
    # Every rotation is an answer: 8 of 16.
    assert metrics["strict"]["average"]["Defect Classification"] == 50
    order = metrics["circular"]
    assert (order["questions"], order["all_rotations_right"], order["answer_changed"]) == (4, 25, 50)
    assert order["strict"]["X"]["Defect Classification"] == 25
    # Place 1: rotation 0 (A A A B). Place 4: rotation 1 (A A B B). 3: rotation 2 (A B C B). 2: rotation 3 (A A - B).
    assert order["by_position"] == {"1": 75, "2": 50, "3": 25, "4": 50}
    # Chosen: ABCD: 1 1 1 2; BCDA: 4 4 1 1; CDAB: 3 4 1 4; DABC: 2 2 3.
    assert order["chosen_position"] == pytest.approx({"1": 600 / 15, "2": 300 / 15, "3": 200 / 15, "4": 400 / 15})
    # Not more images because of the rotations: the interval is as wide as with three images.
    low, high = metrics["interval_95"]["average"]["average"]
    assert (low, high) == (0, 87.5)


def test_a_missing_rotation_is_a_gap(world: World) -> None:
    given = circular(world)
    del given[6], given[0]
    world.write(SAMPLES, given)
    with pytest.raises(DataError, match=r"2 questions have no answer: a#0, a#1#2 "):
        score(world.out, ScoreSettings())
    metrics = score(world.out, PARTIAL).metrics
    assert (metrics["answers"], metrics["missing"], metrics["circular"]["questions"]) == (14, 2, 2)
    assert metrics["circular"]["all_rotations_right"] == 0


def test_a_rotation_that_was_not_asked_is_refused(world: World) -> None:
    world.write(SAMPLES[:1], [answer("a#0", "A"), answer("a#0", "A", rotation=1)])
    with pytest.raises(DataError, match="did not ask: a#0#1"):
        score(world.out, PARTIAL)


def test_an_order_that_is_none_of_the_options_is_named_with_its_line(world: World) -> None:
    given = circular(world)
    given[5] = given[5].model_copy(update={"order": "QQ"})
    world.write(SAMPLES, given)
    with pytest.raises(DataError, match=r"predictions\.jsonl:6: the order 'QQ' of the answer 'a#1#1' is none of"):
        score(world.out, ScoreSettings())


def test_one_order_says_nothing_of_orders(world: World) -> None:
    world.write(SAMPLES, [answer(one.id, "A") for one in SAMPLES])
    assert "circular" not in score(world.out, ScoreSettings()).metrics


def test_runs_are_compared_rotation_by_rotation(world: World) -> None:
    world.write(SAMPLES, circular(world))
    first = world.out
    world.out = world.folder / "other"
    world.write(SAMPLES, [one.model_copy(update={"answer": "A"}) for one in circular(world)])
    found = compare(first, world.out, ScoreSettings()).content
    assert (found["questions"], found["mcnemar"]["all"]["only_b"]) == (16, 8)


# what the published script counts


@pytest.mark.parametrize(
    ("letter", "strict", "compat", "parse"),
    [
        ("A", 100, 100, "ok"),
        ("B", 0, 0, "ok"),
        (None, 0, 0, "failed: nothing"),
        # Not offered: counted by the script, and wrong.
        ("E", 0, 0, "failed: 'E' is not among the options"),
        # A failed reading is never an answer, whatever letter a script stores for it.
        ("A", 0, 100, "failed: no closing tag"),
    ],
)
def test_a_letter_and_how_it_was_read(
    world: World, letter: str | None, strict: float, compat: float, parse: str
) -> None:
    world.write([sample("a")], [answer("a", letter, parse=parse)])
    metrics = score(world.out, ScoreSettings()).metrics
    assert metrics["strict"]["X"]["Defect Classification"] == strict
    assert metrics["mmad_compat"]["X"]["Defect Classification"] == compat
    assert metrics["parse_rate"] == (100 if parse == "ok" else 0)


# splits


def test_marks_of_the_samples_split(world: World) -> None:
    samples = [sample(key, held_out=key in "ab") for key in "abcd"]
    world.write(samples, [answer(key, letter) for key, letter in zip("abcd", "AABA", strict=True)])
    metrics = score(world.out, ScoreSettings()).metrics
    assert "includes_trained_images" not in metrics
    held_out, trained = metrics["splits"]["held-out categories"], metrics["splits"]["trained categories"]
    assert (held_out["questions"], held_out["strict"]["average"]["average"]) == (2, 100)
    assert (trained["questions"], trained["strict"]["average"]["average"]) == (2, 50)
    assert held_out["interval_95"]["average"]["average"] == (100, 100)
    assert trained["interval_95"]["average"]["average"] == (0, 100)
    world.write([one.model_copy(update={"held_out": False}) for one in samples], [answer(key, "A") for key in "abcd"])
    assert score(world.out, ScoreSettings()).metrics["splits"] == {}


def leaked(world: World, **fields: Any) -> None:
    """a was trained on, b looks like a trained image, c is of a trained category, d of another one."""
    samples = [sample(key, category="Hex-Nut" if key == "d" else "bolt", **fields) for key in "abcd"]
    world.leaks([match("a.png", trained=True), match("b.png", near=True), match("c.png"), match("d.png")], "Bolt")
    world.write(samples, [answer(key, "A" if key in "ad" else "B") for key in "abcd"])


def test_the_leak_manifest_splits(world: World) -> None:
    leaked(world)
    measured = score(world.out, ScoreSettings())
    metrics = measured.metrics
    assert metrics["includes_trained_images"] == 1
    assert metrics["leaks"]["images"] == {"held-out images": 2, "held-out categories": 1, "trained images": 1}
    assert metrics["leaks"]["near"] == 1
    found = {name: part["strict"]["average"]["average"] for name, part in metrics["splits"].items()}
    assert found == {"held-out images": 0, "held-out categories": 100, "trained images": 100}
    text = (measured.out / "table.md").read_text(encoding="utf-8")
    assert "tiny \N{DAGGER}" in text
    assert "include 1 images that the model was trained on" in text
    assert measured.notes == (
        "By train.leak.json, of 4 images 2 are held-out ones of trained categories, 1 are of held-out categories, "
        "1 were trained on; 1 look like a trained image, see leaks.jsonl.",
    )


def test_a_manifest_that_was_moved_is_asked_for(world: World) -> None:
    leaked(world)
    path = world.folder / "train.leak.json"
    moved = path.rename(world.folder / "moved.json")
    with pytest.raises(UsageError, match=r"no leak manifest .*train\.leak\.json.*--leaks"):
        score(world.out, ScoreSettings())
    assert score(world.out, ScoreSettings(leaks=moved)).metrics["includes_trained_images"] == 1
    assert compare(world.out, world.out, ScoreSettings()).content["questions"] == 4  # needs no manifest
    leaks.write(moved, leaks.LeakManifest(categories=("other",), images=()))
    with pytest.raises(UsageError, match="a leak manifest with the SHA-256"):
        score(world.out, ScoreSettings(leaks=moved))


def test_what_was_found_must_cover_every_image(world: World) -> None:
    leaked(world)
    world.records(world.out / "leaks.jsonl", [match("a.png")])
    with pytest.raises(DataError, match=r"leaks\.jsonl: it says nothing of 3 images: b\.png, c\.png, d\.png"):
        score(world.out, ScoreSettings())


def test_a_manifest_where_there_was_none(world: World) -> None:
    world.write([sample("a")], [answer("a", "A")])
    with pytest.raises(UsageError, match="was compared with no leak manifest"):
        score(world.out, ScoreSettings(leaks=world.data))


def test_options_need_not_be_four(world: World) -> None:
    world.definition = {"option_order": "circular"}
    two = sample("a", options={"A": "Yes.", "B": "No."})
    other = sample("b", options=KINDS)
    given = [answer("a", "A", order="AB"), answer("a", "A", rotation=1, order="BA"), *rotations("b", "AAAA")]
    world.write([two, other], given)
    order = score(world.out, ScoreSettings()).metrics["circular"]
    assert (order["questions"], order["all_rotations_right"]) == (2, 100)
    assert order["chosen_position"] == pytest.approx({"1": 200 / 6, "2": 200 / 6, "3": 100 / 6, "4": 100 / 6})
