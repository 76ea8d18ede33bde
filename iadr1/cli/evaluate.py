"""`iadr1 eval`: a benchmark's questions, a table of the answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import key_values, option, server_options, split_words
from iadr1.errors import UsageError, no_effect

if TYPE_CHECKING:
    from iadr1.stages.evaluate import EvalResult
    from iadr1.stages.evaluate.segmentation import MasksResult

EPILOG = (
    "Example: `iadr1 prepare`, then `iadr1 eval mmad` asks the embedded model the seven question types and prints a "
    "table like the paper's Table 2; answers, figures, plots and report.html are written to runs/eval-mmad.\n\n"
    "Benchmarks: mmad and mvtec3d (multiple choice), iad (IAD-R1's yes/no with place and kind), detection (boxes of "
    "defects), grounding (the box of a described region). Each has its protocol; `iadr1 protocols ls` lists all. masks "
    "asks no model: it measures a segmenter beside GrabCut and the plain box, on true boxes and moved ones.\n\n"
    "The tables of AnomalyR1, each with --model and --out, after `iadr1 prepare mmad --root /data/MMAD --out "
    "data/mmad.jsonl` (Table 4: `iadr1 prepare mvtec3d --root /data/mvtec_3d --out data/mvtec3d.jsonl`):\n\n"
    "Table 2: `iadr1 eval mmad`\n\n"
    "Table 3: `iadr1 eval mmad --shots 1 --template similar`, then `--shots 2`\n\n"
    "Table 4: `iadr1 eval mvtec3d`\n\n"
    "Table 5: `iadr1 eval mmad` for each way of training, then `iadr1 compare runs/a runs/b`\n\n"
    "A served model: `iadr1 eval mmad --engine server --base-url http://localhost:8000/v1 --model NAME`.\n\n"
    "On two machines: `iadr1 eval mmad --shard 1/2` and `--shard 2/2`, then `iadr1 score runs/eval-mmad`.\n\n"
    "Exit code: 0 every question answered, 1 at least one not (the same command asks it again), 2 called wrongly."
)

_CONFIG = configs.EvalConfig


_KNOWLEDGE = option(_CONFIG, "domain_knowledge", "--domain-knowledge/--no-domain-knowledge")
_KNOWLEDGE.metavar = ""


@server_options(_CONFIG)
def evaluate(
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="mmad, mvtec3d, iad, detection, grounding or masks.")
    ],
    settings: Annotated[list[str] | None, key_values()] = None,
    data: Annotated[
        Path | None, option(_CONFIG, "data", text="Samples to ask, a JSONL file (default: data/BENCHMARK.jsonl).")
    ] = None,
    root: Annotated[Path | None, option(_CONFIG, "root")] = None,
    model: Annotated[str | None, option(_CONFIG, "model")] = None,
    engine: Annotated[str | None, option(_CONFIG, "engine")] = None,
    out: Annotated[
        Path | None, option(_CONFIG, "out", text="Folder for the results (default: runs/eval-BENCHMARK).")
    ] = None,
    protocol: Annotated[str | None, option(_CONFIG, "protocol")] = None,
    shots: Annotated[int | None, option(_CONFIG, "shots")] = None,
    template: Annotated[str | None, option(_CONFIG, "template")] = None,
    domain_knowledge: Annotated[bool | None, _KNOWLEDGE] = None,
    option_order: Annotated[str | None, option(_CONFIG, "option_order")] = None,
    scoring: Annotated[str | None, option(_CONFIG, "scoring")] = None,
    limit: Annotated[int | None, option(_CONFIG, "limit")] = None,
    shard: Annotated[str | None, option(_CONFIG, "shard")] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--no-resume",
            help="Go on with a run that was stopped, or refuse a folder that holds answers. (default: on)",
            show_default=False,
            metavar="",
        ),
    ] = None,
    masks: Annotated[
        bool | None, option(_CONFIG, "masks", "--masks", text="Draw masks in predicted boxes and measure them too.")
    ] = None,
    segmenter: Annotated[str | None, option(_CONFIG, "segmenter")] = None,
    leaks: Annotated[Path | None, option(_CONFIG, "leaks")] = None,
    allow_leaks: Annotated[bool | None, option(_CONFIG, "allow_leaks", "--allow-leaks")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    price_prompt: Annotated[float | None, option(_CONFIG, "price_prompt")] = None,
    price_completion: Annotated[float | None, option(_CONFIG, "price_completion")] = None,
    export: Annotated[str | None, option(_CONFIG, "export")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
    **server: Any,
) -> None:
    """Ask a model every question of a benchmark and score the answers.

    How questions are asked and answers are read is a protocol's, whose hash stands beside every figure. An answer that
    cannot be read counts as wrong and is counted separately. An interrupted run goes on where it stopped, and asks
    again what got no answer. Images that the model was trained on, as its training run or --leaks says, are refused
    unless allowed; held-out images and categories are reported apart.
    """
    given = {key: value for key, value in locals().items() if key not in ("benchmark", "settings", "resume", "server")}
    name, overrides = split_words(benchmark, settings, leading="benchmark")
    if name is None:
        raise UsageError("no benchmark named", hint="for example: iadr1 eval mmad")
    config = configs.build(_CONFIG, overrides=overrides, given={**given, **server, "benchmark": name})
    from iadr1.stages import evaluate as stage

    if name == "masks":
        _check_resume(resume, "'eval masks' asks nothing")
        with terminal.task_bars() as show:
            _show_masks(stage.segmentation.run(config, progress=partial(show, "drawing")))
        return
    if config.export is not None:
        _check_resume(resume, "--export asks nothing")
        task = stage.export(config)
        terminal.say(f"wrote     {task}")
        terminal.say(f"use       lmms-eval --include_path {task.parent} --tasks {task.stem} (where iadr1 is installed)")
        return
    with terminal.task_bars() as show:
        result = stage.run(
            config,
            progress=partial(show, "asking"),
            comparing=partial(show, "looking for leaks"),
            on_note=terminal.note,
            resume=resume is not False,
        )
    _show(config, result)
    if result.failed:
        raise typer.Exit(1)


def _check_resume(resume: bool | None, why: str) -> None:
    if resume is not None:
        raise no_effect("resume", resume, why)


def _show_masks(result: MasksResult) -> None:
    from iadr1.reports.grid import to_rich

    terminal.out.print(to_rich(result.table))
    for path in result.files:
        terminal.say(f"wrote     {path}")


def _show(config: configs.EvalConfig, result: EvalResult) -> None:
    from iadr1.reports.grid import to_rich

    # Boxes, masks and scores have tables of their own; those by data set beside published rows stand in table.md.
    for table in result.tables[:1] if "choice" in result.protocol.tasks else result.tables:
        terminal.out.print(to_rich(table))
    metrics = result.metrics
    resumed = f", {result.resumed} of them by an earlier run" if result.resumed else ""
    terminal.say(f"protocol  {result.protocol.name}, {result.protocol.digest}")
    terminal.say(f"answers   {result.asked}{resumed}; {metrics['parse_rate']:.2f} % could be read")
    if config.scoring == "text":
        used = metrics["tokens"]
        cost = f", cost {metrics['cost']:.2f}" if "cost" in metrics else ""
        terminal.say(f"tokens    {used['prompt']:,} of prompts, {used['completion']:,} written{cost}")
    if result.unscored:
        terminal.note(f"{result.unscored} answers have no anomaly score: {result.no_score}")
    if result.leaks is not None:
        terminal.say(f"leaks     {result.leaks.sentence()}")
    for line in result.notes:
        terminal.note(line)
    for path in result.files:
        terminal.say(f"wrote     {path}")
    if config.shard is not None:
        terminal.say(f"joined    by 'iadr1 score {result.out.parent}' when all shards are there")
    if result.failed:
        questions = "question" if result.failed == 1 else "questions"
        terminal.note(
            f"{result.failed} {questions} got no answer (the first: {result.first_failure}); run the same command "
            "again to ask them again"
        )
