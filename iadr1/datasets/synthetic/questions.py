"""What a scene knows of itself, as questions: MMAD's seven subtasks, grounding phrases, and reference reasoning.

Everything is derived from the scene and a seed; wrong options are plausible (same vocabulary) and never true of the
scene as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iadr1.datasets.synthetic.catalog import (
    CATEGORIES,
    DEFECT_TYPES,
    TRAINING_CATEGORIES,
    Category,
    applicable_defects,
    category_of,
)
from iadr1.datasets.synthetic.scene import Scene, SceneDefect
from iadr1.geometry import LOCATIONS

QUESTION_TYPES: tuple[str, ...] = (
    "Anomaly Detection",
    "Defect Classification",
    "Defect Localization",
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
    "Object Structure",
    "Object Details",
)
"""MMAD's raw types; the last three are reported together as Object Analysis."""

EFFECTS: dict[str, str] = {
    "scratch": "it spoils the look but hardly weakens the product",
    "stain": "it makes the product look dirty and may spread",
    "hole": "it lets dirt and water through",
    "dent": "it changes the shape so that the product may not fit",
    "crack": "it may grow until the product breaks",
    "missing part": "it leaves the product incomplete so that it can not do its work",
    "misplacement": "it puts a component where it can not do its work",
}

_COLOURS = (
    "grey", "silver", "dark grey", "light grey", "white", "cream", "beige", "brown", "dark brown", "light brown",
    "red", "blue", "light blue", "green", "light green", "yellow", "gold",
)  # fmt: skip
_LOOK_ALIKE = {"silver": "grey", "cream": "white", "beige": "brown", "gold": "yellow"}
_DEFECT_COLOURS = ("dark", "bright", "shaded", "yellow", "green", "red", "blue")
_MATERIALS = ("metal", "wood", "fabric", "plastic", "ceramic", "laminate")
_SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Question:
    """One multiple-choice question: MMAD's raw type, the options as shown, the right letter, the reasoning."""

    type: str
    text: str
    options: dict[str, str]
    answer: str
    reasoning: str


@dataclass(frozen=True)
class Phrase:
    """A referring expression for one defect of a scene (index into `scene.defects`)."""

    text: str
    defect: int


def describe(scene: Scene) -> str:
    """The observation a reasoning starts with: what is wrong and where, or that nothing is."""
    material = category_of(scene.category).material
    if not scene.defects:
        return f"The {material} looks regular and nothing is out of place."
    parts = [f"a {d.size} {d.type} at the {d.location}" for d in scene.defects]
    return f"On the {material} there is {' and '.join(parts)}."


def anomaly_reasoning(scene: Scene) -> str:
    """Reference reasoning for a yes/no question."""
    ending = "So there is a defect." if scene.defects else "So there is no defect."
    return f"{describe(scene)} {ending}"


def phrases(scene: Scene) -> list[Phrase]:
    """Referring expressions in RefCOCO's manner, each true of exactly one defect of the scene."""
    found: list[Phrase] = []
    for index, defect in enumerate(scene.defects):
        others = [d for i, d in enumerate(scene.defects) if i != index]
        if all(d.type != defect.type for d in others):
            found.append(Phrase(f"the {defect.type}", index))
        if all((d.type, d.location) != (defect.type, defect.location) for d in others):
            found.append(Phrase(f"the {defect.size} {defect.type} at the {defect.location}", index))
        if all(d.location != defect.location for d in others):
            found.append(Phrase(f"the defect at the {defect.location}", index))
    return found


def phrase_reasoning(scene: Scene, phrase: Phrase) -> str:
    """Reference reasoning for a grounding question."""
    defect = scene.defects[phrase.defect]
    return f"There is a {defect.size} {defect.type} at the {defect.location}."


def questions(scene: Scene) -> list[Question]:
    """MMAD's questions for a scene.

    A defective scene gets detection and the four defect questions about its largest defect; a normal one detection,
    one object classification and three object-analysis questions (formats section 1.5).
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([scene.seed, len(scene.defects), 7])))
    asked = [_detection(scene)]
    if scene.defects:
        main = max(scene.defects, key=lambda d: int(d.mask.sum()))
        asked += [
            _classification(scene, main, rng),
            _localization(scene, main, rng),
            _description(scene, main, rng),
            _analysis(scene, main, rng),
        ]
    else:
        asked += [_object_class(scene, rng), *_object_questions(scene, rng)]
    return asked


def _letters(right: str, wrong: Sequence[str], rng: np.random.Generator) -> tuple[dict[str, str], str]:
    texts = [right, *wrong]
    order = rng.permutation(len(texts))
    options = {chr(ord("A") + place): texts[index] for place, index in enumerate(order)}
    return options, next(letter for letter, text in options.items() if text == right)


def _pick(rng: np.random.Generator, pool: Sequence[str], count: int, *, without: Sequence[str]) -> list[str]:
    rest = [item for item in dict.fromkeys(pool) if item not in without]
    return [rest[i] for i in rng.permutation(len(rest))[:count]]


def _choice(
    kind: str, text: str, right: str, wrong: Sequence[str], rng: np.random.Generator, *, because: str
) -> Question:
    options, letter = _letters(right, wrong, rng)
    return Question(kind, text, options, letter, f"{because} {name_option(options, letter)}")


def name_option(options: Mapping[str, str], answer: str) -> str:
    """The end of a reasoning: the right option's text beside its letter, and the answer."""
    return f"This is {options[answer]} ({answer}). So the answer is {answer}."


