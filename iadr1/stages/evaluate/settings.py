"""What a config asks for: the benchmark, the protocol, the part; and what is refused before anything is read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadr1 import protocols
from iadr1.config import SERVER_FIELDS, VLLM_FIELDS, EvalConfig
from iadr1.errors import UsageError, nearest, no_effect
from iadr1.masks import check_segmenter
from iadr1.models import ENGINES
from iadr1.protocols import Protocol
from iadr1.records import Task
from iadr1.stages.scoring import Shard, read_shard

TEXT, LOGPROB = "text", "logprob"
SCORINGS = (TEXT, LOGPROB)
EXPORTS = ("lmms-eval",)
BOX_READINGS = ("boxes", "grounding")
"""Readings whose answers are boxes."""


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark asks by default.

    Attributes:
        task: The task its samples must have.
        protocol: Name of its protocol.
        data: Name of its samples file in `data/`.
    """

    task: Task
    protocol: str
    data: str


BENCHMARKS: dict[str, Benchmark] = {
    "mmad": Benchmark("choice", "anomalyr1", "mmad"),
    "mvtec3d": Benchmark("choice", "anomalyr1", "mvtec3d"),
    "iad": Benchmark("anomaly", "iadr1", "anomaly"),
    "detection": Benchmark("anomaly", "detection", "anomaly"),
    "grounding": Benchmark("grounding", "grounding", "grounding"),
}

_PRICES = ("price_prompt", "price_completion")
_ANSWERING = (
    *("model", "engine", "scoring", "limit", "shard", "masks", "segmenter", "leaks", "allow_leaks", "batch_size"),
    *("device", "dtype", "attention", *SERVER_FIELDS, *VLLM_FIELDS, *_PRICES),
)
_NAMED = {
    "server": "the name under which it serves the model",
    "replay": "the file with the stored answers: --model FILE",
}
"""Engines to which the default model means nothing, and what they take for one."""
_LEAST = {
    **dict.fromkeys(("batch_size", "max_new_tokens", "limit", "concurrency"), 1),
    **dict.fromkeys(("shots", "seed", "retries", "requests_per_minute"), 0),
}
_CHUNK = 4
"""Requests handed over at a time, as a multiple of those under way: a server waits less often for the slowest of them,
and the local engine, which sorts by length, pads less."""


def check_settings(config: EvalConfig) -> tuple[Benchmark, Protocol]:
    """The benchmark and the protocol of a config.

    Raises:
        UsageError: Unknown benchmark or protocol, a value out of range, settings that exclude each other, or one that
            this engine, protocol or export would not read.
    """
    if config.benchmark not in BENCHMARKS:
        raise UsageError(
            f"no benchmark {config.benchmark!r}",
            hint=nearest(config.benchmark, (*BENCHMARKS, "masks"), what="known benchmarks"),
        )
    for name, least in _LEAST.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise UsageError(f"{name} is {value}, it must be at least {least}")
    for name, price in (("price_prompt", config.price_prompt), ("price_completion", config.price_completion)):
        if not (math.isfinite(price) and price >= 0):
            raise UsageError(f"{name} is {price}, it must be a number from 0")
    if not (math.isfinite(config.timeout_s) and config.timeout_s > 0):
        raise UsageError(f"timeout_s is {config.timeout_s}, it must be a number above 0")
    if config.scoring not in SCORINGS:
        raise UsageError(f"no scoring {config.scoring!r}", hint=f"known: {', '.join(SCORINGS)}")
    if config.export is not None and config.export not in EXPORTS:
        raise UsageError(f"no export {config.export!r}", hint=f"known: {', '.join(EXPORTS)}")
    shard_of(config)
    benchmark = BENCHMARKS[config.benchmark]
    protocol = _protocol_of(config, benchmark)
    for name, why in _unread(config, protocol):
        raise no_effect(name, getattr(config, name), why)
    _check_scoring(config, benchmark, protocol)
    _check_engine(config, protocol)
    return benchmark, protocol


def shard_of(config: EvalConfig) -> Shard | None:
    """The part that is asked; None for all.

    Raises:
        UsageError: It is not written I/N with 1 <= I <= N.
    """
    return read_shard(config.shard) if config.shard is not None else None


def data_of(config: EvalConfig) -> Path:
    """The samples file: the one given, or the benchmark's."""
    return config.data or Path("data") / f"{BENCHMARKS[config.benchmark].data}.jsonl"


