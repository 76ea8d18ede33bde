"""`iadr1 sft`: supervised fine-tuning through TRL's `SFTTrainer`.

For IAD-R1's PA-SFT (reasoning, location, type, verdict) and the papers' SFT comparison; the loss is on the completion
only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.config import SftConfig
from iadr1.reports.plots import plot_loss_curve
from iadr1.stages.sft.data import check_targets, training_rows
from iadr1.stages.sft.log import SftStep, step_log
from iadr1.stages.training.context import check_run
from iadr1.stages.training.data import asking_order
from iadr1.stages.training.folder import rewind_log
from iadr1.stages.training.job import Job, begin, conclude, load_data
from iadr1.stages.training.limits import check_sft, total_steps


@dataclass(frozen=True)
class SftSummary:
    """What a run left behind.

    Attributes:
        out: The run's folder, with `run.json`, `log.jsonl` and `checkpoint-N`.
        model: Folder of the trained model and its processor.
        curve: The loss curve, PNG.
        steps: Steps done in all.
        resumed_from: Step this call went on from; None for a fresh start.
        already_finished: The folder held this very run, finished; nothing was done.
        loss_start: Mean loss of the first steps (a tenth of them, at least one), in nats a token.
        loss_end: Mean loss of as many last steps.
        seconds: Wall time, all calls together.
    """

    out: Path
    model: Path
    curve: Path
    steps: int
    resumed_from: int | None
    already_finished: bool
    loss_start: float
    loss_end: float
    seconds: float


def run(config: SftConfig, *, on_log: Any = None, on_note: Any = None) -> SftSummary:
    """Fine-tune a model on samples and leave everything in `config.out`.

    Args:
        config: The settings; the same settings in the same folder go on from the last checkpoint.
        on_log: Called after each step with `step`, `loss`, `token_accuracy`, `grad_norm` and `learning_rate`, and with
            `steps`, how many there will be.
        on_note: Called with lines for the user: what is trained, where it goes on from.

    Raises:
        UsageError: Settings that do not fit, or a folder that belongs to another run.
        DataError: Broken samples, missing images, or a sample without what its completion needs.
        ModelError: The model cannot be found or loaded.
        OutputError: The folder cannot be written to.
        MissingExtraError: The training packages are not installed.
    """
    formats = check_sft(config)
    samples, root = load_data(config)
    check_targets(samples, formats, where=str(config.data))
    job = begin(config, samples, root, note=on_note)
    if job.finished:
        return _summary(config, job.info, resumed_from=None, already_finished=True)
    steps, resumed_from = _train(config, job, on_log=on_log)
    few = max(1, len(steps) // 10)
    start, end = (sum(entry.loss for entry in part) / few for part in (steps[:few], steps[-few:]))
    conclude(
        job,
        config,
        {"steps": steps[-1].step, "loss_start": start, "loss_end": end},
        draw=lambda: _draw(config, steps),
        reached=f"Loss {start:.3f} in the first tenth of the steps, {end:.3f} in the last.",
    )
    return _summary(config, job.info, resumed_from=resumed_from, already_finished=False)


def _train(config: SftConfig, job: Job, *, on_log: Any) -> tuple[list[SftStep], int | None]:
    # These load torch, only now that everything cheap has been checked.
    from iadr1.stages.sft.trainer import make_trainer, trainer_settings
    from iadr1.stages.training import policy, session
    from iadr1.stages.training.quiet import quiet
    from iadr1.stages.training.recorder import Recorder

    samples, root, info = job.samples, job.root, job.info
    with quiet():
        a_step = config.batch_size * config.gradient_accumulation
        settings = trainer_settings(config, steps=total_steps(config, samples=len(samples), a_step=a_step))
        a_step *= settings.world_size
        settings.max_steps = steps = total_steps(config, samples=len(samples), a_step=a_step)
        loaded = session.load(config, job.base, job.checkpoint)
        check_run(config, samples, root, loaded)
        profile = loaded.profile
        log = config.out / "log.jsonl"
        earlier = rewind_log(log, loaded.done, SftStep, rewrite=settings.process_index == 0)
        show = None if on_log is None else lambda figures: on_log({**figures, "steps": float(steps)})
        recorder = Recorder(log, config_hash=info["config_hash"], entry=step_log, on_log=show)
        recorder.totals = lambda: {"wall_seconds": job.seconds}
        trainer = make_trainer(
            loaded.model,
            settings,
            rows=training_rows(
                samples,
                root,
                profile,
                shots=config.shots,
                formats=check_sft(config),
                order=asking_order(len(samples), a_step * steps, seed=config.seed),
            ),
            processor=loaded.processor,
            callback=recorder,
            peft_config=policy.adapters(config, profile),
        )
        table = session.finish(trainer, config, loaded, recorder=recorder, steps=steps, note=job.note)
    info.setdefault("base_licence", profile.licence)
    info["parameters"] = [vars(row) for row in table]
    return [*earlier, *recorder.steps], loaded.done if loaded.checkpoint else None


def _draw(config: SftConfig, steps: list[SftStep]) -> None:
    plot_loss_curve(
        config.out / "loss_curve.png",
        steps=[entry.step for entry in steps],
        loss=[entry.loss for entry in steps],
        title=f"SFT from {Path(config.model).name}",
    )


def _summary(
    config: SftConfig, info: dict[str, Any], *, resumed_from: int | None, already_finished: bool
) -> SftSummary:
    return SftSummary(
        out=config.out,
        model=config.out / "model",
        curve=config.out / "loss_curve.png",
        steps=info["steps"],
        resumed_from=resumed_from,
        already_finished=already_finished,
        loss_start=info["loss_start"],
        loss_end=info["loss_end"],
        seconds=info["wall_seconds"],
    )