def _family(colour: str) -> str:
    """The basic colour of a colour word; words of one family are never options beside each other's truth."""
    basic = colour.rpartition(" ")[2]
    return _LOOK_ALIKE.get(basic, basic)


def _detection(scene: Scene) -> Question:
    letter = "A" if scene.defects else "B"
    return Question(
        "Anomaly Detection",
        "Is there any defect in the object?",
        {"A": "Yes.", "B": "No."},
        letter,
        f"{describe(scene)} So the answer is {letter}.",
    )


def _classification(scene: Scene, main: SceneDefect, rng: np.random.Generator) -> Question:
    present = [d.type for d in scene.defects]
    wrong = _pick(rng, applicable_defects(scene.category), 3, without=present)
    wrong += _pick(rng, DEFECT_TYPES, 3 - len(wrong), without=[*present, *wrong])
    return _choice(
        "Defect Classification",
        "There is a defect in the object. What is the type of the defect?",
        main.type,
        wrong,
        rng,
        because=describe(scene),
    )


def _localization(scene: Scene, main: SceneDefect, rng: np.random.Generator) -> Question:
    wrong = _pick(rng, LOCATIONS, 3, without=[d.location for d in scene.defects])
    return _choice(
        "Defect Localization",
        "There is a defect in the object. Where is the defect?",
        main.location,
        wrong,
        rng,
        because=describe(scene),
    )


def _description(scene: Scene, main: SceneDefect, rng: np.random.Generator) -> Question:
    present = [d.type for d in scene.defects]
    right = f"a {main.size} {main.colour} {main.type}"
    types = _pick(rng, applicable_defects(scene.category), 2, without=present)
    twins = [d for d in scene.defects if d.type == main.type]
    other_size = _pick(rng, _SIZES, 1, without=[main.size])[0]
    other_colour = _pick(rng, _DEFECT_COLOURS, 1, without=[d.colour for d in twins])[0]
    wrong = [
        f"a {main.size} {main.colour} {types[0]}",
        f"a {other_size} {main.colour} {types[1]}",
        f"a {other_size} {other_colour} {main.type}",
    ]
    return _choice(
        "Defect Description",
        "There is a defect in the object. What does the defect look like?",
        right,
        wrong,
        rng,
        because=f"{describe(scene)} It is {main.colour}.",
    )


def _analysis(scene: Scene, main: SceneDefect, rng: np.random.Generator) -> Question:
    wrong = _pick(rng, DEFECT_TYPES, 3, without=[d.type for d in scene.defects])
    return _choice(
        "Defect Analysis",
        "There is a defect in the object. What is the effect of the defect?",
        EFFECTS[main.type],
        [EFFECTS[kind] for kind in wrong],
        rng,
        because=describe(scene),
    )


def _peers(scene: Scene) -> list[Category]:
    """The categories that wrong options are taken from; in a training set no held-out one is ever named."""
    main = list(CATEGORIES.values())
    if category_of(scene.category).pool == "main" and not scene.varied:
        return main
    return [category for category in (*main, *TRAINING_CATEGORIES.values()) if not category.held_out]


def _object_class(scene: Scene, rng: np.random.Generator) -> Question:
    category = category_of(scene.category)
    pool = [other.title for other in _peers(scene)]
    return _choice(
        "Object Classification",
        "What kind of product is in the image?",
        category.title,
        _pick(rng, pool, 3, without=[category.title]),
        rng,
        because=f"The image shows a {category.title}.",
    )


def _object_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    category = category_of(scene.category)
    others = [other for other in _peers(scene) if other.name != category.name]
    materials = (*_MATERIALS, *(other.material for other in others if other.pool == "training"))
    seen = f"The image shows a {category.title}."
    return [
        _choice(
            "Object Analysis",
            "What is the object for?",
            category.function,
            _pick(rng, [other.function for other in others], 3, without=[category.function]),
            rng,
            because=seen,
        ),
        _choice(
            "Object Structure",
            "What is the object made of?",
            category.material,
            _pick(rng, materials, 3, without=[category.material]),
            rng,
            because=f"The image shows {category.material}.",
        ),
        _choice(
            "Object Details",
            "What is the main colour of the object?",
            scene.colour,
            _pick(rng, [c for c in _COLOURS if _family(c) != _family(scene.colour)], 3, without=[]),
            rng,
            because=f"The object is {scene.colour}.",
        ),
    ]
