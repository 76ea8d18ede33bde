"""The papers' ablation on a laptop: SFT, classical GRPO, both readings of ROAM, PA-SFT then SC-GRPO, over seeds.

Each with and without grounding pretraining, from one start, at equal steps and questions.

    python -m benchmarks.ablation OUT --plan                              the runs, and how long they will take here
    python -m benchmarks.ablation OUT --model tiny --seeds 0 1 2 --steps 40

Everything is done by the project's own stages. Each run is a folder, `OUT/runs/ARM/seed-N/STAGE`; the same command goes
on after a kill, and has nothing left to do once all is done. Two processes share the work when they are given different
seeds; a last call with all seeds writes the tables. OUT/results.json holds every figure, OUT/table.md the tables,
OUT/curves.png the curves of training. What is compared and how: docs/ablation.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import ablation_figures as figures
from benchmarks import ablation_sets as sets
from benchmarks.ablation_tables import curves, tables
from iadr1 import config as configs
from iadr1.atomic import write_text_atomic
from iadr1.cli.recipes import find_recipe
from iadr1.config import EvalConfig, GroundConfig, SftConfig, TrainConfig
from iadr1.errors import UsageError
from iadr1.records import Sample, read_records
from iadr1.stages import evaluate, grpo, score, sft
from iadr1.stages.evaluate.folder import locked

BENCHMARKS = {"mmad": "mmad", "iad": "anomaly", "detection": "anomaly"}
"""Benchmark -> which of the evaluation's samples it asks."""
GROUND = "ground"
EVAL_TOKENS = 192
"""Three boxes and their reasoning fit; a model that does not stop is cut off and counted as wrong."""


@dataclass(frozen=True)
class Settings:
    """What must be the same in all runs of a folder."""

    model: str = "tiny"
    steps: int = 40
    ground_steps: int = 40
    questions: int = 8
    generations: int = 8
    learning_rate: float = 1e-4
    sft_learning_rate: float = 1e-4
    beta: float = 0.04
    images: int = 320
    evaluated: int = 240
    data_seed: int = 101


@dataclass(frozen=True)
class Training:
    """How an arm is trained.

    Attributes:
        stage: `sft`, `train` or `ground`; names the folder.
        reward: Of GRPO.
        verdicts: Trained on yes/no samples instead of multiple-choice questions.
        half: Which half of the steps it does: 0 for all of them, else 1 or 2.
        after: The arm it goes on from; by default the start.
    """

    stage: str
    reward: str = ""
    verdicts: bool = False
    half: int = 0
    after: str = ""


ARMS: dict[str, Training | None] = {
    "base": None,
    "sft": Training("sft"),
    "grpo": Training("train", "classical"),
    "roam": Training("train", "roam"),
    "roam-reference": Training("train", "roam-reference"),
    "pa-sft": Training("sft", verdicts=True, half=1),
    "sc-grpo": Training("train", "sc-grpo", verdicts=True, half=2, after="pa-sft"),
}
"""The arms from the start itself; `ground-ARM` is each of them from the grounded model, which is `ground` itself."""


@dataclass(frozen=True)
class Run:
    """One arm under one seed; `seed` is None for the start, which nobody trains."""

    out: Path
    settings: Settings
    arm: str
    seed: int | None

    @property
    def folder(self) -> Path:
        """Where its stages lie."""
        return self.out / "runs" / self.arm / ("start" if self.seed is None else f"seed-{self.seed}")

    @property
    def training(self) -> Training | None:
        """How it is trained."""
        return Training("ground", "grounding=1,box-format=0.5") if self.arm == GROUND else ARMS[self._plain]

    @property
    def _plain(self) -> str:
        return self.arm.removeprefix(f"{GROUND}-")

    @property
    def before(self) -> Run:
        """The run whose model it starts from."""
        how = self.training
        if how is not None and how.after:
            return Run(self.out, self.settings, self.arm.replace(self._plain, how.after), self.seed)
        grounded = self.arm.startswith(f"{GROUND}-")
        return Run(self.out, self.settings, GROUND if grounded else "base", self.seed if grounded else None)

    @property
    def model(self) -> str:
        """Its model, as `--model` takes it."""
        return self.settings.model if self.training is None else str(self.folder / self.training.stage / "model")

    @property
    def data(self) -> Path:
        """What it trains on: reinforcement never sees an image of SFT."""
        folder, how = self.out / "data", self.training
        if how is None:
            raise ValueError("the start is not trained")
        if how.stage == "ground":
            return sets.regions(folder, "ground")
        return (sets.verdicts if how.verdicts else sets.questions)(folder, "sft" if how.stage == "sft" else "reinforce")


