"""`iadr1 train-segmenter`: a small SAM 2 that draws the mask of a defect from its box."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iadr1.config import SegmenterConfig
from iadr1.errors import MissingExtraError
from iadr1.masks.boxcrop import BoxCrop
from iadr1.provenance import write_run
from iadr1.records import RecordWriter
from iadr1.stages.segmenter.cases import Cases, read_cases
from iadr1.stages.segmenter.folder import STATE, claimed
from iadr1.stages.training.folder import Step, rewind_log
from iadr1.stages.training.segmenting import check_segmenter

if TYPE_CHECKING:
    from iadr1.stages.segmenter.learning import Figures, Learner

OnStep = Callable[[dict[str, float]], None]
OnNote = Callable[[str], None]


class SegmenterStep(Step):
    """A line of `log.jsonl`: means over the steps since the line before; `iou` is on the training batches, 0..1."""

    loss: float
    iou: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class SegmenterSummary:
    """What a run left behind.

    Attributes:
        out: The run's folder, with `run.json`, `log.jsonl` and the state to go on from.
        model: Folder of the segmenter, as `--segmenter` takes it.
        steps: Steps done in all.
        resumed_from: Step this call went on from; None for a fresh start.
        already_finished: The folder held this very run, finished; nothing was done.
        parameters: Of the network.
        iou: Mean IoU on the last tenth of the training batches, 0..1.
        seconds: Wall time, all calls together.
    """

    out: Path
    model: Path
    steps: int
    resumed_from: int | None
    already_finished: bool
    parameters: int
    iou: float
    seconds: float


def run(config: SegmenterConfig, *, on_step: OnStep | None = None, on_note: OnNote | None = None) -> SegmenterSummary:
    """Train a segmenter and leave everything in `config.out`.

    The weights that are kept are the running average. The same settings in the same folder go on from the last save,
    to the same weights.

    Args:
        config: The settings.
        on_step: Called after each step with `step`, `steps`, `loss` and `iou`.
        on_note: Called with lines for the user: what is trained on, where it goes on from.

    Raises:
        UsageError: Settings that do not fit, or a folder that belongs to another run.
        DataError: Broken samples, missing files, a mask of another size than its photo.
        ModelError: `init` cannot be loaded.
        OutputError: The folder cannot be written to.
        MissingExtraError: torch or transformers is not installed.
    """
    shares = check_segmenter(config)
    note = on_note or (lambda _: None)
    with claimed(config) as info:
        if info["state"] == "finished":
            return _summary(config, info, resumed_from=None, already_finished=True)
        cases = read_cases(config.data)
        for line in _told(cases):
            note(line)
        with _libraries():
            learner, resumed_from, seconds = _start(config, info)
            if resumed_from is not None:
                note(f"goes on from step {resumed_from}")
            log = _learn(config, learner, cases, shares, info=info, seconds=seconds, on_step=on_step)
        few = log[-max(1, len(log) // 10) :]
        info |= {
            "state": "finished",
            "steps": learner.done,
            "parameters": sum(value.numel() for value in learner.network.parameters()),
            "defects": cases.counts,
            "held_out_samples_left_out": cases.held_out,
            "iou": sum(entry.iou for entry in few) / len(few),
            "wall_seconds": log[-1].seconds,
        }
        write_run(config.out, info)
        return _summary(config, info, resumed_from=resumed_from, already_finished=False)


def _told(cases: Cases) -> list[str]:
    counts = ", ".join(f"{kind} {count}" for kind, count in cases.counts.items())
    lines = [f"{sum(cases.counts.values())} defects: {counts}"]
    if cases.held_out:
        lines.append(f"{cases.held_out} samples of held-out categories are left out")
    if cases.without_mask:
        lines.append(f"{cases.without_mask} defects without a box or a mask are left out")
    return lines


def _libraries() -> AbstractContextManager[None]:
    """Load torch and transformers, only now that everything cheap has been checked, and keep them quiet."""
    try:
        from iadr1.stages.segmenter import learning
        from iadr1.stages.training.quiet import quiet
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "model", purpose="training a segmenter") from error
    del learning
    return quiet()


def _start(config: SegmenterConfig, info: dict[str, Any]) -> tuple[Learner, int | None, float]:
    """The learner, the step it goes on from, and the seconds taken so far."""
    import torch

    from iadr1.stages.segmenter.learning import Learner
    from iadr1.stages.segmenter.network import load_network, new_network

    crop = BoxCrop(config.context, config.stretch, config.min_side, threshold=config.threshold)
    torch.manual_seed(config.seed)
    if config.init is None:
        network = new_network(side=config.side, width=config.width, hidden=config.hidden, crop=crop)
    else:
        network = load_network(config.init, side=config.side, crop=crop)
    learner = Learner(network, config)
    state = config.out / STATE
    if not state.exists():
        return learner, None, 0.0
    seconds = learner.restore(state, config_hash=info["config_hash"])
    return learner, learner.done, seconds


def _learn(
    config: SegmenterConfig,
    learner: Learner,
    cases: Cases,
    shares: tuple[float, ...],
    *,
    info: dict[str, Any],
    seconds: float,
    on_step: OnStep | None,
) -> list[SegmenterStep]:
    from iadr1.stages.segmenter.batches import Drawing
    from iadr1.stages.segmenter.network import save_network

    crop = BoxCrop(config.context, config.stretch, config.min_side, threshold=config.threshold)
    drawing = Drawing(cases, shares, crop, config.side, config.jitter, config.batch_size, config.seed)
    path = config.out / "log.jsonl"
    log = rewind_log(path, learner.done, SegmenterStep, rewrite=True)
    started = time.monotonic() - seconds
    recent: list[Figures] = []
    while learner.done < config.steps:
        figures = learner.step(drawing.batch(learner.done))
        recent.append(figures)
        last = learner.done == config.steps
        if on_step is not None:
            on_step({"step": learner.done, "steps": config.steps, **figures._asdict()})
        if last or learner.done % config.log_steps == 0:
            log.append(_line(learner, recent, seconds=time.monotonic() - started))
            recent.clear()
            with RecordWriter(path) as writer:
                writer.write(log[-1])
        if last or learner.done % config.save_steps == 0:
            save_network(learner.average, config.out / "model")
            learner.save(config.out / STATE, config_hash=info["config_hash"], seconds=time.monotonic() - started)
    return log


def _line(learner: Learner, recent: list[Figures], *, seconds: float) -> SegmenterStep:
    return SegmenterStep(
        step=learner.done,
        loss=sum(figures.loss for figures in recent) / len(recent),
        iou=sum(figures.iou for figures in recent) / len(recent),
        learning_rate=learner.optimizer.param_groups[0]["lr"],
        seconds=round(seconds, 1),
    )


def _summary(
    config: SegmenterConfig, info: dict[str, Any], *, resumed_from: int | None, already_finished: bool
) -> SegmenterSummary:
    return SegmenterSummary(
        out=config.out,
        model=config.out / "model",
        steps=info["steps"],
        resumed_from=resumed_from,
        already_finished=already_finished,
        parameters=info["parameters"],
        iou=info["iou"],
        seconds=info["wall_seconds"],
    )
