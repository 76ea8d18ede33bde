"""What is written down while a trainer works: a line a step, marks on whole checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from transformers import TrainerCallback

from iadr1.errors import ModelError
from iadr1.records import Record, RecordWriter
from iadr1.stages.training import processes
from iadr1.stages.training.folder import mark_checkpoint
from iadr1.stages.training.policy import fingerprint

E = TypeVar("E", bound=Record)
OnLog = Callable[[dict[str, float]], None]


class Recorder(TrainerCallback, Generic[E]):
    """Writes each step to `log.jsonl`, marks whole checkpoints, and guards the weights of a resumed run.

    Args:
        log: The file, appended to.
        config_hash: Written into the marks.
        entry: From a step's number and the trainer's figures to the line; None for figures that are no step.
        on_log: Called with each step's figures, flat.

    Attributes:
        steps: What was logged by this process.
        totals: Gives what is kept with a checkpoint, so that a run that goes on from it can go on adding up.
        expected: Fingerprint the weights must have when the first step starts; None where nothing is to be checked.
    """

    def __init__(
        self,
        log: Path,
        *,
        config_hash: str,
        entry: Callable[[int, dict[str, Any]], E | None],
        on_log: OnLog | None,
    ) -> None:
        self.log, self.config_hash, self.entry, self.user_on_log = log, config_hash, entry, on_log
        self.steps: list[E] = []
        self.expected: float | None = None
        self.totals: Callable[[], dict[str, float]] = dict

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check that the trainer left the restored weights alone."""
        if self.expected is not None and fingerprint(kwargs["model"]) != self.expected:
            raise ModelError("the weights of the checkpoint were not restored", where=args.output_dir)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Record one step; the trainer's closing summary is left out."""
        entry = self.entry(state.global_step, logs) if logs else None
        if entry is None:
            return
        self.steps.append(entry)
        if not state.is_world_process_zero:
            return
        with RecordWriter(self.log) as writer:
            writer.write(entry)
        if self.user_on_log is not None:
            self.user_on_log(flat(entry))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint that all processes have just written their parts of."""
        processes.wait_for_all()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            mark_checkpoint(folder, config_hash=self.config_hash, step=state.global_step, totals=self.totals())


def flat(entry: Record) -> dict[str, float]:
    """A log line as numbers by name; a table inside it becomes `name/key`, what has no value is left out."""
    found: dict[str, float] = {}
    for name, value in entry.model_dump().items():
        inner = {f"{name}/{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
        found |= {key: float(item) for key, item in inner.items() if item is not None}
    return found
