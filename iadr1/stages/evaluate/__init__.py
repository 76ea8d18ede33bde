"""`iadr1 eval BENCHMARK`: ask a model every question of a samples file, write its answers down, score them.

How questions are asked and answers are read is a protocol's. A run killed at any moment goes on where it stopped, and
asks again what got no answer; answers of another protocol, model, samples file or condition are never mixed. Where it
is known what the model was trained on, figures are reported apart for images it was and was not trained on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from iadr1 import provenance
from iadr1.config import EvalConfig
from iadr1.errors import DataError, UsageError
from iadr1.exports import lmms_eval
from iadr1.masks import load_segmenter
from iadr1.models import Engine, load_engine
from iadr1.protocols import Protocol
from iadr1.records import Prediction, Sample, read_records, resolve_root, write_records
from iadr1.reports.grid import Grid, to_rich
from iadr1.stages import scoring
from iadr1.stages.engines import announce, load_options
from iadr1.stages.evaluate import segmentation
from iadr1.stages.evaluate.asking import Asker, batches, score_prompt
from iadr1.stages.evaluate.folder import RUN, Progress, answer_all, check_folder, dtype_of, input_of, locked, take_up
from iadr1.stages.evaluate.overlap import find_overlap
from iadr1.stages.evaluate.questions import Asking, ImageQuestions, choose, read_knowledge, read_samples
from iadr1.stages.evaluate.settings import (
    BENCHMARKS,
    EXPORTS,
    LOGPROB,
    check_settings,
    chunk_of,
    data_of,
    folder_of,
    shard_of,
)
from iadr1.stages.scoring import FOUND, MASKS, PREDICTIONS, FoundLeaks

__all__ = ["BENCHMARKS", "EvalResult", "export", "run", "segmentation"]


@dataclass(frozen=True)
class EvalResult:
    """What a run gives back.

    Attributes:
        out: The run's folder.
        files: What is in it: answers, figures, tables, pictures, the page of answers.
        protocol: How it was asked.
        metrics: The content of `metrics.json`.
        tables: Its tables, the headline first.
        asked: Answers of the run: one for each question, or for each rotation of its options.
        resumed: Of these, those of an earlier run.
        failed: Of these, those that say why there is no answer.
        first_failure: What the first of these says.
        unscored: Yes/no answers without an anomaly score.
        no_score: Why the first of these has none.
        leaks: Its images beside what the model was trained on; None where nothing is known of that.
        notes: Sentences on what else could not be measured or drawn.
        seconds: Wall time.
    """

    out: Path
    files: Sequence[Path]
    protocol: Protocol
    metrics: dict[str, Any]
    tables: Sequence[Grid]
    asked: int
    resumed: int
    failed: int
    first_failure: str | None
    unscored: int
    no_score: str | None
    leaks: FoundLeaks | None
    notes: Sequence[str]
    seconds: float

    def __rich__(self) -> Table:
        """The headline table, where a rich console prints the result."""
        return to_rich(self.tables[0])


@dataclass(frozen=True)
class _Plan:
    """What is known before a model is loaded."""

    config: EvalConfig
    protocol: Protocol
    asking: Asking
    data: Path
    root: Path
    out: Path
    images: list[ImageQuestions]

    @property
    def samples(self) -> list[Sample]:
        """The samples about the images that are asked about."""
        return [sample for image in self.images for sample in image.samples]

    @property
    def keys(self) -> list[str]:
        """The keys of all that is asked."""
        return [key for image in self.images for key in image.keys]


def run(
    config: EvalConfig,
    *,
    progress: Progress | None = None,
    comparing: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
    engine: Engine | None = None,
    resume: bool = True,
) -> EvalResult:
    """Evaluate a model on a benchmark.

    Args:
        config: What to evaluate; `limit` takes that many samples at random (`seed`), in the file's order.
        progress: Called with (answered, all) at the start and whenever answers were written down.
        comparing: Called with (images compared with the trained ones, all).
        on_note: Told, in a line, which model is about to be loaded.
        engine: The model, already loaded; by default `config.engine` with `config.model`.
        resume: Go on with what an earlier run left in the folder; otherwise a folder with answers is refused.

    Raises:
        UsageError: A setting that cannot be or has no effect, no data, the model was trained on some of the images
            (and `allow_leaks` is off), or the folder holds something else, or answers of another protocol, model,
            samples file or condition, or another process evaluates in it.
        DataError: A sample does not fit the benchmark or the protocol, or the leak manifest is broken.
        ModelError: The model cannot be loaded or run.
        OutputError: The folder cannot be written to.
    """
    started = time.monotonic()
    plan = _plan(config)
    check_folder(plan.out, sharded=config.shard is not None)
    if not resume and (plan.out / PREDICTIONS).exists():
        raise UsageError("the folder holds answers", where=str(plan.out), hint="give another --out, or --resume")
    name = config.model if engine is None else engine.model
    overlap = find_overlap(config, plan.samples, plan.root, model=name, out=plan.out, tick=comparing)
    if engine is None:
        announce(config, on_note)
        engine = load_engine(config.engine, config.model, load_options(config))
    segmenter = load_segmenter(config.segmenter, device=config.device) if config.masks else None
    info = _describe(plan, engine, overlap)
    with locked(plan.out):
        asker = Asker(engine, plan.protocol, plan.root, logprob=plan.asking.logprob, segmenter=segmenter)
        measured = _ask(plan, asker, info, overlap=overlap, progress=progress)
        info |= {"finished": True, "seconds": round(time.monotonic() - started, 2)}
        provenance.write_run(plan.out, info)
        return _result(plan, info, measured, overlap)


def _ask(
    plan: _Plan, asker: Asker, info: dict[str, Any], *, overlap: FoundLeaks | None, progress: Progress | None
) -> scoring.Measured:
    """Ask what is left, and measure all; adds to `info` what is known by then."""
    done, no_score = take_up(plan.out, info, plan.keys)
    # Not earlier: a run that is refused changes nothing in a folder with answers.
    if overlap is not None:
        write_records(plan.out / FOUND, overlap.report.matches.values())
    provenance.write_run(plan.out, {**info, "finished": False, "no_score": no_score})
    left = batches(plan.asking.questions(plan.images, done), chunk_of(plan.config))
    answer_all(asker, left, plan.out, counts=(len(done), len(plan.keys)), progress=progress)
    info |= {"resumed": len(done), "no_score": asker.no_score or no_score}
    provenance.write_run(plan.out, {**info, "finished": False})
    loaded = scoring.load(plan.out / PREDICTIONS, data=plan.data)
    return scoring.measure(loaded, seed=plan.config.seed, out=plan.out)


def _result(plan: _Plan, info: Mapping[str, Any], measured: scoring.Measured, overlap: FoundLeaks | None) -> EvalResult:
    answers = list(read_records(plan.out / PREDICTIONS, Prediction))
    reasons = [one.error for one in answers if one.error is not None]
    masks = [plan.out / MASKS] if (plan.out / MASKS).exists() else []
    leaks = [plan.out / FOUND] if overlap is not None else []
    return EvalResult(
        out=plan.out,
        files=[plan.out / PREDICTIONS, *masks, *leaks, *measured.files, plan.out / RUN],
        protocol=plan.protocol,
        metrics=measured.metrics,
        tables=measured.tables,
        asked=len(plan.keys),
        resumed=info["resumed"],
        failed=len(reasons),
        first_failure=reasons[0] if reasons else None,
        unscored=sum(one.score is None and one.error is None for one in answers) if info["no_score"] else 0,
        no_score=info["no_score"],
        leaks=overlap,
        notes=measured.notes,
        seconds=info["seconds"],
    )


def export(config: EvalConfig) -> Path:
    """Write what `run` would ask as a task of another suite, and ask nothing.

    Args:
        config: `export` names the suite, `out` the folder.

    Returns:
        The task's file; its stem is the task's name, the folder beside it holds what it needs.

    Raises:
        UsageError: A setting that cannot be or has no effect, no data, or the suite cannot ask like this.
        DataError: A sample does not fit the benchmark or the protocol.
        OutputError: The folder cannot be written to.
    """
    if config.export is None:
        raise UsageError("no export named", hint=f"known: {', '.join(EXPORTS)}")
    benchmark, protocol = check_settings(config)
    data, out = data_of(config), folder_of(config)
    samples = read_samples(data, benchmark)
    knowledge = read_knowledge(data) if protocol.domain_knowledge else None
    check_folder(out, sharded=False)
    if (out / RUN).exists():
        raise UsageError("the folder holds an evaluation", where=str(out), hint="give another --out")
    return lmms_eval.write_task(out, samples, protocol, root=resolve_root(data, config.root), knowledge=knowledge)


def _plan(config: EvalConfig) -> _Plan:
    benchmark, protocol = check_settings(config)
    data = data_of(config)
    samples = read_samples(data, benchmark)
    knowledge = read_knowledge(data) if protocol.domain_knowledge else None
    asking = Asking(protocol, knowledge, config.scoring == LOGPROB)
    try:
        images = choose(samples, asking, limit=config.limit, seed=config.seed, shard=shard_of(config))
    except DataError as error:
        raise DataError(error.message, where=f"{data}: {error.where}", hint=error.hint) from error
    return _Plan(config, protocol, asking, data, resolve_root(data, config.root), folder_of(config), images)


def _describe(plan: _Plan, engine: Engine, overlap: FoundLeaks | None) -> dict[str, Any]:
    """What `run.json` holds of a run that begins."""
    protocol, config, knowledge = plan.protocol, plan.config, plan.asking.knowledge
    asks_score = BENCHMARKS[config.benchmark].task == "anomaly" and not plan.asking.logprob
    return provenance.describe(
        "eval",
        config,
        data=[plan.data],
        extra={
            "protocol": {
                "name": protocol.name,
                "version": protocol.version,
                "hash": protocol.digest,
                "definition": protocol.definition(),
            },
            "model_fingerprint": engine.fingerprint,
            "root": str(plan.root.resolve()),
            "dtype": dtype_of(engine) or config.dtype,
            "input": input_of(engine.profile),
            "scoring": config.scoring,
            "domain_knowledge": provenance.digest(knowledge) if knowledge is not None else None,
            "score_prompt": score_prompt() if asks_score else None,
            "masks": config.segmenter if config.masks else None,
            **({"leaks": overlap.figures()} if overlap else {}),
        },
    )
