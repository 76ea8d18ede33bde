"""The run that predictions belong to: its `run.json`, and the folders of a run that was cut into shards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.provenance import RUN, read_run
from iadr1.stages.scoring.reading import Question
from iadr1.stages.scoring.selection import Shard, draw, read_shard, shard_folders, shard_images

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True)
class RunInfo:
    """What the `run.json` beside a predictions file says of the run.

    Attributes:
        path: The file, which need not be there.
        values: Its content.
    """

    path: Path
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def beside(cls, predictions: Path) -> RunInfo:
        """Of a predictions file; empty where there is none.

        Raises:
            DataError: It cannot be read, or holds no object.
        """
        return cls(predictions.with_name(RUN), read_run(predictions.parent) or {})

    def entry(self, name: str) -> Mapping[str, Any]:
        """One of its objects; empty where it has none of this name."""
        value = self.values.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def protocol(self) -> str | None:
        """Hash of the protocol that was asked under."""
        value = self.entry("protocol").get("hash")
        return value if isinstance(value, str) else None

    @property
    def definition(self) -> Mapping[str, Any]:
        """What decides an answer under this protocol, as `Protocol.definition` gives it; empty where not known."""
        value = self.entry("protocol").get("definition")
        return value if isinstance(value, dict) else {}

    @property
    def reading(self) -> str:
        """How the protocol reads answers, a key of `prompts.READINGS`; empty where this is not known."""
        value = self.definition.get("reading")
        return str(value["name"]) if isinstance(value, dict) and "name" in value else ""

    @property
    def data(self) -> tuple[Path, str] | None:
        """The samples file that was asked, the first of its data, and its SHA-256."""
        entries = list(self.entry("data").items())
        return (Path(entries[0][0]), str(entries[0][1])) if entries else None

    @property
    def shard(self) -> Shard | None:
        """The part of the questions that was asked; None for all.

        Raises:
            DataError: The run names a part that cannot be.
        """
        text = self.entry("config").get("shard")
        if text is None:
            return None
        try:
            return read_shard(str(text))
        except UsageError as error:
            raise DataError(error.message, where=str(self.path)) from error

    def whole(self, name: str, *, least: int) -> int | None:
        """A setting that is a whole number; None where it is not set.

        Raises:
            DataError: It is none, or below `least`.
        """
        value = self.entry("config").get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise DataError(f"its {name} is {value!r}, not a whole number from {least}", where=str(self.path))
        return value

    def price(self, name: str) -> float:
        """A price for a million tokens; 0 where it is not set.

        Raises:
            DataError: It is no number, or below 0.
        """
        value = self.entry("config").get(name)
        if value is None:
            return 0.0
        if not isinstance(value, int | float) or isinstance(value, bool) or not (math.isfinite(value) and value >= 0):
            raise DataError(f"its {name} is {value!r}, not a number from 0", where=str(self.path))
        return float(value)

    @property
    def conditions(self) -> Mapping[str, object]:
        """What must be equal for two shards to be of one run."""
        config = self.entry("config")
        return {
            "the protocol": self.protocol,
            "the model": self.values.get("model_fingerprint"),
            "the data": self.data[1] if self.data else None,
            "the leak manifest": self.entry("leaks").get("sha256"),
            "the domain knowledge": self.values.get("domain_knowledge"),
            "the score prompt": self.values.get("score_prompt"),
            "dtype": self.values.get("dtype", config.get("dtype")),
            **{name: config.get(name) for name in ("limit", "seed", "scoring")},
        }

    def asked(self, questions: Sequence[Question], *, whole: bool = False) -> list[Question]:
        """The questions that the run asked, in the file's order.

        They are all, or where the protocol asks the first of each image those; as many of them as the run's `limit`;
        and of these the ones about its shard's images.

        Args:
            questions: All of the samples file.
            whole: Those of all shards.

        Raises:
            DataError: The limit, its seed or the shard cannot be.
        """
        if self.definition.get("questions") == "first":
            first = {question.image: question for question in reversed(questions)}
            questions = [question for question in questions if first[question.image] is question]
        limit, seed = self.whole("limit", least=1), self.whole("seed", least=0)
        if limit is not None and seed is None:
            raise DataError("it names a limit without the seed of its draw", where=str(self.path))
        chosen = [questions[place] for place in draw(len(questions), limit, seed or 0)]
        if whole or self.shard is None:
            return chosen
        images = set(shard_images(list(dict.fromkeys(question.image for question in chosen)), self.shard))
        return [question for question in chosen if question.image in images]

    def wanted(self, questions: Sequence[Question]) -> dict[str, Question]:
        """Key of the prediction -> question: one for each question, or one for each rotation of its options."""
        if self.definition.get("option_order") != "circular":
            return {question.id: question for question in questions}
        return {
            f"{question.id}#{rotation}" if rotation else question.id: question
            for question in questions
            for rotation in range(max(1, len(question.options)))
        }


def find_parts(path: Path) -> tuple[list[Path], list[str]]:
    """The prediction files that a place holds, and the names of shards that are not there.

    Args:
        path: A predictions file, the folder it lies in, or a folder of shards `shard-I-of-N`.

    Raises:
        UsageError: The folder holds both, or shards of two runs, or nothing of either.
    """
    if not path.is_dir():
        return [path], []
    names = shard_folders(path)
    single = path / PREDICTIONS
    if not names:
        if not single.exists():
            _refuse_other_command(path)
        return [single], []
    if single.exists():
        raise UsageError(
            f"it holds {PREDICTIONS} and shards", where=str(path), hint=f"name {single}, or move it away to score both"
        )
    there = [name for name in names if (path / name / PREDICTIONS).is_file()]
    if not there:
        raise UsageError(f"none of its shards holds {PREDICTIONS}", where=str(path), hint="run 'iadr1 eval' first")
    return [path / name / PREDICTIONS for name in there], [name for name in names if name not in there]


_INSTEAD = {
    **dict.fromkeys(("detect", "watch"), "'iadr1 export' writes its detections.jsonl for other tools"),
    **dict.fromkeys(
        ("train", "ground", "sft", "pretrain"),
        "'iadr1 eval BENCHMARK --model {path}/model' asks its model",
    ),
}
"""Command -> what is done with its folder instead of scoring it."""


def _refuse_other_command(folder: Path) -> None:
    """Say of a folder without answers whose it is.

    Raises:
        UsageError: It is of another command.
    """
    command = RunInfo.beside(folder / PREDICTIONS).values.get("command")
    if isinstance(command, str) and command != "eval":
        hint = _INSTEAD.get(command, "score takes the folder of 'iadr1 eval'").format(path=folder)
        raise UsageError(f"the folder was made by 'iadr1 {command}' and holds no answers", where=str(folder), hint=hint)


def one_run(parts: Sequence[Path]) -> list[RunInfo]:
    """The `run.json` of each part.

    Raises:
        UsageError: They are of different runs, or a part is not the shard that its folder is named after.
    """
    runs = [RunInfo.beside(part) for part in parts]
    first = runs[0]
    for run in runs[1:]:
        for what, value in run.conditions.items():
            if value != first.conditions[what]:
                raise UsageError(
                    f"{first.path} is of {what} {first.conditions[what]}, {run.path} of {value}",
                    hint="shards of one run have the same settings; ask the odd one again",
                )
    for part, run in zip(parts, runs, strict=True):
        name = part.parent.name
        if len(parts) > 1 and (run.shard is None or run.shard.folder != name):
            raise UsageError(
                f"it is not the run of {name}: its shard is {run.entry('config').get('shard')}", where=str(run.path)
            )
    return runs
