"""From yes/no samples to multiple choice in MMAD's manner (Jiang et al., ICLR 2025; AnomalyR1 sections 3.5 and 4.6).

What a set of defect masks says of an image (product, defect types, boxes) becomes up to four questions under the names
of MMAD's subtasks. Wrong options are the set's own words and never true of the image as well.
"""

from __future__ import annotations

import hashlib
import math
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from iadr1.datasets.layout import words
from iadr1.errors import DataError
from iadr1.geometry import LOCATIONS, Box, Size, box_area, location_word
from iadr1.records import Sample

UNSPECIFIC = frozenset(
    {"abnormal", "anomaly", "anomalous", "bad", "combined", "defect", "defective", "ko", "ng", "other", "unknown"}
)
"""Defect types that do not tell one defect from another: neither asked for nor offered."""

_WRONG_OPTIONS = 3


@dataclass(frozen=True)
class Vocabulary:
    """The words wrong options are drawn from.

    Attributes:
        types: Data set -> category -> its defect types in words, without `UNSPECIFIC` ones; categories without any
            are there as well. All in sorted order.
    """

    types: Mapping[str, Mapping[str, tuple[str, ...]]]

    @classmethod
    def collect(cls, entries: Iterable[tuple[str, str, Iterable[str]]]) -> Vocabulary:
        """The vocabulary of what was seen: data set, category, and defect types, in any order and number."""
        seen: dict[str, dict[str, set[str]]] = {}
        for dataset, category, types in entries:
            known = seen.setdefault(dataset, {}).setdefault(category, set())
            known.update(kind for kind in types if kind.lower() not in UNSPECIFIC)
        return cls(
            {
                dataset: {category: tuple(sorted(found)) for category, found in sorted(categories.items())}
                for dataset, categories in sorted(seen.items())
            }
        )

    def products(self, dataset: str) -> list[str]:
        """The products of a data set, each once."""
        return sorted({name for category in self.types.get(dataset, {}) if (name := product(category))})

    def own_types(self, dataset: str, category: str) -> list[str]:
        """The defect types of a category."""
        return list(self.types.get(dataset, {}).get(category, ()))

    def all_types(self, dataset: str) -> list[str]:
        """The defect types of all categories of a data set, each once."""
        return sorted({kind for types in self.types.get(dataset, {}).values() for kind in types})


def vocabulary(samples: Iterable[Sample]) -> Vocabulary:
    """The words of samples, kept apart by data set; only words are kept, so the samples may be streamed."""
    return Vocabulary.collect(
        (sample.dataset, sample.category, [defect.type for defect in sample.defects]) for sample in samples
    )


def product(category: str) -> str:
    """A category in words, without the number that tells variants apart: `pcb1` -> `pcb`, `metal_nut` -> `metal nut`.

    Empty where the category is a number only.
    """
    return re.sub(r"[\d ]+$", "", words(category))


@dataclass(frozen=True)
class _Question:
    subtask: str
    text: str
    right: str
    wrong: tuple[str, ...]


def multiple_choice(sample: Sample, vocabulary: Vocabulary, *, seed: int) -> list[Sample]:
    """The questions about one image, from its yes/no sample; `id` is `<the sample's id>#<number>`.

    Every image is asked for a defect (options "Yes." and "No.", as MMAD shows them) and for its product; a defective
    one also for the type of its largest defect and for the 3x3 region of that. Where other options are offered, up to
    three wrong ones are drawn and all are shuffled by `seed` and the image's path alone: other samples change nothing
    as long as they bring no new words. Wrong types are the category's own first.

    Left out are questions that have no wrong option (a set of one product, a defect all over the image) or no single
    truth: the type where one of the defects is `UNSPECIFIC`, the place where one has no box or the image's size is
    not known.

    Args:
        sample: With `task="anomaly"`; its defects as the set's reader gives them.
        vocabulary: Of the whole set.
        seed: Decides the draw.

    Raises:
        DataError: The sample is no yes/no sample.
    """
    if sample.task != "anomaly":
        raise DataError(f"not a yes/no sample: its task is {sample.task!r}", where=sample.id)
    rng = _stream(seed, sample.image)
    questions = [_object(sample, vocabulary, rng)]
    if sample.answer == "Yes":
        questions += [*_type(sample, vocabulary, rng), *_place(sample, rng)]
    asked = [_detection(sample), *(_shuffled(question, rng) for question in questions if question.wrong)]
    return [
        sample.model_copy(
            update={
                "id": f"{sample.id}#{number}",
                "task": "choice",
                "question": question.text,
                "options": options,
                "answer": answer,
                "question_type": question.subtask,
                # It was written for another question.
                "reasoning": None,
                "reasoning_source": None,
            }
        )
        for number, (question, options, answer) in enumerate(asked)
    ]


