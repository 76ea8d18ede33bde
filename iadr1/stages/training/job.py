"""What every training run does before its trainer and after it, whatever the trainer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.config import RunConfig, TrainingConfig
from iadr1.errors import UsageError
from iadr1.models import resolve_model
from iadr1.models.files import check_files
from iadr1.provenance import write_run
from iadr1.records import Sample, resolve_root
from iadr1.stages.training import processes
from iadr1.stages.training.data import load_samples
from iadr1.stages.training.fit import check_fit
from iadr1.stages.training.folder import Checkpoint, last_checkpoint, open_run
from iadr1.stages.training.hub import check_push, publish
from iadr1.stages.training.lineage import trained_on, write_card
from iadr1.stages.training.settings import has_tensorboard

OnNote = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What a run trains on and from, checked, and its folder opened.

    Attributes:
        samples: What it trains on.
        root: The folder of their images.
        base: The model it starts from: a folder or a hub id.
        info: What `run.json` holds; the run adds to it.
        note: Takes lines for the user.
        checkpoint: Where it goes on from; None for a fresh start.
        started: When it would have begun, had it run in one piece up to now (`time.monotonic`).
    """

    samples: list[Sample]
    root: Path
    base: str
    info: dict[str, Any]
    note: OnNote
    checkpoint: Checkpoint | None
    started: float

    @property
    def finished(self) -> bool:
        """The folder holds this very run, finished."""
        return bool(self.info["state"] == "finished")

    @property
    def seconds(self) -> float:
        """Wall time so far, of all calls together, each counted up to the checkpoint that the next one went on from."""
        return round(time.monotonic() - self.started, 1)


def load_data(config: TrainingConfig) -> tuple[list[Sample], Path]:
    """The samples of a run, which fit its settings, and the folder of their images.

    Raises:
        UsageError: There is no such file, or the settings do not fit the samples (`check_fit`).
        DataError: Broken samples or missing images.
    """
    check_data_file(config)
    root = resolve_root(config.data, config.root)
    samples = load_samples(config, root)
    check_fit(config, samples)
    return samples, root


def check_data_file(config: RunConfig) -> None:
    """Make sure that there is a file of samples.

    Raises:
        UsageError: There is none.
    """
    if not config.data.is_file():
        hint = f"'iadr1 prepare' writes {type(config)().data}"
        raise UsageError(f"no samples file {str(config.data)!r}", hint=hint)


def begin(config: RunConfig, samples: list[Sample], root: Path, *, note: OnNote | None) -> Job:
    """Open the run's folder, and write down what it trains on; a finished run is only pushed, where that is asked.

    Raises:
        UsageError: A folder that belongs to another run, or a hub that cannot be pushed to.
        ModelError: The model cannot be found, or its folder is not whole.
        OutputError: The folder cannot be written to.
    """
    place = resolve_model(config.model)
    if isinstance(place, Path):
        check_files(place)
    base = str(place)
    info = open_run(config.STAGE, config)
    last = last_checkpoint(config.out, info["config_hash"])
    started = time.monotonic() - (0.0 if last is None else last.totals.get("wall_seconds", 0.0))
    job = Job(samples, root, base, info, note or (lambda line: None), last, started)
    if job.finished:
        publish(config, info, job.note)
        return job
    if config.push_to_hub is not None:
        check_push(config.push_to_hub)
    if "steps" in info:  # written when a run is finished
        job.note("model/ holds no weights: they are saved again from the last checkpoint")
    if isinstance(config, TrainingConfig) and config.log_to == "tensorboard" and not has_tensorboard():
        job.note("TensorBoard is not installed (pip install tensorboard): figures go to log.jsonl alone")
    if processes.is_first():
        info |= trained_on(config, samples, root, base=base)
    if isinstance(config, TrainingConfig):  # `pretrain` has loaded it by now
        job.note(f"loading {config.model if last is None else last.path} ...")
    return job


def conclude(
    job: Job, config: RunConfig, figures: Mapping[str, Any], *, draw: Callable[[], None], reached: str
) -> None:
    """Write down what a run reached: figures, curve, model card, and the push where it is asked for; processes part.

    Args:
        job: The run.
        config: Its settings.
        figures: What `run.json` says it reached.
        draw: Draws its curve.
        reached: The same in words, for the model card.
    """
    job.info.update(state="finished", **figures, wall_seconds=job.seconds)
    if processes.is_first():
        draw()
        write_card(config, job.info, figures=reached)
        write_run(config.out, job.info)
        publish(config, job.info, job.note)
    processes.part()
