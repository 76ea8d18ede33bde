"""The published script's convention, against a second statement of its rules that shares no code with the package."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest

from iadr1.metrics.mmad import AnswerRecord, compat_scores, counted

Answer = dict[str, Any]
LETTERS = ["A", "B", "C", "D", "E"]
KINDS = ("Anomaly Detection", "Defect Classification", "Object Structure", "Object Details", "Object Analysis")


def restated(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """formats.md 2.6, rule by rule, on a list that really loses records while it is walked."""

    def folded(answer: Answer) -> str:
        kind: str = answer["question_type"]
        return "Object Analysis" if kind in ("Object Structure", "Object Details") else kind

    every = list(answers)
    sets = sorted({answer["image"].split("/")[0] for answer in every})
    kinds = sorted({folded(answer) for answer in every})
    results: dict[tuple[str, ...], list[bool]] = {}
    for answer in every:
        if answer["correct_answer"] not in LETTERS or answer["gpt_answer"] not in LETTERS:
            every.remove(answer)
            continue
        name, kind = answer["image"].split("/")[0], folded(answer)
        hit = answer["correct_answer"] == answer["gpt_answer"]
        results.setdefault((name, kind), []).append(hit)
        if kind == "Anomaly Detection":
            results.setdefault((name, kind, "good" if "good" in answer["image"] else "bad"), []).append(hit)

    def share(*key: str) -> float:
        hits = results.get(key, [])
        return sum(hits) / len(hits) if hits else 0.0

    table = {}
    for name in sets:
        row = {kind: 100 * share(name, kind) for kind in kinds}
        normal, bad = (share(name, "Anomaly Detection", side) for side in ("good", "bad"))
        if "Anomaly Detection" in row:
            row["Anomaly Detection"] = (normal + bad) / 2 * 100
        table[name] = {**row, "average": fmean(row.values()), "overkill": 100 * (1 - normal), "miss": 100 * (1 - bad)}
    columns = list(table[sets[0]])
    table["average"] = {column: fmean(table[name][column] for name in sets) for column in columns}
    return table


def answers(number: int, unusable: float, seed: int) -> list[Answer]:
    """Answers in runs of one image, with equal records among them; one set has no Defect Classification."""
    rng = random.Random(seed)
    found = []
    for place in range(number):
        name = rng.choice(["DS-MVTec", "VisA", "GoodsAD"])
        kinds = [kind for kind in KINDS if name != "VisA" or kind != "Defect Classification"]
        given: Any = rng.choice(LETTERS)
        if rng.random() < unusable:
            given = rng.choice(["", "X", "AB", "a", "A.", None, 3, ["A"]])
        found.append(
            {
                "image": f"{name}/part{place // 40}/test/{rng.choice(['good', 'bad', 'not_so_good'])}/{place // 5}.png",
                "question_type": rng.choice(kinds),
                "correct_answer": rng.choice("ABCD"),
                "gpt_answer": given,
            }
        )
        if rng.random() < 0.1:
            found.append(dict(rng.choice(found)))
    return found


def records(found: Sequence[Answer]) -> list[AnswerRecord]:
    return [
        AnswerRecord(a["image"].split("/")[0], a["question_type"], a["correct_answer"], a["gpt_answer"], a["image"])
        for a in found
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("unusable", [0.0, 0.1, 0.4, 1.0])
def test_the_script_to_the_ninth_decimal(unusable: float, seed: int) -> None:
    given = answers(1500, unusable, seed)
    wanted, got = restated(given), compat_scores(records(given))
    assert set(got) == set(wanted)
    for name, row in wanted.items():
        assert got[name] == pytest.approx(row, abs=1e-9)


def one(given: object, *, image: str = "X/c/test/good/1.png", kind: str = "Defect Analysis") -> AnswerRecord:
    return AnswerRecord("X", kind, "A", given, image)


@pytest.mark.parametrize(
    ("given", "places"),
    [
        # An unusable answer takes the next record with it, whatever that is.
        (["A", "?", "B", "C"], [0, 3]),
        (["?", "?", "A"], [2]),
        (["?", "?", "?", "A", "B"], [4]),
        (["A", "?"], [0]),
        (["?", "A", "?", "B", "C"], [4]),
    ],
)
def test_what_the_walk_jumps_over(given: list[str], places: list[int]) -> None:
    every = [one(letter, image=f"X/c/{place}.png") for place, letter in enumerate(given)]
    assert list(counted(every)) == [every[place] for place in places]


def test_a_type_that_a_dataset_lacks_counts_as_nothing_right() -> None:
    found = compat_scores([one("A"), AnswerRecord("Y", "Object Structure", "B", "B", "Y/c/1.png")])
    assert found["X"] == {"Defect Analysis": 100, "Object Analysis": 0, "average": 50, "overkill": 100, "miss": 100}
    assert found["average"]["average"] == 50


def test_a_removed_record_still_makes_a_column() -> None:
    assert compat_scores([one("A"), one("?", kind="Object Details")])["X"]["Object Analysis"] == 0


def test_normal_is_what_has_good_in_its_path() -> None:
    kind = "Anomaly Detection"
    found = compat_scores(
        [
            one("A", kind=kind, image="GoodsAD/can/test/bad/1.png"),
            one("B", kind=kind, image="VisA/not_good/test/bad/1.png"),
            one("A", kind=kind, image="VisA/can/test/Good/1.png"),
        ]
    )["X"]
    assert (found["overkill"], found["miss"], found[kind]) == (100, 0, 50)


def test_no_records() -> None:
    assert compat_scores([]) == {}