def _stream(seed: int, path: str) -> np.random.Generator:
    """Random numbers of one image: adding or removing others changes none of its questions."""
    digest = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "big")))


def _pick(rng: np.random.Generator, pool: Sequence[str], count: int) -> list[str]:
    return [pool[index] for index in rng.permutation(len(pool))[:count]]


def _shuffled(question: _Question, rng: np.random.Generator) -> tuple[_Question, dict[str, str], str]:
    texts = _pick(rng, (question.right, *question.wrong), len(question.wrong) + 1)
    options = dict(zip(string.ascii_uppercase, texts, strict=False))
    return question, options, string.ascii_uppercase[texts.index(question.right)]


def _detection(sample: Sample) -> tuple[_Question, dict[str, str], str]:
    question = _Question("Anomaly Detection", "Is there any defect in the object?", "", ())
    return question, {"A": "Yes.", "B": "No."}, "A" if sample.answer == "Yes" else "B"


def _object(sample: Sample, vocabulary: Vocabulary, rng: np.random.Generator) -> _Question:
    right = product(sample.category)
    pool = [name for name in vocabulary.products(sample.dataset) if not _may_both_hold(name, {right})]
    wrong = _pick(rng, pool, _WRONG_OPTIONS)
    return _Question("Object Classification", "What kind of product is in the image?", right, tuple(wrong))


def _type(sample: Sample, vocabulary: Vocabulary, rng: np.random.Generator) -> Iterator[_Question]:
    """The question for the largest defect's type; none where a defect's type says nothing."""
    true = {defect.type for defect in sample.defects}
    if not true or any(kind.lower() in UNSPECIFIC for kind in true):
        return
    right = max(sample.defects, key=lambda defect: box_area(defect.box) if defect.box else 0.0).type
    own = [kind for kind in vocabulary.own_types(sample.dataset, sample.category) if not _may_both_hold(kind, true)]
    rest = [kind for kind in vocabulary.all_types(sample.dataset) if kind not in own and not _may_both_hold(kind, true)]
    wrong = _pick(rng, own, _WRONG_OPTIONS)
    wrong += _pick(rng, rest, _WRONG_OPTIONS - len(wrong))
    text = "There is a defect in the object. What is the type of the defect?"
    yield _Question("Defect Classification", text, right, tuple(wrong))


def _place(sample: Sample, rng: np.random.Generator) -> Iterator[_Question]:
    """The question for the largest defect's place; none where a place is unknown."""
    boxes = [defect.box for defect in sample.defects if defect.box is not None]
    if sample.image_size is None or not boxes or len(boxes) < len(sample.defects):
        return
    right = location_word(max(boxes, key=box_area), sample.image_size)
    touched = {word for box in boxes for word in _touched(box, sample.image_size)}
    wrong = _pick(rng, [word for word in LOCATIONS if word not in touched], _WRONG_OPTIONS)
    text = "There is a defect in the object. Where is the defect?"
    yield _Question("Defect Localization", text, right, tuple(wrong))


def _touched(box: Box, size: Size) -> Iterator[str]:
    """The 3x3 regions a box reaches into."""
    for row in range(int(3 * box[1] / size[1]), math.ceil(3 * box[3] / size[1])):
        for column in range(int(3 * box[0] / size[0]), math.ceil(3 * box[2] / size[0])):
            yield LOCATIONS[3 * row + column]


def _may_both_hold(word: str, true: Iterable[str]) -> bool:
    """Whether a word may be true beside others: the words of one are among the other's (`scratch`, `scratch head`).

    Beside an empty one everything may be true.
    """
    parts = set(word.lower().split())
    return any(parts <= set(other.lower().split()) or parts >= set(other.lower().split()) for other in true)