NAMES = (*ARMS, GROUND, *(f"{GROUND}-{arm}" for arm in ARMS if arm != "base"))
"""All arms, each after those it starts from."""


def runs_of(out: Path, settings: Settings, seeds: Sequence[int], arms: Sequence[str] = NAMES) -> Iterator[Run]:
    """The runs of some arms and of those they start from, each after the one it starts from."""
    needed = {"base"}
    for arm in arms:
        run = Run(out, settings, arm, 0)
        while run.arm not in needed:
            needed.add(run.arm)
            run = run.before
    yield Run(out, settings, "base", None)
    for seed in seeds:
        yield from (Run(out, settings, arm, seed) for arm in NAMES if arm in needed and arm != "base")


def config_of(run: Run, *, out: Path | None = None, steps: int | None = None) -> TrainConfig | SftConfig:
    """The config of a run: the laptop's recipe with the ablation's settings.

    Args:
        run: One that is trained.
        out: Another folder.
        steps: Another number of steps.
    """
    how, settings = run.training, run.settings
    if how is None or run.seed is None:
        raise ValueError("the start is not trained")
    first = settings.steps // 2
    whole = (
        settings.ground_steps if how.stage == "ground" else (settings.steps, first, settings.steps - first)[how.half]
    )
    given: dict[str, Any] = {
        "model": run.before.model,
        "data": run.data,
        "out": out or run.folder / how.stage,
        "steps": steps or whole,
        "seed": run.seed,
        # The same course for all: a schedule would give arms of half the steps another one.
        "lr_schedule": "constant",
        "warmup_steps": 0,
        "log_to": "none",
    }
    if how.stage == "sft":
        given |= {"learning_rate": settings.sft_learning_rate, "batch_size": settings.questions}
        return configs.build(SftConfig, recipe=find_recipe("tiny-sft"), given={**given, "answer_format": "structured"})
    given |= {
        "learning_rate": settings.learning_rate,
        "batch_size": settings.questions * settings.generations,
        "generations": settings.generations,
        "beta": settings.beta,
        "reward": how.reward,
    }
    grounding = how.stage == "ground"
    kind: type[TrainConfig] = GroundConfig if grounding else TrainConfig
    return configs.build(kind, recipe=find_recipe("tiny-ground" if grounding else "tiny-roam"), given=given)


def train(config: TrainConfig | SftConfig, *, on_log: Any = None) -> None:
    """Train, or go on, or find that it is finished."""
    if isinstance(config, SftConfig):
        sft.run(config, on_log=on_log)
    else:
        grpo.run(config, on_log=on_log)


def asking(run: Run, benchmark: str, *, out: Path | None = None, limit: int | None = None) -> EvalConfig:
    """How a run's model is asked."""
    return EvalConfig(
        benchmark,
        data=sets.benchmark(run.out / "data", BENCHMARKS[benchmark]),
        model=run.model,
        out=out or run.folder / benchmark,
        max_new_tokens=EVAL_TOKENS,
        limit=limit,
    )


def do(run: Run) -> None:
    """Train and evaluate one run; what is finished stays."""
    if run.training is not None and not (run.folder / "done").exists():
        train(config_of(run))
    for benchmark in BENCHMARKS:
        if not _is_finished(run.folder / benchmark):
            result = evaluate.run(asking(run, benchmark))
            if result.failed:
                raise SystemExit(f"{result.out}: {result.failed} questions got no answer: {result.first_failure}")
    for checkpoint in run.folder.glob("*/checkpoint-*"):  # some 40 MB each, and nobody goes on from them
        shutil.rmtree(checkpoint)
    (run.folder / "done").touch()


def _is_finished(folder: Path) -> bool:
    info = folder / "run.json"
    return info.exists() and bool(json.loads(info.read_text(encoding="utf-8"))["finished"])


