"""How many photos a second a card inspects and what a million cost, by mode and share of bad products.

    python benchmarks/capacity.py              measure here, predict, compare with `iadr1 detect`; then on paper
    python benchmarks/capacity.py --paper      the tables on paper alone

The model: a photo takes the time to read its prompts and to write its answers on a card that is kept busy,

    seconds = host + questions * look + prompt tokens / prefill + steps * step_s + tokens written * row_s

where looking at a photo takes the same whatever is asked about it, and a step gives each answer under way one token:
answers written together share its fixed part, the reading of the weights. A server that fills each free place at once
takes 1 / places steps for a token; the local engine, which writes the answers of a batch of photos together, takes as
many for the batch as the longest of them has tokens.

The check takes the rates from the engine on some photos, predicts the throughput of `iadr1 detect` on others and
divides what it then measures by that. Seconds of the check are this process's own CPU time on one thread, since other
programs share the machine; seconds on paper are a card's. docs/scale.md holds results and what the model leaves out.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from iadr1.config import DetectConfig
from iadr1.datasets.synthetic import CATEGORIES, applicable_defects, render
from iadr1.models import Completion, Engine, LoadOptions, Profile, Request
from iadr1.models.local import LocalEngine
from iadr1.records import Detection, read_records
from iadr1.stages import detect
from iadr1.stages.inspection import find_photos, load_batches
from iadr1.stages.inspection.asking import NO, YES, looks_at

T = TypeVar("T")
MODES = ("direct", "think", "two-pass")
SHARES = (0.001, 0.01, 0.05, 0.2, 0.5)


@dataclass(frozen=True)
class Rates:
    """What one card, or one core, does when it is kept busy.

    Attributes:
        prefill: Prompt tokens read in a second, those of images included.
        look_s: Seconds that a question takes besides: preparing and encoding its images.
        step_s: Seconds of a decoding step, however many answers are under way.
        row_s: Seconds more for each answer under way.
        host_s: Seconds that each photo takes besides: opening, hashing, writing its record.
    """

    prefill: float
    step_s: float
    row_s: float = 0.0
    look_s: float = 0.0
    host_s: float = 0.0


@dataclass(frozen=True)
class Places:
    """How answers are written together.

    Attributes:
        count: Photos of a batch, or answers under way at a server.
        refilled: A free place is taken at once (continuous batching); else a batch ends with its longest answer.
    """

    count: int
    refilled: bool = True


BATCHES = Places(8, refilled=False)
"""Those of `iadr1 detect` with the local engine."""


@dataclass(frozen=True)
class Work:
    """What a photo asks of the model.

    Attributes:
        score_tokens: Prompt tokens of the Yes/No question; 0 for an engine without probabilities.
        think_tokens: Prompt tokens of the question for reasons and boxes.
        good_answer: Tokens written about a good product.
        bad_answer: Tokens written about a bad one.
        recall: Share of bad products whose score is above the threshold.
        false_alarms: Share of good products whose score is.
        spread: The longest answer of a batch, over the mean of its kind; for places that are not refilled.
    """

    score_tokens: float
    think_tokens: float
    good_answer: float
    bad_answer: float
    recall: float = 1.0
    false_alarms: float = 0.05
    spread: float = 1.0


def reasoned(mode: str, work: Work, bad: float) -> tuple[float, float]:
    """Shares of all photos that are reasoned about: those of bad products, those of good ones.

    Args:
        mode: One of `MODES`.
        work: What photos ask of the model.
        bad: Share of bad products, 0..1.

    Raises:
        ValueError: Another mode, or a share that cannot be.
    """
    if mode not in MODES or not 0 <= bad <= 1:
        raise ValueError(f"mode {mode!r}, share {bad}")
    if mode == "direct":
        return 0.0, 0.0
    if mode == "think":
        return bad, 1 - bad
    return bad * work.recall, (1 - bad) * work.false_alarms


def steps_per_photo(work: Work, shares: tuple[float, float], places: Places) -> float:
    """Decoding steps for each photo.

    Args:
        work: What photos ask of the model.
        shares: Of `reasoned`.
        places: How answers are written together.
    """
    bad, good = shares
    if places.refilled:
        return (bad * work.bad_answer + good * work.good_answer) / places.count
    any_bad = 1 - (1 - bad) ** places.count
    only_good = (1 - bad) ** places.count - (1 - bad - good) ** places.count
    short, long = sorted((work.good_answer, work.bad_answer))
    longest = any_bad * long + only_good * short
    return work.spread * longest / places.count


def seconds_per_photo(mode: str, rates: Rates, work: Work, bad: float, places: Places) -> float:
    """Mean seconds of one card for a photo; arguments as `reasoned` and `steps_per_photo`."""
    bad_share, good_share = reasoned(mode, work, bad)
    reading = (work.score_tokens + (bad_share + good_share) * work.think_tokens) / rates.prefill
    written = bad_share * work.bad_answer + good_share * work.good_answer
    steps = steps_per_photo(work, (bad_share, good_share), places)
    looking = rates.look_s * ((work.score_tokens > 0) + bad_share + good_share)
    return rates.host_s + looking + reading + steps * rates.step_s + written * rates.row_s


def cost_per_million(seconds: float, *, price_per_hour: float) -> float:
    """What a million photos cost on cards that are kept busy, in the price's currency."""
    return seconds * 1e6 / 3600 * price_per_hour


