"""`iadr1 sft`: supervised fine-tuning through TRL's `SFTTrainer`.

For IAD-R1's PA-SFT (reasoning, location, type, verdict) and the papers' SFT comparison; the loss is on the completion
only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1.config import SftConfig
from iadr1.errors import UsageError
from iadr1.models import resolve_model
from iadr1.provenance import write_run
from iadr1.records import Sample, resolve_root
from iadr1.reports.plots import plot_loss_curve
from iadr1.stages.sft.data import check_targets, training_rows
from iadr1.stages.sft.log import SftStep, step_log
from iadr1.stages.training import processes
from iadr1.stages.training.context import check_run
from iadr1.stages.training.data import asking_order, load_samples
from iadr1.stages.training.folder import last_checkpoint, open_run, rewind_log
from iadr1.stages.training.hub import check_push, publish
from iadr1.stages.training.limits import check_sft, total_steps
from iadr1.stages.training.lineage import trained_on, write_card


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
        seconds: Wall time of the call that finished it.
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
    answer_format = check_sft(config)
    if not config.data.is_file():
        raise UsageError(f"no samples file {str(config.data)!r}", hint="'iadr1 prepare' writes data/anomaly.jsonl")
    root = resolve_root(config.data, config.root)
    samples = load_samples(config, root)
    check_targets(samples, answer_format, where=str(config.data))
    base = str(resolve_model(config.model))
    info = open_run("sft", config)
    started, note = time.monotonic(), on_note or (lambda line: None)
    if info["state"] == "finished":
        publish(config, info, note)
        return _summary(config, info, resumed_from=None, already_finished=True)
    if config.push_to_hub is not None:
        check_push(config.push_to_hub)
    if processes.is_first():
        info |= trained_on(config, samples, root, base=base)
    steps, resumed_from = _train(config, info, samples=samples, root=root, base=base, on_log=on_log, on_note=note)
    few = max(1, len(steps) // 10)
    info |= {
        "state": "finished",
        "steps": steps[-1].step,
        "loss_start": sum(entry.loss for entry in steps[:few]) / few,
        "loss_end": sum(entry.loss for entry in steps[-few:]) / few,
        "wall_seconds": round(time.monotonic() - started, 1),
    }
    if not processes.is_first():
        return _summary(config, info, resumed_from=resumed_from, already_finished=False)
    plot_loss_curve(
        config.out / "loss_curve.png",
        steps=[entry.step for entry in steps],
        loss=[entry.loss for entry in steps],
        title=f"SFT from {Path(config.model).name}",
    )
    reached = f"Loss {info['loss_start']:.3f} in the first tenth of the steps, {info['loss_end']:.3f} in the last."
    write_card(config, info, figures=reached)
    write_run(config.out, info)
    publish(config, info, note)
    return _summary(config, info, resumed_from=resumed_from, already_finished=False)


def _train(
    config: SftConfig, info: dict[str, Any], *, samples: list[Sample], root: Path, base: str, on_log: Any, on_note: Any
) -> tuple[list[SftStep], int | None]:
    # These load torch, only now that everything cheap has been checked.
    from iadr1.stages.sft.trainer import make_trainer, trainer_settings
    from iadr1.stages.training import policy, session
    from iadr1.stages.training.quiet import quiet
    from iadr1.stages.training.recorder import Recorder

    with quiet():
        a_step = config.batch_size * config.gradient_accumulation
        settings = trainer_settings(config, steps=total_steps(config, samples=len(samples), a_step=a_step))
        a_step *= settings.world_size
        settings.max_steps = steps = total_steps(config, samples=len(samples), a_step=a_step)
        loaded = session.load(config, base, last_checkpoint(config.out, info["config_hash"]))
        check_run(config, samples, root, loaded)
        profile = loaded.profile
        log = config.out / "log.jsonl"
        earlier = rewind_log(log, loaded.done, SftStep, rewrite=settings.process_index == 0)
        show = None if on_log is None else lambda figures: on_log({**figures, "steps": float(steps)})
        recorder = Recorder(log, config_hash=info["config_hash"], entry=step_log, on_log=show)
        answer_format = check_sft(config)
        trainer = make_trainer(
            loaded.model,
            settings,
            rows=training_rows(
                samples,
                root,
                profile,
                shots=config.shots,
                answer_format=answer_format,
                order=asking_order(len(samples), a_step * steps, seed=config.seed),
            ),
            processor=loaded.processor,
            callback=recorder,
            peft_config=policy.adapters(config, profile),
        )
        table = session.finish(trainer, config, loaded, recorder=recorder, steps=steps, note=on_note)
    info.setdefault("base_licence", profile.licence)
    info["parameters"] = [vars(row) for row in table]
    return [*earlier, *recorder.steps], loaded.done if loaded.checkpoint else None


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
