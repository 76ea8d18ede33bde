from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iadr1.datasets.fewshot import select
from iadr1.datasets.mmad import FOLDED, SUBTASKS
from iadr1.errors import DataError, UsageError
from iadr1.prompts import DETECT_QUESTION
from iadr1.records import Defect, Sample

NORMAL_TYPES = ("Anomaly Detection", "Object Classification", "Object Analysis", "Object Structure", "Object Details")
DEFECT_TYPES = (
    "Anomaly Detection",
    *(f"Defect {x}" for x in ("Classification", "Localization", "Description", "Analysis")),
)


def image(dataset: str, category: str, kind: str, number: int, **fields: object) -> list[Sample]:
    """One image with MMAD's five questions."""
    path = f"{dataset}/{category}/test/{kind}/{number:03d}.png"
    normal = kind == "good"
    given = {
        "dataset": dataset, "category": category, "split": "test", "image": path, "task": "choice", "question": "?",
        "options": {"A": "a", "B": "b"}, "answer": "A", "is_anomalous": not normal,
        "defects": () if normal else (Defect(type=kind), Defect(type=kind)), **fields,
    }  # fmt: skip
    return [
        Sample.model_validate({**given, "id": f"{path}#{at}", "question_type": name, "subtask": FOLDED.get(name, "")})
        for at, name in enumerate(NORMAL_TYPES if normal else DEFECT_TYPES)
    ]


def yes_no(dataset: str, category: str, kind: str, number: int, **fields: object) -> Sample:
    """One image as the readers of mask sets give it."""
    path = f"{dataset}/{category}/test/{kind}/{number:03d}.png"
    normal = kind == "good"
    defects = () if normal else (Defect(type=kind, box=(0, 0, 10, 10)),)
    given = {
        "id": path, "dataset": dataset, "category": category, "split": "test", "image": path, "task": "anomaly",
        "question": DETECT_QUESTION, "answer": "No" if normal else "Yes", "question_type": "Anomaly Detection",
        "is_anomalous": not normal, "defects": defects, "image_size": (90, 90), **fields,
    }  # fmt: skip
    return Sample.model_validate(given)


def pool(*, dents: int = 30) -> list[Sample]:
    """A data set of two categories and one of one; uneven numbers of normal images and defects."""
    found = []
    for dataset, category in (("DS-MVTec", "pill"), ("DS-MVTec", "wood"), ("VisA", "candle")):
        for kind, count in (("good", 40), ("dent", dents), ("hole", 10)):
            for number in range(count):
                found += image(dataset, category, kind, number)
    return found


def kinds(chosen: Sequence[Sample]) -> Counter[str]:
    return Counter(sample.image.split("/")[-2] for sample in chosen)


def class_of(sample: Sample) -> tuple[str, str, str]:
    return sample.dataset, sample.category, sample.image.split("/")[-2]


# --- how many of what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "share", "normals"), [(60, 0.5, 30), (41, 0.5, 20), (1, 0.5, 0), (100, 0.29, 29), (50, 1.0, 50)]
)
def test_exactly_as_many_images_in_the_given_share(count: int, share: float, normals: int) -> None:
    chosen = select(pool(), images=count, normal_share=share)
    assert len({sample.image for sample in chosen}) == len(chosen) == count
    assert sum(sample.is_anomalous is False for sample in chosen) == normals


def test_data_sets_categories_and_types_are_covered_evenly() -> None:
    chosen = select(pool(), images=80)
    assert Counter(sample.dataset for sample in chosen) == {"DS-MVTec": 40, "VisA": 40}
    assert Counter(sample.category for sample in chosen) == {"pill": 20, "wood": 20, "candle": 40}
    assert kinds(chosen) == {"good": 40, "dent": 20, "hole": 20}


def test_a_category_of_many_types_gets_no_more_than_one_of_few() -> None:
    names = (("a", "dent"), ("a", "hole"), ("a", "stain"), ("b", "dent"))
    samples = [yes_no("X", *name, number) for name in names for number in range(10)]
    assert Counter(s.category for s in select(samples, images=12, normal_share=0)) == {"a": 6, "b": 6}


def test_the_least_numbers_count_towards_evenness() -> None:
    defective = [sample for sample in pool() if sample.is_anomalous]
    chosen = select(defective, images=48, normal_share=0, per_class=(4, 40))
    assert Counter(sample.dataset for sample in chosen) == {"DS-MVTec": 24, "VisA": 24}


