"""A user's own product in half an hour: docs/adapt.md's commands on magnetic tiles and circuit boards, measured.

    python -m benchmarks.adapt DATA_DIR OUT [--model tiny] [--sets tiles-5 tiles-20 tiles-all pcb] [--limit N]

DATA_DIR holds `deeppcb/` and `magnetic_tile/`. Every set is a folder OUT/SET in which the commands themselves are run
(`iadr1 prepare`, `sft`, `train`, `calibrate`, `detect`), each timed; OUT/SET/steps.jsonl holds them as they were typed.
The model before, after `sft` and after `train` looks at the other half of the photos, beside two answers that need no
model: "all normal", and a classical detector (`adapt_baselines.py`) fitted to the same training photos.

Tiles: the reader's halves, by groups of exposures; of the training half 5, 20 or all photos of each class, the same
24 or more good photos of other groups for the calibration. Photos whose mask is empty are not trained on. Boards: every
second group; a quarter of the training half's boards calibrate. A good board is a template, shown beside itself, since
the set has no other good ones: a whole board's AUROC says how well a model sees that two pictures are equal. Therefore
the tiles of tested boards, with and without a defect, are scored as well (`pcb, tiles`).

Intervals are 95 % bootstrap intervals over groups of exposures, or boards with their templates (the three groups of
boards in the test half are too few to draw from). OUT/results.json and OUT/table.md hold the
figures of all sets asked for. The same command goes on after a kill; a step that was cut short is marked in the times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import adapt_sets as sets
from benchmarks.adapt_figures import Row, figures, table
from iadr1 import rle
from iadr1.atomic import write_text_atomic
from iadr1.errors import Iadr1Error, UsageError
from iadr1.provenance import describe, plain
from iadr1.records import Detection, Record, RecordWriter, done_keys, read_records

SETS = ("tiles-5", "tiles-20", "tiles-all", "pcb")
TILES = "4x4"
HALF_HOUR_S = 1800


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    data: Path
    out: Path
    model: str = "tiny"
    sets: tuple[str, ...] = SETS
    sft_steps: int = 400
    roam_steps: int = 40
    learning_rate: float = 3e-4
    segmenter: str = "grabcut"
    limit: int | None = None
    seed: int = 0


class Step(Record):
    """A finished step: the command as typed, its seconds, and whether they are of the whole of it."""

    key: str
    command: str
    seconds: float
    whole: bool = True
    adapts: bool = True


class Case:
    """One set: its folder, and the steps that are not done yet."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.name, self.plan = name, plan
        self.folder = plan.out / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.folder / "steps.jsonl"
        self._done = done_keys(self._file, Step, lambda step: step.key)

    @property
    def steps(self) -> list[Step]:
        """The finished steps."""
        return list(read_records(self._file, Step)) if self._file.exists() else []

    def command(self, key: str, *words: str, adapts: bool = True) -> None:
        """Run `iadr1 WORDS` in the set's folder, where it is not done yet.

        Args:
            key: Name of the step.
            words: The command line after `iadr1`.
            adapts: Whether a user would run it; what only measures does not count into the half hour.

        Raises:
            UsageError: The command failed; its last words are told.
        """
        if key in self._done:
            return
        mark = self.folder / f".{key}.running"
        whole = not mark.exists()
        mark.touch()
        print(f"{self.name}: iadr1 {' '.join(words)}", flush=True)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "iadr1", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UsageError(
                f"iadr1 {words[0]} ended with {done.returncode}: {done.stderr.strip()[-600:]}", where=str(self.folder)
            )
        step = Step(
            key=key,
            command=f"iadr1 {' '.join(words)}",
            seconds=time.perf_counter() - started,
            whole=whole,
            adapts=adapts,
        )
        with RecordWriter(self._file) as writer:
            writer.write(step)
        mark.unlink()


