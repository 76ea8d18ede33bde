"""How many completions a second each reward scores on one core, with what it has to parse.

    python benchmarks/rewards.py

Every completion is different and about as long as AnomalyR1's run allows (256 tokens), so that nothing is found in a
cache that a training run would not find there either. The figure is the fastest of several rounds; the ratio is to the
10,000 completions a second that every reward without a model has to reach. Exit code 1 where one does not.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping

from iadr1.geometry import BoxFrame, BoxSpace
from iadr1.prompts import Answer, Format, parse, render_target
from iadr1.records import Defect, Sample
from iadr1.rewards import TABLE

LIMIT = 10_000
FRAME = BoxFrame(BoxSpace.INPUT_PX, (1000, 800), (1008, 812))
KINDS = ("scratch", "surface scratches", "hole", "dark stain", "bent component", "crack", "missing part", "scrach")
PARTS = ("nut", "gear", "cable", "lid")
PLACES = ("top left", "upper right corner", "center", "lower left", "middle right", "edge")
FORMAT_OF_NEED: Mapping[str, Format] = {
    "options": "choice",
    "any": "choice",
    "answer": "choice",
    "verdict": "structured",
    "boxes": "boxes",
}


def reasoning(rng: random.Random, answer: str) -> str:
    """About 180 words, no two texts alike; half of them conclude the answer, half of them nothing."""
    sentences = [
        f"I look at the {rng.choice(PLACES)} of the {rng.choice(PARTS)} and see {rng.randrange(999)} small marks "
        f"which a good part does not have, so this may be a {rng.choice(KINDS)}."
        for _ in range(7)
    ]
    return " ".join([*sentences, rng.choice([f"Taken together, the answer is {answer}.", "That is what I see here."])])


def sample_of(need: str) -> Sample:
    """A truth with everything a reward can ask for."""
    fields: dict[str, object] = {"task": "anomaly", "answer": "Yes", "is_anomalous": True}
    if FORMAT_OF_NEED[need] == "choice":
        options = {"A": "Scratch.", "B": "Broken edge.", "C": "No defect.", "D": "Stain."}
        fields = {"task": "choice", "options": options, "answer": "B", "reasoning": reasoning(random.Random(1), "B")}
    defects = (
        Defect(type="scratch", location="top left", box=(100, 100, 300, 200)),
        Defect(type="hole", location="center", box=(500, 400, 560, 470)),
    )
    given = {"dataset": "b", "category": "c", "split": "s", "image": "i.png", "question": "?", "question_type": "q"}
    return Sample.model_validate({"id": "b", **given, **fields, "defects": defects})


def completions(need: str, number: int) -> list[str]:
    """So many different completions in the format the reward asks for; half of them right."""
    rng = random.Random(0)
    truth = sample_of(need)
    texts = []
    for _ in range(number):
        place, kind = rng.choice(PLACES), f"{rng.choice(KINDS)} {rng.randrange(10**6)}"
        shift = rng.randrange(40)
        answer = rng.choice("BD")
        told: dict[str, object] = {"reasoning": reasoning(rng, answer), "answer": answer}
        if truth.task == "anomaly":
            defects = (
                Defect(type=kind, location=place, box=(100 + shift, 100, 300 + shift, 200)),
                Defect(type="hole", location="center", box=(500, 400 + shift, 560, 470 + shift)),
            )
            told |= {"answer": "Yes", "defects": defects}
        texts.append(render_target(truth.model_copy(update=told), FORMAT_OF_NEED[need], frame=FRAME))
    return texts


def seconds_each(function: Callable[[Answer, Sample], float | None], need: str, texts: list[str], rounds: int) -> float:
    """Seconds for one completion, parsing included: the fastest round, in CPU time of this process."""
    truth, fmt = sample_of(need), FORMAT_OF_NEED[need]
    size = len(texts) // rounds
    best = float("inf")
    for start in range(0, size * rounds, size):
        begin = time.process_time()
        for text in texts[start : start + size]:
            function(parse(text, fmt, options=truth.options, frame=FRAME), truth)
        best = min(best, (time.process_time() - begin) / size)
    return best


def main() -> int:
    """Print the table; 1 where a reward is slower than the limit."""
    parser = argparse.ArgumentParser(description="Completions a second of each reward that needs no model.")
    parser.add_argument("--completions", type=int, default=14_000, help="how many different ones (default: 14000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds they are cut into (default: 7)")
    given = parser.parse_args()
    texts = {need: completions(need, given.completions) for need in FORMAT_OF_NEED}
    out = ["| reward | completions/s | times the limit |", "| --- | ---: | ---: |"]
    slow = []
    for name, row in TABLE.items():
        if row.extra is None:
            rate = 1 / seconds_each(row.function, row.needs, texts[row.needs], given.rounds)
            out.append(f"| `{name}` | {rate:,.0f} | {rate / LIMIT:.1f} |")
            slow += [name] if rate < LIMIT else []
    length = sum(map(len, texts["options"])) / len(texts["options"])
    out.append(f"\nAbout {length:.0f} characters a completion; limit {LIMIT:,} completions/s.")
    sys.stdout.write("\n".join(out) + "\n")
    if slow:
        sys.stderr.write(f"slower than the limit: {', '.join(slow)}\n")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
