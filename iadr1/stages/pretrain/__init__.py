"""`iadr1 pretrain`: teaches a small model from nothing to see, to point and to answer, on a CPU.

What a checkpoint of billions of parameters brings along, the embedded model learns here: first the vision tower alone
on dense labels of masks and boxes (grounding pretraining), then the whole model on every kind of question. `ground`,
`sft` and `train` go on from there as they do from any model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iadr1.config import PretrainConfig
from iadr1.models import resolve_model
from iadr1.records import resolve_root
from iadr1.reports.plots import plot_loss_curve
from iadr1.stages.pretrain.scenes import Scenes
from iadr1.stages.training.folder import rewind_log
from iadr1.stages.training.job import Job, begin, check_data_file, conclude
from iadr1.stages.training.small import check_pretrain, read_formats

if TYPE_CHECKING:
    from iadr1.stages.pretrain.setup import Base

__all__ = ["PretrainSummary", "run"]


@dataclass(frozen=True)
class PretrainSummary:
    """What a run left behind.

    Attributes:
        out: The run's folder.
        model: Folder of the model.
        steps: Steps done in all.
        resumed_from: Step this call went on from; None for a fresh start.
        already_finished: The folder held this very run, finished.
        loss: Mean loss of the last tenth of the joint steps' answers, in nats a token; without such steps of all.
        seconds: Wall time, all calls together.
    """

    out: Path
    model: Path
    steps: int
    resumed_from: int | None
    already_finished: bool
    loss: float
    seconds: float


def run(
    config: PretrainConfig,
    *,
    on_log: Any = None,
    on_note: Any = None,
    on_picture: Callable[[int, int], None] | None = None,
) -> PretrainSummary:
    """Train and leave everything in `config.out`; the same settings there go on from the last checkpoint.

    Args:
        config: The settings.
        on_log: Called after each step with its figures, and with `steps`, how many there will be.
        on_note: Called with lines for the user.
        on_picture: Called with (pictures read, pictures in all) while the cache is made.

    Raises:
        UsageError: Settings that do not fit, a model of another family or with more than one input size, or a folder
            of another run.
        DataError: Broken samples.
        ModelError: The model cannot be loaded, or its loss is no number any more.
        OutputError: The folder cannot be written to.
    """
    check_pretrain(config)
    check_data_file(config)
    # It loads torch, for some seconds; reading pictures for a model that cannot take them would cost minutes.
    from iadr1.stages.pretrain.setup import open_base
    from iadr1.stages.training.quiet import quiet

    if on_note is not None:
        on_note(f"loading {config.model} ...")
    with quiet():
        base = open_base(resolve_model(config.model))
    root = resolve_root(config.data, config.root)
    scenes = Scenes(config.data, read_formats(config.formats))
    job = begin(config, [scenes.verdict(scene) for scene in scenes.items], root, note=on_note)
    if job.finished:
        return _summary(config, job.info, resumed_from=None, already_finished=True)
    job.samples.clear()  # 100 MB for 40,000 images, and each step reads its own
    resumed_from = _train(config, job, base, scenes, on_log=on_log, on_picture=on_picture or (lambda done, total: None))
    return _summary(config, job.info, resumed_from=resumed_from, already_finished=False)


def _train(
    config: PretrainConfig, job: Job, base: Base, scenes: Scenes, *, on_log: Any, on_picture: Callable[[int, int], None]
) -> int | None:
    import torch

    from iadr1.stages.pretrain.loop import Loop, PretrainStep
    from iadr1.stages.pretrain.setup import CACHE, learner_of, save_model
    from iadr1.stages.training.quiet import quiet
    from iadr1.stages.training.saving import clear_errors

    torch.set_num_threads(config.threads)
    with quiet():
        learner = learner_of(config, base, job, scenes, on_picture=on_picture)
    done = job.checkpoint.step if job.checkpoint else 0
    steps = rewind_log(config.out / "log.jsonl", done, PretrainStep, rewrite=True)
    if job.checkpoint is not None:
        job.note(f"going on from step {done}: {job.checkpoint.path}")

    def on_step(line: PretrainStep) -> None:
        steps.append(line)
        if on_log is not None:
            on_log({**line.model_dump(exclude={"phase"}, exclude_none=True), "steps": float(config.steps)})

    def save(folder: Path) -> None:
        save_model(learner.model, learner.processor, folder)

    with quiet(), clear_errors(config.out):
        Loop(learner, config, job.info["config_hash"], save, on_step, lambda: job.seconds).run(job.checkpoint)
        save(config.out / "model")
    answers = [line.language for line in steps if line.language is not None]
    losses = answers or [line.loss for line in steps]
    few = max(1, len(losses) // 10)
    loss = sum(losses[-few:]) / few
    job.info.setdefault("base_licence", base.profile.licence)
    what = "Loss of the answers" if answers else "Loss of the vision tower"
    conclude(
        job,
        config,
        {"steps": steps[-1].step, "loss_end": loss},
        draw=lambda: _draw(config, steps),
        reached=f"{what} {loss:.3f} in the last tenth of the steps.",
    )
    shutil.rmtree(config.out / CACHE, ignore_errors=True)  # gigabytes that nothing reads any more
    return done or None


def _draw(config: PretrainConfig, steps: list[Any]) -> None:
    plot_loss_curve(
        config.out / "loss_curve.png",
        steps=[line.step for line in steps],
        loss=[line.loss for line in steps],
        title=f"Pretraining from {Path(config.model).name}",
    )


def _summary(
    config: PretrainConfig, info: dict[str, Any], *, resumed_from: int | None, already_finished: bool
) -> PretrainSummary:
    return PretrainSummary(
        out=config.out,
        model=config.out / "model",
        steps=info["steps"],
        resumed_from=resumed_from,
        already_finished=already_finished,
        loss=info["loss_end"],
        seconds=info["wall_seconds"],
    )