def latency(under_way: float, *, per_second: float) -> float:
    """Little's law: seconds from the sending of a request to its answer, with so many under way at a time."""
    return under_way / per_second


def cards(per_second: float, seconds: float, *, busy: float = 0.7) -> int:
    """Cards for so many photos a second, each kept busy for this share of the time at most.

    Above about 0.7 queues grow quickly where photos do not come evenly.
    """
    return max(1, math.ceil(per_second * seconds / busy - 1e-9))


def table(
    rates: Rates, work: Work, places: Places, *, price_per_hour: float = 0.0, shares: Sequence[float] = SHARES
) -> list[str]:
    """Markdown rows: share of bad products, photos a second by mode, gain of two-pass, cost of a million."""
    lines = [
        "| bad products | direct, 1/s | two-pass, 1/s | think, 1/s | two-pass : think | cost of a million: "
        "direct / two-pass / think |",
        "|---|---|---|---|---|---|",
    ]
    for share in shares:
        seconds = {mode: seconds_per_photo(mode, rates, work, share, places) for mode in MODES}
        speed = " | ".join(f"{1 / seconds[mode]:.3g}" for mode in ("direct", "two-pass", "think"))
        prices = [cost_per_million(seconds[mode], price_per_hour=price_per_hour) for mode in seconds]
        told = " / ".join(f"{prices[place]:.0f}" for place in (0, 2, 1)) if price_per_hour else "-"
        lines.append(f"| {100 * share:g} % | {speed} | {seconds['think'] / seconds['two-pass']:.2f} | {told} |")
    return lines


# on paper

RECIPE = "vLLM's recipe for Qwen2.5-VL (vllm-project/recipes at 1108854), Qwen2.5-VL-7B, 4 x A100 80 GB, data parallel"


def from_recipe() -> Rates:
    """Rates of one A100 80 GB with Qwen2.5-VL-7B in bfloat16, worked out of the one published run with known tokens.

    The recipe's run with random text: 128 requests at once on 4 cards took 45.30 s for 1,023,598 prompt tokens and
    116,924 tokens written; the median distance of two tokens of a request, most of which fall between two prefills, was
    23.14 ms. So a card held 32 requests and wrote them in 116,924 / 128 steps of 23.14 ms; the rest was prefill. What
    of a step is fixed cannot be told from one run: all of it is taken to be.
    """
    requests, card_count, wall, step = 128, 4, 45.30, 0.02314
    read, written = 1_023_598, 116_924
    return Rates(prefill=read / card_count / (wall - written / requests * step), step_s=step)


VISION = 1 + 4 * 0.675 / 7.6
"""An image token costs more than one of text: the vision tower (0.675 billion weights, recipe) reads four patches for
each token that the language model (7.6 billion) reads. Assumes that both run at the same share of the card's peak."""


