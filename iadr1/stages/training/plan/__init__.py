"""`--plan`: what a run will do and need, from its settings, the data and the model's architecture, without weights.

Memory is computed, not measured; docs/plan.md says from what and how far it was checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iadr1.config import SftConfig, TrainConfig, TrainingConfig
from iadr1.errors import ConfigError, DataError
from iadr1.provenance import plain
from iadr1.rewards import resolve_reward
from iadr1.stages.training.context import too_long
from iadr1.stages.training.limits import check_grpo, check_sft, total_steps
from iadr1.stages.training.plan.changes import Change, changes
from iadr1.stages.training.plan.data import PlannedData, plan_data
from iadr1.stages.training.plan.memory import Load, Memory, Setup, memory
from iadr1.stages.training.plan.model import PlannedModel, plan_model
from iadr1.stages.training.quiet import quiet
from iadr1.stages.training.settings import deepspeed_file

__all__ = ["GRID_PROCESSES", "GRID_STAGES", "Plan", "PlannedSteps", "make_plan"]

GRID_PROCESSES: tuple[int, ...] = (1, 2, 4, 8)
GRID_STAGES: tuple[int | None, ...] = (None, 1, 2, 3)
"""ZeRO stages that are compared; None is plain data parallelism."""


@dataclass(frozen=True)
class PlannedSteps:
    """How much is done.

    Attributes:
        steps: Optimizer steps; None where `epochs` is set and the samples are not known.
        questions: Samples asked about in one step, all GPUs together.
        completions: Answers written in one step, all GPUs together; None for SFT.
        rounds: Rounds over the data in all; None where the samples are not known.
    """

    steps: int | None
    questions: int
    completions: int | None
    rounds: float | None


@dataclass(frozen=True)
class Plan:
    """What `--plan` found.

    Attributes:
        settings: The resolved config, by key.
        model: Architecture, parts, profile.
        data: The samples and the prompts' lengths.
        steps: How much is done.
        setup: Processes, number formats, ZeRO.
        load: What one GPU works on.
        memory: Of one GPU, with these settings.
        grid: The same for (ZeRO stage, processes).
        changes: What to turn, one upon another, until it fits on the smallest card.
        problem: The prompt that does not fit into the context, as the run would say it; None where all fit.
    """

    settings: Mapping[str, Any]
    model: PlannedModel
    data: PlannedData
    steps: PlannedSteps
    setup: Setup
    load: Load
    memory: Memory
    grid: Mapping[tuple[int | None, int], Memory]
    changes: tuple[Change, ...]
    problem: DataError | None


def make_plan(config: TrainingConfig) -> Plan:
    """Work out a run without starting it; nothing is written and nothing downloaded.

    Raises:
        UsageError: Settings that the run would refuse.
        ModelError: The model's architecture is not known here.
        DataError: The data are there and broken.
    """
    _check(config)
    with quiet():
        return _plan(config)


def _plan(config: TrainingConfig) -> Plan:
    model = plan_model(config)
    data = plan_data(config, model)
    setup, load = _setup(config), _load(config, model, data)
    grid = {
        (stage, processes): memory(model.facts, load, _other(setup, stage, processes))
        for stage in GRID_STAGES
        for processes in GRID_PROCESSES
    }
    now = memory(model.facts, load, setup)
    return Plan(
        settings=plain(config),
        model=model,
        data=data,
        steps=_steps(config, data, setup.processes),
        setup=setup,
        load=load,
        memory=now,
        grid=grid,
        changes=changes(config, now, lambda other: _memory(other, model, data)),
        problem=_problem(model, data),
    )


def _check(config: TrainingConfig) -> None:
    if isinstance(config, TrainConfig):
        check_grpo(config)
        resolve_reward(config.reward)
    elif isinstance(config, SftConfig):
        check_sft(config)


def _memory(config: TrainingConfig, model: PlannedModel, data: PlannedData) -> Memory:
    """Memory with other settings; the prompts stay as they were measured."""
    other = plan_model(config)
    return memory(other.facts, _load(config, other, data), _setup(config))


def _setup(config: TrainingConfig) -> Setup:
    zero = _deepspeed(config.deepspeed)
    return Setup(
        # Under a launcher, what it started; the processes of other machines are known only there.
        processes=int(os.environ.get("WORLD_SIZE", config.nproc)),
        bf16=config.bf16,
        checkpointing=config.gradient_checkpointing,
        flash=config.attention.startswith("flash_attention"),
        lora=config.lora_rank > 0,
        vllm_here=isinstance(config, TrainConfig) and config.vllm == "colocate",
        **zero,
    )


def _other(setup: Setup, stage: int | None, processes: int) -> Setup:
    values = {**vars(setup), "zero": stage, "processes": processes}
    if stage is None:
        values |= {"optimizer_on_host": False, "weights_on_host": False}
    return Setup(**values)


def _deepspeed(name: str | None) -> dict[str, Any]:
    """What a DeepSpeed file says about memory.

    Raises:
        UsageError: No such file.
        ConfigError: It cannot be read.
    """
    if name is None:
        return {"zero": None}
    path = deepspeed_file(name)
    try:
        zero = json.loads(path.read_text(encoding="utf-8")).get("zero_optimization", {})
        stage = int(zero.get("stage", 0))
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", where=str(path)) from error
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError("not a DeepSpeed JSON file", where=str(path)) from error
    bucket = zero.get("reduce_bucket_size", 500_000_000)
    return {
        "zero": stage,
        "bucket": 500_000_000 if bucket == "auto" else int(bucket),
        "optimizer_on_host": _offloaded(zero, "offload_optimizer"),
        "weights_on_host": _offloaded(zero, "offload_param"),
    }


def _offloaded(zero: Mapping[str, Any], what: str) -> bool:
    return bool(zero.get(what, {}).get("device", "none") != "none")


def _load(config: TrainingConfig, model: PlannedModel, data: PlannedData) -> Load:
    """One GPU's work, with every prompt as long as the longest: the trainer pads a batch to its longest."""
    profile = model.profile
    prompt = data.longest(profile)
    images = max(prompt.image_tokens(profile) for prompt in data.prompts)
    vision = model.architecture.config.vision_config
    patch = vision.patch_size[0] if isinstance(vision.patch_size, list | tuple) else vision.patch_size
    # Qwen's processors make each image into a clip of two equal frames.
    frames = getattr(vision, "temporal_patch_size", 1)
    generated = group = 1
    if isinstance(config, TrainConfig):
        # TRL writes the answers of a whole step at once, all micro-batches together.
        generated = config.batch_size * config.gradient_accumulation
        group = config.generations if config.vision_cache else 1
    return Load(
        sequences=config.batch_size,
        generated=generated if isinstance(config, TrainConfig) and config.vllm == "off" else 0,
        prompt=prompt.tokens(profile),
        answer=data.answer,
        patches=images * (profile.factor // patch) ** 2,
        pixels=images * profile.factor**2 * 3 * frames,
        looks=max(1, config.batch_size // group),
        looks_generating=max(1, generated // group),
    )


def _steps(config: TrainingConfig, data: PlannedData, processes: int) -> PlannedSteps:
    answers = config.batch_size * config.gradient_accumulation * processes
    grpo = isinstance(config, TrainConfig)
    questions = answers // config.generations if isinstance(config, TrainConfig) else answers
    if data.samples is None:
        steps = None if config.epochs is not None else config.steps
        return PlannedSteps(steps, questions, answers if grpo else None, config.epochs)
    steps = total_steps(config, samples=data.samples, a_step=questions)
    asked = steps * questions / (config.iterations if isinstance(config, TrainConfig) else 1)
    return PlannedSteps(steps, questions, answers if grpo else None, asked / data.samples)


def _problem(model: PlannedModel, data: PlannedData) -> DataError | None:
    longest = data.longest(model.profile)
    if longest.tokens(model.profile) + data.answer <= data.limit:
        return None
    return too_long(longest, model.profile, file=data.file, limit=data.limit, max_new_tokens=data.answer)
