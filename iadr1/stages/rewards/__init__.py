"""`iadr1 rewards`: the table of rewards, and what a reward gives for completions in a file, before training on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iadr1.atomic import write_text_atomic
from iadr1.errors import DataError, UsageError
from iadr1.rewards import GROUPS, TABLE, RewardInfo, WeightedReward, checked, resolve_reward
from iadr1.rewards.classical import accuracy
from iadr1.rewards.grounding import grounding_hard
from iadr1.stages.rewards.lines import Case, read_cases
from iadr1.stages.rewards.summary import Bar, Scored, Strange, histogram, strangest

__all__ = ["Bar", "Scored", "Strange", "Trial", "known", "try_reward"]


@dataclass(frozen=True)
class Trial:
    """What a reward gave for a file of completions.

    Attributes:
        lines: The output: each line's object with `reward`, and `rewards` where there are several.
        rows: One for each line.
        bars: The histogram of the rewards.
        strange: The rows worth a look.
        means: Mean of each reward over the lines it applies to, before its weight.
    """

    lines: tuple[str, ...]
    rows: tuple[Scored, ...]
    bars: tuple[Bar, ...]
    strange: tuple[Strange, ...]
    means: dict[str, float]


def known() -> tuple[dict[str, RewardInfo], dict[str, tuple[str, ...]]]:
    """The table of rewards, and the names that stand for several of them."""
    return dict(TABLE), dict(GROUPS)


def try_reward(text: str, path: Path, *, out: Path | None = None) -> Trial:
    """Score every completion of a JSONL file (see `lines`).

    Args:
        text: What `--reward` takes.
        path: The file.
        out: Where the output lines are written, if anywhere.

    Raises:
        DataError: A line cannot be used, or there is none.
        UsageError: Unknown reward, a reward that gives no number, or `out` is the file itself.
        OutputError: `out` cannot be written.
    """
    if out is not None and out.resolve() == path.resolve():
        raise UsageError(f"--out {out} is the file that is read", hint="name another file")
    rewards = resolve_reward(text)
    lines, rows = [], []
    columns: dict[str, list[float]] = {name: [] for name, _, _ in rewards}
    for case in read_cases(path):
        values = {
            name: checked(name, function(case.answer, case.sample), f"{path}:{case.number}")
            for name, function, _ in rewards
        }
        for name, value in values.items():
            columns[name] += [] if value is None else [value]
        total = _total(values, rewards)
        lines.append(_output(case, total, values))
        rows.append(Scored(case.number, total, case.answer.status, _is_right(case), case.answer.text))
    if not rows:
        raise DataError("the file holds no line", where=str(path))
    if out is not None:
        write_text_atomic(out, "".join(f"{line}\n" for line in lines))
    bars = histogram([row.value for row in rows if row.value is not None])
    means = {name: sum(column) / len(column) for name, column in columns.items() if column}
    return Trial(tuple(lines), tuple(rows), tuple(bars), tuple(strangest(rows)), means)


def _total(values: Mapping[str, float | None], rewards: Sequence[WeightedReward]) -> float | None:
    """The weighted sum of the rewards that apply; None where none does."""
    parts = [weight * value for name, _, weight in rewards if (value := values[name]) is not None]
    return sum(parts) if parts else None


def _output(case: Case, total: float | None, values: Mapping[str, float | None]) -> str:
    row = {**case.row, "reward": total}
    if len(values) > 1:
        row["rewards"] = dict(values)
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # JSON can spell half a surrogate pair, which no UTF-8 file can hold
        return json.dumps(row)
    return line


def _is_right(case: Case) -> bool | None:
    """Whether the answer is the true one: letter, verdict, or boxes that all meet the truth with IoU above 0.5."""
    of_boxes = case.fmt in ("boxes", "grounding")
    value = (grounding_hard if of_boxes else accuracy)(case.answer, case.sample)
    return None if value is None else value == 1.0
