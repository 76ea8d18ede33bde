from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from iadr1.datasets.questions import UNSPECIFIC, Vocabulary, multiple_choice, product, vocabulary
from iadr1.errors import DataError
from iadr1.geometry import LOCATIONS, Box
from iadr1.records import Defect, Sample

SIZE = (90, 60)
WHOLE: Box = (0, 0, 90, 60)


def asked_about(category: str, *defects: Defect, number: int = 0, **more: Any) -> Sample:
    """A yes/no sample: defective where there are defects."""
    return Sample(
        **{
            "id": f"{category}/{number}.png",
            "dataset": "Set",
            "category": category,
            "split": "test",
            "image": f"{category}/{number}.png",
            "task": "anomaly",
            "question": "Are there any defects?",
            "answer": "Yes" if defects else "No",
            "question_type": "Anomaly Detection",
            "is_anomalous": bool(defects),
            "defects": defects,
            "image_size": SIZE,
            **more,
        }
    )


def defect(kind: str, box: Box | None = (0, 0, 10, 10)) -> Defect:
    return Defect(type=kind, box=box)


WORDS = Vocabulary.collect(
    [
        ("Set", "metal_nut", ["bent", "color", "scratch"]),
        ("Set", "screw", ["scratch head", "thread top"]),
        ("Set", "wood", ["hole", "combined", "liquid", "color"]),
        ("Set", "carpet", []),
        ("Other", "pcb1", ["missing hole"]),
    ]
)


def by_subtask(sample: Sample, words: Vocabulary = WORDS, *, seed: int = 0) -> dict[str, Sample]:
    return {item.question_type: item for item in multiple_choice(sample, words, seed=seed)}


def right(sample: Sample) -> str:
    return sample.options[sample.answer]


def wrong(sample: Sample) -> set[str]:
    return set(sample.options.values()) - {right(sample)}


def test_a_normal_image_is_asked_for_defects_and_product() -> None:
    found = by_subtask(asked_about("metal_nut"))
    assert {kind: right(item) for kind, item in found.items()} == {
        "Anomaly Detection": "No.",
        "Object Classification": "metal nut",
    }
    assert found["Anomaly Detection"].options == {"A": "Yes.", "B": "No."}
    assert wrong(found["Object Classification"]) == {"screw", "wood", "carpet"}


def test_a_defective_image_is_asked_for_type_and_place_too() -> None:
    sample = asked_about("metal_nut", defect("bent", (62, 22, 88, 38)))
    found = by_subtask(sample)
    assert {kind: right(item) for kind, item in found.items()} == {
        "Anomaly Detection": "Yes.",
        "Object Classification": "metal nut",
        "Defect Classification": "bent",
        "Defect Localization": "middle right",
    }
    assert [item.id for item in found.values()] == [f"metal_nut/0.png#{number}" for number in range(4)]
    for item in found.values():
        assert (item.task, item.subtask, item.reported_as) == ("choice", "", item.question_type)
        assert (item.defects, item.image, item.is_anomalous) == (sample.defects, sample.image, True)
        assert len(set(item.options.values())) == len(item.options)
        assert list(item.options) == list("ABCD")[: len(item.options)]


def test_everything_else_of_the_sample_is_kept_but_the_reasoning() -> None:
    sample = asked_about("wood", held_out=True, licence="MIT", references=("wood/9.png",), reasoning="Brown.",
                         reasoning_source="template")  # fmt: skip
    for item in multiple_choice(sample, WORDS, seed=1):
        assert (item.held_out, item.licence, item.references) == (True, "MIT", ("wood/9.png",))
        assert (item.reasoning, item.reasoning_source) == (None, None)
        assert Sample.model_validate_json(item.model_dump_json()) == item


def test_wrong_types_are_the_category_s_own_first() -> None:
    for seed in range(20):
        found = by_subtask(asked_about("metal_nut", defect("bent")), seed=seed)["Defect Classification"]
        assert {"color", "scratch"} <= wrong(found)
        assert len(wrong(found)) == 3


def test_words_of_another_set_are_never_offered() -> None:
    seen = set[str]()
    for seed in range(40):
        for item in multiple_choice(asked_about("metal_nut", defect("bent")), WORDS, seed=seed):
            seen |= set(item.options.values())
    assert "pcb" not in seen
    assert "missing hole" not in seen
    assert {"hole", "liquid", "thread top", "carpet"} <= seen


@pytest.mark.parametrize(
    ("kind", "never"), [("scratch", {"scratch head"}), ("scratch head", {"scratch"}), ("Color", {"color"})]
)
def test_a_type_that_may_hold_as_well_is_never_offered(kind: str, never: set[str]) -> None:
    seen = set[str]()
    for seed in range(40):
        seen |= wrong(by_subtask(asked_about("metal_nut", defect(kind)), seed=seed)["Defect Classification"])
    assert not seen & never
    assert "bent" in seen


def test_letter_case_makes_no_other_type() -> None:
    words = Vocabulary.collect([("Set", "wood", ["HOLE", "Liquid"])])
    found = by_subtask(asked_about("wood", defect("hole")), words)["Defect Classification"]
    assert wrong(found) == {"Liquid"}


def test_of_several_types_the_largest_is_asked_for_and_none_of_them_offered() -> None:
    sample = asked_about("metal_nut", defect("bent"), defect("color", (30, 20, 60, 40)))
    for seed in range(20):
        found = by_subtask(sample, seed=seed)
        assert right(found["Defect Classification"]) == "color"
        assert "bent" not in wrong(found["Defect Classification"])
        assert right(found["Defect Localization"]) == "center"
        assert "top left" not in wrong(found["Defect Localization"])


