"""`completions/`: every answer of a GRPO run with what each reward gave it, one parquet file for each step.

TRL gathers the answers and advantages of all processes in any case; its own table (`log_completions`) is not used,
since it also prints every step, keeps no parse status and breaks on processes without images. What the rewards know of
an answer goes through its public `log_extra`.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, MissingExtraError, OutputError
from iadr1.reports.completions import ScoredAnswer
from iadr1.rewards import WeightedReward
from iadr1.stages.grpo.scoring import ROWS

try:
    pa: Any = importlib.import_module("pyarrow")
    pq: Any = importlib.import_module("pyarrow.parquet")
except ModuleNotFoundError as error:
    raise MissingExtraError("pyarrow", "train", purpose="reading and writing completions/") from error

FOLDER = "completions"
REWARD = "rewards/"
"""What the column of each reward begins with."""
_META = b"iadr1"


class AnswerLog:
    """Writes the answers of each step to `OUT/completions/step-00001.parquet`, whole or not at all.

    A file holds the columns `step`, `group` (answers to one prompt, from 0), `sample_id`, `image`, `prompt`,
    `completion`, `truth`, `rewards/NAME` (null where a reward does not apply), `reward` (their weighted sum),
    `advantage`, `parse`, `parse_reason` and `tokens`. It takes 10 to 40 kB for 64 answers.

    Args:
        out: The run's folder.
        rewards: The run's rewards with their weights.
        generations: Answers in a group.
    """

    def __init__(self, out: Path, rewards: Sequence[WeightedReward], *, generations: int) -> None:
        self._folder, self._generations = out / FOLDER, generations
        self._weights = {name: weight for name, _, weight in rewards}
        self._written = 0

    def rewind(self, step: int) -> None:
        """Drop the files of steps after `step`: they are done again.

        Raises:
            OutputError: One cannot be removed.
        """
        for number, path in step_files(self._folder).items():
            if number > step:
                try:
                    path.unlink()
                except OSError as error:
                    raise OutputError(f"cannot remove: {error.strerror}", where=str(path)) from error

    def write(self, logs: Mapping[str, Any]) -> None:
        """Write the answers drawn last, once; where a step went over earlier answers again there is nothing to do.

        Args:
            logs: What TRL's trainer has gathered over all processes since the last answers were drawn (`_logs`):
                `prompt`, `completion`, `advantages`, and under `extra` the `ScoredRow`s.

        Raises:
            OutputError: The file cannot be written.
        """
        rows = list(logs["extra"][ROWS])
        if not rows or rows[0].step == self._written:
            return
        rewards = list(zip(*(row.rewards for row in rows), strict=True))
        columns: dict[str, Any] = {
            "step": pa.array([row.step for row in rows], pa.int32()),
            "group": pa.array([number // self._generations for number in range(len(rows))], pa.int32()),
            "sample_id": [_text(row.sample_id) for row in rows],
            "image": [_text(row.image) for row in rows],
            "prompt": [_text(_shown(turns)) for turns in logs["prompt"]],
            "completion": [_text(_shown(turns)) for turns in logs["completion"]],
            "truth": [_text(row.truth) for row in rows],
            **{
                REWARD + name: pa.array(values, pa.float64())
                for name, values in zip(self._weights, rewards, strict=True)
            },
            "reward": [self._weighted(row.rewards) for row in rows],
            "advantage": pa.array(list(logs["advantages"]), pa.float64()),
            "parse": [row.parse for row in rows],
            "parse_reason": [_text(row.reason) for row in rows],
            "tokens": pa.array([row.tokens for row in rows], pa.int32()),
        }
        meta = {_META: json.dumps({"weights": self._weights, "generations": self._generations})}
        self._replace(step_file(self._folder, rows[0].step), pa.table(columns).replace_schema_metadata(meta))
        self._written = rows[0].step

    def _weighted(self, values: Sequence[float | None]) -> float:
        weighted = zip(values, self._weights.values(), strict=True)
        return sum(weight * value for value, weight in weighted if value is not None)

    def _replace(self, path: Path, table: Any) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                pq.write_table(table, temporary, compression="zstd")
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write: {error.strerror or error}", where=str(path), hint="completions=false writes none"
            ) from error


def step_file(folder: Path, step: int) -> Path:
    """Where the answers of a step are."""
    return folder / f"step-{step:05d}.parquet"


def step_files(folder: Path) -> dict[int, Path]:
    """Step -> file, in order; empty where there is none."""
    found = {path.stem.removeprefix("step-"): path for path in folder.glob("step-*.parquet")}
    return dict(sorted((int(number), path) for number, path in found.items() if number.isdecimal()))


def read_answers(path: Path) -> tuple[dict[str, float], list[ScoredAnswer]]:
    """The weight of each reward, and the answers of one step, in the order they were drawn.

    Raises:
        DataError: It is not a file of a run's `completions/`.
    """
    try:
        table = pq.read_table(path)
        weights: dict[str, float] = json.loads((table.schema.metadata or {})[_META])["weights"]
        return weights, [_answer(row, weights) for row in table.to_pylist()]
    except (OSError, KeyError, ValueError) as error:  # ValueError: pyarrow's own errors, and JSON's
        raise DataError(f"not the answers of a step: {error}", where=str(path)) from error


def _answer(row: dict[str, Any], weights: Mapping[str, float]) -> ScoredAnswer:
    rewards = {name: row.pop(REWARD + name) for name in weights}
    return ScoredAnswer(**row, rewards=rewards)


def _shown(turns: Any) -> str:
    """The text of chat turns; an image inside them becomes `[image]`."""
    parts: list[str] = []
    for turn in turns:
        content = turn["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts += [block["text"] if block["type"] == "text" else f"[{block['type']}]" for block in blocks]
    return "\n".join(parts)


def _text(text: str) -> str:
    """The text without half surrogate pairs, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