def test_a_share_between_two_numbers_may_be_either() -> None:
    samples = [yes_no("X", "nut", kind, n) for kind, count in (("good", 3), ("dent", 1)) for n in range(count)]
    assert kinds(select(samples, images=3)) == {"good": 2, "dent": 1}


def test_the_bounds_of_a_class_hold_and_the_rest_stays_even() -> None:
    chosen = select(pool(), images=90, per_class=(4, 16))
    counts = Counter(map(class_of, chosen))
    assert len(counts) == 9
    assert min(counts.values()) >= 4
    assert max(counts.values()) == 16  # evenly, the 45 normal images would be 11, 11 and 23
    assert sorted(count for (*_, kind), count in counts.items() if kind == "good") == [14, 15, 16]


def test_a_least_number_reaches_classes_that_would_be_passed_over() -> None:
    assert len(set(map(class_of, select(pool(), images=6)))) < 9
    assert set(Counter(map(class_of, select(pool(), images=9, normal_share=1 / 3, per_class=(1, 1)))).values()) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 241}, "241 images asked for, the samples have 240"),
        ({"images": 200, "normal_share": 0.8}, "200 images, 160 of them normal.*120 normal images in 3 classes"),
        ({"images": 60, "per_class": (1, 9)}, "120 normal images in 3 classes, of which 3 to 27 can be taken"),
        ({"images": 30, "per_class": (4, 40)}, "120 defective images in 6 classes, of which 24 to 120 can be taken"),
        ({"images": 100, "per_class": (11, 40)}, "DS-MVTec / pill / hole has 10 images, at least 11"),
    ],
)
def test_what_cannot_be_is_refused_with_its_numbers(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        select(pool(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{"images": 0}, {"normal_share": 1.1}, {"normal_share": -0.1}, {"per_class": (3, 2)}, {"per_class": (-1, 2)}],
)
def test_numbers_out_of_range_are_wrong_usage(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="not a choice"):
        select(pool(), **{"images": 6, **options})  # type: ignore[arg-type]


def test_whoever_asks_for_all_images_gets_all() -> None:
    few = [*pool()[: 5 * 20], *image("VisA", "candle", "dent", 0)]
    assert kinds(select(few, images=21)) == {"good": 20, "dent": 1}
    with pytest.raises(DataError, match=r"20 images, 10 of them normal.*1 defective images in 1 classes"):
        select(few, images=20)


CLASSES = [(dataset, category, kind) for dataset in "XY" for category in "ab" for kind in ("good", "dent", "hole")]


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=len(CLASSES), max_size=len(CLASSES)),
    images=st.integers(1, 30),
    bounds=st.none() | st.tuples(st.integers(0, 2), st.integers(2, 5)),
    share=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]),
    seed=st.integers(0, 3),
)
def test_every_set_that_can_be_is_found_and_no_other(
    sizes: list[int], images: int, bounds: tuple[int, int] | None, share: float, seed: int
) -> None:
    there = {name: size for name, size in zip(CLASSES, sizes, strict=True) if size}
    samples = [yes_no(*name, number) for name, size in there.items() for number in range(size)]
    low, high = bounds or (0, 99)
    total = sum(there.values())
    normal = {name: size for name, size in there.items() if name[2] == "good"}
    exact = images * share
    wanted = [sum(normal.values())] if images == total else [n for n in range(images + 1) if abs(n - exact) < 1 - 1e-9]

    def fits(part: dict[tuple[str, str, str], int], number: int) -> bool:
        return low * len(part) <= number <= sum(min(size, high) for size in part.values())

    rest = {name: size for name, size in there.items() if name not in normal}
    possible = [number for number in wanted if fits(normal, number) and fits(rest, images - number)]
    if images > total or any(size < low for size in there.values()) or not possible:
        with pytest.raises(DataError):
            select(samples, images=images, per_class=bounds, normal_share=share, seed=seed)
        return
    chosen = select(samples, images=images, per_class=bounds, normal_share=share, seed=seed)
    counts = Counter(map(class_of, chosen))
    assert len({sample.image for sample in chosen}) == images
    assert sum(counts[name] for name in normal) == possible[0]
    assert all(low <= counts[name] <= min(high, size) for name, size in there.items())
    shuffled = random.Random(seed).sample(samples, len(samples))
    assert select(iter(shuffled), images=images, per_class=bounds, normal_share=share, seed=seed) == chosen


# --- which questions --------------------------------------------------------------------------------------------


