"""The published IAD-R1 rewards, value for value, and `sc-grpo`, the same without their faults."""

from __future__ import annotations

import pytest

from iadr1.prompts import Answer
from iadr1.records import Defect, Sample
from iadr1.rewards.defect_types import published_score, type_similarity
from iadr1.rewards.iadr1 import iadr1_accuracy, iadr1_consistency, published_region
from iadr1.rewards.sc_grpo import region_of, sc_grpo
from tests.rewards.samples import CHOICE, anomaly, raw, read, tagged

GOOD = anomaly("No")
BAD = anomaly("Yes", Defect(type="scratch", location="top left"))

# Said, true, published score, ours.
TYPES = [
    ("scratch", "scratch", 1.0, 1.0),
    ("surface scratch", "scratch", 0.85, 0.85),
    ("score mark", "scratch", 0.85, 0.6),
    ("color", "contamination", 0.6 + (0.85 - 0.6) * (5 / 13), 0.0),
    ("bent", "deformation", 0.6 + (0.85 - 0.6) * (4 / 14), 0.0),
    ("hole", "damage", 0.3, 0.3),
    ("contamination", "scratch", 0.3, 0.3),
    ("hole", "scratch", 0.0, 0.0),
    # Of different groups ("hole scratch" is a scratch), even where one text holds the other.
    ("hole scratch", "hole", 0.0, 0.85),
    ("surface anomalies", "scratch", 0.3, 0.3),
    ("scratch", "surface anomaly", 0.3, 0.3),
    ("structural anomaly", "scratch", 0.0, 0.0),
    ("structural anomalies", "structural anomaly", 0.8, 1.0),
    ("crack", "damage", 0.0, 0.0),
    ("crack", "crack", 1.0, 1.0),
    ("scrach", "scratch", 0.6 + (0.85 - 0.6) * (2 * 6 / 13), 0.0),
    ("!", "scratch", 0.85, 0.0),
    ("s", "scratch", 0.85, 0.0),
    ("!", "?", 1.0, 0.0),
    ("no", "hole", 0.0, 0.0),
    ("", "scratch", 0.0, 0.0),
    ("scratch", "", 0.0, 0.0),
    # Neither in a category: spelling alone.
    ("poked", "poker", 0.4 * 0.8, 0.0),
    ("poke", "thread", 0.0, 0.0),
    # Ours: case, punctuation and plural aside.
    ("scratches.", "scratch", 0.85, 1.0),
    ("through hole", "through-hole", 0.6 + (0.85 - 0.6) * (4 / 12), 1.0),
]


@pytest.mark.parametrize(("said", "truth", "published", "ours"), TYPES)
def test_the_table_of_types(said: str, truth: str, published: float, ours: float) -> None:
    assert published_score(said, truth) == pytest.approx(published, abs=1e-12)
    assert type_similarity(said, truth) == ours
    assert type_similarity(truth, said) == ours


# Text, the published region, the region we read.
PLACES = [
    ("Top-Left", 1, "top left"),
    ("top", 2, "top center"),
    ("upper right corner", 3, "top right"),
    ("left side", 4, "middle left"),
    ("center", 5, "center"),
    ("the middle", 5, "center"),
    ("right", 6, "middle right"),
    ("lower left", 7, "bottom left"),
    ("bottom center", 8, "bottom center"),
    ("bottom right", 9, "bottom right"),
    # Words within words.
    ("flower", 8, "flower"),
    ("upright", 6, "upright"),
    # Both sides at once.
    ("from left to right", 4, "from left to right"),
    ("top and bottom", 2, "top and bottom"),
    # No place at all.
    ("", 5, ""),
    ("Entire surface.", 5, "entire surface"),
    ("edge", 5, "edge"),
]


@pytest.mark.parametrize(("text", "published", "ours"), PLACES)
def test_the_table_of_places(text: str, published: int, ours: str) -> None:
    assert (published_region(text), region_of(text)) == (published, ours)


