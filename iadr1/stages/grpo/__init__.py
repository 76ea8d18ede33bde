"""`iadr1 train`: GRPO (AnomalyR1 section 3.2) through TRL's `GRPOTrainer`, with rewards on parsed answers.

How it differs from the published training code: prompts are never cut, sampling reads the configured temperature,
rewards see parsed answers, and a killed run goes on from its last whole checkpoint (docs/paper_index.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iadr1.config import TrainConfig
from iadr1.reports.plots import plot_reward_curve
from iadr1.rewards import WeightedReward, resolve_reward
from iadr1.stages.grpo.data import training_rows
from iadr1.stages.grpo.log import StepLog
from iadr1.stages.grpo.scoring import Scorer
from iadr1.stages.grpo.watch import StepWatch
from iadr1.stages.training.context import check_run
from iadr1.stages.training.data import asking_order
from iadr1.stages.training.folder import Checkpoint, rewind_log
from iadr1.stages.training.job import Job, OnNote, begin, conclude, load_data
from iadr1.stages.training.limits import check_grpo, total_steps

if TYPE_CHECKING:
    from iadr1.models.vision import VisionCache

OnLog = Callable[[dict[str, float]], None]

VISION_CACHE_BYTES = 1_000_000_000
"""Room for what a frozen vision tower said about images."""


@dataclass(frozen=True)
class TrainSummary:
    """What a training run left behind.

    Attributes:
        out: The run's folder, with `run.json`, `log.jsonl` and `checkpoint-N`.
        model: Folder of the trained model and its processor.
        curve: The reward curve, PNG.
        steps: Steps done in all.
        resumed_from: Step this call went on from; None for a fresh start.
        already_finished: The folder held this very run, finished; nothing was done.
        reward_start: Mean reward of the first steps (a tenth of them, at least one).
        reward_end: Mean reward of as many last steps.
        seconds: Wall time of the training steps, all calls together.
        phase_seconds: Phase (see `phases`) -> seconds, all calls together; with `other` they add up to the wall time
            from the first step to the last.
        warnings: What the watchdog said.
    """

    out: Path
    model: Path
    curve: Path
    steps: int
    resumed_from: int | None
    already_finished: bool
    reward_start: float
    reward_end: float
    seconds: float
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def run(config: TrainConfig, *, on_log: OnLog | None = None, on_note: OnNote | None = None) -> TrainSummary:
    """Train a model with GRPO and leave everything in `config.out`.

    Args:
        config: The settings; the same settings in the same folder go on from the last checkpoint.
        on_log: Called after each step with `step`, `reward`, `reward_std`, `parse_rate`, `completion_length`,
            `clipped`, `flat_groups`, `loss`, `grad_norm`, `learning_rate`, `entropy`, `kl` (where beta > 0), `seconds`
            and `rewards/<name>`, and with `steps`, how many there will be.
        on_note: Called with lines for the user: what is trained, where it goes on from, what looks wrong.

    Raises:
        UsageError: Settings that do not fit, or a folder that belongs to another run.
        DataError: Broken samples or missing images; found before anything is loaded.
        ModelError: The model cannot be found or loaded.
        OutputError: The folder cannot be written to.
        MissingExtraError: The training packages are not installed.
    """
    check_grpo(config)
    rewards = resolve_reward(config.reward)
    job = begin(config, *load_data(config), note=on_note)
    if job.finished:
        return _summary(config, job.info, resumed_from=None, already_finished=True)
    steps, resumed_from = _train(config, job, rewards, on_log=on_log)
    figures = _figures(steps)
    conclude(
        job,
        config,
        figures,
        draw=lambda: _draw(config, steps),
        reached=f"GRPO with reward `{config.reward}`: mean reward {figures['reward_start']:.3f} in the first tenth of "
        f"the steps, {figures['reward_end']:.3f} in the last.",
    )
    return _summary(config, job.info, resumed_from=resumed_from, already_finished=False)


def _train(
    config: TrainConfig, job: Job, rewards: list[WeightedReward], *, on_log: OnLog | None
) -> tuple[list[StepLog], int | None]:
    """Train from the base or the last checkpoint and save; the log of all steps, and the step it went on from."""
    # These load torch, only now that everything cheap has been checked.
    from iadr1.models.processors import make_ready
    from iadr1.stages.grpo.completions import AnswerLog
    from iadr1.stages.grpo.difficulty import Asked, keep_useful
    from iadr1.stages.grpo.guard import Guard
    from iadr1.stages.grpo.phases import Phases
    from iadr1.stages.grpo.trainer import make_trainer, trainer_settings
    from iadr1.stages.training import policy, session
    from iadr1.stages.training.quiet import quiet
    from iadr1.stages.training.recorder import Recorder

    info = job.info
    with quiet():
        # A question is asked `generations` times; on one device first, then on as many as there are.
        questions = config.batch_size * config.gradient_accumulation // config.generations
        settings = trainer_settings(
            config, rewards, steps=total_steps(config, samples=len(job.samples), a_step=max(1, questions))
        )
        if config.difficulty:
            asked = Asked(job.base, rewards)
            kept, info["difficulty"] = keep_useful(
                config, job.samples, job.root, asked=asked, settings=settings, note=job.note
            )
            job = replace(job, samples=kept)
        questions = config.batch_size * config.gradient_accumulation * settings.world_size // config.generations
        settings.max_steps = steps = total_steps(config, samples=len(job.samples), a_step=questions)
        loaded = session.load(config, job.base, job.checkpoint)
        check_run(config, job.samples, job.root, loaded)
        profile = loaded.profile
        log, first = config.out / "log.jsonl", settings.process_index == 0
        earlier = rewind_log(log, loaded.done, StepLog, rewrite=first)
        answers = AnswerLog(config.out, rewards, generations=config.generations)
        if first:
            answers.rewind(loaded.done)
        watch = StepWatch(config.out, info, steps, note=job.note, on_log=on_log)
        watch.replay(earlier)
        recorder = Recorder(log, config_hash=info["config_hash"], entry=watch.entry, on_log=watch.on_log)
        order = asking_order(len(job.samples), questions * steps, seed=config.seed)
        trainer = make_trainer(
            loaded.model,
            settings,
            rows=training_rows(job.samples, job.root, profile, shots=config.shots, order=order),
            processor=loaded.processor,
            functions=Scorer(rewards, profile, keep=config.completions).functions(),
            callback=recorder,
            peft_config=policy.adapters(config, profile),
        )
        if trainer.ref_model is not None:
            make_ready(trainer.ref_model, loaded.processor)  # TRL loads it by itself
        cache = _look_once(trainer, config, job.checkpoint)
        recorder.totals = lambda: {"wall_seconds": job.seconds, **_looks(cache)}
        trainer.add_callback(Guard(watch.weights_lost))
        phases = Phases(trainer, loaded.checkpoint)
        if first and config.completions:
            watch.on_step = lambda: answers.write(trainer._logs)
        table = session.finish(trainer, config, loaded, recorder=recorder, steps=steps, note=job.note)
    info.setdefault("base_licence", profile.licence)
    info["steps"] = steps
    info["warnings"] = watch.told
    info["parameters"] = [vars(row) for row in table]
    info["phase_seconds"] = {phase: round(seconds, 2) for phase, seconds in phases.seconds.items()}
    if cache is not None:
        info["images"] = _looks(cache)
    return [*earlier, *recorder.steps], loaded.done if loaded.checkpoint else None


def _looks(cache: VisionCache | None) -> dict[str, int]:
    """Images that the towers were asked about, and those they were run on."""
    return {} if cache is None else {"asked": cache.asked, "run": cache.run}


def _look_once(trainer: Any, config: TrainConfig, checkpoint: Checkpoint | None) -> VisionCache | None:
    """Let the vision towers of policy and reference run once per distinct image; None where that is switched off.

    It goes on counting from the checkpoint. Outputs are kept over calls where the tower is frozen; not with DeepSpeed,
    whose processes must run it together.
    """
    from iadr1.models.parts import PARTS
    from iadr1.models.vision import VisionCache, once_per_image
    from iadr1.stages.training.limits import part_names

    if not config.vision_cache:
        return None
    trained = part_names(config.lora_parts) if config.lora_rank else set(PARTS) - set(part_names(config.freeze))
    # Qwen's projector is a part of its vision tower.
    keep = config.deepspeed is None and not {"vision", "projector"} & set(trained)
    counted = {} if checkpoint is None else checkpoint.totals
    asked, run_on = (int(counted.get(name, 0)) for name in ("asked", "run"))
    cache = VisionCache(VISION_CACHE_BYTES if keep else 0, asked, run_on)
    once_per_image(trainer.model, cache)
    if trainer.ref_model is not None:
        trainer.ref_model.requires_grad_(False)  # TRL only puts it into evaluation mode
        once_per_image(trainer.ref_model, cache)
    return cache


def _figures(steps: list[StepLog]) -> dict[str, Any]:
    """What `run.json` says about a finished run."""
    few = max(1, len(steps) // 10)
    first, last = steps[:few], steps[-few:]
    return {
        "reward_start": sum(entry.reward for entry in first) / few,
        "reward_end": sum(entry.reward for entry in last) / few,
        "parse_rate_end": sum(entry.parse_rate for entry in last) / few,
        "seconds": round(sum(entry.seconds for entry in steps), 1),
    }


def _draw(config: TrainConfig, steps: list[StepLog]) -> None:
    plot_reward_curve(
        config.out / "reward_curve.png",
        steps=[entry.step for entry in steps],
        reward=[entry.reward for entry in steps],
        reward_std=[entry.reward_std for entry in steps],
        parse_rate=[entry.parse_rate for entry in steps],
        completion_length=[entry.completion_length for entry in steps],
        title=f"GRPO with reward {config.reward} from {Path(config.model).name}",
    )


def _summary(
    config: TrainConfig, info: dict[str, Any], *, resumed_from: int | None, already_finished: bool
) -> TrainSummary:
    return TrainSummary(
        out=config.out,
        model=config.out / "model",
        curve=config.out / "reward_curve.png",
        steps=info["steps"],
        resumed_from=resumed_from,
        already_finished=already_finished,
        reward_start=info["reward_start"],
        reward_end=info["reward_end"],
        seconds=info["seconds"],
        phase_seconds=info.get("phase_seconds", {}),
        warnings=info.get("warnings", ()),
    )