@pytest.mark.parametrize("kind", sorted(UNSPECIFIC))
def test_a_type_that_says_nothing_is_neither_asked_for_nor_offered(kind: str) -> None:
    words = Vocabulary.collect([("Set", "metal_nut", ["bent", kind, kind.upper()]), ("Set", "wood", ["hole"])])
    assert words.all_types("Set") == ["bent", "hole"]
    for kinds in ([kind], ["bent", kind]):
        found = by_subtask(asked_about("metal_nut", *map(defect, kinds)), words)
        assert "Defect Classification" not in found
        assert "Defect Localization" in found


def test_a_place_the_defect_touches_is_never_offered() -> None:
    # From the middle of the top left ninth to just into the second column and row.
    sample = asked_about("wood", defect("hole", (15, 10, 31, 21)))
    seen = set[str]()
    for seed in range(60):
        found = by_subtask(sample, seed=seed)["Defect Localization"]
        assert right(found) == "top left"
        seen |= wrong(found)
    assert seen == set(LOCATIONS) - {"top left", "top center", "middle left", "center"}


def test_a_defect_that_ends_at_a_border_does_not_touch_the_next_place() -> None:
    sample = asked_about("wood", defect("hole", (0, 0, 30, 20)))
    seen = {word for seed in range(60) for word in wrong(by_subtask(sample, seed=seed)["Defect Localization"])}
    assert seen == set(LOCATIONS) - {"top left"}


@pytest.mark.parametrize(
    ("defects", "size"),
    [
        ([defect("hole", WHOLE)], SIZE),
        ([defect("hole", None)], SIZE),
        ([defect("hole"), defect("color", None)], SIZE),
        ([defect("hole")], None),
    ],
    ids=["all over", "nowhere", "one of two nowhere", "size not known"],
)
def test_a_place_without_a_single_truth_is_not_asked_for(defects: Sequence[Defect], size: object) -> None:
    assert "Defect Localization" not in by_subtask(asked_about("wood", *defects, image_size=size))


def test_a_defect_without_a_type_is_not_asked_for_it() -> None:
    assert set(by_subtask(asked_about("wood", answer="Yes", is_anomalous=True))) == {
        "Anomaly Detection",
        "Object Classification",
    }


def test_the_only_product_of_a_set_is_not_asked_for() -> None:
    words = Vocabulary.collect([("Set", "pcb1", []), ("Set", "pcb2", ["hole"]), ("Set", "03", [])])
    assert set(by_subtask(asked_about("pcb1"), words)) == {"Anomaly Detection"}
    # A number is no word.
    assert set(by_subtask(asked_about("03"), words)) == {"Anomaly Detection"}


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("metal_nut", "metal nut"),
        ("pcb1", "pcb"),
        ("Blotchy_099", "Blotchy"),
        ("01", ""),
        ("bracket_black", "bracket black"),
    ],
)
def test_products_are_named_in_words_without_numbers(category: str, name: str) -> None:
    assert product(category) == name


def test_a_product_that_may_hold_as_well_is_never_offered() -> None:
    words = Vocabulary.collect([("Set", name, []) for name in ("fryum", "pipe_fryum", "candle", "macaroni1")])
    seen = set[str]()
    for seed in range(20):
        seen |= wrong(by_subtask(asked_about("fryum"), words, seed=seed)["Object Classification"])
    assert seen == {"candle", "macaroni"}


def test_the_seed_and_the_image_decide() -> None:
    sample, other = asked_about("metal_nut", defect("bent")), asked_about("metal_nut", defect("bent"), number=1)
    assert multiple_choice(sample, WORDS, seed=3) == multiple_choice(sample, WORDS, seed=3)
    draws = {tuple(multiple_choice(sample, WORDS, seed=seed)[1].options.values()) for seed in range(8)}
    assert len(draws) > 3
    assert [i.options for i in multiple_choice(sample, WORDS, seed=3)] != [
        i.options for i in multiple_choice(other, WORDS, seed=3)
    ]


def test_the_right_letter_is_spread_evenly() -> None:
    letters = [
        item.answer
        for number in range(400)
        for item in multiple_choice(asked_about("metal_nut", defect("bent"), number=number), WORDS, seed=0)
        if item.question_type != "Anomaly Detection"
    ]
    for letter in "ABCD":
        assert 0.2 < letters.count(letter) / len(letters) < 0.3


def test_the_vocabulary_does_not_depend_on_the_order_of_the_samples() -> None:
    samples = [asked_about("wood", defect("hole")), asked_about("wood"), asked_about("nut", defect("bent"))]
    assert vocabulary(samples) == vocabulary(reversed(samples))
    assert vocabulary(samples).types == {"Set": {"nut": ("bent",), "wood": ("hole",)}}
    kinds = [f"kind {number:02d}" for number in range(50)]
    assert Vocabulary.collect([("Set", "wood", kinds[::-1])]).types == {"Set": {"wood": tuple(kinds)}}


def test_only_yes_no_samples_are_turned() -> None:
    (first, *_) = multiple_choice(asked_about("wood"), WORDS, seed=0)
    with pytest.raises(DataError, match=r"wood/0\.png#0: not a yes/no sample: its task is 'choice'"):
        multiple_choice(first, WORDS, seed=0)
