"""`iadr1 doctor`: what is installed, how the commands would run here, and whether the model's boxes can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import iadr1
from iadr1.config import DoctorConfig, VerdictConfig
from iadr1.errors import UsageError
from iadr1.masks import check_segmenter
from iadr1.models import Engine, resolve_model
from iadr1.stages.doctor import hub
from iadr1.stages.doctor.engine import Served, answer_row, grounding_row, load, probability_row, served_row
from iadr1.stages.doctor.folder import folder_rows
from iadr1.stages.doctor.grounding import LEAST_SCENES, Grounding
from iadr1.stages.doctor.machine import driver_cards, machine_rows
from iadr1.stages.doctor.packages import package_rows
from iadr1.stages.doctor.rows import GROUPS, Row, attempt
from iadr1.stages.doctor.running import running_rows, segmenter_row
from iadr1.stages.inspection.setup import check_config

__all__ = ["Report", "Row", "run"]

_NEEDED = {"local": ("model", "masks", "train"), "server": ("eval",)}
"""Engine -> extras without which it, or one of the four commands, does not run."""


@dataclass(frozen=True)
class Report:
    """Everything the doctor found.

    Attributes:
        rows: In the order they were looked at.
        grounding: The figures of the self-test; None where there was none.
    """

    rows: list[Row] = field(default_factory=list)
    grounding: Grounding | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing that was asked for fails."""
        return not any(row.state == "fail" for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        found = self.grounding
        figures = None if found is None else {**asdict(found), "means": found.means}
        return {
            "iadr1": iadr1.__version__,
            "ok": self.ok,
            "rows": [asdict(row) for row in self.rows],
            "grounding": figures,
        }


def run(config: DoctorConfig, *, progress: Callable[[str], None] | None = None, engine: Engine | None = None) -> Report:
    """Look at everything; nothing is written, downloaded or changed.

    Args:
        config: What to look at.
        progress: Called with what is looked at next.
        engine: A loaded engine instead of the one `config` names.

    Raises:
        UsageError: A setting that cannot be. What is missing on this machine is a row, not an error.
    """
    check_config(config, engine_given=engine is not None, computes=True)
    segmenter = config.segmenter or VerdictConfig.segmenter
    check_segmenter(segmenter)
    if config.scenes != 0 and config.scenes < LEAST_SCENES:
        raise UsageError(
            f"scenes is {config.scenes}: fewer than {LEAST_SCENES} cannot tell a space from chance",
            hint="--scenes 0 leaves the self-test out",
        )
    tell = progress or _quiet
    tell("packages")
    needed = (*_NEEDED.get(config.engine, ()), *(("masks",) if config.segmenter else ()))
    rows = package_rows(needed, card=bool(driver_cards()))
    tell("machine")
    rows += [*machine_rows(), *hub.hub_rows()]
    tell("model")
    before = _before_loading(config) if engine is None else []
    rows += before
    tell("segmenter")
    asked = config.segmenter is not None or config.engine == "local"
    rows.append(segmenter_row(segmenter, device=config.device, asked=asked))
    if any(row.state == "fail" for row in before) or any(row.name == "model" for row in before):
        rows.append(Row("engine", "model", "skip", "not loaded, see above"))
        return Report(_grouped(rows))
    tell("engine")
    more, grounding = _at_work(config, engine, tell)
    return Report(_grouped([*rows, *more]), grounding)


def _grouped(rows: list[Row]) -> list[Row]:
    """The rows in the order of their groups; within a group as they were looked at."""
    return sorted(rows, key=lambda row: GROUPS.index(row.group))


def _quiet(name: str) -> None:
    """Nobody watches."""


def _before_loading(config: DoctorConfig) -> list[Row]:
    """The model's files and how it would run; a row `model` where there is nothing to be loaded."""
    if config.engine not in ("local", "vllm"):
        return []
    place: list[Path | None] = []

    def find() -> Row:
        found = resolve_model(config.model)
        folder = found if isinstance(found, Path) else hub.cached_folder(found)
        place.append(folder)
        if folder is None:
            return hub.absent("model", "model", config.model)
        return Row("model", "place", "ok", f"{config.model} in {folder}")

    row = attempt("model", "model", find)
    folder = place[0] if place else None
    rows = [row, *(folder_rows(folder) if folder is not None else [])]
    return [*rows, *running_rows(config)] if config.engine == "local" else rows


def _at_work(
    config: DoctorConfig, engine: Engine | None, tell: Callable[[str], None]
) -> tuple[list[Row], Grounding | None]:
    """The engine loaded, asked, and tested."""
    rows: list[Row] = []
    if engine is None:
        engine, row = load(config)
        rows.append(row)
    if engine is None:
        return rows, None
    if isinstance(engine, Served):
        rows.append(served_row(config, engine.served))
    if engine.name != "replay":
        rows.append(answer_row(engine))
        if rows[-1].state == "fail":
            return rows, None
        rows.append(probability_row(engine))
    if not config.scenes:
        return rows, None
    tell("boxes")
    row, grounding = grounding_row(engine, config)
    return [*rows, row], grounding