# Truth, completion, published accuracy, published consistency, ours.
TABLE = [
    (GOOD, tagged("No"), 1.0, 1.0, 2.0),
    (GOOD, tagged("no"), 1.0, 1.0, 1.0),
    (GOOD, tagged("No."), 0.0, 1.0, 1.0),
    (GOOD, tagged("Yes"), 0.0, 1.0, 0.0),
    (GOOD, tagged("No", location="top left", kind="scratch"), 1.0, 0.0, 1.0),
    (GOOD, tagged("Yes", location="top left", kind="scratch"), 0.0, 0.0, 1.0),
    (GOOD, tagged("No").replace("</think>", "</think>\n"), 1.0, 0.0, 2.0),
    (GOOD, "No", 0.0, 0.0, 0.0),
    (BAD, tagged("Yes", location="top left", kind="scratch"), 2.0, 1.0, 3.0),
    (BAD, tagged("Yes", location="top left", kind="hole"), 1.5, 1.0, 2.5),
    (BAD, tagged("Yes", location="center", kind="scratch"), 1.5, 1.0, 2.5),
    (BAD, tagged("Yes", location="center", kind="surface scratch"), 1.425, 1.0, 2.425),
    (BAD, tagged("Yes", location="center", kind="hole"), 1.0, 1.0, 2.0),
    (BAD, tagged("Yes", location="top left", kind="scratch").replace("<type>", "\n<type>"), 2.0, 0.0, 3.0),
    (BAD, tagged("Yes", location="top left"), 1.5, 0.0, 1.5),
    (BAD, tagged("Yes"), 1.0, 0.0, 1.0),
    # A wrong No earns place, kind and shape in the published code, and nothing but a fitting shape here.
    (BAD, tagged("No", location="top left", kind="scratch"), 1.0, 1.0, 0.0),
    (BAD, tagged("No"), 0.0, 0.0, 1.0),
    # A block with a line break is not seen by the published code.
    (BAD, tagged("Yes", location="top left", kind="scratch\n"), 1.5, 1.0, 3.0),
    (BAD, tagged("Yes\n", location="top left", kind="scratch"), 1.0, 1.0, 3.0),
    (BAD, "", 0.0, 0.0, 0.0),
    # A place nobody named is the centre in the published code.
    (anomaly("Yes", Defect(type="scratch", location="edge")), tagged("Yes", location="", kind="hole"), 1.5, 1.0, 1.0),
    (anomaly("Yes", Defect(type="hole", location="edge")), tagged("Yes", location="rim", kind="hole"), 2.0, 1.0, 2.5),
    (anomaly("Yes", Defect(type="hole", location="edge")), tagged("Yes", location="Edge", kind="hole"), 2.0, 1.0, 3.0),
]


@pytest.mark.parametrize(("sample", "text", "accuracy", "consistency", "ours"), TABLE)
def test_verdict_place_kind_and_shape(
    sample: Sample, text: str, accuracy: float, consistency: float, ours: float
) -> None:
    assert iadr1_accuracy(raw(text), sample) == pytest.approx(accuracy, abs=1e-12)
    assert iadr1_consistency(raw(text), sample) == consistency
    assert sc_grpo(read(text), sample) == pytest.approx(ours, abs=1e-12)


def test_what_the_truth_does_not_have_is_not_asked_for() -> None:
    said = read(tagged("Yes", location="center", kind="hole"))
    assert iadr1_accuracy(raw(said.text), anomaly("Yes", Defect(type="hole"))) == 1.5
    assert sc_grpo(said, anomaly("Yes", Defect(type="hole"))) == 3.0
    assert sc_grpo(said, anomaly("Yes", Defect(type="", location="center"))) == 3.0
    assert sc_grpo(said, anomaly("Yes")) == 2.0


def test_a_place_can_come_from_the_box() -> None:
    boxed = anomaly("Yes", Defect(type="hole", box=(0, 0, 10, 10)), image_size=(90, 90))
    assert sc_grpo(read(tagged("Yes", location="top left", kind="hole")), boxed) == 3.0
    assert sc_grpo(read(tagged("Yes", location="center", kind="hole")), boxed) == 2.5


def test_several_defects_are_matched_one_to_one() -> None:
    two = anomaly("Yes", Defect(type="hole", location="top left"), Defect(type="stain", location="center"))
    assert sc_grpo(read(tagged("Yes", location="center, upper left", kind="stain, hole")), two) == 3.0
    # Half of the places; "holes" is the hole, nothing is the stain.
    assert sc_grpo(read(tagged("Yes", location="center", kind="holes")), two) == 2.5
    # Three named of two: 2 / 3 each.
    said = read(tagged("Yes", location="center, top left, bottom", kind="stain, hole, crack"))
    assert sc_grpo(said, two) == pytest.approx(2 + 2 / 3)


def test_a_solution_with_a_list_in_it_is_a_list() -> None:
    listed = anomaly("Yes", Defect(type="hole, stain", location="top left, center"))
    assert sc_grpo(read(tagged("Yes", location="center, top left", kind="stain, hole")), listed) == 3.0


def test_they_apply_to_verdicts_only() -> None:
    assert [function(Answer("ok"), CHOICE) for function in (iadr1_accuracy, iadr1_consistency, sc_grpo)] == [None] * 3