def test_questions_rotate_over_the_seven_subtasks() -> None:
    chosen = select(pool(), images=120)
    normal = Counter(sample.reported_as for sample in chosen if not sample.is_anomalous)
    defective = Counter(sample.reported_as for sample in chosen if sample.is_anomalous)
    assert normal == {"Anomaly Detection": 20, "Object Classification": 20, "Object Analysis": 20}
    assert set(defective.values()) == {12}
    assert set(normal) | set(defective) == set(SUBTASKS)
    raw = Counter(sample.question_type for sample in chosen)
    assert {raw[name] for name in ("Object Analysis", "Object Structure", "Object Details")} <= {6, 7}


def test_no_class_is_always_asked_the_same() -> None:
    """Five questions and five types a category: in step, each type would be asked one question only."""
    kinds = ("burr", "dent", "hole", "stain", "void")
    samples = [each for name in "abcdefgh" for kind in kinds for each in image("X", name, kind, 0)]
    asked: dict[str, set[str]] = {}
    for sample in select(samples, images=40, normal_share=0):
        asked.setdefault(class_of(sample)[2], set()).add(sample.question_type)
    assert min(map(len, asked.values())) >= 3


def test_yes_no_samples_become_questions_in_the_words_of_their_set() -> None:
    samples = [
        yes_no("VisA", category, kind, number)
        for category in ("candle", "capsules", "cashew")
        for kind in ("good", "dent", "hole", "stain", "burr")
        for number in range(8)
    ]
    chosen = select(samples, images=60, normal_share=0.4)
    assert {sample.task for sample in chosen} == {"choice"}
    assert Counter(sample.reported_as for sample in chosen if sample.is_anomalous) == {
        "Anomaly Detection": 9, "Object Classification": 9, "Defect Classification": 9, "Defect Localization": 9,
    }  # fmt: skip
    kind = next(sample for sample in chosen if sample.question_type == "Defect Classification")
    assert set(kind.options.values()) == {"dent", "hole", "stain", "burr"}
    assert kind.options[kind.answer] == kind.defects[0].type


def test_sets_of_both_kinds_are_mixed_and_own_questions_go_first() -> None:
    both = [*image("X", "nut", "dent", 0), yes_no("X", "nut", "dent", 0), yes_no("Y", "cap", "dent", 1)]
    chosen = select(both, images=2, normal_share=0)
    assert [sample.dataset for sample in chosen] == ["X", "Y"]
    assert chosen[0] in both
    assert (chosen[1].task, chosen[1].id.partition("#")[0]) == ("choice", both[-1].id)


# --- which images -----------------------------------------------------------------------------------------------


def test_the_seed_decides_and_the_order_of_the_input_does_not() -> None:
    samples = pool()
    assert select(samples, images=30, seed=1) == select(samples, images=30, seed=1)
    assert select(samples, images=30, seed=1) != select(samples, images=30, seed=2)
    for turn in range(3):
        assert select(random.Random(turn).sample(samples, len(samples)), images=30, seed=1) == select(
            samples, images=30, seed=1
        )


def test_held_out_categories_are_only_taken_when_asked_for() -> None:
    samples = [*image("Syn", "nut", "good", 0, held_out=True), *image("Syn", "cap", "good", 0)]
    assert [sample.category for sample in select(samples, images=1)] == ["cap"]
    assert len(select(samples, images=2, held_out=True)) == 2
    with pytest.raises(DataError, match="2 images asked for, the samples have 1"):
        select(samples, images=2)


def test_one_file_is_chosen_once_and_an_absent_one_never() -> None:
    same = {"image_sha256": "a" * 64}
    samples = [
        yes_no("LOCO", "nut", "good", 0, **same),
        *image("MMAD-LOCO", "nut", "good", 7, **same),
        yes_no("LOCO", "nut", "good", 1, missing=True),
        yes_no("LOCO", "nut", "good", 2),
    ]
    chosen = select(samples, images=2)
    assert [sample.image for sample in chosen] == ["LOCO/nut/test/good/002.png", "MMAD-LOCO/nut/test/good/007.png"]
    with pytest.raises(DataError, match="the samples have 2"):
        select(samples, images=3)
    twice = [yes_no("LOCO", "nut", "good", number, **same) for number in (3, 4)]
    assert select(twice, images=1) == select(twice[::-1], images=1)


def test_an_image_that_may_be_normal_or_not_is_refused() -> None:
    with pytest.raises(DataError, match=r"X/nut/test/good/000\.png#0: it does not say"):
        select(image("X", "nut", "good", 0, is_anomalous=None), images=1)
