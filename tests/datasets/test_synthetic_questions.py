"""Every question about a scene has one right answer, and the reasoning ends on it."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from iadr1.datasets.synthetic import CATEGORIES, DEFECT_TYPES, Scene, applicable_defects, draw_plan, render
from iadr1.datasets.synthetic.questions import (
    EFFECTS,
    QUESTION_TYPES,
    Question,
    anomaly_reasoning,
    phrase_reasoning,
    phrases,
    questions,
)
from iadr1.geometry import LOCATIONS
from iadr1.prompts import conclude
from iadr1.prompts.published import extract_choice

SEEDS = range(5_000_000, 5_000_004)


@cache
def scenes() -> tuple[Scene, ...]:
    """Of every category: normal ones, drawn defects, two defects of one type, and three defects."""
    found = []
    for category in CATEGORIES:
        kinds = applicable_defects(category)
        for seed in SEEDS:
            plan = draw_plan(category, seed, p_defect=1.0)
            found += [render(category, seed, size=96), render(category, seed, defects=plan, size=96)]
        found.append(render(category, SEEDS[0], defects=("stain", "stain"), size=128))
        found.append(render(category, SEEDS[1], defects=kinds[-3:], size=160))
    return tuple(found)


def all_questions() -> list[tuple[Scene, Question]]:
    return [(scene, question) for scene in scenes() for question in questions(scene)]


def is_true(scene: Scene, kind: str, option: str) -> bool:
    """Whether an option is true of the scene, judged from its facts alone."""
    category = CATEGORIES[scene.category]
    seen = {
        "Anomaly Detection": {"Yes." if scene.defects else "No."},
        "Defect Classification": {defect.type for defect in scene.defects},
        "Defect Localization": {defect.location for defect in scene.defects},
        "Defect Description": {f"a {d.size} {d.colour} {d.type}" for d in scene.defects},
        "Defect Analysis": {EFFECTS[defect.type] for defect in scene.defects},
        "Object Classification": {category.title},
        "Object Analysis": {category.function},
        "Object Structure": {category.material},
        "Object Details": {scene.colour},
    }
    return option in seen[kind]


def are_twins(scene: Scene) -> bool:
    return len({defect.type for defect in scene.defects}) < len(scene.defects)


def true_letters(scene: Scene, question: Question) -> list[str]:
    return [letter for letter, text in question.options.items() if is_true(scene, question.type, text)]


def test_options_are_distinct_and_exactly_one_is_true() -> None:
    for scene, question in all_questions():
        assert len(set(question.options.values())) == len(question.options)
        if not are_twins(scene):
            assert true_letters(scene, question) == [question.answer], (scene.category, scene.seed, question)


def test_exactly_one_option_is_true_of_twins_too() -> None:
    for seed in range(SEEDS[0], SEEDS[0] + 24):
        scene = render("oak_board", seed, defects=("stain", "stain"), size=96)
        for question in questions(scene):
            assert true_letters(scene, question) == [question.answer], (seed, question)


def test_letters_run_from_a_without_a_gap() -> None:
    for _, question in all_questions():
        assert "".join(question.options) == "ABCD"[: len(question.options)]
        assert len(question.options) == (2 if question.type == "Anomaly Detection" else 4)


def test_the_reasoning_concludes_on_the_answer() -> None:
    for scene, question in all_questions():
        assert conclude(question.reasoning, question.options) == question.answer, (scene.category, question)


def test_the_reasoning_says_what_is_seen_then_the_right_option_beside_its_letter() -> None:
    for _, question in all_questions():
        if question.type == "Anomaly Detection":
            continue
        seen, _, rest = question.reasoning.partition(" This is ")
        assert seen.endswith(".")
        assert rest == f"{question.options[question.answer]} ({question.answer}). So the answer is {question.answer}."


def test_the_published_reading_of_the_reasoning_is_the_answer_too() -> None:
    """AnomalyR1's `extract_choice` counts lone capitals: the letters of wrong options must not win."""
    for _, question in all_questions():
        assert extract_choice(question.reasoning) == question.answer, question


