"""`iadr1 completions RUN`: the answers of a training run as one HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from iadr1.errors import DataError, UsageError
from iadr1.records import resolve_root
from iadr1.reports.completions import ScoredAnswer, write_completions_page
from iadr1.stages.grpo.completions import FOLDER, read_answers, step_files

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ViewSummary:
    """What the page shows: the steps, of how many that there are, and how many prompts and answers."""

    out: Path
    steps: tuple[int, ...]
    of_steps: int
    groups: int
    answers: int


def run(
    folder: Path,
    *,
    steps: Sequence[int] = (),
    out: Path | None = None,
    root: Path | None = None,
    limit: int = 60,
    progress: Progress | None = None,
) -> ViewSummary:
    """Write the answers of a GRPO run as one self-contained HTML page.

    Args:
        folder: The run's folder.
        steps: The steps to show; where none is given, steps from the first to the last, evenly spread.
        out: The HTML file; `completions.html` in the run's folder where not given.
        root: The folder the image paths are relative to; that of the run's data where not given.
        limit: Prompts shown at most, where no steps are given; at least one step is shown.
        progress: Called after each prompt with a name, how many are done and how many there are.

    Raises:
        UsageError: No run, a run without answers, or a step that is not there.
        DataError: A file of the run is broken.
        OutputError: `out` cannot be written.
    """
    info = _read_run(folder)
    files = step_files(folder / FOLDER)
    if not files:
        hint = "the run was started with completions=false" if not info["config"].get("completions", True) else None
        raise UsageError("the run holds no answers", where=str(folder / FOLDER), hint=hint)
    if missing := [step for step in steps if step not in files]:
        known = f"{min(files)} to {max(files)}, {len(files)} in all"
        raise UsageError(f"no answers of step {missing[0]}", where=str(folder / FOLDER), hint=f"there are {known}")
    weights, first = read_answers(next(iter(files.values())))
    chosen = sorted(set(steps)) or _spread(list(files), max(1, limit // max(1, len(_groups(first)))))
    read = [_groups(read_answers(files[step])[1]) for step in chosen]
    groups = [group for step in read for group in step]
    target = out or folder / "completions.html"
    write_completions_page(
        target,
        groups,
        root=_root(info, root),
        info=_head(folder, info, weights, chosen, len(files)),
        on_card=lambda done: (progress or (lambda name, done, of: None))("drawing", done, len(groups)),
    )
    return ViewSummary(target, tuple(chosen), len(files), len(groups), sum(map(len, groups)))


def _read_run(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.is_file():
        raise UsageError("not the folder of a run (no run.json)", where=str(folder), hint="'iadr1 train' writes one")
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if info["command"] not in ("train", "ground"):
            raise UsageError(f"a run of 'iadr1 {info['command']}' has no answers", where=str(folder))
        info["config"]["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("not a run.json of iadr1", where=str(path)) from error
    return info


def _root(info: Mapping[str, Any], root: Path | None) -> Path:
    """Where the images are: as given, else as the run found them."""
    if root is not None:
        return root
    stored = info["config"].get("root")
    return resolve_root(Path(info["config"]["data"]), None if stored is None else Path(stored))


def _spread(steps: list[int], count: int) -> list[int]:
    """`count` of the steps from the first to the last, evenly; the last alone where only one is wanted."""
    if count >= len(steps):
        return steps
    if count == 1:
        return steps[-1:]
    return [steps[round(number * (len(steps) - 1) / (count - 1))] for number in range(count)]


def _groups(answers: Sequence[ScoredAnswer]) -> list[list[ScoredAnswer]]:
    return [list(group) for _, group in groupby(answers, key=lambda answer: answer.group)]


def _head(
    folder: Path, info: Mapping[str, Any], weights: Mapping[str, float], chosen: Sequence[int], of: int
) -> dict[str, str]:
    shown = ", ".join(map(str, chosen)) if len(chosen) <= 12 else f"{chosen[0]} to {chosen[-1]}, {len(chosen)} of them"
    return {
        "Run": str(folder),
        "Model": str(info["config"].get("model", "")),
        "Reward": " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in weights.items()),
        "Steps": f"{shown} (of {of})",
    }