def learn(case: Case, *more: str) -> list[tuple[str, str]]:
    """`sft` and `train` from the prepared files; the models to measure, by name, as `--model` takes them."""
    plan = case.plan
    warmup = max(1, plan.sft_steps // 20)
    case.command(
        *("sft", "sft", "tiny-sft", "--model", plan.model, "--data", "data/reasons.jsonl", "--out", "runs/sft"),
        *("--steps", str(plan.sft_steps), "--learning-rate", str(plan.learning_rate)),
        *("answer_format=boxes,direct", f"warmup_steps={warmup}", "save_steps=100", *more),
    )
    case.command(
        *("roam", "train", "tiny-roam", "--model", "runs/sft/model", "--data", "data/questions.jsonl"),
        *("--out", "runs/roam", "--reward", "roam", "--steps", str(plan.roam_steps), *more),
    )
    return [("before", plan.model), ("sft", "runs/sft/model"), ("sft + roam", "runs/roam/model")]


def look(case: Case, name: str, model: str, *, photos: str, references: str | None, tiles: str = "off") -> Path:
    """`calibrate` and `detect` with one of the models; the folder of the results. Only the last one's time counts."""
    how = ["--model", model, "--tiles", tiles]
    compared = (
        [[], []] if references is None else [["--references", f"{one}/references"] for one in ("calibrate", "test")]
    )
    key = name.replace(" ", "")
    last = name == "sft + roam"
    case.command(
        *(f"calibrate-{key}", "calibrate", "--normals", "calibrate/photos", *compared[0], *how),
        *("--out", f"calibration-{key}.json"),
        adapts=last,
    )
    masks = [] if references else ["--masks", "--segmenter", case.plan.segmenter]
    case.command(
        *(f"detect-{key}", "detect", photos, *compared[1], *how, "--calibration", f"calibration-{key}.json", *masks),
        *("--no-overlays", "--no-report", "--out", f"runs/detect-{key}"),
        adapts=last,
    )
    return case.folder / f"runs/detect-{key}"


def rows_of(folder: Path, truth: sets.Truths, *, prefix: str = "") -> list[Row]:
    """What a run of `detect` found, beside the truth."""
    rows = []
    for record in read_records(folder / "detections.jsonl", Detection):
        known = truth[f"{prefix}{record.image}"]
        masks = [None if one.mask_rle is None else rle.decode(rle.parse(one.mask_rle)) for one in record.defects]
        rows.append(
            Row(
                known=known,
                score=record.score,
                called=record.score is not None and record.threshold is not None and record.score > record.threshold,
                boxes=[one.box for one in record.defects],
                masks=masks,
            )
        )
    return rows


def magnetic_tiles(case: Case) -> dict[str, list[Row]]:
    """The steps of the magnetic tiles; rows by method."""
    plan = case.plan
    per_class = None if case.name == "tiles-all" else int(case.name.removeprefix("tiles-"))
    laid = sets.lay_tiles(plan.data / "magnetic_tile", case.folder, per_class, limit=plan.limit, seed=plan.seed)
    case.command("photos", "prepare", "folder", "--root", "tiles", "--split", "train", "--out", "data/photos.jsonl")
    case.command("crops", "prepare", "crops", "--data", "data/photos.jsonl", "--mirror", "--out", "data/views.jsonl")
    case.command("reasons", "prepare", "expert-ad", "--data", "data/views.jsonl", "--out", "data/reasons.jsonl")
    case.command(
        *("questions", "prepare", "fewshot", "--data", "data/photos.jsonl", "--size", str(laid.different)),
        *("--out", "data/questions.jsonl"),
    )
    case.command(
        *("truth", "prepare", "folder", "--root", "tiles", "--split", "test", "--out", "data/test.jsonl"), adapts=False
    )
    truth = sets.truths(case.folder / "data/test.jsonl", sets.tile_group)
    found = {
        name: rows_of(look(case, name, model, photos="tiles/test", references=None), truth, prefix="test/")
        for name, model in learn(case)
    }
    photos = {name: case.folder / "tiles" / name for name in truth}
    found["nearest normal patch"] = sets.judge_tiles(case.folder, photos, truth, seed=plan.seed)
    return found


def boards(case: Case) -> dict[str, list[Row]]:
    """The steps of the circuit boards; rows by method, those of tiles under names that say so."""
    plan = case.plan
    root = str((plan.data / "deeppcb").resolve())
    case.command("photos", "prepare", "deeppcb", "--root", root, "--out", "data/pcb.jsonl")
    half, board = ("--group", "group[0-9]+"), ("--group", "[0-9]{8}", "--share", "0.75")
    for key, source, out, words in (
        ("test", "pcb", "test", (*half, "--split", "test")),
        ("half", "pcb", "half", (*half, "--split", "train")),
        ("train", "half", "train", (*board, "--split", "train")),
        ("calibrate", "half", "calibrate", (*board, "--split", "test")),
    ):
        case.command(
            f"split-{key}", "prepare", "split", "--data", f"data/{source}.jsonl", *words, "--out", f"data/{out}.jsonl"
        )
    crops = ("prepare", "crops", "--tiles", TILES, "--shots", "1", "--data")
    case.command("crops", *crops, "data/train.jsonl", "--mirror", "--out", "data/crops.jsonl")
    case.command("reasons", "prepare", "expert-ad", "--data", "data/crops.jsonl", "--out", "data/reasons.jsonl")
    case.command(
        "questions",
        "prepare",
        "fewshot",
        "--data",
        "data/crops.jsonl",
        "--size",
        "600",
        "--out",
        "data/questions.jsonl",
    )
    case.command("crops-test", *crops, "data/test.jsonl", "--out", "data/test-tiles.jsonl", adapts=False)
    whole = sets.lay_boards(case.folder, limit=plan.limit, seed=plan.seed)
    parts = sets.lay_board_tiles(case.folder, limit=plan.limit, seed=plan.seed)
    found = {}
    for name, model in learn(case, "shots=1"):
        found[name] = rows_of(look(case, name, model, photos="test/photos", references="test", tiles=TILES), whole)
        key = f"tiles-{name.replace(' ', '')}"
        case.command(
            *(f"detect-{key}", "detect", "test-tiles/photos", "--references", "test-tiles/references"),
            *("--model", model, "--no-overlays", "--no-report", "--out", f"runs/detect-{key}"),
            adapts=False,
        )
        found[f"tiles: {name}"] = rows_of(case.folder / f"runs/detect-{key}", parts)
    setting = sets.fit_boards(case.folder)
    found["template difference"] = sets.judge_boards(case.folder / "test", whole, setting)
    found["tiles: template difference"] = sets.judge_boards(case.folder / "test-tiles", parts, setting)
    return found


def measure(plan: Plan) -> dict[str, Any]:
    """Do what is not done yet; write `results.json` and `table.md`.

    Returns:
        Set -> method -> figures.

    Raises:
        Iadr1Error: What a command refuses, or a folder with figures of other settings.
    """
    claim(plan)
    found: dict[str, Any] = {}
    times: dict[str, list[Step]] = {}
    for name in plan.sets:
        case = Case(name, plan)
        rows = (boards if name == "pcb" else magnetic_tiles)(case)
        found[name] = figures(rows, seed=plan.seed)
        times[name] = case.steps
    text = f"{table(found)}\n{times_table(times)}"
    write_text_atomic(plan.out / "table.md", text)
    result = {
        **describe("adapt", plan),
        "cores": os.cpu_count(),
        "sets": found,
        "steps": {name: [step.model_dump() for step in steps] for name, steps in times.items()},
    }
    write_text_atomic(plan.out / "results.json", json.dumps(result, indent=1) + "\n")
    print(text)
    return found


def claim(plan: Plan) -> None:
    """Refuse a folder that holds figures of another plan; sets may be added.

    Raises:
        UsageError: It does.
    """
    settings = {name: value for name, value in plain(plan).items() if name not in ("out", "sets")}
    settings["data"] = str(plan.data.resolve())
    file = plan.out / "settings.json"
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
        raise UsageError("the folder holds figures of other settings", where=str(file), hint="name another OUT")
    write_text_atomic(file, json.dumps(settings, indent=1) + "\n")


def times_table(times: dict[str, list[Step]]) -> str:
    """Seconds of every step of each set, and of those that a user runs."""
    lines = ["| set | step | s | counts |", "|---|---|---|---|"]
    for name, steps in times.items():
        for step in steps:
            part = "" if step.whole else " (went on)"
            lines.append(f"| {name} | {step.key} | {step.seconds:.0f}{part} | {'yes' if step.adapts else 'no'} |")
        total = sum(step.seconds for step in steps if step.adapts)
        within = "within" if total <= HALF_HOUR_S else "NOT within"
        lines.append(f"| {name} | **all that count** | {total:.0f} | {within} {HALF_HOUR_S} s |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder with deeppcb/ and magnetic_tile/")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for everything")
    parser.add_argument("--model", default="tiny", help="model to begin with (default: tiny)")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="which sets (default: all)")
    parser.add_argument("--sft-steps", type=int, default=Plan.sft_steps, help="steps of sft (default: 400)")
    parser.add_argument("--roam-steps", type=int, default=Plan.roam_steps, help="steps of train (default: 40)")
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate, help="of sft (default: 3e-4)")
    parser.add_argument("--segmenter", default=Plan.segmenter, help="what draws masks (default: grabcut)")
    parser.add_argument("--limit", type=int, help="good and bad test photos at most, for a try")
    parser.add_argument("--seed", type=int, default=0, help="which photos are chosen, and bootstrap draws")
    chosen = vars(parser.parse_args())
    try:
        measure(Plan(**{**chosen, "sets": tuple(chosen["sets"])}))
    except Iadr1Error as error:
        sys.exit(f"error: {error}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