def test_a_scene_is_asked_what_mmad_asks() -> None:
    for scene in scenes():
        asked = [question.type for question in questions(scene)]
        assert asked == ([*QUESTION_TYPES[:5]] if scene.defects else [QUESTION_TYPES[0], *QUESTION_TYPES[5:]])


def test_the_right_letter_does_not_give_itself_away() -> None:
    letters = Counter(q.answer for _, q in all_questions() if q.type not in ("Anomaly Detection",))
    assert set(letters) == {"A", "B", "C", "D"}
    assert max(letters.values()) < 0.4 * letters.total()


LOOK_ALIKE = {"silver": "grey", "cream": "white", "beige": "brown", "gold": "yellow"}


def test_wrong_colours_are_not_the_right_one_in_other_words() -> None:
    """`grey` or `silver` beside `dark grey` would be a second right answer."""

    def hue(colour: str) -> str:
        word = colour.rsplit(maxsplit=1)[-1]
        return LOOK_ALIKE.get(word, word)

    asked = [(scene, question) for scene, question in all_questions() if question.type == "Object Details"]
    for scene, question in asked:
        same = [text for text in question.options.values() if hue(text) == hue(scene.colour)]
        assert same == [scene.colour], (scene.category, question)
    assert len({scene.colour for scene, _ in asked}) > 5


def test_everything_comes_from_the_scene_alone() -> None:
    for scene in scenes()[::9]:
        again = render(scene.category, scene.seed, defects=[d.type for d in scene.defects], size=scene.image.shape[0])
        assert questions(again) == questions(scene)
        assert phrases(again) == phrases(scene)


def holds(scene: Scene, text: str) -> list[int]:
    """Which defects a phrase is true of, read from its words."""
    kinds = [kind for kind in DEFECT_TYPES if f" {kind}" in text]
    # "center" is also the end of "top center".
    places = [place for place in LOCATIONS if text.endswith(f" at the {place}")]
    sizes = [size for size in ("small", "medium", "large") if f"the {size} " in text]
    return [
        number
        for number, defect in enumerate(scene.defects)
        if (not kinds or defect.type in kinds)
        and (not places or defect.location in places)
        and (not sizes or defect.size in sizes)
    ]


def test_a_phrase_is_true_of_exactly_the_defect_it_means() -> None:
    total = 0
    for scene in scenes():
        for phrase in phrases(scene):
            assert holds(scene, phrase.text) == [phrase.defect], (scene.category, scene.seed, phrase)
            total += 1
    assert total > 100


def test_a_lone_defect_has_all_three_phrases() -> None:
    for scene in scenes():
        if len(scene.defects) == 1:
            (defect,) = scene.defects
            assert [phrase.text for phrase in phrases(scene)] == [
                f"the {defect.type}",
                f"the {defect.size} {defect.type} at the {defect.location}",
                f"the defect at the {defect.location}",
            ]


def test_twins_are_not_told_by_their_type() -> None:
    twins = [scene for scene in scenes() if are_twins(scene)]
    assert len(twins) == len(CATEGORIES)
    assert not any(phrase.text == "the stain" for scene in twins for phrase in phrases(scene))


def test_the_reasoning_names_what_is_there_and_nothing_else() -> None:
    for scene in scenes():
        text = anomaly_reasoning(scene)
        assert text.endswith("So there is a defect." if scene.defects else "So there is no defect.")
        for kind in DEFECT_TYPES:
            assert (f" {kind} at the" in text) == any(defect.type == kind for defect in scene.defects)
        for phrase in phrases(scene):
            defect = scene.defects[phrase.defect]
            reason = phrase_reasoning(scene, phrase)
            assert reason == f"There is a {defect.size} {defect.type} at the {defect.location}."


@pytest.mark.parametrize("kind", DEFECT_TYPES)
def test_every_type_has_an_effect(kind: str) -> None:
    assert EFFECTS[kind]
    assert len(set(EFFECTS.values())) == len(DEFECT_TYPES)
