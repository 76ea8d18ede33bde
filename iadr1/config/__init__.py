"""One frozen dataclass per stage, and the one way a recipe and `key=value` overrides become it.

A config never enters a component: stages turn it into plain arguments. Unknown keys are refused with the nearest
known one, values are converted to the field's type or refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from iadr1.config.building import build, read_stage
from iadr1.config.inspecting import (
    SERVER_FIELDS,
    VLLM_FIELDS,
    CalibrateConfig,
    DetectConfig,
    DoctorConfig,
    InspectConfig,
    ServeConfig,
    VerdictConfig,
    WatchConfig,
)
from iadr1.config.pretraining import NewModelConfig, PretrainConfig
from iadr1.config.running import RunConfig
from iadr1.config.segmenting import SegmenterConfig

__all__ = [
    "SERVER_FIELDS",
    "VLLM_FIELDS",
    "CalibrateConfig",
    "DetectConfig",
    "DoctorConfig",
    "EvalConfig",
    "GroundConfig",
    "InspectConfig",
    "NewModelConfig",
    "PrepareConfig",
    "PretrainConfig",
    "RunConfig",
    "SegmenterConfig",
    "ServeConfig",
    "SftConfig",
    "TrainConfig",
    "TrainingConfig",
    "VerdictConfig",
    "WatchConfig",
    "build",
    "read_stage",
]


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """`iadr1 prepare`: where samples come from and where they are written.

    For `source="synthetic"` (the default) `out` is the folder that gets `data/` and `images/`; for every other source
    it is the JSONL file. `data` are prepared files that a set is chosen or made from (`fewshot`, `expert-ad`, `crops`,
    `split`, `join`). `tiles`, `mirror` and `shots` are for `crops`; `group`, and `share` of the training part, for
    `split`, whose `split` is the part that is written.
    `variety` scenes for training, photos of `side` pixels, are drawn instead of the evaluation sets where it is not 0;
    every `reference_every`th has a photo of a good product, and `workers` processes draw (0: one for each core).
    """

    source: str = "synthetic"
    root: Path | None = None
    out: Path | None = None
    data: tuple[Path, ...] = ()
    annotations: Path | None = None
    missing: str = "error"
    split: str | None = None
    category: str | None = None
    commercial_only: bool = False
    download: bool = False
    size: int = 600
    per_class: str | None = None
    normal_share: float = 0.5
    tiles: str = "off"
    mirror: bool = False
    shots: int = 0
    group: str | None = None
    share: float = 0.5
    seed: int = 0
    fewshot_images: int = 600
    eval_images: int = 120
    photos: int = 16
    variety: int = 0
    side: int = 224
    reference_every: int = 4
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """What every training run takes.

    The defaults are the laptop's; the papers' values are in the recipes. `steps` counts optimizer steps; `epochs`,
    where given, replaces it by rounds over the data. `freeze` names parts of the model that stay as they are, and
    `lora_parts` those that get adapters, separated by commas: `vision`, `projector`, `language`. `lora_rank` 0 trains
    the weights themselves. `max_pixels` lowers the model's own limit for its input. `deepspeed` is `zero2`, `zero3` or
    a file; `nproc` starts that many processes here.
    """

    shots: int = 0
    max_pixels: int | None = None
    epochs: float | None = None
    gradient_accumulation: int = 1
    lr_schedule: str = "constant"
    freeze: str = ""
    lora_rank: int = 0
    lora_alpha: int = 64
    lora_dropout: float = 0.05
    lora_parts: str = "language"
    gradient_checkpointing: bool = False
    attention: str = "auto"
    deepspeed: str | None = None
    nproc: int = 1
    log_to: str = "tensorboard"
    limit: int | None = None

    @property
    def shown(self) -> int:
        """Most references shown before an image."""
        return self.shots


@dataclasses.dataclass(frozen=True)
class TrainConfig(TrainingConfig):
    """`iadr1 train`: GRPO from a model on samples with a checkable answer.

    `batch_size` counts the completions worked on in one step on each device, and is a multiple of `generations`.
    `vllm` is `off`, `colocate` or `server` (then `vllm_url`). `difficulty` draws that many answers to every prompt
    before training and drops those whose answers all get the same reward; 0 keeps all.
    """

    STAGE: ClassVar[str] = "train"

    reward: str = "roam"
    generations: int = 8
    iterations: int = 1
    beta: float = 0.04
    epsilon: float = 0.2
    epsilon_high: float | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    loss: str = "grpo"
    scale_rewards: str = "group"
    importance: str = "token"
    mask_truncated: bool = False
    max_new_tokens: int = 128
    difficulty: int = 0
    completions: bool = True
    vision_cache: bool = True
    vllm: str = "off"
    vllm_url: str | None = None


@dataclasses.dataclass(frozen=True)
class GroundConfig(TrainConfig):
    """`iadr1 ground`: GRPO on referring expressions, so that the model learns to point before it inspects."""

    STAGE: ClassVar[str] = "ground"

    data: Path = Path("data/grounding.jsonl")
    out: Path = Path("runs/ground")
    reward: str = "grounding=1,format=0.5"


@dataclasses.dataclass(frozen=True)
class SftConfig(TrainingConfig):
    """`iadr1 sft`: supervised fine-tuning; the loss is on the completion only.

    `answer_format` is how yes/no samples are answered: `structured` (IAD-R1: reasoning, location, type, verdict),
    `boxes` (AnomalyR1: reasoning, then boxes) or `direct` (the bare word, whose probability is `detect`'s score);
    several, separated by commas, take turns.
    """

    STAGE: ClassVar[str] = "sft"

    data: Path = Path("data/anomaly.jsonl")
    out: Path = Path("runs/sft")
    batch_size: int = 16
    learning_rate: float = 1e-4
    answer_format: str = "structured"


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """`iadr1 eval BENCHMARK`: ask a model every question of a samples file and score the answers.

    `protocol` is a name or a YAML file; None is the benchmark's own. `shots`, `template`, `domain_knowledge`,
    `option_order` and `max_new_tokens` change it, and with it its hash; where None they stay as it says. `scoring` is
    `text` (what the model writes) or `logprob` (the most probable option). `shard` is `i/n`, counted from 1. `masks`
    and `segmenter` are for boxes, whose masks are then measured as well. The settings from `base_url` to
    `requests_per_minute` are for the engine `server`, the three after it for the engine `vllm`; prices are per million
    tokens, in any currency.
    """

    benchmark: str = "mmad"
    data: Path | None = None
    root: Path | None = None
    model: str = "tiny"
    engine: str = "local"
    out: Path | None = None
    protocol: str | None = None
    shots: int | None = None
    template: str | None = None
    domain_knowledge: bool | None = None
    option_order: str | None = None
    max_new_tokens: int | None = None
    scoring: str = "text"
    limit: int | None = None
    shard: str | None = None
    masks: bool = False
    segmenter: str = "tiny-sam2"
    leaks: Path | None = None
    allow_leaks: bool = False
    export: str | None = None
    batch_size: int = 32
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    seed: int = 0
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    family: str = ""
    concurrency: int = 16
    timeout_s: float = 120.0
    retries: int = 5
    requests_per_minute: int = 0
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    price_prompt: float = 0.0
    price_completion: float = 0.0
