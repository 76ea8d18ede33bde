"""`iadr1 eval BENCHMARK`: ask a model every question of a samples file, write its answers down, score them.

A run killed at any moment goes on where it stopped, and asks again where an image could not be used; answers of
another protocol, model, dtype, samples file or image root are never mixed. Where it is known what the model was trained
on, figures are reported apart for images it was and was not trained on.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from iadr1 import provenance
from iadr1.config import EvalConfig
from iadr1.models import Engine, LoadOptions, load_engine
from iadr1.records import Prediction, Sample, read_records, resolve_root, write_text_atomic
from iadr1.reports import tables
from iadr1.stages.evaluate.asking import Asker, Progress, answer_all
from iadr1.stages.evaluate.folder import (
    BENCHMARKS,
    check_folder,
    check_settings,
    drop_failed,
    protocol_of,
    read_samples,
    refuse_other_answers,
)
from iadr1.stages.evaluate.overlap import Overlap, find_overlap
from iadr1.stages.evaluate.scoring import ALL, INCLUDED, headline, score_splits

__all__ = ["BENCHMARKS", "EvalResult", "run"]


@dataclass(frozen=True)
class EvalResult:
    """What a run gives back.

    Attributes:
        out: The folder with `predictions.jsonl`, `metrics.json`, `table.md` and `run.json`.
        metrics: The content of `metrics.json`.
        table: The headline table.
        samples: Questions of the run.
        resumed: Of these, answered by an earlier run.
        failed: Of these, those whose image could not be used.
        seconds: Wall time.
    """

    out: Path
    metrics: dict[str, Any]
    table: tables.TableData
    samples: int
    resumed: int
    failed: int
    seconds: float

    def __rich__(self) -> Table:
        """The headline table, where a rich console prints the result."""
        return tables.to_rich(self.table)


@dataclass(frozen=True)
class _Model:
    """A loaded model and what tells its weights apart."""

    engine: Engine
    fingerprint: str


def run(
    config: EvalConfig,
    *,
    progress: Progress | None = None,
    comparing: Progress | None = None,
    engine: Engine | None = None,
) -> EvalResult:
    """Evaluate a model on a benchmark.

    Args:
        config: What to evaluate; `limit` takes that many samples at random (`seed`), in the file's order.
        progress: Called with (answered, all) at the start and after every batch.
        comparing: Called with (images compared with the trained ones, all).
        engine: The model, already loaded; by default `config.engine` with `config.model`.

    Raises:
        UsageError: Unknown benchmark, no data, the model was trained on some of the images (and `allow_leaks` is
            off), or the folder holds another command's run, or answers of another protocol, model, dtype, samples
            file or image root.
        DataError: A sample does not fit the benchmark, or the leak manifest is broken.
        ModelError: The model cannot be loaded or run.
        OutputError: The folder cannot be written to.
    """
    started = time.monotonic()
    benchmark = check_settings(config)
    data = config.data or Path("data") / f"{benchmark.data}.jsonl"
    out = config.out or Path("runs") / f"eval-{config.benchmark}"
    samples = read_samples(data, benchmark, shots=config.shots, limit=config.limit, seed=config.seed)
    root = resolve_root(data, config.root)
    check_folder(out)
    name = config.model if engine is None else engine.model
    overlap = find_overlap(config, samples, root, model=name, out=out, tick=comparing)
    if engine is None:
        options = LoadOptions(config.device, config.dtype, config.attention, config.batch_size)
        engine = load_engine(config.engine, config.model, options)
    model = _Model(engine, engine.fingerprint)
    protocol = protocol_of(benchmark.fmt, engine.profile, shots=config.shots, max_new_tokens=config.max_new_tokens)
    key = provenance.digest(protocol)
    info = provenance.describe(
        "eval",
        config,
        data=[data],
        extra={
            "protocol": {"hash": key, **protocol},
            "model_fingerprint": model.fingerprint,
            "root": str(root.resolve()),
            **({"leaks": overlap.figures()} if overlap else {}),
        },
    )

    path = out / "predictions.jsonl"
    refuse_other_answers(path, info, protocol=key, fingerprint=model.fingerprint)
    done = drop_failed(path)
    provenance.write_run(out, {**info, "finished": False})
    left = [sample for sample in samples if sample.id not in done]
    asker = Asker(
        engine,
        benchmark.fmt,
        config.shots,
        config.max_new_tokens,
        root,
        protocol=key,
        model=f"{engine.model}@{model.fingerprint}",
    )
    resumed = len(samples) - len(left)
    answer_all(asker, left, path, batch_size=config.batch_size, resumed=resumed, progress=progress)

    metrics = _measure(config, model, samples, path, overlap=overlap)
    note = overlap.sentence() if overlap else ""
    table = headline(f"{config.benchmark}: {engine.model}", benchmark.fmt, metrics, note=note)
    write_text_atomic(out / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    write_text_atomic(out / "table.md", tables.to_markdown(table))
    seconds = round(time.monotonic() - started, 2)
    provenance.write_run(out, {**info, "finished": True, "resumed": resumed, "seconds": seconds})
    failed = metrics["errors"]
    return EvalResult(out, metrics, table, len(samples), resumed, failed, seconds)


def _measure(
    config: EvalConfig, model: _Model, samples: list[Sample], path: Path, *, overlap: Overlap | None
) -> dict[str, Any]:
    """The content of `metrics.json`, from the answers on disk."""
    answers = {prediction.sample_id: prediction for prediction in read_records(path, Prediction)}
    answered = [(sample, answers[sample.id]) for sample in samples]
    report = overlap.report if overlap else None
    splits = score_splits(answered, BENCHMARKS[config.benchmark].fmt, seed=config.seed, report=report)
    return {
        "benchmark": config.benchmark,
        "model": model.engine.model,
        "model_fingerprint": model.fingerprint,
        "engine": model.engine.name,
        "protocol": answered[0][1].protocol,
        "shots": config.shots,
        **({"leaks": overlap.figures(), INCLUDED: overlap.trained} if overlap else {}),
        **splits.pop(ALL),
        "splits": splits,
    }
