"""`iadr1 eval`: a benchmark's questions, a table of the answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from iadr1 import config as configs
from iadr1.cli import terminal
from iadr1.cli.options import key_values, option, split_words
from iadr1.errors import UsageError

EPILOG = (
    "Example: `iadr1 prepare`, then `iadr1 eval mmad` asks the embedded model the seven question types and prints a "
    "table like the paper's Table 2; predictions.jsonl, metrics.json and table.md are written to runs/eval-mmad.\n\n"
    "Benchmarks: mmad and mvtec3d (multiple choice), anomaly (IAD-R1's yes/no with place and kind), detection (boxes "
    "of defects), grounding (the box of a described region).\n\n"
    "A big model on the real benchmark: `iadr1 prepare mmad --root /data/MMAD --out data/mmad.jsonl`, then "
    "`iadr1 eval mmad --model Qwen/Qwen2.5-VL-3B-Instruct`."
)

_CONFIG = configs.EvalConfig


def evaluate(
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="mmad, mvtec3d, anomaly, detection or grounding.")
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
    shots: Annotated[int | None, option(_CONFIG, "shots")] = None,
    limit: Annotated[int | None, option(_CONFIG, "limit")] = None,
    leaks: Annotated[Path | None, option(_CONFIG, "leaks")] = None,
    allow_leaks: Annotated[bool | None, option(_CONFIG, "allow_leaks", "--allow-leaks")] = None,
    batch_size: Annotated[int | None, option(_CONFIG, "batch_size")] = None,
    max_new_tokens: Annotated[int | None, option(_CONFIG, "max_new_tokens")] = None,
    device: Annotated[str | None, option(_CONFIG, "device")] = None,
    dtype: Annotated[str | None, option(_CONFIG, "dtype")] = None,
    attention: Annotated[str | None, option(_CONFIG, "attention")] = None,
    seed: Annotated[int | None, option(_CONFIG, "seed")] = None,
) -> None:
    """Ask a model every question of a benchmark and score the answers.

    An answer that cannot be read counts as wrong and is counted separately. An interrupted run goes on where it
    stopped, and asks again where an image could not be used. Images that the model was trained on, as its training run
    or --leaks says, are refused unless allowed; held-out images and categories are reported apart.
    """
    given = {key: value for key, value in locals().items() if key not in ("benchmark", "settings")}
    name, overrides = split_words(benchmark, settings, leading="benchmark")
    if name is None:
        raise UsageError("no benchmark named", hint="for example: iadr1 eval mmad")
    config = configs.build(_CONFIG, overrides=overrides, given={**given, "benchmark": name})
    from iadr1.reports.tables import to_rich
    from iadr1.stages import evaluate as stage

    with terminal.task_bars() as show:
        result = stage.run(config, progress=partial(show, "asking"), comparing=partial(show, "looking for leaks"))
    terminal.out.print(to_rich(result.table))
    resumed = f", {result.resumed} of them by an earlier run" if result.resumed else ""
    failed = f", {result.failed} with an image that could not be used" if result.failed else ""
    terminal.say(f"{result.samples} questions{resumed}{failed}")
    compared = ("leaks.jsonl",) if "leaks" in result.metrics else ()
    for name in ("predictions.jsonl", "metrics.json", "table.md", *compared, "run.json"):
        terminal.say(str(result.out / name))
    if result.failed:
        raise typer.Exit(1)