def folder_of(config: EvalConfig) -> Path:
    """The folder of this run: `out`, or the shard's folder in it."""
    out = config.out or Path("runs") / f"{config.export or 'eval'}-{config.benchmark}"
    shard = shard_of(config)
    return out / shard.folder if shard else out


def chunk_of(config: EvalConfig) -> int:
    """How many requests an engine is handed at a time; their answers are written down together."""
    return _CHUNK * (config.concurrency if config.engine == "server" else config.batch_size)


def _protocol_of(config: EvalConfig, benchmark: Benchmark) -> Protocol:
    protocol = protocols.load(config.protocol or benchmark.protocol)
    if benchmark.task not in protocol.tasks:
        raise UsageError(
            f"the protocol {protocol.name!r} asks samples of the task {' or '.join(protocol.tasks)}, those of "
            f"{config.benchmark!r} are of {benchmark.task}",
            hint="'iadr1 protocols ls' lists all protocols with their tasks",
        )
    return protocols.vary(
        protocol,
        shots=config.shots,
        template=config.template,
        domain_knowledge=config.domain_knowledge,
        option_order=config.option_order,
        # The seed of a protocol that permutes by itself stands, unless another one is asked for.
        seed=config.seed if config.option_order == "seeded" or config.seed != _default("seed") else None,
        max_new_tokens=config.max_new_tokens,
    )


def _unread(config: EvalConfig, protocol: Protocol) -> Iterator[tuple[str, str]]:
    """Settings that were given and that nothing would read, each with the reason."""
    given = {field.name for field in dataclasses.fields(config) if getattr(config, field.name) != _default(field.name)}
    chosen = f"the engine is {config.engine!r}"
    rules: list[tuple[tuple[str, ...], bool, str]] = [
        (_ANSWERING, config.export is not None, "--export asks nothing"),
        (("seed",), config.export is not None and protocol.option_order != "seeded", "nothing is drawn for --export"),
        (SERVER_FIELDS, config.engine != "server", f"it is for --engine server, {chosen}"),
        (VLLM_FIELDS, config.engine != "vllm", f"it is for --engine vllm, {chosen}"),
        (("attention",), config.engine != "local", f"it is for --engine local, {chosen}"),
        (("dtype",), config.engine not in ("local", "vllm"), f"it is for --engine local and vllm, {chosen}"),
        (("device",), config.engine == "vllm" and not config.masks, "vLLM takes the GPUs of CUDA_VISIBLE_DEVICES"),
        # A segmenter runs here whatever the engine.
        (("device",), config.engine != "local" and not config.masks, "nothing is computed here"),
        (("batch_size",), config.engine == "server", "a server is asked as much at a time as --concurrency says"),
        (("max_new_tokens", *_PRICES), config.scoring == LOGPROB, "nothing is written with --scoring logprob"),
        (("masks",), protocol.reading != "boxes", f"the protocol {protocol.name!r} asks for no boxes of defects"),
        (("segmenter",), not config.masks, "add --masks"),
        (("template",), protocol.shots == 0, "no reference is shown with --shots 0"),
    ]
    for names, unread, why in rules:
        yield from ((name, why) for name in names if unread and name in given)


def _default(name: str) -> Any:
    return next(field.default for field in dataclasses.fields(EvalConfig) if field.name == name)


def _check_scoring(config: EvalConfig, benchmark: Benchmark, protocol: Protocol) -> None:
    if config.scoring != LOGPROB:
        return
    needs = "--scoring logprob needs options to choose from"
    if protocol.reading in BOX_READINGS:
        raise UsageError(f"{needs}; the answers of the protocol {protocol.name!r} are boxes")
    if benchmark.task == "choice" and not protocol.option:
        raise UsageError(f"{needs}; the protocol {protocol.name!r} does not show them")


def _check_engine(config: EvalConfig, protocol: Protocol) -> None:
    check_segmenter(config.segmenter)
    if config.engine not in ENGINES:
        raise UsageError(f"no engine {config.engine!r}", hint=f"known engines: {', '.join(ENGINES)}")
    served = config.engine == "server"
    if served and not config.base_url:
        raise UsageError("the engine 'server' needs --base-url", hint="for example http://localhost:8000/v1")
    if config.engine in _NAMED and config.model == _default("model"):
        raise UsageError(f"the engine {config.engine!r} needs --model", hint=_NAMED[config.engine])
    if served and protocol.reading in BOX_READINGS and not config.family:
        raise UsageError(
            "a server does not say how its model writes boxes",
            hint="name its family with --family, e.g. qwen2_5_vl, or a folder or hub id with its sizes",
        )
