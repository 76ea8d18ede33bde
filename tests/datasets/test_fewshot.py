from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from iadr1.datasets.fewshot import leak_manifest, select, subtask
from iadr1.datasets.mmad import SUBTASKS
from iadr1.errors import DataError
from iadr1.records import Defect, Sample

NORMAL_TYPES = ("Anomaly Detection", "Object Classification", "Object Analysis", "Object Structure", "Object Details")
DEFECT_TYPES = (
    "Anomaly Detection",
    *(f"Defect {x}" for x in ("Classification", "Localization", "Description", "Analysis")),
)


def image(dataset: str, category: str, kind: str, number: int, *, held_out: bool = False) -> list[Sample]:
    path = f"{dataset}/{category}/test/{kind}/{number:03d}.png"
    normal = kind == "good"
    return [
        Sample(
            id=f"{path}#{at}", dataset=dataset, category=category, split="test", image=path, task="choice",
            question="?", options={"A": "a", "B": "b"}, answer="A", question_type=name, is_anomalous=not normal,
            defects=() if normal else (Defect(type=kind), Defect(type=kind)), held_out=held_out,
        )
        for at, name in enumerate(NORMAL_TYPES if normal else DEFECT_TYPES)
    ]  # fmt: skip


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


@pytest.mark.parametrize(("count", "normals"), [(60, 30), (41, 20), (1, 0)])
def test_exactly_as_many_images_half_of_them_normal(count: int, normals: int) -> None:
    chosen = select(pool(), images=count)
    assert len({sample.image for sample in chosen}) == len(chosen) == count
    assert sum(sample.is_anomalous is False for sample in chosen) == normals


def test_data_sets_categories_and_types_are_covered_evenly() -> None:
    chosen = select(pool(), images=80)
    assert Counter(sample.dataset for sample in chosen) == {"DS-MVTec": 40, "VisA": 40}
    assert Counter(sample.category for sample in chosen) == {"pill": 20, "wood": 20, "candle": 40}
    assert kinds(chosen) == {"good": 40, "dent": 20, "hole": 20}


def test_a_short_half_is_filled_from_the_other() -> None:
    few = [*pool()[: 5 * 40], *image("VisA", "candle", "dent", 0)]
    chosen = select(few, images=30)
    assert kinds(chosen) == {"good": 29, "dent": 1}


def test_questions_rotate_over_the_seven_subtasks() -> None:
    chosen = select(pool(), images=120)
    normal = Counter(subtask(sample) for sample in chosen if not sample.is_anomalous)
    defective = Counter(subtask(sample) for sample in chosen if sample.is_anomalous)
    assert normal == {"Anomaly Detection": 20, "Object Classification": 20, "Object Analysis": 20}
    assert set(defective.values()) == {12}
    assert set(normal) | set(defective) == set(SUBTASKS)
    raw = Counter(sample.question_type for sample in chosen)
    assert {raw[name] for name in ("Object Analysis", "Object Structure", "Object Details")} <= {6, 7}


def test_the_seed_decides_and_the_order_of_the_input_does_not() -> None:
    samples = pool()
    assert select(samples, images=30, seed=1) == select(samples, images=30, seed=1)
    assert select(samples, images=30, seed=1) != select(samples, images=30, seed=2)
    # Questions of an image stay in order, as in any file; the images come in another one.
    turned = [sample for start in range(len(samples) - 5, -1, -5) for sample in samples[start : start + 5]]
    assert select(turned, images=30, seed=1) == select(samples, images=30, seed=1)


def test_held_out_categories_are_only_taken_when_asked_for() -> None:
    samples = [*image("Syn", "nut", "good", 0, held_out=True), *image("Syn", "cap", "good", 0)]
    assert [sample.category for sample in select(samples, images=1)] == ["cap"]
    assert len(select(samples, images=2, held_out=True)) == 2
    with pytest.raises(DataError, match="2 images asked for, the samples have 1"):
        select(samples, images=2)


def test_the_leak_manifest_names_every_image_s_hash() -> None:
    chosen = select(pool(), images=2)
    hashes = {sample.image: f"hash of {sample.image}" for sample in pool()}
    assert all(f'"{sample.image}": "hash of {sample.image}"' in leak_manifest(chosen, hashes) for sample in chosen)
    assert leak_manifest(chosen, hashes).count("hash of") == 2