def begin(out: Path, settings: Settings) -> dict[str, Any]:
    """Make the sets and evaluate the start, which all seeds share; returns what `sets.make` does.

    Raises:
        UsageError: The folder is of other settings, or another process is just doing this.
    """
    note = out / "settings.json"
    if note.exists():
        known = json.loads(note.read_text(encoding="utf-8"))
        other = [
            f"{key} {known.get(key)} -> {value}" for key, value in asdict(settings).items() if known.get(key) != value
        ]
        if other:
            raise UsageError(
                f"the folder is of other settings: {', '.join(other)}", where=str(out), hint="choose another"
            )
    sizes = sets.Sizes(settings.images, settings.evaluated, settings.data_seed)
    with locked(out):
        write_text_atomic(note, json.dumps(asdict(settings), indent=1) + "\n")
        found = sets.make(out / "data", sizes, model=settings.model)
        do(Run(out, settings, "base", None))
    return found


def plan(out: Path, settings: Settings, runs: Sequence[Run]) -> list[str]:
    """The runs with their estimated minutes, from three steps of each kind and a few questions asked here.

    CPU seconds are what a quiet core would take; wall seconds hold what else ran meanwhile.
    """
    kept = out / "plan" / "measured.json"
    if kept.exists():
        costs: dict[str, dict[str, list[float]]] = json.loads(kept.read_text(encoding="utf-8"))
    else:
        costs = {name: _train_cost(out, settings, name) for name in (GROUND, "sft", "pa-sft", "roam", "sc-grpo")}
        costs |= {name: _ask_cost(out, settings, name) for name in BENCHMARKS}
        write_text_atomic(kept, json.dumps(costs, indent=1) + "\n")
    lines, totals = [], {"wall": 0.0, "cpu": 0.0}
    for run in runs:
        parts = {name: (name, _asked(out, name)) for name in BENCHMARKS}
        if run.training is not None and run.seed is not None:
            arm = run.arm.removeprefix(f"{GROUND}-")
            like = arm if arm in costs else "roam"
            parts[run.training.stage] = (like, config_of(run).steps)
        minutes = {
            clock: sum(costs[like][clock][0] + costs[like][clock][1] * number for like, number in parts.values()) / 60
            for clock in totals
        }
        totals = {clock: total + minutes[clock] for clock, total in totals.items()}
        state = "done" if (run.folder / "done").exists() else f"{minutes['cpu']:.1f} CPU min"
        lines.append(f"{run.folder.relative_to(out)}: {', '.join(parts)} from {run.before.model}: {state}")
    whole = f"{totals['cpu']:.0f} CPU minutes, {totals['wall']:.0f} minutes at the pace of the measurement"
    return [*lines, f"{len(lines)} runs, all together {whole}"]


def _asked(out: Path, benchmark: str) -> int:
    samples = read_records(sets.benchmark(out / "data", BENCHMARKS[benchmark]), Sample)
    return sum(1 for _ in samples)


def _train_cost(out: Path, settings: Settings, arm: str) -> dict[str, list[float]]:
    """Clock -> seconds of a run beside its steps, and of a step; each starts from the start, which costs the same."""
    run = Run(out, settings, arm, 0)
    folder = out / "plan" / arm
    shutil.rmtree(folder, ignore_errors=True)
    config = configs.build(
        type(config_of(run)), given={**vars(config_of(run, out=folder, steps=3)), "model": settings.model}
    )
    marks = [_clocks()]
    train(config, on_log=lambda entry: marks.append(_clocks()))
    marks.append(_clocks())
    shutil.rmtree(folder)
    found = {}
    for place, clock in enumerate(("wall", "cpu")):
        step = (marks[3][place] - marks[1][place]) / 2  # from the end of the first to the end of the third
        found[clock] = [marks[-1][place] - marks[0][place] - 3 * step, step]
    return found