def on_paper(image_tokens: int, *, references: int, answer: tuple[float, float], text: int = 90) -> Work:
    """Work with images of so many tokens, in text tokens of equal cost.

    Args:
        image_tokens: Tokens of one image (docs/models.md).
        references: Reference images shown before each photo.
        answer: Tokens written about a good and about a bad product.
        text: Tokens of the question.
    """
    prompt = text + VISION * image_tokens * (1 + references)
    return Work(prompt, prompt, good_answer=answer[0], bad_answer=answer[1])


def print_paper(price: float) -> None:
    """The tables on paper."""
    rates, places = from_recipe(), Places(32)
    print(f"\n## On paper: EXTRAPOLATED, nothing of this was run by us\n\nsource: {RECIPE}")
    decode = places.count / rates.step_s
    print(f"one A100: prefill {rates.prefill:,.0f} tokens/s, decode {decode:,.0f} tokens/s with 32 under way")
    for references in (0, 1):
        work = on_paper(1044, references=references, answer=(80.0, 160.0))
        print(f"\n1000 x 800 px, {references} reference(s), answers of 80 and 160 tokens, card {price:g} an hour\n")
        print("\n".join(table(rates, work, places, price_per_hour=price)))
        for mode in ("two-pass", "think"):
            seconds = seconds_per_photo(mode, rates, work, 0.01, places)
            waited = latency(32, per_second=1 / seconds)
            print(
                f"{mode} at 1 % bad: latency with 32 under way on one card {waited:.1f} s; "
                f"cards for 100 photos/s at 70 % busy: {cards(100, seconds)}"
            )


# measured here


def is_bad(number: int, bad: float) -> bool:
    """Whether the photo of this number shows a bad product, where the share `bad` does, spread evenly."""
    return int((number + 1) * bad) > int(number * bad)


def photos(folder: Path, count: int, bad: float, *, first: int) -> None:
    """Drawn photos in files; numbers of the products begin at `first`."""
    folder.mkdir(parents=True)
    names = sorted(CATEGORIES)
    for number in range(count):
        category = names[number % len(names)]
        kinds = applicable_defects(category)
        defects = [kinds[number % len(kinds)]] if is_bad(number, bad) else []
        Image.fromarray(render(category, first + number, defects=defects).image).save(folder / f"{number:04d}.png")


class Instant:
    """An engine that answers at once: what a run takes with it is not the model's."""

    name = model = fingerprint = "instant"

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def generate(self, requests: Sequence[Request], *, max_new_tokens: int) -> list[Completion]:
        """Never asked in the mode `direct`."""
        raise AssertionError(max_new_tokens)

    def probabilities(self, requests: Sequence[Request], words: Sequence[str]) -> list[dict[str, float]]:
        """The last word, for sure."""
        return [{**dict.fromkeys(words, 0.0), words[-1]: 1.0} for _ in requests]


