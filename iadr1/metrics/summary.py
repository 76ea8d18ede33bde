"""All figures of one multiple-choice run, as `metrics.json` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iadr1.metrics import bootstrap, choice
from iadr1.metrics.counts import ChoiceRow, count
from iadr1.metrics.mmad import AnswerRecord, compat_scores


def summarise(rows: Sequence[ChoiceRow], *, seed: int, records: Sequence[AnswerRecord] | None = None) -> dict[str, Any]:
    """Every figure of a run, in percent.

    Args:
        rows: The answered questions, at least one, in the benchmark's order (`mmad_compat` depends on it).
        seed: Seed of the bootstrap intervals.
        records: What an answers file holds, for `mmad_compat`; by default the rows as the script would see them.

    Returns:
        `questions`, `images`, `parse_rate`; the tables `strict` (unparsed is wrong), `parsed` (unparsed is left out)
        and `mmad_compat` (the published script's); `detection` (precision, recall, F1), `interval_95` of `strict`,
        `per_category` and `counts`.
    """
    counts = count(rows)
    if records is None:
        records = [AnswerRecord(row.dataset, row.subtask, row.truth, row.letter, row.image) for row in rows]
    return {
        "questions": len(rows),
        "images": len(counts.images),
        "parse_rate": 100.0 * float(counts.parsed.sum() / counts.asked.sum()),
        "strict": choice.table(counts),
        "parsed": choice.table(counts, parsed_only=True),
        "mmad_compat": compat_scores(records),
        "detection": choice.detection(counts),
        "interval_95": bootstrap.intervals(counts, seed=seed),
        "per_category": choice.by_category(counts),
        "counts": choice.tallies(counts),
    }
