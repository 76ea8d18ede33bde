"""The few-shot set of AnomalyR1 section 3.5: few images, chosen to cover everything, one question for each."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from iadr1.datasets.mmad import FOLDED
from iadr1.errors import DataError
from iadr1.records import Sample

NORMAL = "good"


@dataclass(frozen=True)
class _Photo:
    """One image with all questions about it."""

    questions: tuple[Sample, ...]

    @property
    def normal(self) -> bool:
        return self.questions[0].is_anomalous is False

    @property
    def stratum(self) -> tuple[str, str, str]:
        """Data set, category, defect type."""
        first = self.questions[0]
        kinds = sorted({defect.type for defect in first.defects})
        return first.dataset, first.category, NORMAL if self.normal else ", ".join(kinds)


def select(samples: Iterable[Sample], *, images: int, seed: int = 0, held_out: bool = False) -> list[Sample]:
    """Choose `images` images and one question for each, sorted by id.

    Half of the images are normal (one less where the number is odd; the other half fills up where one is short).
    Within a half, data sets take turns, within a data set its categories, within a category its defect types. The
    questions rotate over MMAD's subtasks, separately for the halves, so that "is there a defect" is balanced.

    Args:
        samples: Multiple-choice samples; those that share an image belong together.
        images: How many images.
        seed: Decides among equals; the same samples and seed give the same set.
        held_out: Whether held-out categories may be chosen.

    Raises:
        DataError: There are fewer images.
    """
    rng = random.Random(seed)
    photos = _photos(sample for sample in samples if sample.task == "choice" and (held_out or not sample.held_out))
    if len(photos) < images:
        raise DataError(
            f"{images} images asked for, the samples have {len(photos)}", hint="ask for fewer, or give more samples"
        )
    halves = {normal: _spread([p for p in photos if p.normal is normal], rng) for normal in (True, False)}
    normals = min(len(halves[True]), max(images // 2, images - len(halves[False])))
    chosen = [*halves[True][:normals], *halves[False][: images - normals]]
    return sorted(_one_question_each(chosen, rng), key=lambda sample: sample.id)


def _photos(samples: Iterable[Sample]) -> list[_Photo]:
    groups: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[(sample.dataset, sample.image)].append(sample)
    return [_Photo(tuple(groups[key])) for key in sorted(groups)]


def _spread(photos: Sequence[_Photo], rng: random.Random, *, level: int = 0) -> list[_Photo]:
    """The photos in an order whose every beginning covers the strata as evenly as can be."""
    if level == 3:
        return rng.sample(list(photos), len(photos))
    groups: defaultdict[str, list[_Photo]] = defaultdict(list)
    for photo in photos:
        groups[photo.stratum[level]].append(photo)
    names = rng.sample(sorted(groups), len(groups))
    queues = [_spread(groups[name], rng, level=level + 1) for name in names]
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def _one_question_each(photos: Sequence[_Photo], rng: random.Random) -> list[Sample]:
    used: Counter[tuple[bool, str]] = Counter()
    chosen = []
    for photo in photos:
        questions = rng.sample(photo.questions, len(photo.questions))
        # The subtask first, then the raw type, so that a folded subtask is not asked thrice as often.
        best = min(
            questions,
            key=lambda q: (used[photo.normal, subtask(q)], used[photo.normal, f"raw {q.question_type}"]),
        )
        used[photo.normal, subtask(best)] += 1
        used[photo.normal, f"raw {best.question_type}"] += 1
        chosen.append(best)
    return chosen


def subtask(sample: Sample) -> str:
    """The MMAD subtask a question is reported under."""
    return FOLDED.get(sample.question_type, sample.question_type)


def leak_manifest(samples: Sequence[Sample], sha256: Mapping[str, str]) -> str:
    """The JSON list of the images a few-shot set holds, so that an evaluation's images can be compared with them.

    It is a record for the user: no command reads it.

    Args:
        samples: The few-shot set.
        sha256: Image path -> SHA-256 of the file.
    """
    images = {sample.image: sha256[sample.image] for sample in sorted(samples, key=lambda sample: sample.image)}
    return json.dumps({"images": images}, indent=1, ensure_ascii=False) + "\n"
