"""What MMAD's own scoring script prints (`caculate_accuracy_mmad` in `helper/summary.py` of `jam-cc/MMAD`).

Its faults included, so that figures can be laid beside published ones:

- an answer that is not one of the letters A to E is removed from the list that is being walked, so it is not counted,
  and neither is the record after it;
- an image is normal where `good` occurs anywhere in its path, in this letter case;
- a question type that a dataset has no record of counts as 0 there, in its average and in the macro average.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from iadr1.metrics.counts import AVERAGE, DETECTION, MISS, OVERKILL

LETTERS = frozenset("ABCDE")
"""What the script takes for an answer."""

FOLDED = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
"""Question types that the script counts as another one."""


class AnswerRecord(NamedTuple):
    """One line of an answers file, as far as the script reads it.

    Attributes:
        dataset: The first part of the image's path.
        kind: Question type; those of `FOLDED` count as another.
        truth: What `correct_answer` holds.
        given: What `gpt_answer` holds; anything but a single letter A to E is unusable.
        image: Path of the image.
    """

    dataset: str
    kind: str
    truth: object
    given: object
    image: str


def compat_scores(records: Sequence[AnswerRecord]) -> dict[str, dict[str, float]]:
    """The script's table, in percent: dataset or `average` -> question type, `average`, `overkill` or `miss`.

    Args:
        records: In the order of the answers file: which record is skipped depends on it.
    """
    if not records:
        return {}
    datasets = list(dict.fromkeys(record.dataset for record in records))
    kinds = list(dict.fromkeys(_folded(record) for record in records))
    asked: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for record in counted(records):
        dataset, kind, hit = record.dataset, _folded(record), record.given == record.truth
        asked[dataset, kind] += 1
        right[dataset, kind] += hit
        if kind == DETECTION:
            state = OVERKILL if "good" in record.image else MISS
            asked[dataset, state] += 1
            right[dataset, state] += hit

    def accuracy(dataset: str, key: str) -> float:
        total = asked[dataset, key]
        return 100.0 * right[dataset, key] / total if total else 0.0

    table: dict[str, dict[str, float]] = {}
    for dataset in datasets:
        row = {kind: accuracy(dataset, kind) for kind in kinds}
        normal, anomalous = accuracy(dataset, OVERKILL), accuracy(dataset, MISS)
        if DETECTION in row:
            row[DETECTION] = (normal + anomalous) / 2
        average = sum(row.values()) / len(row)
        table[dataset] = {**row, AVERAGE: average, OVERKILL: 100.0 - normal, MISS: 100.0 - anomalous}
    columns = table[datasets[0]]
    table[AVERAGE] = {name: sum(row[name] for row in table.values()) / len(datasets) for name in columns}
    return table


def counted(records: Iterable[AnswerRecord]) -> Iterator[AnswerRecord]:
    """The records that the script counts: neither the unusable ones nor those its removal makes it jump over.

    Removing the record at hand moves all later ones one place forward, so the walk's next step goes past the one that
    follows. The script removes the first *equal* record, which lies at or before the one at hand: the same step.
    """
    skip = False
    for record in records:
        if skip:
            skip = False
        elif _usable(record.truth) and _usable(record.given):
            yield record
        else:
            skip = True


def _usable(answer: object) -> bool:
    return isinstance(answer, str) and answer in LETTERS


def _folded(record: AnswerRecord) -> str:
    return FOLDED.get(record.kind, record.kind)