def calibrate(folder: Path, bad: float, clock: Callable[[], float]) -> tuple[Rates, Work]:
    """Rates and work, from the engine on the photos of a folder; the share `bad` of them shows a bad product."""
    items = [item for batch in load_batches(find_photos(folder, folder / "out"), None, 8) for item in batch]
    engine, small = LocalEngine("tiny"), LocalEngine("tiny", LoadOptions(batch_size=2))
    looks = [looks_at(item, item.image, engine.profile, "off")[0] for item in items if item.image is not None]
    score, think = [look.request("direct") for look in looks], [look.request("boxes") for look in looks]
    engine.probabilities(score[:8], (YES, NO))  # the first pass of a process takes longer

    def timed(work: Callable[[], T]) -> tuple[float, T]:
        started = clock()
        done = work()
        return clock() - started, done

    scoring, shares = timed(lambda: engine.probabilities(score, (YES, NO)))
    reading, read = timed(lambda: engine.generate(think, max_new_tokens=1))
    whole, answers = timed(lambda: engine.generate(think, max_new_tokens=512))
    reading_small, _ = timed(lambda: small.generate(think, max_new_tokens=1))
    whole_small, _ = timed(lambda: small.generate(think, max_new_tokens=512))
    host, _ = measure(folder, "direct", clock, Instant(engine.profile))
    lengths = [one.completion_tokens for one in answers]
    steps, steps_small = (sum(max(lengths[at : at + size]) for at in range(0, len(lengths), size)) for size in (8, 2))
    step_s = ((whole_small - reading_small) - (whole - reading)) / (steps_small - steps)
    row_s = max(0.0, (whole - reading - steps * step_s) / sum(lengths))
    score_tokens = sum(one.prompt_tokens for one in engine.generate(score, max_new_tokens=1))
    think_tokens = sum(one.prompt_tokens for one in read)
    wrong = [is_bad(number, bad) for number in range(len(items))]
    work = Work(
        score_tokens / len(items),
        think_tokens / len(items),
        good_answer=_mean(length for length, one in zip(lengths, wrong, strict=True) if not one),
        bad_answer=_mean(length for length, one in zip(lengths, wrong, strict=True) if one),
        recall=_mean(share[YES] > 0.5 for share, one in zip(shares, wrong, strict=True) if one),
        false_alarms=_mean(share[YES] > 0.5 for share, one in zip(shares, wrong, strict=True) if not one),
    )
    expected = steps_per_photo(work, (_mean(wrong), 1 - _mean(wrong)), BATCHES)
    work = replace(work, spread=steps / len(items) / expected)
    token_s = (reading - scoring) / (think_tokens - score_tokens)
    look_s = scoring / len(items) - token_s * score_tokens / len(items)
    return Rates(1 / token_s, step_s, row_s, look_s, host), work


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def measure(folder: Path, mode: str, clock: Callable[[], float], engine: Engine) -> tuple[float, float]:
    """Seconds a photo of `iadr1 detect` without pictures and report, and the share it reasoned about."""
    out = folder.parent / f"{folder.name}-{mode}-{engine.name}"
    config = DetectConfig(images=folder, out=out, mode=mode, overlays=False, report=False)
    started = clock()
    detect.run(config, engine=engine)
    seconds = clock() - started
    records = list(read_records(out / "detections.jsonl", Detection))
    return seconds / len(records), _mean(record.completion_tokens > 0 for record in records)


def print_check(count: int, clock: Callable[[], float]) -> None:
    """Predict the throughput on other photos than those the rates were taken from, and compare."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        photos(root / "rates", count, 0.25, first=0)
        rates, work = calibrate(root / "rates", 0.25, clock)
        print(
            f"rates from {count} photos, 25 % bad: look {1000 * rates.look_s:.1f} ms, "
            f"prefill {rates.prefill:,.0f} tokens/s, "
            f"step {1000 * rates.step_s:.2f} ms, {1000 * rates.row_s:.2f} ms more for each answer under way, "
            f"host {1000 * rates.host_s:.1f} ms a photo"
        )
        print(
            f"prompts {work.score_tokens:.0f} and {work.think_tokens:.0f} tokens, "
            f"answers {work.good_answer:.1f} (good) and {work.bad_answer:.1f} (bad), "
            f"recall {work.recall:.2f}, false alarms {work.false_alarms:.2f}, "
            f"the longest answer of a batch {work.spread:.2f} times its kind's mean"
        )
        print("\n| other photos | mode | predicted, 1/s | measured, 1/s | measured : predicted | reasoned about |")
        print("|---|---|---|---|---|---|")
        engine = LocalEngine("tiny")
        for bad in (0.25, 0.5):
            folder = root / f"bad{100 * bad:.0f}"
            photos(folder, count, bad, first=100_000)
            for mode in MODES:
                predicted = 1 / seconds_per_photo(mode, rates, work, bad, BATCHES)
                seconds, share = measure(folder, mode, clock, engine)
                print(
                    f"| {count}, {100 * bad:.0f} % bad | {mode} | {predicted:.2f} | {1 / seconds:.2f} | "
                    f"{1 / seconds / predicted:.2f} | {100 * share:.0f} % |",
                    flush=True,
                )
        print("\nthe embedded model on one core, from the measured rates, 5 % false alarms\n")
        print("\n".join(table(rates, replace(work, recall=1.0, false_alarms=0.05), BATCHES)))


def main() -> None:
    """Print the check and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="leave the measurement out")
    parser.add_argument("--photos", type=int, default=64, help="photos in each of the three folders")
    parser.add_argument("--price", type=float, default=2.0, help="price of a card for an hour")
    given = parser.parse_args()
    if not given.paper:
        torch.set_num_threads(1)
        print_check(given.photos, time.process_time)
    print_paper(given.price)


if __name__ == "__main__":
    main()
