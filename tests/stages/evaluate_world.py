"""A small world for the tests of `eval`: images, samples, and engines with known answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iadr1.config import EvalConfig
from iadr1.models import Engine
from iadr1.models.base import Profile
from iadr1.models.profiles import PROFILES
from iadr1.models.replay import ReplayEngine
from iadr1.records import Defect, Prediction, Sample, read_records, write_records
from iadr1.stages import scoring
from iadr1.stages.evaluate import EvalResult, run

OPTIONS = {"A": "Yes.", "B": "No."}
KINDS = {"A": "Scratch.", "B": "Hole.", "C": "Stain.", "D": "Dent."}
REFERENCES = ("r.png", "s.png", "t.png")
SIMILAR = ("t.png", "s.png", "r.png")
SCRATCH = Defect(type="scratch", box=(0, 0, 50, 50), location="top left")


def sample(key: str, **fields: object) -> Sample:
    """A question about the image named after the key's first letter."""
    given = {
        "dataset": "X",
        "category": "bolt",
        "split": "test",
        "image": f"{key[0]}.png",
        "references": REFERENCES,
        "similar_references": SIMILAR,
        "task": "choice",
        "question": "What kind of defect is it?",
        "options": KINDS,
        "answer": "A",
        "question_type": "Defect Classification",
        "is_anomalous": True,
        **fields,
    }
    return Sample.model_validate({"id": key, **given})


def detection(key: str, *, bad: bool, **fields: object) -> Sample:
    return sample(
        key,
        question="Is there any defect?",
        options=OPTIONS,
        answer="A" if bad else "B",
        question_type="Anomaly Detection",
        is_anomalous=bad,
        **fields,
    )


def yes_no(key: str, *defects: Defect, **fields: object) -> Sample:
    bad = bool(defects)
    return sample(
        key,
        task="anomaly",
        question="Any defects?",
        options={},
        answer="Yes" if bad else "No",
        question_type="Anomaly Detection",
        is_anomalous=bad,
        defects=defects,
        **fields,
    )


def expression(key: str, **fields: object) -> Sample:
    return sample(key, task="grounding", options={}, answer="", is_anomalous=None, defects=(SCRATCH,), **fields)


def ugly() -> list[tuple[Sample, str]]:
    """Seven questions on four images; strict: detection (1/2 normal, 1/1 anomalous), classification 2 of 4."""
    return [
        (detection("a1", bad=True), "<think>A dent is visible.</think><answer>A</answer>"),
        (sample("a2"), "<think>so it is\nB</think>\n<answer> (a) Scratch. </answer>"),
        (detection("b1", bad=False, held_out=True), "<answer>B"),
        (detection("c1", bad=False), "A crack? I cannot tell. <answer></answer>"),
        (sample("d1", held_out=True), "The answer is B. Wait, the answer is A."),
        (sample("d2"), "<answer>B</answer>"),
        (sample("d3"), "\x00 \U0001f600 </answer><answer>E</answer>"),
    ]


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    """Write figures and tables only: pictures and the page of answers take much longer than such a small run."""
    measure = scoring.measure
    patch.setattr(scoring, "measure", lambda *given, **named: measure(*given, **{**named, "report": False}))


class World:
    """A folder with images, samples and stored answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in "abcdr":
            Image.new("RGB", (200, 100), (90, 90, 90)).save(folder / f"{name}.png")
        Image.new("RGB", (40, 30)).save(folder / "s.png")
        Image.new("RGB", (60, 20)).save(folder / "t.png")
        self.data = folder / "samples.jsonl"
        self.out = folder / "out"

    def write(self, answers: Sequence[tuple[Sample, str]]) -> ReplayEngine:
        """Samples, and an engine with their answers."""
        write_records(self.data, [item for item, _ in answers])
        return self.answers({item.id: text for item, text in answers})

    def answers(self, texts: Mapping[str, str], *, profile: Profile | None = None) -> ReplayEngine:
        path = self.folder / "answers.jsonl"
        lines = [json.dumps({"id": key, "text": text}) for key, text in texts.items()]
        path.write_text("\n".join(lines), encoding="utf-8")
        return ReplayEngine(str(path), profile=profile or PROFILES["qwen2_5_vl"])

    def config(self, benchmark: str = "mmad", **settings: Any) -> EvalConfig:
        given = {"data": self.data, "out": self.out, "batch_size": 2, **settings}
        return EvalConfig(benchmark=benchmark, **given)

    def run(self, engine: Engine, benchmark: str = "mmad", **settings: Any) -> EvalResult:
        return run(self.config(benchmark, **settings), engine=engine)

    def predictions(self, out: Path | None = None) -> list[Prediction]:
        return list(read_records((out or self.out) / "predictions.jsonl", Prediction))

    def run_file(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads((self.out / "run.json").read_text(encoding="utf-8"))
        return info
