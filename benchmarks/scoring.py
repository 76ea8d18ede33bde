"""How long scoring all of MMAD takes: 39,672 predictions, from files to files.

    python benchmarks/scoring.py

Samples and predictions have the size of the real ones: the questions by data set and subtask that follow from the
published result files, eight templates of each kind an image, 60 words of reasoning an answer. Reading, hashing,
checking, all figures with 1,000 bootstrap draws, and writing are in it; starting Python and loading the package are
not. Pictures and the page of answers are not in it either: `eval` writes them, and `score` only with `--report`. CPU
seconds of this process, the best of several rounds, since other work on the machine only adds. Exit code 1 above the
limit.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from iadr1.images import file_sha256
from iadr1.records import Defect, Prediction, Sample, write_records
from iadr1.stages.score import ScoreSettings, compare, score

LIMIT = 1.0
PROTOCOL = "0123456789abcdef"
DETECTION = "Anomaly Detection"
OPTIONS = {letter: f"{letter} text as long as an option is, about the place or the kind." for letter in "ABCD"}
QUESTIONS: dict[str, dict[bool, dict[str, int]]] = {
    name: {
        False: {DETECTION: normal, "Object Classification": objects[0], "Object Analysis": objects[1]},
        True: {
            DETECTION: anomalous,
            **dict(
                zip(
                    (f"Defect {word}" for word in ("Classification", "Localization", "Description", "Analysis")),
                    defects,
                    strict=True,
                )
            ),
        },
    }
    for name, normal, anomalous, defects, objects in (
        ("DS-MVTec", 465, 1226, (1205, 1193, 1213, 1205), (464, 1367)),
        ("MVTec-LOCO", 573, 992, (982, 982, 974, 954), (544, 1623)),
        ("VisA", 943, 1198, (1190, 1197, 1190, 1163), (935, 2806)),
        ("GoodsAD", 1269, 1631, (1311, 1506, 1333, 1460), (1211, 3367)),
    )
}
"""Data set -> whether anomalous -> subtask -> questions."""


def samples() -> Iterator[Sample]:
    """Every question, image by image."""
    for name, sides in QUESTIONS.items():
        for anomalous, subtasks in sides.items():
            images = max(number for subtask, number in subtasks.items() if subtask != "Object Analysis")
            asked: list[list[str]] = [[] for _ in range(images)]
            for subtask, number in subtasks.items():
                for place in range(number):
                    asked[place % images].append(subtask)
            for image, kinds in enumerate(asked):
                yield from _image(name, image, kinds, anomalous=anomalous)


def _image(name: str, image: int, kinds: list[str], *, anomalous: bool) -> Iterator[Sample]:
    category = f"category{image % 10}"
    path = f"{name}/{category}/test/{'bad' if anomalous else 'good'}/{image:05}.png"
    templates = tuple(f"{name}/{category}/train/good/{number:03}.png" for number in range(8))
    for number, kind in enumerate(kinds):
        yield Sample(
            id=f"{path}#{number}",
            dataset=name,
            category=category,
            split="test",
            image=path,
            references=templates,
            similar_references=templates,
            task="choice",
            question="There is something in the object. Which of the following options describes it best?",
            options=OPTIONS,
            answer="ABCD"[number % 4],
            question_type=kind,
            is_anomalous=anomalous,
            defects=(Defect(type="broken", mask=path.replace("test", "ground_truth")),) if anomalous else (),
            image_sha256="0" * 64,
            image_size=(900, 900),
        )


def write_run(folder: Path, data: Path, *, right: float, seed: int) -> Path:
    """A run that answers with this share of right ones, and 3 % that cannot be read."""
    rng = random.Random(seed)

    def answers() -> Iterator[Prediction]:
        for sample in samples():
            letter = sample.answer if rng.random() < right else rng.choice("ABCD")
            answer = letter if rng.random() >= 0.03 else None
            raw = " ".join(["reasoning"] * 60) + f" {answer}"
            yield Prediction(
                sample_id=sample.id,
                protocol=PROTOCOL,
                model="made-up@0",
                engine="local",
                raw=raw,
                answer=answer,
                parse="ok",
                images=2,
                seconds=0.1234,
                prompt_tokens=1800,
                completion_tokens=90,
            )

    path = folder / "predictions.jsonl"
    write_records(path, answers())
    info = {"data": {str(data): file_sha256(data)}, "protocol": {"hash": PROTOCOL}, "config": {"benchmark": "mmad"}}
    (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
    return path


def main() -> int:
    """Print the figures; 1 where scoring takes longer than the limit."""
    parser = argparse.ArgumentParser(description="Seconds to score all of MMAD.")
    parser.add_argument("--rounds", type=int, default=5, help="how often (default: 5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        data = root / "mmad.jsonl"
        number = write_records(data, samples())
        first, second = (write_run(root / str(seed), data, right=0.6, seed=seed) for seed in (1, 2))
        scoring, comparing = [], []
        for _ in range(rounds):
            begin = time.process_time()
            score(first, ScoreSettings())
            scoring.append(time.process_time() - begin)
        begin = time.process_time()
        compare(first, second, ScoreSettings())
        comparing.append(time.process_time() - begin)
        size = (data.stat().st_size + first.stat().st_size) / 1e6
    best = min(scoring)
    print(f"{number:,} predictions, {size:.0f} MB: scored in {best:.2f} s (limit {LIMIT:g} s)")
    print(f"two runs compared in {min(comparing):.2f} s")
    return 1 if best > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