def _ask_cost(out: Path, settings: Settings, benchmark: str) -> dict[str, list[float]]:
    """Clock -> seconds of an evaluation beside its questions, and of a question."""
    start = Run(out, settings, "base", None)
    folder = out / "plan" / benchmark
    shutil.rmtree(folder, ignore_errors=True)
    limits = (min(32, _asked(out, benchmark) // 4), min(96, _asked(out, benchmark)))
    taken = []
    for limit in limits:
        before = _clocks()
        evaluate.run(asking(start, benchmark, out=folder, limit=limit))
        taken.append([after - earlier for earlier, after in zip(before, _clocks(), strict=True)])
    shutil.rmtree(folder)
    found = {}
    for place, clock in enumerate(("wall", "cpu")):
        # The second call asks only what the first did not.
        question = max(0.0, (taken[1][place] - taken[0][place]) / max(1, limits[1] - 2 * limits[0]))
        found[clock] = [max(0.0, taken[0][place] - limits[0] * question), question]
    return found


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def results_of(out: Path, finished: Sequence[Run]) -> dict[str, Any]:
    """Every figure of finished runs, with comparisons; leaves the project's own `compare` of each pair in `out`."""
    runs: dict[str, list[Run]] = {}
    for run in finished:
        runs.setdefault(run.arm, []).append(run)
    answers = {
        arm: [figures.read(run.folder, arm, run.seed, benchmarks=list(BENCHMARKS)) for run in of_arm]
        for arm, of_arm in runs.items()
    }
    arms: dict[str, dict[str, Any]] = {
        arm: {
            "figures": figures.summary(answers[arm]),
            "runs": [_run_figures(run, there) for run, there in zip(of_arm, answers[arm], strict=True)],
        }
        for arm, of_arm in runs.items()
    }
    comparisons = {}
    for a, b in pairs(list(runs)):
        comparisons[f"{b} - {a}"] = {
            split: figures.comparison(answers[a], answers[b], split) for split in arms["base"]["figures"]
        }
        for first, second in zip(runs[a] * (len(runs[b]) if a == "base" else 1), runs[b], strict=True):
            for name in ("mmad", "iad"):
                place = out / "compare" / f"{b}-{a}" / second.folder.name / name
                score.compare(first.folder / name, second.folder / name, score.ScoreSettings(), out=place)
    seeds = sorted({run.seed for run in finished if run.seed is not None})
    return {"settings": asdict(finished[0].settings), "seeds": seeds, "arms": arms, "comparisons": comparisons}


def pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Which of the arms are compared: each with the start, with classical GRPO, and grounded with not grounded."""
    found = [("base", arm) for arm in NAMES if arm != "base"]
    for prefix in ("", f"{GROUND}-"):
        found += [(f"{prefix}grpo", prefix + arm) for arm in ARMS if arm not in ("base", "grpo", "pa-sft")]
    found += [(arm, f"{GROUND}-{arm}") for arm in ARMS if arm != "base"]
    return [(a, b) for a, b in found if a in arms and b in arms]


def _run_figures(run: Run, there: figures.Evaluated) -> dict[str, Any]:
    data = sets.benchmark(run.out / "data", "mmad")
    entry: dict[str, Any] = {"seed": run.seed, "folder": str(run.folder.relative_to(run.out))}
    entry["reasoning"] = figures.reasoning_of(there, data)
    how = run.training
    if how is not None and how.stage != "sft":
        entry["training"] = figures.training(run.folder / how.stage, run.data)
    return entry


def main(given: Sequence[str] | None = None) -> None:
    """Make the sets, do what is left to do, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=NAMES, default=NAMES, help="and those they start from")
    parser.add_argument("--plan", action="store_true", help="make the sets, time a few steps, list the runs")
    about = {
        "model": "the common start",
        "steps": "of every arm; PA-SFT and SC-GRPO share them",
        "ground_steps": "of grounding pretraining, before the arms that have it",
        "questions": "in a step, also of SFT",
        "images": "of each training set",
        "evaluated": "images of each benchmark",
        "data_seed": "of the first training set; the other sets take the next",
    }
    for name, default in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=about.get(name))
    options = vars(parser.parse_args(given))
    out, seeds, arms, planned = (options.pop(name) for name in ("out", "seeds", "arms", "plan"))
    settings = Settings(**options)
    if settings.steps < 2:
        raise SystemExit("--steps must be at least 2: PA-SFT and SC-GRPO share them")
    runs = list(runs_of(out, settings, seeds, arms))
    found = begin(out, settings)
    if planned:
        print("\n".join(plan(out, settings, runs)))
        return
    for run in runs:
        started = time.monotonic()
        do(run)
        print(f"{run.folder.relative_to(out)}: {time.monotonic() - started:.0f} s", flush=True)
    results = {**results_of(out, runs), "sets": found}
    write_text_atomic(out / "results.json", json.dumps(results, indent=1) + "\n")
    write_text_atomic(out / "table.md", tables(results))
    curves(results, out / "curves.png")
    print(out / "table.md")


if __name__ == "__main__":
    main()
